//! The scheduler of the reaper inside a running server; the steps themselves are the manager's.
//!
//! Invariant: a run that was begun goes on to its end, whoever asked for it and went away, and one runs at a time. At the
//! end the server waits for it.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::ReapDocument;
use chatelaine_core::Error;
use chatelaine_core::manager::{Manager, ReapReport};

use crate::checkpoint;
use crate::http::App;

/// How a report looks outside.
pub fn document(report: ReapReport) -> ReapDocument {
    let ReapReport { purged, restored, cleared, remade, waiting, expired, corrupt } = report;
    ReapDocument { purged, restored, cleared, remade, waiting, expired, corrupt }
}

/// Runs the reaper once, with log and metrics, to its end even if the future is dropped.
///
/// # Errors
/// As for [`run_once`].
pub async fn run(app: &Arc<App>) -> chatelaine_core::Result<ReapDocument> {
    let app = Arc::clone(app);
    let running = tokio::spawn(async move {
        let _turn = app.reaping.lock().await;
        let result = run_once(app.manager()).await;
        app.metrics().reaped(&result);
        result.map(document)
    });
    running
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("the task of the reaper ended: {error}"))))
}

/// Returns when no run is going on any more.
pub async fn finished(app: &App) {
    drop(app.reaping.lock().await);
}

/// Runs the reaper here and now, with a line in the log.
///
/// # Errors
/// The manager's; [`Error::WrongState`] while events are missing from the audit trail, which the reaper decides by.
pub async fn run_once(manager: &Manager) -> chatelaine_core::Result<ReapReport> {
    let result = match checkpoint::lost(manager).await {
        Ok(None) => manager.reap().await,
        Ok(Some(lost)) => Err(Error::WrongState { reason: checkpoint::lost_text(lost) }),
        Err(error) => Err(error),
    };
    match &result {
        Ok(report) => {
            let ReapReport { purged, restored, cleared, remade, waiting, expired, corrupt } = *report;
            if restored > 0 || cleared > 0 || remade > 0 || corrupt > 0 {
                tracing::error!(
                    purged,
                    restored,
                    cleared,
                    remade,
                    waiting,
                    expired,
                    corrupt,
                    "the reaper found what should not be"
                );
            } else {
                tracing::info!(purged, waiting, expired, "the reaper has run");
            }
        }
        Err(error) => tracing::error!(%error, "the reaper stopped; nothing was destroyed that was not due"),
    }
    result
}

/// Runs the reaper again and again, the first time after one interval.
pub async fn schedule(app: Arc<App>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        // What went wrong is in the log and the metrics; the next run tries again.
        let _ = run(&app).await;
    }
}

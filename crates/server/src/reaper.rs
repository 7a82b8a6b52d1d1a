//! The scheduler of the reaper inside a running server; the steps themselves are the manager's.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::ReapDocument;
use chatelaine_core::manager::ReapReport;

use crate::http::App;

/// How a report looks outside.
pub fn document(report: ReapReport) -> ReapDocument {
    let ReapReport { purged, restored, cleared, remade, waiting, expired, corrupt } = report;
    ReapDocument { purged, restored, cleared, remade, waiting, expired, corrupt }
}

/// Runs the reaper once, with log and metrics.
///
/// # Errors
/// The manager's.
pub async fn run(app: &App) -> chatelaine_core::Result<ReapDocument> {
    let result = app.manager().reap().await;
    app.metrics().reaped(&result);
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
    result.map(document)
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

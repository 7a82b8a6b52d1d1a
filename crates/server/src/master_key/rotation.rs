//! Rotation inside a running server: what is asked for by operators, and what is due.
//!
//! One task at a time wraps the records anew and destroys what nothing uses. It is taken up again after a restart: the
//! document tells that there are retired keys, the records tell what is under them.
//!
//! Where other hosts have got master keys from here, a new one is made and handed out first, and used when all of them have
//! confirmed it ([`mod@begin`]). A retired key is destroyed when all of them have the active one.

mod begin;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatelaine_api::RotationDocument;
use chatelaine_core::Error;
use chatelaine_core::clock::{Clock as _, SystemClock, Timestamp};
use chatelaine_core::manager::Progress as Step;
use chatelaine_seal::document::{KeyState, SealedKeys};
use chatelaine_seal::{KeyId, SealError};

use super::changes::{Book, ChangeError};
use super::siblings;
use crate::config::RotationConfig;
use crate::http::App;

pub(crate) use begin::{begin, go_on};

/// How far it is.
#[derive(Default)]
pub(crate) struct Progress {
    shown: parking_lot::Mutex<Option<RotationDocument>>,
    /// Held while a new key is made and activated.
    beginning: tokio::sync::Mutex<()>,
    /// Held by the task.
    turn: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
}

impl Progress {
    pub(super) fn document(&self) -> Option<RotationDocument> {
        self.shown.lock().clone()
    }

    /// So that what is in the document and in the keyring changes together.
    pub(super) async fn beginning(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.beginning.lock().await
    }

    fn set(&self, change: impl FnOnce(&mut RotationDocument)) {
        change(self.shown.lock().get_or_insert_default());
    }
}

/// Takes up what a former process left.
pub(crate) async fn resume_all(app: &Arc<App>) {
    if let Err(error) = go_on(app).await {
        tracing::error!(%error, "the staged master key could not be made the active one; it goes on later");
    }
    resume(app);
}

/// Wraps anew what is under retired keys, if there are any.
pub(crate) fn resume(app: &Arc<App>) {
    if !app.manager().retired_master_keys().is_empty() {
        start(app);
    }
}

fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    tokio::spawn(async move { run(&app).await });
}

/// Ends the task between two pages, and waits for it.
pub(crate) async fn stop(app: &App) {
    app.keeper.rotation.stopping.store(true, Ordering::Relaxed);
    drop(app.keeper.rotation.turn.lock().await);
}

/// Looks again and again for what is due: projects' keys that are too old, retired master keys that may go.
pub(crate) async fn schedule(app: Arc<App>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        rotate_due_scopes(&app).await;
        if let Err(error) = go_on(&app).await {
            tracing::error!(%error, "the staged master key could not be made the active one");
        }
        run(&app).await;
    }
}

async fn rotate_due_scopes(app: &App) {
    let age = app.keeper.config().rotation.scope_key_seconds;
    if age == 0 {
        return;
    }
    let due = match app.manager().due_scope_keys(Duration::from_secs(age)).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "the projects whose keys are due could not be found");
            return;
        }
    };
    for project in due {
        if app.keeper.rotation.stopping.load(Ordering::Relaxed) {
            return;
        }
        match app.manager().rotate_scope_key(&project).await {
            Ok(version) => tracing::info!(project, version, "a project's key was rotated: it was due"),
            Err(error) => {
                tracing::error!(project, %error, "a project's key that is due could not be rotated");
            }
        }
    }
}

/// Rotates the key of one project and begins to wrap its records anew. Tells the number of the key.
///
/// # Errors
/// The manager's.
pub(crate) async fn rotate_project(app: &Arc<App>, project: &str) -> chatelaine_core::Result<u32> {
    let version = app.manager().rotate_scope_key(project).await?;
    start(app);
    Ok(version)
}

/// Wraps anew what is under older keys, then destroys what nothing uses and has been kept for long enough.
async fn run(app: &Arc<App>) {
    let progress = &app.keeper.rotation;
    let _turn = progress.turn.lock().await;
    if progress.stopping.load(Ordering::Relaxed) {
        return;
    }
    let pause = Duration::from_millis(app.keeper.config().rotation.pause_milliseconds);
    // Another server may have gone ahead; what is wrong with the store shows below.
    let _ = siblings::look(app).await;
    if !app.manager().retired_master_keys().is_empty() {
        progress.set(|shown| *shown = RotationDocument { running: true, ..RotationDocument::default() });
        let outcome = rewrap_master(app, pause).await;
        app.metrics().rotated(&outcome);
        progress.set(|shown| {
            shown.running = false;
            shown.problem = outcome.err();
        });
    }
    let on_progress = &mut |_| going_on(app);
    match app.manager().rewrap_scopes(pause, on_progress).await {
        Ok(report) if report.failed > 0 => {
            tracing::error!(
                ?report,
                "records of projects could not be wrapped anew; older keys are kept for them"
            );
        }
        Ok(report) if report.projects > 0 => tracing::info!(?report, "records of projects are wrapped anew"),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "wrapping records of projects anew stopped; it goes on later"),
    }
}

fn going_on(app: &App) -> ControlFlow<()> {
    if app.keeper.rotation.stopping.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

async fn rewrap_master(app: &Arc<App>, pause: Duration) -> Result<u64, String> {
    let progress = &app.keeper.rotation;
    let on_progress = &mut |step: Step| {
        progress.set(|shown| (shown.done, shown.total) = (step.done, step.total));
        going_on(app)
    };
    let report = match app.manager().rewrap_master(pause, on_progress).await {
        Ok(report) => report,
        Err(error) => {
            tracing::error!(%error, "wrapping anew under the new master key stopped; it goes on later");
            return Err(error.to_string());
        }
    };
    progress.set(|shown| shown.corrupt = report.failed);
    if report.stopped {
        return Err("the server stops; it goes on with the next start".to_owned());
    }
    let (resealed, failed) = (report.resealed, report.failed);
    if failed > 0 {
        tracing::error!(
            resealed,
            failed,
            "wrapped anew under the active master key; what failed keeps a retired key"
        );
    } else {
        tracing::info!(resealed, "everything is wrapped under the active master key");
    }
    let unused: Vec<_> =
        report.in_use.iter().filter(|(_, uses)| **uses == 0).map(|(id, _)| id.clone()).collect();
    let (due, behind) = match &*app.keeper.opened().await {
        Some(unsealed) => {
            let document = unsealed.document();
            let due = due(document, &app.keeper.config().rotation, SystemClock.now());
            (due, document.hosts_behind())
        }
        None => (Vec::new(), Vec::new()),
    };
    if !due.is_empty() && !behind.is_empty() {
        tracing::warn!(
            hosts = behind.join(", "),
            "retired master keys are kept: these hosts have not confirmed the active one; `chatelaine attest list` shows them"
        );
        return Ok(resealed);
    }
    for id in due.into_iter().filter(|id| unused.iter().any(|unused| unused == id.as_str())) {
        if let Err(error) = destroy(app, id.clone(), &[]).await {
            tracing::error!(%error, master_key = %id, "a retired master key that nothing uses could not be destroyed");
            return Err(error.to_string());
        }
    }
    Ok(resealed)
}

/// The retired keys that have been kept for long enough: a key is retired when the next one becomes active.
fn due(document: &SealedKeys, settings: &RotationConfig, now: Timestamp) -> Vec<KeyId> {
    let keep = Duration::from_secs(settings.keep_retired_seconds);
    let retired = document.keys.iter().filter(|key| key.state == KeyState::Retired);
    retired
        .filter(|key| {
            let later = document
                .keys
                .iter()
                .filter(|other| other.epoch > key.epoch && other.state != KeyState::Staged);
            let next = later.min_by_key(|other| other.epoch);
            let since =
                next.and_then(|next| Timestamp::parse(next.activated.as_ref().unwrap_or(&next.created)));
            since.is_some_and(|since| since <= now.minus(keep))
        })
        .map(|key| key.id.clone())
        .collect()
}

/// Destroys a retired master key that nothing uses.
///
/// # Errors
/// [`SealError::Invalid`] where something uses it, or hosts may need it that are not in `without`; those of the document.
pub(crate) async fn destroy(app: &Arc<App>, id: KeyId, without: &[String]) -> Result<(), ChangeError> {
    let behind = app.keeper.change(|_, unsealed| Ok(unsealed.document().hosts_behind())).await?;
    let behind: Vec<_> = behind.into_iter().filter(|host| !without.contains(host)).collect();
    if !behind.is_empty() {
        return Err(SealError::Invalid {
            what: "id",
            problem: format!(
                "{} have not confirmed the active master key and may need {id}: let them get it (`chatelaine attest update` \
                 there), withdraw them, or give --without HOST for each",
                behind.join(", ")
            ),
        }
        .into());
    }
    let retired = app.manager().retired_master_keys();
    if app.manager().master_key_id() == id.as_str() {
        return Err(SealError::Invalid {
            what: "id",
            problem: format!("{id} is the active master key; rotate it first"),
        }
        .into());
    }
    if retired.iter().any(|known| known == id.as_str()) {
        match app.manager().forget_master_key(id.as_str()).await {
            Err(Error::WrongState { reason }) => {
                return Err(SealError::Invalid { what: "id", problem: reason }.into());
            }
            other => other?,
        }
    }
    app.keeper.destroy(Book::Trail(app.manager()), id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_key_is_kept_from_the_making_of_the_next_one() {
        let key = |epoch: u32, state: &str, created: &str| {
            serde_json::json!({
                "id": format!("00000000-0000-4000-8000-00000000000{epoch}"), "epoch": epoch, "state": state,
                "created": created, "check": "", "seals": [],
            })
        };
        let document = serde_json::json!({
            "format": 1, "generation": 1, "cluster": "00000000-0000-4000-8000-000000000009",
            "keys": [
                key(3, "active", "2026-03-01T00:00:00Z"),
                key(2, "retired", "2026-02-01T00:00:00Z"),
                key(1, "retired", "2026-01-01T00:00:00Z"),
            ],
            "audit_key": {"id": "00000000-0000-4000-8000-000000000008", "wrapped": ""},
            "authenticator": "",
        });
        let document = SealedKeys::parse(document.to_string().as_bytes()).unwrap();
        let settings = RotationConfig { keep_retired_seconds: 10 * 86_400, ..RotationConfig::default() };
        let due = |now: &str| -> Vec<String> {
            let now = Timestamp::parse(now).unwrap();
            due(&document, &settings, now).iter().map(|id| id.as_str()[35..].to_owned()).collect()
        };
        assert_eq!(due("2026-02-10T00:00:00Z"), [""; 0]);
        assert_eq!(due("2026-02-12T00:00:00Z"), ["1"]);
        assert_eq!(due("2026-03-12T00:00:00Z"), ["2", "1"]);
    }

    /// It may have waited for hosts for long: until then backups are under the former one.
    #[test]
    fn a_key_that_waited_retires_the_former_one_when_it_becomes_active() {
        let key = |epoch: u32, state: &str| {
            serde_json::json!({
                "id": format!("00000000-0000-4000-8000-00000000000{epoch}"), "epoch": epoch, "state": state,
                "created": "2026-01-01T00:00:00Z", "check": "", "seals": [],
            })
        };
        let mut active = key(2, "active");
        active["activated"] = "2026-03-01T00:00:00Z".into();
        let document = serde_json::json!({
            "format": 1, "generation": 1, "cluster": "00000000-0000-4000-8000-000000000009",
            "keys": [active, key(3, "staged"), key(1, "retired")],
            "audit_key": {"id": "00000000-0000-4000-8000-000000000008", "wrapped": ""},
            "authenticator": "",
        });
        let document = SealedKeys::parse(document.to_string().as_bytes()).unwrap();
        let settings = RotationConfig { keep_retired_seconds: 10 * 86_400, ..RotationConfig::default() };
        for (now, count) in [("2026-03-10T00:00:00Z", 0), ("2026-03-12T00:00:00Z", 1)] {
            let now = Timestamp::parse(now).unwrap();
            assert_eq!(due(&document, &settings, now).len(), count);
        }
    }
}

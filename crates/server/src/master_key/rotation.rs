//! Rotation inside a running server: what is asked for by operators, and what is due.
//!
//! One task at a time wraps the records anew and destroys what nothing uses. It is taken up again after a restart: the
//! document tells that there are retired keys, the records tell what is under them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatelaine_api::RotationDocument;
use chatelaine_core::Error;
use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::clock::{Clock as _, SystemClock, Timestamp};
use chatelaine_core::manager::Progress as Step;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::document::{KeyState, SealedKeys};
use chatelaine_seal::{Custody, KeyId, SealError, Unsealed};

use super::changes::{Book, ChangeError};
use super::now;
use crate::config::RotationConfig;
use crate::http::App;

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

    fn set(&self, change: impl FnOnce(&mut RotationDocument)) {
        change(self.shown.lock().get_or_insert_default());
    }
}

/// Makes a new active master key and begins to wrap everything anew under it. Returns when new records are under it.
///
/// # Errors
/// [`ChangeError`]; where it says that the key was not made, nothing has changed.
pub(crate) async fn begin(app: &Arc<App>) -> Result<(), ChangeError> {
    let work = |custody: &Custody, unsealed: &mut Unsealed| {
        custody.rotate(unsealed, &now())?;
        let active = &unsealed.keys.active;
        Ok((active.id.to_string(), KeyMaterial::copy_from(active.material.expose())))
    };
    let _turn = app.keeper.rotation.beginning.lock().await;
    let book = Book::Trail(app.manager());
    let text = "a new master key by all seals";
    book.note(&app.keeper, Action::SealMasterKey, Outcome::Pending, text).await?;
    let (id, material) = match app.keeper.change(work).await {
        Ok(made) => made,
        Err(error) => {
            let text = format!("{text}: {error}");
            book.note(&app.keeper, Action::SealMasterKey, Outcome::Failure, &text).await?;
            return Err(error.into());
        }
    };
    // It is in the document: from here on nothing may keep it from being used.
    app.manager().activate_master_key(&id, &material).await?;
    book.note(&app.keeper, Action::SealMasterKey, Outcome::Success, &format!("{text}: {id}")).await?;
    app.keeper
        .rotation
        .set(|shown| *shown = RotationDocument { running: true, ..RotationDocument::default() });
    start(app);
    Ok(())
}

/// Takes up what a former process left.
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
    let due = match &*app.keeper.opened().await {
        Some(unsealed) => due(unsealed.document(), &app.keeper.config().rotation, SystemClock.now()),
        None => Vec::new(),
    };
    for id in due.into_iter().filter(|id| unused.iter().any(|unused| unused == id.as_str())) {
        if let Err(error) = destroy(app, id.clone()).await {
            tracing::error!(%error, master_key = %id, "a retired master key that nothing uses could not be destroyed");
            return Err(error.to_string());
        }
    }
    Ok(resealed)
}

/// The retired keys that have been kept for long enough: a key is retired when the next one is made.
fn due(document: &SealedKeys, settings: &RotationConfig, now: Timestamp) -> Vec<KeyId> {
    let keep = Duration::from_secs(settings.keep_retired_seconds);
    let retired = document.keys.iter().filter(|key| key.state == KeyState::Retired);
    retired
        .filter(|key| {
            let later = document.keys.iter().filter(|other| other.epoch > key.epoch);
            let next = later.min_by_key(|other| other.epoch);
            let since = next.and_then(|next| Timestamp::parse(&next.created));
            since.is_some_and(|since| since <= now.minus(keep))
        })
        .map(|key| key.id.clone())
        .collect()
}

/// Destroys a retired master key that nothing uses.
///
/// # Errors
/// [`Error::WrongState`] where something uses it; those of the document.
pub(crate) async fn destroy(app: &Arc<App>, id: KeyId) -> Result<(), ChangeError> {
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
}

//! New master keys: made at once, or handed out to other hosts first.
//!
//! Invariant: a key is used only when it is in the document, and, where other hosts have got keys from here, when each of them
//! that is waited for has confirmed it.

use std::sync::Arc;

use chatelaine_api::{RotateRequest, RotationDocument};
use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::keyring::Held;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::{Custody, MasterKey, SealError, Unsealed};

use super::super::changes::{Book, ChangeError};
use super::super::now;
use super::start;
use crate::http::App;

/// Makes a new master key, or lets the one that was made wait for fewer hosts. Where no host has to be waited for, returns
/// when new records are under it.
///
/// # Errors
/// [`ChangeError`]; where it says that the key was not made, nothing has changed.
pub(crate) async fn begin(app: &Arc<App>, request: RotateRequest) -> Result<(), ChangeError> {
    let RotateRequest { without, alone } = request;
    let (staged, hosts, concerned) = app
        .keeper
        .change(|_, unsealed| {
            let document = unsealed.document();
            let concerned = document.hosts_without(u32::MAX, &[]).count() > 0;
            Ok((
                document.staged().map(|key| (key.id.clone(), key.waits.is_some())),
                document.hosts.len(),
                concerned,
            ))
        })
        .await?;
    match staged {
        Some((id, false)) => {
            let problem = format!("{id} came from another server, which makes it active: go on there");
            return Err(SealError::Invalid { what: "master key", problem }.into());
        }
        Some((id, true)) if !without.is_empty() => {
            let text = format!("master key {id} does not wait for {}", without.join(", "));
            let work = |custody: &Custody, unsealed: &mut Unsealed| custody.wait_without(unsealed, without);
            Book::Trail(app.manager()).around(&app.keeper, Action::SealMasterKey, &text, work).await?;
            return go_on(app).await;
        }
        Some(_) => return go_on(app).await,
        None => {}
    }
    if hosts == 0 && !alone && !app.keeper.config().siblings.endpoints.is_empty() {
        return Err(SealError::Invalid {
            what: "alone",
            problem: "this server gets its master keys from those in siblings.endpoints, and none of them would get a new \
                      one from here: rotate there, or enrol them here; --alone makes one all the same"
                .to_owned(),
        }
        .into());
    }
    if concerned || !without.is_empty() {
        stage(app, without).await?;
        return go_on(app).await;
    }
    rotate_at_once(app).await
}

/// Makes a key that is handed out before it is used.
async fn stage(app: &Arc<App>, without: Vec<String>) -> Result<(), ChangeError> {
    let _turn = app.keeper.rotation.beginning.lock().await;
    let work = move |custody: &Custody, unsealed: &mut Unsealed| {
        custody.stage(unsealed, without, &now())?;
        Ok(unsealed.keys.staged.as_ref().map(copy))
    };
    let text = "a new master key by all seals, to be used when every host has it";
    let book = Book::Trail(app.manager());
    if let Some((id, material)) = book.around(&app.keeper, Action::SealMasterKey, text, work).await? {
        app.manager().hold_master_key(&id, &material, Held::Staged).await?;
    }
    Ok(())
}

fn copy(key: &MasterKey) -> (String, KeyMaterial) {
    (key.id.to_string(), KeyMaterial::copy_from(key.material.expose()))
}

/// Makes the staged key the active one, if every host that it waits for has confirmed it, and begins to wrap everything anew.
///
/// # Errors
/// [`ChangeError`]
pub(crate) async fn go_on(app: &Arc<App>) -> Result<(), ChangeError> {
    let _turn = app.keeper.rotation.beginning.lock().await;
    let work = |custody: &Custody, unsealed: &mut Unsealed| {
        if unsealed.document().waits_for().is_none_or(|hosts| !hosts.is_empty()) {
            return Ok(None);
        }
        custody.activate_staged(unsealed, &now())?;
        Ok(Some(copy(&unsealed.keys.active)))
    };
    let Some((id, material)) = app.keeper.change(work).await? else { return Ok(()) };
    app.manager().activate_master_key(&id, &material).await?;
    tracing::info!(master_key = id, "every host has the new master key: it is the active one now");
    app.keeper
        .rotation
        .set(|shown| *shown = RotationDocument { running: true, ..RotationDocument::default() });
    start(app);
    Ok(())
}

async fn rotate_at_once(app: &Arc<App>) -> Result<(), ChangeError> {
    let work = |custody: &Custody, unsealed: &mut Unsealed| {
        custody.rotate(unsealed, &now())?;
        Ok(copy(&unsealed.keys.active))
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

//! Later master keys for a server that has joined: kept in the document first, then used, without a restart.
//!
//! Invariant: what is in the document is in the keyring, and the other way round: what was begun goes on to its end, whoever
//! waited for it and went away, and no rotation begins in between.

use std::sync::Arc;

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::keyring::Held;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::attest::{JoinError, Proven, Updated};
use chatelaine_seal::document::KeyState;
use chatelaine_seal::{Custody, KeyId, MasterKey, SealError, Unsealed};

use super::changes::{Book, ChangeError};
use super::document::word;
use super::{Keeper, now, rotation};
use crate::http::App;

/// Why nothing was kept, or not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaterError {
    /// The exchange, or what came by it.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It is kept, and could not be used or written down.
    #[error("{0}; the keys are kept, and used after a restart")]
    Kept(ChangeError),
}

impl From<SealError> for LaterError {
    fn from(error: SealError) -> Self {
        Self::Join(error.into())
    }
}

fn copy(key: &MasterKey) -> (KeyId, KeyMaterial) {
    (key.id.clone(), KeyMaterial::copy_from(key.material.expose()))
}

/// What has changed, in words.
pub(crate) fn text(updated: &Updated) -> String {
    let mut parts: Vec<_> = updated
        .added
        .iter()
        .map(|(id, epoch, state)| format!("master key {id} of epoch {epoch}, {}", word(*state)))
        .collect();
    if let Some(id) = &updated.activated {
        parts.push(format!("{id} is the active one now"));
    }
    if !updated.left_out.is_empty() {
        let epochs: Vec<_> = updated.left_out.iter().map(ToString::to_string).collect();
        parts.push(format!("older ones of epochs {} stay away", epochs.join(", ")));
    }
    if parts.is_empty() { "nothing new".to_owned() } else { parts.join("; ") }
}

/// Opens what came, checks it, keeps it, and uses it in the running server. `from` is the sender, for the trail.
///
/// # Errors
/// [`LaterError`]
pub(crate) async fn take(
    keeper: &Arc<Keeper>,
    app: Option<&Arc<App>>,
    came: (Proven, Vec<u8>),
    expected: Option<String>,
    from: &str,
) -> Result<Updated, LaterError> {
    let (keeper, app, from) = (Arc::clone(keeper), app.map(Arc::clone), from.to_owned());
    let taking = tokio::spawn(async move { take_whole(&keeper, app.as_ref(), came, expected, &from).await });
    taking.await.unwrap_or_else(|error| Err(ended(&error).into()))
}

fn ended(error: &tokio::task::JoinError) -> SealError {
    SealError::Unavailable { place: "the task of later master keys".to_owned(), problem: error.to_string() }
}

async fn take_whole(
    keeper: &Arc<Keeper>,
    app: Option<&Arc<App>>,
    (proven, bundle): (Proven, Vec<u8>),
    expected: Option<String>,
    from: &str,
) -> Result<Updated, LaterError> {
    let _turn = keeper.rotation.beginning().await;
    let outcome = receive(keeper, proven, bundle, expected).await;
    let book = app.map_or(Book::Diary, |app| Book::Trail(app.manager()));
    match outcome {
        Ok((updated, _)) if updated.is_nothing() => Ok(updated),
        Ok((updated, keys)) => {
            if let Some(app) = app {
                use_now(app, &updated, &keys).await.map_err(LaterError::Kept)?;
            }
            let text = format!("{}; from {from}", text(&updated));
            tracing::info!("later master keys came: {text}");
            let noted = book.note(keeper, Action::JoinCluster, Outcome::Success, &text).await;
            noted.map_err(LaterError::Kept)?;
            Ok(updated)
        }
        Err(error) => {
            let text = format!("from {from}: {error}");
            // The same again and again is one line.
            if keeper.siblings.is_new_refusal(from, &text)
                && let Err(failure) = book.note(keeper, Action::JoinCluster, Outcome::Failure, &text).await
            {
                tracing::error!(%failure, "refused master keys could not be written down: {text}");
            }
            Err(error)
        }
    }
}

type Kept = (Updated, Vec<(KeyId, KeyMaterial)>);

async fn receive(
    keeper: &Arc<Keeper>,
    proven: Proven,
    bundle: Vec<u8>,
    expected: Option<String>,
) -> Result<Kept, LaterError> {
    let seal = keeper.tpm().map(Arc::clone).ok_or_else(|| SealError::Invalid {
        what: "seal.kind",
        problem: "what gets later master keys is a TPM: name tpm in seal.kind or seal.also".to_owned(),
    })?;
    let work = move |custody: &Custody, unsealed: &mut Unsealed| {
        let update = match proven.receive_later(&seal, &bundle, unsealed, expected.as_deref()) {
            Ok(update) => update,
            Err(error) => return Ok(Err(error)),
        };
        let updated = custody.take_later(unsealed, update, &seal, &now())?;
        let changed = updated.added.iter().map(|(id, ..)| id).chain(&updated.activated);
        let keys = changed.filter_map(|id| unsealed.keys.find(id)).map(copy).collect();
        Ok(Ok((updated, keys)))
    };
    Ok(keeper.change(work).await??)
}

/// Puts into the keyring what is in the document since.
async fn use_now(
    app: &Arc<App>,
    updated: &Updated,
    keys: &[(KeyId, KeyMaterial)],
) -> Result<(), ChangeError> {
    let find = |wanted: &KeyId| keys.iter().find(|(id, _)| id == wanted).map(|(_, material)| material);
    for (id, _, state) in &updated.added {
        let held = match state {
            KeyState::Active => continue,
            KeyState::Staged => Held::Staged,
            KeyState::Retired => Held::Retired,
        };
        if let Some(material) = find(id) {
            app.manager().hold_master_key(id.as_str(), material, held).await?;
        }
    }
    if let Some((id, material)) = updated.activated.as_ref().and_then(|id| Some((id, find(id)?))) {
        app.manager().activate_master_key(id.as_str(), material).await?;
        rotation::resume(app);
    }
    Ok(())
}

/// Makes the master key the active one here that another server has made the store's, where it is held for that.
///
/// # Errors
/// [`ChangeError`]; the key is used all the same.
pub(crate) async fn follow(app: &Arc<App>, id: &str) -> Result<(), ChangeError> {
    if !app.manager().staged_master_keys().iter().any(|staged| staged == id) {
        return Ok(());
    }
    let (app, wanted) = (Arc::clone(app), id.to_owned());
    let following = tokio::spawn(async move { follow_whole(&app, wanted).await });
    following.await.unwrap_or_else(|error| Err(ended(&error).into()))
}

async fn follow_whole(app: &Arc<App>, wanted: String) -> Result<(), ChangeError> {
    let _turn = app.keeper.rotation.beginning().await;
    let work = move |custody: &Custody, unsealed: &mut Unsealed| {
        if unsealed.keys.staged.as_ref().is_none_or(|staged| staged.id.as_str() != wanted) {
            return Ok(None);
        }
        custody.activate_staged(unsealed, &now())?;
        Ok(Some(copy(&unsealed.keys.active)))
    };
    if let Some((id, material)) = app.keeper.change(work).await? {
        tracing::info!(master_key = %id, "another server has made it the store's: it is the active one here, too");
        app.manager().activate_master_key(id.as_str(), &material).await?;
        rotation::resume(app);
    }
    Ok(())
}

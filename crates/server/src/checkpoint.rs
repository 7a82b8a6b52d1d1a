//! The head of the audit trail, noted in the store: lines cut off the trail's end show against it.
//!
//! The note is sealed under the master key, and names only events that are on stable storage. Who can put back an older
//! trail *and* an older store together leaves no trace here; copies of the trail elsewhere show that. Where several servers
//! use one store, each has its own trail, and its own notes by its name.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::audit::Action;
use chatelaine_core::error::Error;
use chatelaine_core::keyring::Keyring;
use chatelaine_core::manager::{Manager, own_note};
use chatelaine_core::store::Store;
use chatelaine_crypto::KeyMaterial;

use crate::audit::{Head, LineMac};
use crate::http::App;

const NAME: &str = "audit_head";
/// A head that the trail did not hold any more at a start, until an operator says that this was looked into.
const LOST: &str = "audit_head_lost";
/// What stands there when nothing is lost.
const NOTHING: &[u8] = &[0];
/// How often the head is noted, if it has moved.
const EVERY: Duration = Duration::from_secs(60);

fn encode(head: Head) -> Vec<u8> {
    let mut bytes = head.seq.to_be_bytes().to_vec();
    bytes.extend_from_slice(&head.mac);
    bytes
}

fn decode(bytes: &KeyMaterial) -> Option<Head> {
    let (seq, mac) = bytes.expose().split_first_chunk::<8>()?;
    Some(Head { seq: u64::from_be_bytes(*seq), mac: LineMac::try_from(mac).ok()? })
}

/// The head that was noted last.
///
/// # Errors
/// Those of the store.
pub async fn read(manager: &Manager) -> chatelaine_core::Result<Option<Head>> {
    Ok(manager.note(&manager.own_note(NAME)).await?.as_ref().and_then(decode))
}

/// The same without a manager.
///
/// # Errors
/// Those of the store.
pub async fn read_from(
    store: &dyn Store,
    keyring: &Keyring,
    server: &str,
) -> chatelaine_core::Result<Option<Head>> {
    Ok(keyring.note(store, &own_note(NAME, store, server)).await?.as_ref().and_then(decode))
}

/// The head that the trail did not hold at an earlier start and that no operator has acknowledged.
///
/// # Errors
/// Those of the store.
pub async fn lost(manager: &Manager) -> chatelaine_core::Result<Option<Head>> {
    Ok(manager.note(&manager.own_note(LOST)).await?.as_ref().and_then(decode))
}

/// The same without a manager.
///
/// # Errors
/// Those of the store.
pub async fn lost_from(
    store: &dyn Store,
    keyring: &Keyring,
    server: &str,
) -> chatelaine_core::Result<Option<Head>> {
    Ok(keyring.note(store, &own_note(LOST, store, server)).await?.as_ref().and_then(decode))
}

/// What is said of a head that is lost.
#[must_use]
pub fn lost_text(head: Head) -> String {
    format!(
        "at a start the trail did not hold event {0} any more, which the store knows: it was cut, or put back from an \
         older copy. The reaper destroys nothing until an operator has looked into it and runs `chatelaine audit \
         acknowledge {0}`",
        head.seq
    )
}

/// Keeps a head that the trail does not hold any more, and writes down that it does not. The first one stays until it
/// is acknowledged.
///
/// # Errors
/// Those of store and trail.
pub async fn keep_lost(manager: &Manager, known: Head, found: Head) -> chatelaine_core::Result<()> {
    if lost(manager).await?.is_none() {
        manager.set_note(&manager.own_note(LOST), &encode(known)).await?;
    }
    let reason = format!("the trail ends with event {}, the store knows event {}", found.seq, known.seq);
    manager.note_own(Action::RecoverTrail, Some(reason)).await
}

/// An operator has looked into the loss of events up to `seq`.
///
/// # Errors
/// [`Error::WrongState`] when no or another event is missing; those of store and trail.
pub async fn acknowledge(manager: &Manager, seq: u64) -> chatelaine_core::Result<()> {
    match lost(manager).await? {
        Some(head) if head.seq == seq => {}
        Some(head) => {
            let reason = format!("the event that is missing is {}, not {seq}", head.seq);
            return Err(Error::WrongState { reason });
        }
        None => return Err(Error::WrongState { reason: "no event is known to be missing".to_owned() }),
    }
    let reason = format!("an operator acknowledged that the trail does not hold event {seq}");
    manager.note_own(Action::RecoverTrail, Some(reason)).await?;
    manager.set_note(&manager.own_note(LOST), NOTHING).await
}

/// Notes the head, if it has moved since `noted`.
pub async fn write(app: &App, noted: &mut Option<Head>) {
    let head = app.trail.synced_head();
    if *noted == Some(head) {
        return;
    }
    match app.manager().set_note(&app.manager().own_note(NAME), &encode(head)).await {
        Ok(()) => *noted = Some(head),
        Err(error) => tracing::warn!(%error, "the head of the audit trail could not be noted in the store"),
    }
}

/// Notes the head again and again.
pub async fn schedule(app: Arc<App>) {
    let mut noted = None;
    loop {
        write(&app, &mut noted).await;
        tokio::time::sleep(EVERY).await;
    }
}

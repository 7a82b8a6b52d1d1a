//! The head of the audit trail, noted in the store: lines cut off the trail's end show against it.
//!
//! The note is sealed under the master key, and names only events that are on stable storage. Who can put back an older
//! trail *and* an older store together leaves no trace here; copies of the trail elsewhere show that.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::keyring::Keyring;
use chatelaine_core::manager::Manager;
use chatelaine_core::store::Store;
use chatelaine_crypto::KeyMaterial;

use crate::audit::{Head, LineMac};
use crate::http::App;

const NAME: &str = "audit_head";
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
    Ok(manager.note(NAME).await?.as_ref().and_then(decode))
}

/// The same without a manager.
///
/// # Errors
/// Those of the store.
pub async fn read_from(store: &dyn Store, keyring: &Keyring) -> chatelaine_core::Result<Option<Head>> {
    Ok(keyring.note(store, NAME).await?.as_ref().and_then(decode))
}

/// Notes the head, if it has moved since `noted`.
pub async fn write(app: &App, noted: &mut Option<Head>) {
    let head = app.trail.synced_head();
    if *noted == Some(head) {
        return;
    }
    match app.manager().set_note(NAME, &encode(head)).await {
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

//! Tombstones: authenticated requests to purge.
//!
//! A tombstone is a record beside the secret's. It names the audit event of the request and carries an authenticator
//! under a key of the store's own ([`Keyring::tombstone_key`]), over everything it says. Planting a record, editing one or moving one to
//! another secret does not make a tombstone: [`open`] refuses it, and the reaper removes it.

use chatelaine_crypto::MacKey;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::keyring::{Keyring, ScopeKey};
use crate::record::{self, SealedUnder};
use crate::store::{IndexAttributes, Kind, Record, Store};

/// What a tombstone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The secret to be purged.
    pub secret: SecretId,
    /// The version the secret got when it was marked as deleted.
    pub version: Version,
    /// The audit event of the request.
    pub event: SecretId,
    /// When to purge.
    pub purge_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Body {
    version: Version,
    event: SecretId,
    purge_at: Timestamp,
    authenticator: String,
}

fn signed_parts(project: &str, tombstone: &Tombstone) -> Vec<u8> {
    let text = format!(
        "chatelaine tombstone v1\0{}\0{}\0{}\0{}\0",
        tombstone.secret,
        tombstone.version,
        tombstone.event,
        tombstone.purge_at.as_micros()
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(project.as_bytes());
    bytes
}

/// Makes the record of a tombstone.
///
/// # Errors
/// [`Error::Internal`] when the cryptographic library fails.
pub fn make(
    tombstone_key: &MacKey,
    key: &ScopeKey,
    project: &str,
    tombstone: &Tombstone,
    now: Timestamp,
    version: Version,
) -> Result<Record> {
    let authenticator = hex::encode(tombstone_key.sign(&[&signed_parts(project, tombstone)]));
    let body = Body {
        version: tombstone.version,
        event: tombstone.event,
        purge_at: tombstone.purge_at,
        authenticator,
    };
    let plain = serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?;
    let mut record = Record {
        kind: Kind::TOMBSTONE,
        id: tombstone.secret.to_string(),
        project: project.to_owned(),
        created: now,
        version,
        attributes: IndexAttributes { due: Some(tombstone.purge_at), ..IndexAttributes::default() },
        body: Vec::new(),
    };
    record::seal(&mut record, &SealedUnder::ScopeKey(key.version), &key.cipher, &plain)?;
    Ok(record)
}

/// Reads a tombstone, if it is one.
///
/// # Errors
/// [`Error::Corrupt`] when the record was not made by [`make`] under the store's key; [`Error::NotFound`] when it is there
/// no more; those of the store.
pub async fn open(keyring: &Keyring, store: &dyn Store, record: &Record) -> Result<Tombstone> {
    let forged = || Error::Corrupt(format!("tombstone {} is not authentic", record.id));
    let (record, plain) = keyring.open_current(store, record).await?;
    let body: Body = serde_json::from_slice(plain.expose()).map_err(|_| forged())?;
    let secret = SecretId::parse(&record.id).map_err(|_| forged())?;
    let tombstone = Tombstone { secret, version: body.version, event: body.event, purge_at: body.purge_at };
    let tag = hex::decode(&body.authenticator).map_err(|_| forged())?;
    let key = keyring.tombstone_key(store).await?;
    if key.verify(&[&signed_parts(&record.project, &tombstone)], &tag) {
        Ok(tombstone)
    } else {
        Err(forged())
    }
}

//! Changes of native keys: new key strings, new metadata, revocation.

use std::collections::BTreeMap;

use chatelaine_crypto::algorithms::Algorithm;
use chatelaine_crypto::{Envelope, KeyMaterial};

use super::keys::check_expiry;
use super::{Actor, Description, Manager};
use crate::audit::{Action, Written};
use crate::clock::Timestamp;
use crate::directory::News;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::record;
use crate::secret::{Metadata, Revocation, RevocationReason, Secret, State};
use crate::store::Change;

/// A change of a key; what is `None` stays.
#[derive(Debug, Default)]
pub struct KeyUpdate {
    /// A new key string, of the same algorithm and bit length.
    pub payload: Option<KeyMaterial>,
    /// A new name, or none any more.
    pub name: Option<Option<String>>,
    /// The master key the new key string is wrapped under.
    pub master_key: Option<Option<String>>,
    /// New free words, in place of all old ones.
    pub attributes: Option<BTreeMap<String, String>>,
    /// A new expiry, or none any more.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Refuses a key string of another kind of key than the one it is to replace, and a name of a master key that the
/// envelope in the key string contradicts. What only the key string says is taken from it.
fn check_key_string(metadata: &mut Metadata, secret: &Secret, update: &KeyUpdate) -> Result<()> {
    let new = update.payload.as_ref().map(KeyMaterial::expose);
    let payload = new.unwrap_or_else(|| secret.payload());
    if Envelope::is_envelope(payload) {
        let envelope = Envelope::parse(payload).map_err(|error| {
            Error::invalid("key_string", format!("it begins like an envelope, but {error}"))
        })?;
        if metadata.master_key.as_deref() != Some(envelope.master_key_id()) {
            return Err(Error::invalid("master_key", "it differs from what the envelope in key_string says"));
        }
        let (algorithm, bits) = (envelope.spec().algorithm().name, envelope.spec().bits());
        if metadata.algorithm.as_deref().is_some_and(|known| known != algorithm)
            || metadata.bit_length.is_some_and(|known| known != bits)
        {
            return Err(other_key(metadata, &format!("holds a key for {algorithm} of {bits} bits")));
        }
        (metadata.algorithm, metadata.bit_length) = (Some(algorithm.to_owned()), Some(bits));
        return Ok(());
    }
    let Some(new) = new else { return Ok(()) };
    if update.master_key.is_none() && Envelope::is_envelope(secret.payload()) {
        return Err(Error::invalid(
            "master_key",
            "the key string was an envelope and the new one is none: name the master key it is wrapped under, or null",
        ));
    }
    if metadata.master_key.is_some() {
        // Wrapped in a form of the service's own, which says nothing here.
        return Ok(());
    }
    let algorithm = metadata.algorithm.as_deref().and_then(Algorithm::lookup);
    if let Some(algorithm) = algorithm.filter(|algorithm| algorithm.kind.is_bit_string()) {
        let length = u32::try_from(new.len()).unwrap_or(u32::MAX).saturating_mul(8);
        let fits = match metadata.bit_length {
            Some(known) => known.div_ceil(8).saturating_mul(8) == length,
            None => algorithm.check_bits(length).is_ok(),
        };
        if !fits {
            return Err(other_key(metadata, &format!("has {length} bits")));
        }
        metadata.bit_length = metadata.bit_length.or(Some(length));
    }
    Ok(())
}

fn other_key(metadata: &Metadata, what: &str) -> Error {
    let algorithm = metadata.algorithm.as_deref().unwrap_or("any algorithm");
    let bits = metadata.bit_length.map(|bits| format!(" of {bits} bits")).unwrap_or_default();
    let reason =
        format!("it {what}, and this is a key for {algorithm}{bits}: put another key under an id of its own");
    Error::invalid("key_string", reason)
}

impl Manager {
    /// Changes a key that has version `expected`.
    ///
    /// # Errors
    /// [`Error::VersionMismatch`] when somebody was faster; [`Error::WrongState`] for another expiry of a key that has expired;
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Forbidden`], and those of store and trail.
    pub async fn update(
        &self,
        caller: &Caller,
        id: SecretId,
        expected: Version,
        update: KeyUpdate,
    ) -> Result<Description> {
        let edit = |secret: &Secret, now: Timestamp| {
            let mut metadata = secret.metadata.clone();
            if let Some(payload) = &update.payload {
                self.check_payload(payload.expose())?;
            }
            if let Some(name) = &update.name {
                metadata.name.clone_from(name);
            }
            if let Some(master_key) = &update.master_key {
                metadata.master_key.clone_from(master_key);
            }
            if let Some(attributes) = &update.attributes {
                metadata.attributes.clone_from(attributes);
            }
            if update.payload.is_some() || update.master_key.is_some() {
                check_key_string(&mut metadata, secret, &update)?;
            }
            if let Some(expires_at) = update.expires_at {
                if let Some(end) = secret.metadata.expires_at.filter(|end| *end <= now) {
                    let reason = format!("key {id} expired at {end}: that cannot be changed any more");
                    return Err(Error::WrongState { reason });
                }
                check_expiry(metadata.activates_at, expires_at, now)?;
                metadata.expires_at = expires_at;
            }
            Ok(metadata)
        };
        self.replace(caller, Action::Update, "key:update", id, Some(expected), update.payload.as_ref(), edit)
            .await
    }

    /// Revokes a key: it is released no more.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it was revoked for good already; as for [`Self::update`].
    pub async fn revoke(
        &self,
        caller: &Caller,
        id: SecretId,
        reason: RevocationReason,
    ) -> Result<Description> {
        let edit = |secret: &Secret, now: Timestamp| {
            let mut metadata = secret.metadata.clone();
            if metadata.state(now) == State::Compromised {
                return Err(Error::WrongState { reason: format!("key {id} is compromised already") });
            }
            metadata.revocation = Some(Revocation { reason, at: now });
            Ok(metadata)
        };
        self.replace(caller, Action::Revoke, "key:revoke", id, None, None, edit).await
    }

    #[expect(clippy::too_many_arguments, reason = "one private helper with two callers")]
    async fn replace(
        &self,
        caller: &Caller,
        action: Action,
        rule: &str,
        id: SecretId,
        expected: Option<Version>,
        payload: Option<&KeyMaterial>,
        edit: impl Fn(&Secret, Timestamp) -> Result<Metadata>,
    ) -> Result<Description> {
        let prepared = async {
            let (_, secret) = self.find(caller, rule, id, false).await?;
            if expected.is_some_and(|expected| expected != secret.version) {
                return Err(Error::VersionMismatch { current: secret.version });
            }
            let now = self.clock.now();
            let mut metadata = edit(&secret, now)?;
            metadata.updated = now;
            let payload = payload.map_or_else(|| secret.payload(), |new| new.expose());
            let record = self.seal(id, secret.version.next(), &metadata, payload).await?;
            Ok((secret.version, metadata, record, !payload.is_empty()))
        };
        let (current, metadata, record, has_payload) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(caller, action, Some(id), error).await,
        };
        let version = record.version;
        let written = Written { version, digest: record::digest(&record) };
        let event = self.event(&Actor::of(caller), action, Some(("secret", id.to_string())));
        let news = News::is(id, version, &metadata, has_payload);
        self.change(news, event, written, vec![Change::Replace { expected: current, record }]).await?;
        Ok(Description { id, version, state: metadata.state(self.clock.now()), metadata })
    }
}

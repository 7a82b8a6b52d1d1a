//! The master keys that are open here: the service's own, and those of other services that it was given.
//!
//! Invariant: exactly one master key, the active one of the service's own, is used to wrap; the others only open.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatelaine_crypto::envelope::{Envelope, MasterKey, ScopeKey};
use chatelaine_crypto::{CryptoError, KeyMaterial};
use parking_lot::RwLock;

use crate::AgentError;

/// Master keys of one service.
#[derive(Debug)]
pub struct ServiceKeys {
    active: Arc<MasterKey>,
    retired: Vec<Arc<MasterKey>>,
}

impl ServiceKeys {
    /// Prepares master keys of 32 bytes, each with its id.
    ///
    /// # Errors
    /// Ids or lengths that no master key has.
    pub fn new<'a>(
        active: (&str, &KeyMaterial),
        retired: impl IntoIterator<Item = (&'a str, &'a KeyMaterial)>,
    ) -> Result<Self, CryptoError> {
        let prepare = |(id, key): (&str, &KeyMaterial)| MasterKey::new(id, key).map(Arc::new);
        Ok(Self {
            active: prepare(active)?,
            retired: retired.into_iter().map(prepare).collect::<Result<_, _>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        std::iter::once(&self.active).chain(&self.retired)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Keyring {
    own: RwLock<Option<ServiceKeys>>,
    others: RwLock<BTreeMap<String, ServiceKeys>>,
}

impl Keyring {
    /// Takes the service's own master keys, in place of those it had.
    pub fn open(&self, keys: ServiceKeys) {
        *self.own.write() = Some(keys);
    }

    /// Takes the master keys of another service, in place of those it had of it.
    pub fn open_other(&self, name: &str, keys: ServiceKeys) {
        self.others.write().insert(name.to_owned(), keys);
    }

    /// Whether the service's own master key is not open.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.own.read().is_none()
    }

    /// The master key that wraps.
    ///
    /// # Errors
    /// [`AgentError::Sealed`].
    pub fn active(&self) -> Result<Arc<MasterKey>, AgentError> {
        self.own.read().as_ref().map(|keys| Arc::clone(&keys.active)).ok_or(AgentError::Sealed)
    }

    /// The service's own master key of that id.
    ///
    /// # Errors
    /// [`AgentError::Sealed`]; [`AgentError::NotHere`] with what to do.
    pub fn own(&self, id: &str) -> Result<Arc<MasterKey>, AgentError> {
        let own = self.own.read();
        let keys = own.as_ref().ok_or(AgentError::Sealed)?;
        keys.all().find(|key| key.id() == id).map(Arc::clone).ok_or_else(|| {
            AgentError::NotHere(format!(
                "the key is wrapped under master key {id}, which is not open here: it is another service's, or this host \
                 has not been given it yet"
            ))
        })
    }

    /// The master key of that id, whichever service's.
    ///
    /// # Errors
    /// As [`Keyring::own`].
    pub fn any(&self, id: &str) -> Result<Arc<MasterKey>, AgentError> {
        if let Some(key) = self.others.read().values().flat_map(ServiceKeys::all).find(|key| key.id() == id) {
            return Ok(Arc::clone(key));
        }
        self.own(id)
    }

    /// The ids of the service's own: the active one, and the retired ones.
    #[must_use]
    pub fn own_ids(&self) -> Option<(String, Vec<String>)> {
        let own = self.own.read();
        let keys = own.as_ref()?;
        Some((keys.active.id().to_owned(), keys.retired.iter().map(|key| key.id().to_owned()).collect()))
    }

    /// The ids of other services', by the names under which they were opened.
    #[must_use]
    pub fn other_ids(&self) -> BTreeMap<String, Vec<String>> {
        let others = self.others.read();
        let ids = |keys: &ServiceKeys| keys.all().map(|key| key.id().to_owned()).collect();
        others.iter().map(|(name, keys)| (name.clone(), ids(keys))).collect()
    }

    /// Opens a scope key, which the identity service has wrapped under its own master key.
    ///
    /// # Errors
    /// [`AgentError::NotHere`], [`AgentError::Corrupt`].
    pub fn scope_key(&self, key_id: &str, key_string: &[u8]) -> Result<ScopeKey, AgentError> {
        let corrupt = |_| AgentError::Corrupt(key_id.to_owned());
        let envelope = Envelope::parse(key_string).map_err(corrupt)?;
        let master = self.any(envelope.master_key_id()).map_err(|error| match error {
            AgentError::NotHere(_) => AgentError::NotHere(format!(
                "the scope key is wrapped under master key {}, which is not open here: this host has to be given the identity \
                 service's master key",
                envelope.master_key_id()
            )),
            other => other,
        })?;
        let key = envelope.open(&master, None, key_id).map_err(corrupt)?;
        ScopeKey::new(key_id, &key).map_err(corrupt)
    }
}

#[cfg(test)]
mod tests {
    use chatelaine_crypto::KeySpec;

    use super::*;

    fn keys(active: &str, retired: &[&str]) -> ServiceKeys {
        let material = KeyMaterial::random(256).unwrap();
        ServiceKeys::new((active, &material), retired.iter().map(|id| (*id, &material))).unwrap()
    }

    #[test]
    fn a_sealed_keyring_refuses_and_an_open_one_tells_whose_a_key_is() {
        let keyring = Keyring::default();
        assert!(keyring.is_sealed());
        assert_eq!(keyring.active().unwrap_err(), AgentError::Sealed);
        assert_eq!(keyring.own("m-1").unwrap_err(), AgentError::Sealed);
        keyring.open(keys("m-2", &["m-1"]));
        keyring.open_other("identity", keys("i-1", &[]));
        assert_eq!(keyring.active().unwrap().id(), "m-2");
        assert_eq!(keyring.own("m-1").unwrap().id(), "m-1");
        // Another service's key opens scope keys, and never passes for one of our own.
        assert!(matches!(keyring.own("i-1"), Err(AgentError::NotHere(_))));
        assert_eq!(keyring.any("i-1").unwrap().id(), "i-1");
        assert_eq!(keyring.own_ids(), Some(("m-2".to_owned(), vec!["m-1".to_owned()])));
    }

    #[test]
    fn a_scope_key_opens_with_the_identity_services_master_key_only() {
        let material = KeyMaterial::random(256).unwrap();
        let identity = MasterKey::new("i-1", &material).unwrap();
        let spec = KeySpec::new("aes", 256).unwrap();
        let key = KeyMaterial::random(256).unwrap();
        let envelope = Envelope::seal_single(&identity, "scope-1", spec, &key).unwrap().to_bytes();
        let keyring = Keyring::default();
        keyring.open(keys("m-1", &[]));
        assert!(matches!(keyring.scope_key("scope-1", &envelope), Err(AgentError::NotHere(_))));
        keyring.open_other("identity", ServiceKeys::new(("i-1", &material), []).unwrap());
        assert_eq!(keyring.scope_key("scope-1", &envelope).unwrap().id(), "scope-1");
        assert!(matches!(keyring.scope_key("scope-2", &envelope), Err(AgentError::Corrupt(_))));
    }
}

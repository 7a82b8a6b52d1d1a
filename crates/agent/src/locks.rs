//! Locks: from keys to envelopes and back.
//!
//! Invariant: what is opened was made for this very key-id, algorithm and length; the envelope says so under the master key.

use chatelaine_api::Lock;
use chatelaine_crypto::envelope::{LockKind, ScopeKey};
use chatelaine_crypto::{CryptoError, Envelope, KeyMaterial, KeySpec};

use crate::AgentError;
use crate::keyring::Keyring;

/// The lock kind of an envelope, as the socket has it.
#[must_use]
pub fn lock_of(envelope: &Envelope) -> Lock {
    match envelope.lock_kind() {
        LockKind::Single => Lock::Single,
        LockKind::Dual => Lock::Dual,
        LockKind::Compound => Lock::Compound,
    }
}

/// Locks a key for `key_id`. Without a key one is made; under a compound lock it follows from scope key and IV. Making a key
/// pair may take seconds.
///
/// # Errors
/// [`AgentError::Sealed`]; [`AgentError::Invalid`] naming the field: a lock without its scope key, a key that does not fit its
/// description.
pub fn seal(
    keyring: &Keyring,
    key_id: &str,
    spec: KeySpec,
    given: Option<KeyMaterial>,
    lock: Lock,
    scope: Option<&ScopeKey>,
) -> Result<(Envelope, KeyMaterial), AgentError> {
    let master = keyring.active()?;
    let refused = |error: CryptoError| AgentError::of_request(&error);
    let scope_key = || scope.ok_or_else(|| AgentError::Internal("a lock without its scope key".to_owned()));
    if lock == Lock::Compound {
        if given.is_some() {
            return Err(AgentError::invalid(
                "key_string",
                "a key under a compound lock follows from the customer's key and cannot be given: leave it out, or use the \
                 lock dual",
            ));
        }
        return Envelope::seal_compound(&master, scope_key()?, key_id, spec).map_err(refused);
    }
    let key = match given {
        Some(key) => key,
        None => chatelaine_crypto::generate(spec.algorithm(), spec.bits()).map_err(refused)?.secret,
    };
    let envelope = match lock {
        Lock::Dual => Envelope::seal_dual(&master, scope_key()?, key_id, spec, &key),
        _ => Envelope::seal_single(&master, key_id, spec, &key),
    };
    envelope.map(|envelope| (envelope, key)).map_err(refused)
}

/// Opens an envelope that was put for `key_id`.
///
/// # Errors
/// [`AgentError::Sealed`], [`AgentError::NotHere`] for keys of others, [`AgentError::Corrupt`].
pub fn open(
    keyring: &Keyring,
    key_id: &str,
    envelope: &Envelope,
    scope: Option<&ScopeKey>,
) -> Result<KeyMaterial, AgentError> {
    let master = keyring.own(envelope.master_key_id())?;
    envelope.open(&master, scope, key_id).map_err(|error| match error {
        CryptoError::WrongKey { role, wanted, .. } => {
            AgentError::NotHere(format!("the key is locked with the {role} {wanted}, which is not here"))
        }
        _ => AgentError::Corrupt(key_id.to_owned()),
    })
}

/// The same key under the active master key; nothing where it is under that already.
///
/// # Errors
/// As [`open`].
pub fn rewrap(keyring: &Keyring, key_id: &str, envelope: &Envelope) -> Result<Option<Envelope>, AgentError> {
    let new = keyring.active()?;
    if envelope.master_key_id() == new.id() {
        return Ok(None);
    }
    let old = keyring.own(envelope.master_key_id())?;
    envelope.rewrap(&old, &new, key_id).map(Some).map_err(|_| AgentError::Corrupt(key_id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::ServiceKeys;

    fn keyring(own: &str) -> Keyring {
        let keyring = Keyring::default();
        keyring.open(ServiceKeys::new((own, &KeyMaterial::random(256).unwrap()), []).unwrap());
        keyring
    }

    fn scope(id: &str) -> ScopeKey {
        ScopeKey::new(id, &KeyMaterial::random(256).unwrap()).unwrap()
    }

    #[test]
    fn each_lock_opens_with_its_keys_and_with_nothing_less() {
        let keyring = keyring("m-1");
        let spec = KeySpec::new("aes", 256).unwrap();
        let (customer, other) = (scope("s-1"), scope("s-2"));
        for (lock, key) in
            [(Lock::Single, None), (Lock::Dual, Some(&customer)), (Lock::Compound, Some(&customer))]
        {
            let (envelope, made) = seal(&keyring, "k", spec, None, lock, key).unwrap();
            assert_eq!(lock_of(&envelope), lock);
            assert!(open(&keyring, "k", &envelope, key).unwrap().ct_eq(made.expose()));
            assert!(
                matches!(open(&keyring, "other", &envelope, key), Err(AgentError::Corrupt(_)))
                    || lock == Lock::Single
            );
            assert!(open(&keyring, "other", &envelope, key).is_err());
            if lock != Lock::Single {
                assert!(matches!(open(&keyring, "k", &envelope, None), Err(AgentError::NotHere(_))));
                assert!(matches!(open(&keyring, "k", &envelope, Some(&other)), Err(AgentError::NotHere(_))));
            }
            let stranger = self::keyring("m-9");
            assert!(matches!(open(&stranger, "k", &envelope, key), Err(AgentError::NotHere(_))));
            // The same id and other bytes: a service that guesses the name has not the key.
            let impostor = self::keyring("m-1");
            assert!(matches!(open(&impostor, "k", &envelope, key), Err(AgentError::Corrupt(_))));
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let keyring = keyring("m-1");
        let spec = KeySpec::new("aes", 256).unwrap();
        let customer = scope("s-1");
        let short = KeyMaterial::random(128).unwrap();
        let error = seal(&keyring, "k", spec, Some(short), Lock::Single, None).unwrap_err();
        assert!(matches!(error, AgentError::Invalid { field: "key_string", .. }), "{error:?}");
        let given = KeyMaterial::random(256).unwrap();
        let error = seal(&keyring, "k", spec, Some(given), Lock::Compound, Some(&customer)).unwrap_err();
        assert!(matches!(error, AgentError::Invalid { field: "key_string", .. }), "{error:?}");
    }

    #[test]
    fn a_rewrapped_key_is_the_same_key_under_the_new_master_key() {
        let old = KeyMaterial::random(256).unwrap();
        let keyring = Keyring::default();
        keyring.open(ServiceKeys::new(("m-1", &old), []).unwrap());
        let spec = KeySpec::new("hmac-sha256", 256).unwrap();
        let (envelope, key) = seal(&keyring, "k", spec, None, Lock::Single, None).unwrap();
        assert!(rewrap(&keyring, "k", &envelope).unwrap().is_none());
        let new = KeyMaterial::random(256).unwrap();
        keyring.open(ServiceKeys::new(("m-2", &new), [("m-1", &old)]).unwrap());
        let again = rewrap(&keyring, "k", &envelope).unwrap().unwrap();
        assert_eq!(again.master_key_id(), "m-2");
        assert!(open(&keyring, "k", &again, None).unwrap().ct_eq(key.expose()));
        keyring.open(ServiceKeys::new(("m-2", &new), []).unwrap());
        assert!(matches!(open(&keyring, "k", &envelope, None), Err(AgentError::NotHere(_))));
    }
}

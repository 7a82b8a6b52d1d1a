//! The keys every host has: storage root key, endorsement key, attestation key.
//!
//! Invariants: names are computed here and compared with what the TPM says; a persistent key is used only if it is what the
//! templates of the TCG say. Refuses nothing silently: a persistent key that does not fit is passed over for the template's.

use super::connection::{Connection, missing_handle};
use crate::command::{self, ENDORSEMENT, Handle, OWNER, SessionKind};
use crate::error::TpmError;
use crate::session::{Authorization, Session, Use};
use crate::software::{policy, verify};
use crate::types::{Attributes, AuthValue, Curve, HashAlgorithm, KeyParameters, Name, Public};

/// Where the storage root key is persistent (TCG TPM v2.0 Provisioning Guidance, 7.5.1).
pub const STORAGE_ROOT: u32 = 0x8100_0001;

const RESTRICTED_DECRYPT: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::SENSITIVE_DATA_ORIGIN)
    .with(Attributes::RESTRICTED)
    .with(Attributes::DECRYPT);

/// "PolicyB" of SHA-384 in the TCG EK Credential Profile: what keys in the high range carry.
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07,
    0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47,
    0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// Which endorsement key of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndorsementKind {
    /// RSA with 2048 bits, template L-1: every TPM has one.
    Rsa2048,
    /// P-256, template L-2.
    EccP256,
    /// P-384, template H-3.
    EccP384,
}

impl EndorsementKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::EccP256, Self::EccP384];

    /// Where the key is persistent, if it is.
    #[must_use]
    pub fn persistent(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x8101_0001,
            Self::EccP256 => 0x8101_0002,
            Self::EccP384 => 0x8101_0016,
        }
    }

    /// The NV index of its certificate (TCG EK Credential Profile, 2.2.1.4 and 2.2.1.5).
    #[must_use]
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::EccP256 => 0x01c0_000a,
            Self::EccP384 => 0x01c0_0016,
        }
    }

    /// The template (TCG EK Credential Profile, B.3.3, B.3.4 and B.4.5).
    #[must_use]
    pub fn template(self) -> Public {
        let low = RESTRICTED_DECRYPT.with(Attributes::ADMIN_WITH_POLICY);
        match self {
            Self::Rsa2048 => Public {
                name_algorithm: HashAlgorithm::Sha256,
                attributes: low,
                auth_policy: policy::endorsement(),
                parameters: KeyParameters::Rsa {
                    aes_bits: Some(128),
                    bits: 2048,
                    exponent: 0,
                    modulus: vec![0; 256],
                },
            },
            Self::EccP256 => Public {
                name_algorithm: HashAlgorithm::Sha256,
                attributes: low,
                auth_policy: policy::endorsement(),
                parameters: ecc(Some(128), None, Curve::P256, 32),
            },
            Self::EccP384 => Public {
                name_algorithm: HashAlgorithm::Sha384,
                attributes: low.with(Attributes::USER_WITH_AUTH),
                auth_policy: POLICY_B_SHA384.to_vec(),
                parameters: ecc(Some(256), None, Curve::P384, 0),
            },
        }
    }
}

fn ecc(aes_bits: Option<u16>, ecdsa: Option<HashAlgorithm>, curve: Curve, unique: usize) -> KeyParameters {
    KeyParameters::Ecc { aes_bits, ecdsa, curve, x: vec![0; unique], y: vec![0; unique] }
}

/// The template of the storage root key (TCG TPM v2.0 Provisioning Guidance, 7.5.1, for P-256), with `noDA`: without it each
/// power cut counts as a failed authorization.
#[must_use]
pub fn storage_template() -> Public {
    Public {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: RESTRICTED_DECRYPT
            .with(Attributes::USER_WITH_AUTH)
            .with(Attributes::NO_DICTIONARY_ATTACK),
        auth_policy: Vec::new(),
        parameters: ecc(Some(128), None, Curve::P256, 32),
    }
}

/// The template of the attestation key. It is a primary key of the endorsement hierarchy: elsewhere the TPM hides its counts
/// of restarts in quotes.
#[must_use]
pub fn attestation_template() -> Public {
    Public {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: Attributes::FIXED_TPM
            .with(Attributes::FIXED_PARENT)
            .with(Attributes::SENSITIVE_DATA_ORIGIN)
            .with(Attributes::USER_WITH_AUTH)
            .with(Attributes::NO_DICTIONARY_ATTACK)
            .with(Attributes::RESTRICTED)
            .with(Attributes::SIGN),
        auth_policy: Vec::new(),
        parameters: ecc(None, Some(HashAlgorithm::Sha256), Curve::P256, 0),
    }
}

/// A key in a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedKey {
    /// Its handle.
    pub handle: u32,
    /// Its public area.
    pub public: Public,
}

impl LoadedKey {
    /// Handle and name, as commands take them.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::object(self.handle, self.name())
    }

    /// Its name, computed here.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// As sessions take it for their salt.
    #[must_use]
    pub fn salt(&self) -> (u32, &Public) {
        (self.handle, &self.public)
    }

    /// Whether it stays in the TPM.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.handle >> 24 == 0x81
    }
}

impl Connection<'_> {
    /// The key at a persistent handle, or none.
    ///
    /// # Errors
    /// Those of [`Connection::run`], but for "no such object".
    pub fn persistent(&mut self, handle: u32) -> Result<Option<LoadedKey>, TpmError> {
        match self.run(&command::read_public(handle), &mut []) {
            Ok(answer) => {
                // A key of a kind that is not understood here is none for us.
                Ok(command::public_area(&answer.parameters).ok().map(|public| LoadedKey { handle, public }))
            }
            Err(error) if error.code().is_some_and(|code| code.is_unknown_handle()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a primary key: the same one each time for the same template.
    ///
    /// # Errors
    /// Those of [`Connection::run`]; [`TpmError::Tampered`] when the key is not of the template.
    pub fn create_primary(
        &mut self,
        hierarchy: u32,
        template: &Public,
        salt: Option<&LoadedKey>,
    ) -> Result<LoadedKey, TpmError> {
        let command = command::create_primary(hierarchy, template);
        let answer = self.run_with_hierarchy(&command, hierarchy, salt, &mut [])?;
        let created = command::created_primary(&answer.parameters)?;
        let key = LoadedKey {
            handle: answer.handle.ok_or_else(|| missing_handle(command.name))?,
            public: created.public,
        };
        if !key.public.same_template(template) || key.name().as_bytes() != created.claimed_name {
            return Err(TpmError::Tampered { command: command.name, problem: "it is about another key" });
        }
        Ok(key)
    }

    /// Runs a command that a hierarchy authorizes. A value that is set is proven by HMAC, not sent; the session is salted
    /// where a key for that is at hand.
    pub(super) fn run_with_hierarchy(
        &mut self,
        command: &command::Command,
        hierarchy: u32,
        salt: Option<&LoadedKey>,
        others: &mut [(&mut Session, Use)],
    ) -> Result<crate::session::Answer, TpmError> {
        let options = self.tpm().options();
        let auth = if hierarchy == ENDORSEMENT { &options.endorsement } else { &options.owner };
        let none = AuthValue::default();
        let mut own;
        let mut authorizations = if auth.is_empty() {
            vec![Authorization::Password(auth)]
        } else {
            own = self.start_session(SessionKind::Hmac, salt.map(LoadedKey::salt))?;
            vec![Authorization::Session(&mut own, auth, Use::LAST)]
        };
        for (session, usage) in others.iter_mut() {
            authorizations.push(Authorization::Session(session, &none, *usage));
        }
        self.run(command, &mut authorizations)
    }

    /// The storage root key: the persistent one if it fits, else the template's.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn storage_root(&mut self) -> Result<LoadedKey, TpmError> {
        if let Some(key) = self.persistent(STORAGE_ROOT)?
            && is_storage_root(&key.public)
        {
            return Ok(key);
        }
        self.create_primary(OWNER, &storage_template(), None)
    }

    /// The endorsement key: the persistent one if it fits, else the template's.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn endorsement_key(&mut self, kind: EndorsementKind) -> Result<LoadedKey, TpmError> {
        if let Some(key) = self.persistent(kind.persistent())?
            && key.public.same_template(&kind.template())
            && verify::check_endorsement_key(&key.public).is_ok()
        {
            return Ok(key);
        }
        self.create_primary(ENDORSEMENT, &kind.template(), None)
    }

    /// The attestation key. `salt` protects the endorsement hierarchy's value, where one is set.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn attestation_key(&mut self, salt: Option<&LoadedKey>) -> Result<LoadedKey, TpmError> {
        self.create_primary(ENDORSEMENT, &attestation_template(), salt)
    }

    /// Flushes a key that is not persistent.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn release(&mut self, key: &LoadedKey) -> Result<(), TpmError> {
        if key.is_persistent() { Ok(()) } else { self.flush(key.handle) }
    }
}

/// A storage key that never leaves its TPM, opens by its (empty) value, and does not lock the TPM after power cuts.
fn is_storage_root(key: &Public) -> bool {
    key.attributes.has(storage_template().attributes)
        && !key.attributes.has_any(Attributes::SIGN)
        && verify::check_endorsement_key(key).is_ok()
}

impl super::Tpm {
    /// The name of the storage root key, which sealed objects of this host are pinned to.
    ///
    /// # Errors
    /// [`TpmError`]
    pub fn storage_root_name(&self) -> Result<Name, TpmError> {
        self.operation(|connection| Ok(connection.storage_root()?.name()))
    }

    /// Makes the storage root key persistent, which spares each start the making of it; answers whether it was not yet.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when another kind of object has its place; [`TpmError::Response`] when the owner hierarchy's
    /// value is wrong or the TPM has no room.
    pub fn provision_storage_root(&self) -> Result<bool, TpmError> {
        self.operation(|connection| {
            let key = connection.storage_root()?;
            if key.is_persistent() {
                return Ok(false);
            }
            let command = command::evict_control(&key.handle(), STORAGE_ROOT);
            match connection.run_with_hierarchy(&command, OWNER, Some(&key), &mut []) {
                Ok(_) => Ok(true),
                Err(error) if error.code().is_some_and(|code| code.base() == 0x14c) => Err(TpmError::invalid(
                    "persistent handle 0x81000001",
                    "another object is there that is no storage root key without lockout; leave it there or remove it \
                     with tpm2_evictcontrol",
                )),
                Err(error) => Err(error),
            }
        })
    }
}

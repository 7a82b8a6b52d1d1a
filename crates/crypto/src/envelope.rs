//! The wrapped-key format: what an agent puts, and what the key manager stores without being able to open it.
//!
//! Owns the format, version 1. All numbers are big-endian.
//!
//! | Offset | Bytes | Content |
//! |---|---|---|
//! | 0 | 8 | magic: `8f 43 48 54 4c 4e 57 4b` |
//! | 8 | 1 | format version: 1 |
//! | 9 | 1 | lock kind: 1 single, 2 dual, 3 compound |
//! | 10 | 2 | number of the key's algorithm in the registry |
//! | 12 | 4 | bit length of the key |
//! | 16 | 1 | m, length of the master-key id: 1 to 64 |
//! | 17 | 1 | s, length of the scope-key id: 0 for single, else 1 to 64 |
//! | 18 | m | master-key id, printable ASCII without spaces |
//! | 18 + m | s | scope-key id, likewise |
//! | 18 + m + s | 4 | n, length of the body |
//! | 22 + m + s | n | body, sealed by the record cipher; nothing follows it |
//!
//! The body is sealed under the service's master key. Inside is: the key (*single*); the key sealed under the customer's
//! scope key (*dual*); a random IV of 256 bits (*compound*), from which and from the scope key the key is derived.
//! `docs/api/envelope-format.md` has every derivation and associated-data string, and names the test vectors.
//!
//! Invariants: one envelope has exactly one encoding; all header fields and the key-id are authenticated, so neither a
//! changed field nor an envelope moved to another key-id opens; a master key can be replaced without a scope key.
//!
//! Refuses: trailing bytes, unknown versions, lock kinds and algorithms, refused algorithms, key lengths that do not fit
//! the algorithm or the body, key pairs under a compound lock (they cannot be derived from an IV).

mod keys;
mod parse;
#[cfg(test)]
mod tests;

pub use keys::{
    KEY_ID_LENGTH_LIMIT, KeySpec, MASTER_KEY_LENGTH, MasterKey, ScopeKey, WRAPPING_ID_LENGTH_LIMIT,
};

use crate::aead::RECORD_OVERHEAD;
use crate::{CryptoError, KeyMaterial, kdf, random};

/// The first bytes of every envelope.
pub const MAGIC: [u8; 8] = *b"\x8fCHTLNWK";
/// The format version this release writes and reads.
pub const VERSION: u8 = 1;
/// The longest key that is wrapped, in bytes.
pub const MAXIMUM_KEY_LENGTH: usize = 65_536;
/// The longest envelope, in bytes.
pub const MAXIMUM_ENVELOPE_LENGTH: usize =
    FIXED_LENGTH + 2 * WRAPPING_ID_LENGTH_LIMIT + 2 * RECORD_OVERHEAD + MAXIMUM_KEY_LENGTH;

/// Everything but the two ids and the body.
const FIXED_LENGTH: usize = 22;
const IV_LENGTH: usize = 32;
const OUTER_LABEL: &[u8] = b"chatelaine envelope v1 outer\0";
const INNER_LABEL: &[u8] = b"chatelaine envelope v1 inner\0";
const COMPOUND_LABEL: &str = "chatelaine envelope v1 compound data key";

/// How many keys it takes to open an envelope, and how they are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Wrapped under the service's master key.
    Single,
    /// Wrapped under the customer's scope key, then under the service's master key.
    Dual,
    /// Derived from the customer's scope key and an IV, which is wrapped under the service's master key.
    Compound,
}

impl LockKind {
    /// The name in the native API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Dual => "dual",
            Self::Compound => "compound",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Single => 1,
            Self::Dual => 2,
            Self::Compound => 3,
        }
    }
}

/// A wrapped key together with what is needed to find the keys that open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    lock_kind: LockKind,
    spec: KeySpec,
    master_key_id: String,
    scope_key_id: Option<String>,
    body: Vec<u8>,
}

/// The random inputs of one sealing. Only tests choose them.
struct Randomness {
    outer: [u8; 24],
    inner: [u8; 24],
    iv: KeyMaterial,
}

impl Randomness {
    fn draw() -> Result<Self, CryptoError> {
        let mut outer = [0; 24];
        let mut inner = [0; 24];
        random::fill_public(&mut outer)?;
        random::fill_public(&mut inner)?;
        Ok(Self { outer, inner, iv: KeyMaterial::random(IV_LENGTH * 8)? })
    }
}

impl Envelope {
    /// Whether `bytes` begin like an envelope. Says nothing about the rest.
    #[must_use]
    pub fn is_envelope(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads an envelope without any key. What it says is believed only once it has been opened.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`], [`CryptoError::UnsupportedVersion`] and the errors of the algorithm registry.
    pub fn parse(bytes: &[u8]) -> Result<Self, CryptoError> {
        parse::envelope(bytes)
    }

    /// The one encoding of this envelope.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// How the key is locked.
    #[must_use]
    pub fn lock_kind(&self) -> LockKind {
        self.lock_kind
    }

    /// Algorithm and bit length of the key.
    #[must_use]
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The id of the service's master key that the body is sealed under.
    #[must_use]
    pub fn master_key_id(&self) -> &str {
        &self.master_key_id
    }

    /// The id of the customer's scope key, for dual and compound locks.
    #[must_use]
    pub fn scope_key_id(&self) -> Option<&str> {
        self.scope_key_id.as_deref()
    }

    /// Locks `key` with the service's master key alone.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] or [`CryptoError::InvalidFormat`] if `key` does not fit `spec` or `key_id` is too
    /// long, [`CryptoError::Random`].
    pub fn seal_single(
        master: &MasterKey,
        key_id: &str,
        spec: KeySpec,
        key: &KeyMaterial,
    ) -> Result<Self, CryptoError> {
        Self::single_with(master, key_id, spec, key, &Randomness::draw()?)
    }

    /// Locks `key` with the customer's scope key, then with the service's master key.
    ///
    /// # Errors
    /// As [`Envelope::seal_single`].
    pub fn seal_dual(
        master: &MasterKey,
        scope: &ScopeKey,
        key_id: &str,
        spec: KeySpec,
        key: &KeyMaterial,
    ) -> Result<Self, CryptoError> {
        Self::dual_with(master, scope, key_id, spec, key, &Randomness::draw()?)
    }

    /// Makes a fresh IV, locks it with the service's master key, and returns with it the data key that it and the
    /// customer's scope key give.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`] for key pairs, [`CryptoError::InvalidLength`] for keys above 65 280 bits or a
    /// `key_id` that is too long, [`CryptoError::Random`].
    pub fn seal_compound(
        master: &MasterKey,
        scope: &ScopeKey,
        key_id: &str,
        spec: KeySpec,
    ) -> Result<(Self, KeyMaterial), CryptoError> {
        Self::compound_with(master, scope, key_id, spec, &Randomness::draw()?)
    }

    /// Opens the envelope and returns the key. `scope` is needed for dual and compound locks and ignored for single.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if a key with another id, or no scope key, is given; [`CryptoError::Authentication`]
    /// for another `key_id`, another key under the same id, or changed bytes.
    pub fn open(
        &self,
        master: &MasterKey,
        scope: Option<&ScopeKey>,
        key_id: &str,
    ) -> Result<KeyMaterial, CryptoError> {
        keys::check_key_id(key_id)?;
        let content = self.open_outer(master, key_id)?;
        let key = match (self.lock_kind, self.matching_scope(scope)?) {
            (LockKind::Single, _) => content,
            (LockKind::Dual, Some(scope)) => {
                let aad = inner_aad(self.spec, scope.id(), key_id);
                scope.cipher().open(&aad, content.expose())?
            }
            (LockKind::Compound, Some(scope)) => return data_key(scope, &content, self.spec, key_id),
            (LockKind::Dual | LockKind::Compound, None) => return Err(CryptoError::Authentication),
        };
        // Sealing refuses such a key, so this is the work of another, faulty implementation.
        self.spec.check_key(&key)?;
        Ok(key)
    }

    /// The same key under another master key. Needs no scope key, whatever the lock kind.
    ///
    /// # Errors
    /// As [`Envelope::open`], for the master key; [`CryptoError::Random`].
    pub fn rewrap(&self, old: &MasterKey, new: &MasterKey, key_id: &str) -> Result<Self, CryptoError> {
        keys::check_key_id(key_id)?;
        let content = self.open_outer(old, key_id)?;
        let mut outer = [0; 24];
        random::fill_public(&mut outer)?;
        Self::build(self.lock_kind, self.spec, new, self.scope_key_id.clone(), key_id, &content, &outer)
    }

    fn single_with(
        master: &MasterKey,
        key_id: &str,
        spec: KeySpec,
        key: &KeyMaterial,
        randomness: &Randomness,
    ) -> Result<Self, CryptoError> {
        keys::check_key_id(key_id)?;
        spec.check_key(key)?;
        Self::build(LockKind::Single, spec, master, None, key_id, key, &randomness.outer)
    }

    fn dual_with(
        master: &MasterKey,
        scope: &ScopeKey,
        key_id: &str,
        spec: KeySpec,
        key: &KeyMaterial,
        randomness: &Randomness,
    ) -> Result<Self, CryptoError> {
        keys::check_key_id(key_id)?;
        spec.check_key(key)?;
        let aad = inner_aad(spec, scope.id(), key_id);
        let inner = scope.cipher().seal_with_nonce(&randomness.inner, &aad, key.expose())?;
        let inner = KeyMaterial::from_vec(inner);
        let scope_id = Some(scope.id().to_owned());
        Self::build(LockKind::Dual, spec, master, scope_id, key_id, &inner, &randomness.outer)
    }

    fn compound_with(
        master: &MasterKey,
        scope: &ScopeKey,
        key_id: &str,
        spec: KeySpec,
        randomness: &Randomness,
    ) -> Result<(Self, KeyMaterial), CryptoError> {
        keys::check_key_id(key_id)?;
        spec.check_derivable()?;
        let key = data_key(scope, &randomness.iv, spec, key_id)?;
        let scope_id = Some(scope.id().to_owned());
        let envelope = Self::build(
            LockKind::Compound,
            spec,
            master,
            scope_id,
            key_id,
            &randomness.iv,
            &randomness.outer,
        )?;
        Ok((envelope, key))
    }

    fn build(
        lock_kind: LockKind,
        spec: KeySpec,
        master: &MasterKey,
        scope_key_id: Option<String>,
        key_id: &str,
        content: &KeyMaterial,
        nonce: &[u8; 24],
    ) -> Result<Self, CryptoError> {
        let mut envelope =
            Self { lock_kind, spec, master_key_id: master.id().to_owned(), scope_key_id, body: Vec::new() };
        let aad = outer_aad(&envelope.header(), key_id);
        envelope.body = master.cipher().seal_with_nonce(nonce, &aad, content.expose())?;
        Ok(envelope)
    }

    fn open_outer(&self, master: &MasterKey, key_id: &str) -> Result<KeyMaterial, CryptoError> {
        if master.id() != self.master_key_id {
            return Err(CryptoError::WrongKey {
                role: "master key",
                wanted: self.master_key_id.clone(),
                given: master.id().to_owned(),
            });
        }
        master.cipher().open(&outer_aad(&self.header(), key_id), &self.body)
    }

    /// The scope key, if it is the one this envelope names; nothing if it names none.
    fn matching_scope<'key>(
        &self,
        scope: Option<&'key ScopeKey>,
    ) -> Result<Option<&'key ScopeKey>, CryptoError> {
        let Some(wanted) = &self.scope_key_id else { return Ok(None) };
        match scope {
            Some(scope) if scope.id() == wanted => Ok(Some(scope)),
            other => Err(CryptoError::WrongKey {
                role: "scope key",
                wanted: wanted.clone(),
                given: other.map_or_else(|| "none".to_owned(), |scope| scope.id().to_owned()),
            }),
        }
    }

    /// Everything before the length of the body.
    fn header(&self) -> Vec<u8> {
        let scope = self.scope_key_id.as_deref().unwrap_or_default();
        let mut header = Vec::with_capacity(MAXIMUM_ENVELOPE_LENGTH.min(256).saturating_add(self.body.len()));
        header.extend_from_slice(&MAGIC);
        header.push(VERSION);
        header.push(self.lock_kind.number());
        header.extend_from_slice(&self.spec.encoded());
        header.push(short_length(&self.master_key_id));
        header.push(short_length(scope));
        header.extend_from_slice(self.master_key_id.as_bytes());
        header.extend_from_slice(scope.as_bytes());
        header
    }
}

/// Ids are checked to have at most 64 bytes where they come in.
fn short_length(id: &str) -> u8 {
    u8::try_from(id.len()).unwrap_or(u8::MAX)
}

fn push_part(target: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    target.extend_from_slice(&length.to_be_bytes());
    target.extend_from_slice(part);
}

fn outer_aad(header: &[u8], key_id: &str) -> Vec<u8> {
    let mut aad = OUTER_LABEL.to_vec();
    push_part(&mut aad, header);
    push_part(&mut aad, key_id.as_bytes());
    aad
}

/// Leaves the master key's id out, so that a rewrap needs no scope key.
fn inner_aad(spec: KeySpec, scope_id: &str, key_id: &str) -> Vec<u8> {
    let mut aad = INNER_LABEL.to_vec();
    aad.extend_from_slice(&spec.encoded());
    push_part(&mut aad, scope_id.as_bytes());
    push_part(&mut aad, key_id.as_bytes());
    aad
}

/// The data key of a compound lock: derived from scope key and IV, bound to algorithm, length, key-id and scope key.
fn data_key(
    scope: &ScopeKey,
    iv: &KeyMaterial,
    spec: KeySpec,
    key_id: &str,
) -> Result<KeyMaterial, CryptoError> {
    let both = KeyMaterial::from_vec([scope.derivation_key().expose(), iv.expose()].concat());
    let context: [&[u8]; 3] = [&spec.encoded(), key_id.as_bytes(), scope.id().as_bytes()];
    let mut key = kdf::derive(&both, COMPOUND_LABEL, &context, spec.byte_length())?;
    let unused = spec.unused_bits();
    if let Some(last) = key.expose_mut().last_mut() {
        *last &= random::mask(unused);
    }
    Ok(key)
}

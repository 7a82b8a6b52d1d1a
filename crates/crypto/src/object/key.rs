//! A header and the data key that fits it.

use std::ops::Range;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::cbc::Cbc;
use super::ctr::Ctr;
use super::header::{CHECK_LENGTH, SALT_LENGTH, check_key_id};
use super::sealed::Sealed;
use super::xts::Xts;
use super::{BLOCK_LENGTH, Cipher, Decryptor, Encryptor, Header, KeyUse, Layout, Mode};
use crate::{CryptoError, KeyMaterial, kdf, random};

const LABEL: &str = "chatelaine object v1";

/// How a new object is to be encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    cipher: Cipher,
    key_use: KeyUse,
    layout: Layout,
    key_id: String,
}

impl Parameters {
    /// The defaults for a cipher: chunks of 64 KiB, no key-id; with XTS the data key is used directly, as disk encryption
    /// does, otherwise a key is derived.
    #[must_use]
    pub fn new(cipher: Cipher) -> Self {
        let key_use = if cipher.mode() == Mode::Xts { KeyUse::Direct } else { KeyUse::Derived };
        Self { cipher, key_use, layout: Layout::of(cipher), key_id: String::new() }
    }

    /// Derives a key for this object with XTS, too: for a data key that serves several objects.
    #[must_use]
    pub fn with_derived_key(self) -> Self {
        Self { key_use: KeyUse::Derived, ..self }
    }

    /// Another chunk length for an authenticated cipher: a power of two from 4 KiB to 4 MiB. A chunk is what has to be read
    /// for one byte, and what is held in memory.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for any other, and for a cipher without chunks.
    pub fn with_chunk_length(self, length: usize) -> Result<Self, CryptoError> {
        Ok(Self { layout: Layout::with_chunk_length(self.cipher, length)?, ..self })
    }

    /// The id of the data key, to be written into the header.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`] beyond 255 bytes and for bytes that are not printable ASCII.
    pub fn with_key_id(self, key_id: &str) -> Result<Self, CryptoError> {
        check_key_id(key_id)?;
        Ok(Self { key_id: key_id.to_owned(), ..self })
    }
}

/// The keys of one object. Cheap to clone; clones may be used from several threads.
#[derive(Clone)]
pub struct ObjectKey {
    header: Arc<Header>,
    body: Arc<Body>,
}

/// The prepared cipher of a body.
pub(super) enum Body {
    Sealed(Sealed),
    /// With the mask for a last sector of less than a block, which XTS has nothing for.
    Xts(Xts, [u8; BLOCK_LENGTH]),
    Ctr(Ctr),
    Cbc(Cbc),
}

impl ObjectKey {
    /// Makes the header of a new object, with a new salt, and begins to encrypt it.
    ///
    /// `context` is what the object is to be bound to besides: it is not stored, and must be given again to decrypt; at
    /// most a few hundred bytes, and empty where there is nothing.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for a key that is not as long as the cipher's, [`CryptoError::InvalidFormat`] for an
    /// XTS key with equal halves, [`CryptoError::Random`].
    pub fn create(
        parameters: &Parameters,
        key: &KeyMaterial,
        context: &[u8],
    ) -> Result<(Header, Encryptor), CryptoError> {
        let mut salt = [0; SALT_LENGTH];
        random::fill_public(&mut salt)?;
        Self::create_with_salt(parameters, key, context, salt)
    }

    /// As [`ObjectKey::create`] with a salt that was chosen. For known-answer tests only: a salt must not repeat.
    pub(super) fn create_with_salt(
        parameters: &Parameters,
        key: &KeyMaterial,
        context: &[u8],
        salt: [u8; SALT_LENGTH],
    ) -> Result<(Header, Encryptor), CryptoError> {
        let Parameters { cipher, key_use, layout, key_id } = parameters.clone();
        let mut header = Header { cipher, key_use, layout, salt, key_id, check: [0; CHECK_LENGTH] };
        check_length(cipher, key)?;
        let derived = Derived::new(&header, key, context)?;
        header.check.copy_from_slice(derived.check()?);
        let body = derived.body(&header, key)?;
        let key = Self { header: Arc::new(header.clone()), body: Arc::new(body) };
        Ok((header, Encryptor::new(key)))
    }

    /// Takes the data key of an object, if it is the right one.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for a key that is not as long as the cipher's; [`CryptoError::WrongDataKey`] for
    /// another key or context, and if the header was changed.
    pub fn open(header: &Header, key: &KeyMaterial, context: &[u8]) -> Result<Self, CryptoError> {
        check_length(header.cipher, key)?;
        let derived = Derived::new(header, key, context)?;
        if !bool::from(derived.check()?.ct_eq(&header.check)) {
            return Err(CryptoError::WrongDataKey);
        }
        let body = derived.body(header, key)?;
        Ok(Self { header: Arc::new(header.clone()), body: Arc::new(body) })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Decrypts the whole body, whatever its length. An authenticated cipher notices where it was cut off.
    #[must_use]
    pub fn decryptor(&self) -> Decryptor {
        Decryptor::whole(self.clone(), None)
    }

    /// Decrypts the whole body, which must hold exactly `plain_length` bytes.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] beyond [`super::MAXIMUM_PLAIN_LENGTH`].
    pub fn decryptor_of_length(&self, plain_length: u64) -> Result<Decryptor, CryptoError> {
        let encrypted = self.header.layout.encrypted_length(plain_length)?;
        Ok(Decryptor::whole(self.clone(), Some((plain_length, encrypted))))
    }

    /// Decrypts a part: the plain bytes `range` of an object with `total` plain bytes. It is to be fed exactly the bytes
    /// that [`Layout::encrypted_range`] names for the same arguments.
    ///
    /// An authenticated cipher notices every change in these bytes, but cannot say whether `total` is right unless the
    /// range reaches the object's last chunk.
    ///
    /// # Errors
    /// As [`Layout::encrypted_range`].
    pub fn range_decryptor(&self, range: Range<u64>, total: u64) -> Result<Decryptor, CryptoError> {
        let encrypted = self.header.layout.encrypted_range(range.clone(), Some(total))?;
        Decryptor::part(self.clone(), range.start..range.end.min(total), total, &encrypted)
    }

    pub(super) fn layout(&self) -> Layout {
        self.header.layout
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ObjectKey").field("header", &self.header).finish_non_exhaustive()
    }
}

/// What is derived from the data key for one header: check value, initialization vector or mask where the mode has one,
/// key where it is not the data key.
struct Derived(KeyMaterial);

impl Derived {
    fn new(header: &Header, key: &KeyMaterial, context: &[u8]) -> Result<Self, CryptoError> {
        let key_length = match header.key_use {
            KeyUse::Derived => header.cipher.key_length(),
            KeyUse::Direct => 0,
        };
        let length = CHECK_LENGTH.saturating_add(vector_length(header.cipher)).saturating_add(key_length);
        kdf::derive(key, LABEL, &[&header.checked_bytes(), context], length).map(Self)
    }

    fn check(&self) -> Result<&[u8], CryptoError> {
        self.0.expose().get(..CHECK_LENGTH).ok_or(CryptoError::Library("derivation of an object's keys"))
    }

    fn body(&self, header: &Header, data_key: &KeyMaterial) -> Result<Body, CryptoError> {
        let short = CryptoError::Library("derivation of an object's keys");
        let rest = self.0.expose().get(CHECK_LENGTH..).ok_or(short.clone())?;
        let (vector, derived) = rest.split_at_checked(vector_length(header.cipher)).ok_or(short.clone())?;
        let key = match header.key_use {
            KeyUse::Derived => derived,
            KeyUse::Direct => data_key.expose(),
        };
        let vector = || vector.first_chunk::<BLOCK_LENGTH>().copied().ok_or(short);
        match header.cipher.mode() {
            Mode::Gcm | Mode::ChaCha => Sealed::new(header.cipher, key).map(Body::Sealed),
            Mode::Xts => Ok(Body::Xts(Xts::new(key)?, vector()?)),
            Mode::Ctr => Ctr::new(key, vector()?).map(Body::Ctr),
            Mode::Cbc => Cbc::new(key, vector()?).map(Body::Cbc),
        }
    }
}

/// The length of the initialization vector or tail mask.
fn vector_length(cipher: Cipher) -> usize {
    if cipher.is_authenticated() { 0 } else { BLOCK_LENGTH }
}

fn check_length(cipher: Cipher, key: &KeyMaterial) -> Result<(), CryptoError> {
    if key.len() == cipher.key_length() {
        return Ok(());
    }
    let (what, allowed) = match cipher.key_length() {
        64 => ("data key for AES-256-XTS, in bytes,", "64 bytes"),
        32 => ("data key, in bytes,", "32 bytes for this cipher"),
        24 => ("data key, in bytes,", "24 bytes for this cipher"),
        _ => ("data key, in bytes,", "16 bytes for this cipher"),
    };
    Err(CryptoError::InvalidLength { what, length: key.len(), allowed })
}

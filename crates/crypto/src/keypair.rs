//! Key pairs in the form other programs read: PEM, the private half encrypted with a passphrase where one is given.
//!
//! Owns which pairs are made ([`KeyPairKind`]) and how their halves are written: PKCS#8 (RFC 5958) and
//! `SubjectPublicKeyInfo` (RFC 5280, section 4.1) in PEM (RFC 7468); encrypted ones after PBES2 (RFC 8018, section 6.2)
//! with PBKDF2-HMAC-SHA-256 and AES-256-CBC.
//!
//! Invariants: a private half, in DER or PEM, is in [`KeyMaterial`] or in memory that is wiped; what is encrypted has a
//! fresh salt and initialization vector.
//!
//! Refuses: an empty passphrase, which protects nothing.
//!
//! RSA with 1024 bits is not in the registry of what the native interface generates, for it is too weak for new uses. It is
//! made here because orders of Barbican clients may ask for it; see `docs/adr/0003-key-pairs.md`.

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::pbkdf2;
use pkcs8::der::pem::{self, LineEnding};
use pkcs8::der::{Encode as _, asn1::OctetStringRef};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, EncryptedPrivateKeyInfo};
use rsa::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::algorithms::Algorithm;
use crate::{CryptoError, KeyMaterial, generate, random};

/// Rounds of PBKDF2-HMAC-SHA-256, as OWASP recommends for passwords. About 0.2 s of one core.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// Bytes of salt (RFC 8018, section 4.1, asks for eight at least).
const SALT: usize = 16;
/// The longest passphrase, in bytes.
pub const MAXIMUM_PASSPHRASE: usize = 1024;

const PRIVATE_LABEL: &str = "PRIVATE KEY";
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// Which pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KeyPairKind {
    Rsa1024,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
    Ed25519,
}

impl KeyPairKind {
    /// The pair of that algorithm and length; case and `_` for `-` in the name make no difference.
    ///
    /// # Errors
    /// [`CryptoError::UnknownAlgorithm`] for names that no pair has, [`CryptoError::InvalidBitLength`] for other lengths.
    pub fn find(name: &str, bits: u32) -> Result<Self, CryptoError> {
        let canonical = Algorithm::lookup(name).map(|entry| entry.name);
        let allowed = match (canonical, bits) {
            (Some("rsa"), 1024) => return Ok(Self::Rsa1024),
            (Some("rsa"), 2048) => return Ok(Self::Rsa2048),
            (Some("rsa"), 3072) => return Ok(Self::Rsa3072),
            (Some("rsa"), 4096) => return Ok(Self::Rsa4096),
            (Some("ec"), 256) => return Ok(Self::P256),
            (Some("ec"), 384) => return Ok(Self::P384),
            (Some("ec"), 521) => return Ok(Self::P521),
            (Some("ed25519"), 256) => return Ok(Self::Ed25519),
            (Some("rsa"), _) => ("rsa", "1024, 2048, 3072, 4096"),
            (Some("ec"), _) => ("ec", "256, 384, 521"),
            (Some("ed25519"), _) => ("ed25519", "256"),
            _ => {
                return Err(CryptoError::UnknownAlgorithm {
                    name: name.chars().take(48).collect(),
                    allowed: "rsa, ec, ed25519".to_owned(),
                });
            }
        };
        Err(CryptoError::InvalidBitLength { name: allowed.0, bits, allowed: allowed.1.to_owned() })
    }

    /// Canonical name of the algorithm.
    #[must_use]
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa1024 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => "rsa",
            Self::P256 | Self::P384 | Self::P521 => "ec",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Length in bits: of the modulus, of the curve's field.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Rsa1024 => 1024,
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::P256 | Self::Ed25519 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }
}

/// A key pair as two PEM texts, each ending with a line feed.
#[derive(Debug)]
pub struct PemKeyPair {
    /// `PRIVATE KEY`, or `ENCRYPTED PRIVATE KEY` when a passphrase was given.
    pub private: KeyMaterial,
    /// `PUBLIC KEY`.
    pub public: String,
}

/// Makes a key pair; with a `passphrase` (1 to [`MAXIMUM_PASSPHRASE`] bytes) the private half is encrypted with it.
///
/// RSA takes up to seconds, a passphrase some tenths of a second: do not call it on an asynchronous executor.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for the passphrase, [`CryptoError::Random`], [`CryptoError::Library`].
pub fn key_pair(kind: KeyPairKind, passphrase: Option<&KeyMaterial>) -> Result<PemKeyPair, CryptoError> {
    if let Some(passphrase) = passphrase.filter(|text| text.is_empty() || text.len() > MAXIMUM_PASSPHRASE) {
        return Err(CryptoError::InvalidLength {
            what: "passphrase, in bytes,",
            length: passphrase.len(),
            allowed: "1 to 1024 bytes",
        });
    }
    let (private, public) = match kind {
        KeyPairKind::Rsa1024 => small_rsa()?,
        _ => {
            let made = generate(Algorithm::find(kind.algorithm())?, kind.bits())?;
            (made.secret, made.public.ok_or(CryptoError::Library("key pair without its public half"))?)
        }
    };
    let private = match passphrase {
        None => armoured(PRIVATE_LABEL, private.expose())?,
        Some(passphrase) => armoured(ENCRYPTED_LABEL, &encrypted(&private, passphrase, ROUNDS)?)?,
    };
    let public = String::from_utf8(armoured(PUBLIC_LABEL, &public)?.expose().to_vec())
        .map_err(|_| CryptoError::Library("PEM"))?;
    Ok(PemKeyPair { private, public })
}

/// PEM, written into memory of the right size at once.
fn armoured(label: &'static str, der: &[u8]) -> Result<KeyMaterial, CryptoError> {
    const FAILED: CryptoError = CryptoError::Library("PEM");
    let length = pem::encapsulated_len(label, LineEnding::LF, der.len()).map_err(|_| FAILED)?;
    let mut text = KeyMaterial::zeroed(length);
    let written = pem::encode(label, LineEnding::LF, der, text.expose_mut()).map_err(|_| FAILED)?.len();
    if written == length { Ok(text) } else { Err(FAILED) }
}

/// `EncryptedPrivateKeyInfo` in DER.
fn encrypted(
    private: &KeyMaterial,
    passphrase: &KeyMaterial,
    rounds: NonZeroU32,
) -> Result<Vec<u8>, CryptoError> {
    let failed = |_| CryptoError::Library("encryption of a private key");
    let mut salt = [0_u8; SALT];
    random::fill_public(&mut salt)?;
    let mut key = KeyMaterial::zeroed(32);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, passphrase.expose(), key.expose_mut());
    let cipher = UnboundCipherKey::new(&AES_256, key.expose())
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .map_err(failed)?;
    // Room for the padding, so that no copy is left behind by growing; the text is encrypted where it lies.
    let mut data = Zeroizing::new(Vec::with_capacity(private.len().saturating_add(16)));
    data.extend_from_slice(private.expose());
    let context = cipher.encrypt(&mut *data).map_err(failed)?;
    let DecryptionContext::Iv128(iv) = context else {
        return Err(CryptoError::Library("initialization vector"));
    };
    let written = || {
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(rounds.get(), &salt, *iv.as_ref()).ok()?;
        let encrypted_data = OctetStringRef::new(&data).ok()?;
        EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data }.to_der().ok()
    };
    written().ok_or(CryptoError::Library("DER of an encrypted private key"))
}

/// RSA with 1024 bits, which the library of everything else does not make.
fn small_rsa() -> Result<(KeyMaterial, Vec<u8>), CryptoError> {
    const FAILED: CryptoError = CryptoError::Library("key pair generation");
    let private = rsa::PrivateKey::new(&mut SystemRandom, 1024).map_err(|error| match error {
        rsa::Error::Rng => CryptoError::Random,
        _ => FAILED,
    })?;
    let document = private.to_pkcs8_der().map_err(|_| FAILED)?;
    let public = private.to_public_key().to_public_key_der().map_err(|_| FAILED)?;
    Ok((KeyMaterial::copy_from(document.as_bytes()), public.into_vec()))
}

/// The operating system's generator, as the RSA library asks for one.
struct SystemRandom;

/// The generator gave no bytes.
#[derive(Debug)]
struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&CryptoError::Random, formatter)
    }
}

impl std::error::Error for NoRandom {}

impl TryRng for SystemRandom {
    type Error = NoRandom;

    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut bytes = Zeroizing::new([0; 4]);
        self.try_fill_bytes(bytes.as_mut())?;
        Ok(u32::from_ne_bytes(*bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut bytes = Zeroizing::new([0; 8]);
        self.try_fill_bytes(bytes.as_mut())?;
        Ok(u64::from_ne_bytes(*bytes))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), NoRandom> {
        random::fill_secret(destination).map_err(|_| NoRandom)
    }
}

impl TryCryptoRng for SystemRandom {}

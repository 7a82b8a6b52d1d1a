//! A secret that only the holder of a TPM's decryption key gets (Part 1, B.10.3 and C.6.3): salts of sessions, seeds of
//! credentials and of imported objects.
//!
//! Refuses: keys that do not decrypt, points that are not on the curve.

use getrandom::SysRng;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use rsa::{BoxedUint, Oaep, PublicKey};
use zeroize::Zeroizing;

use super::kdf::kdfe;
use crate::codec::Writer;
use crate::error::TpmError;
use crate::random;
use crate::types::public::DEFAULT_EXPONENT;
use crate::types::{Attributes, Curve, HashAlgorithm, KeyParameters, Public};

/// What the secret is for; part of the derivation, so that none can be used for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Salt of a session.
    Session,
    /// Seed of a credential.
    Credential,
    /// Seed of an object that is imported.
    Import,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Session => "SECRET",
            Self::Credential => "IDENTITY",
            Self::Import => "DUPLICATE",
        }
    }
}

/// A secret and its encrypted form.
pub struct Exchanged {
    /// The secret, as long as a digest of the key's name algorithm.
    pub secret: Zeroizing<Vec<u8>>,
    /// The content of a `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted: Vec<u8>,
}

/// The longest encrypted form, in bytes.
pub const MAX_ENCRYPTED: usize = 512;

const KEY: &str = "public key";

/// Makes a secret for the TPM that has the private part of `key`.
///
/// # Errors
/// [`TpmError::Invalid`] when the key does not decrypt or is no key at all.
pub fn exchange(key: &Public, purpose: Purpose) -> Result<Exchanged, TpmError> {
    if !key.attributes.has(Attributes::DECRYPT) {
        return Err(TpmError::invalid(KEY, "it does not decrypt"));
    }
    let hash = key.name_algorithm;
    match &key.parameters {
        KeyParameters::Rsa { modulus, bits, .. } => rsa(hash, modulus, *bits, purpose),
        KeyParameters::Ecc { curve, x, y, .. } => {
            let (ephemeral_x, ephemeral_y, shared) = agree(*curve, x, y)?;
            let bits = u16::try_from(hash.size().saturating_mul(8)).unwrap_or_default();
            let own_x = padded(x, curve.size())?;
            let secret = kdfe(hash, &shared, purpose.label(), &ephemeral_x, &own_x, bits);
            let mut encrypted = Writer::default();
            encrypted.sized(&ephemeral_x).sized(&ephemeral_y);
            Ok(Exchanged { secret, encrypted: encrypted.into_vec() })
        }
        KeyParameters::KeyedHash { .. } => Err(TpmError::invalid(KEY, "sealed data is no key")),
    }
}

fn rsa(hash: HashAlgorithm, modulus: &[u8], bits: u16, purpose: Purpose) -> Result<Exchanged, TpmError> {
    let secret = random::bytes(hash.size())?;
    let key = rsa_key(modulus, bits)?;
    // The zero that ends the label is part of it.
    let label: Vec<u8> = purpose.label().bytes().chain([0]).collect();
    let mut generator = SysRng;
    let encrypted = match hash {
        HashAlgorithm::Sha256 => {
            key.encrypt(&mut generator, Oaep::<sha2::Sha256>::new_with_label(label), &secret)
        }
        HashAlgorithm::Sha384 => {
            key.encrypt(&mut generator, Oaep::<sha2::Sha384>::new_with_label(label), &secret)
        }
        HashAlgorithm::Sha512 => {
            key.encrypt(&mut generator, Oaep::<sha2::Sha512>::new_with_label(label), &secret)
        }
    };
    let encrypted =
        encrypted.map_err(|_| TpmError::invalid(KEY, "nothing can be encrypted to this RSA key"))?;
    Ok(Exchanged { secret, encrypted })
}

/// The RSA key with that modulus.
pub(crate) fn rsa_key(modulus: &[u8], bits: u16) -> Result<PublicKey, TpmError> {
    let wrong = || TpmError::invalid(KEY, "the RSA modulus is not usable");
    if modulus.len() != usize::from(bits / 8) || modulus.first().is_none_or(|first| *first < 0x80) {
        return Err(wrong());
    }
    let modulus = BoxedUint::from_be_slice(modulus, bits.into()).map_err(|_| wrong())?;
    PublicKey::new(modulus, BoxedUint::from(DEFAULT_EXPONENT)).map_err(|_| wrong())
}

type Agreed = (Vec<u8>, Vec<u8>, Zeroizing<Vec<u8>>);

/// A fresh key pair's coordinates and the first coordinate of the point it has in common with the key.
fn agree(curve: Curve, x: &[u8], y: &[u8]) -> Result<Agreed, TpmError> {
    macro_rules! agree {
        ($curve:ident) => {{
            let key = $curve::PublicKey::from_sec1_bytes(&uncompressed(curve, x, y)?)
                .map_err(|_| TpmError::invalid(KEY, "the point is not on the curve"))?;
            let own = $curve::ecdh::EphemeralSecret::try_generate_from_rng(&mut SysRng)
                .map_err(|_| TpmError::Random)?;
            let point = own.public_key().to_sec1_point(false);
            let coordinate = |found: Option<&[u8]>| found.map(<[u8]>::to_vec).unwrap_or_default();
            let (own_x, own_y) =
                (coordinate(point.x().map(|x| x.as_ref())), coordinate(point.y().map(|y| y.as_ref())));
            let shared = Zeroizing::new(own.diffie_hellman(&key).raw_secret_bytes().to_vec());
            (own_x, own_y, shared)
        }};
    }
    Ok(match curve {
        Curve::P256 => agree!(p256),
        Curve::P384 => agree!(p384),
    })
}

/// The point in SEC 1's uncompressed form.
pub(crate) fn uncompressed(curve: Curve, x: &[u8], y: &[u8]) -> Result<Vec<u8>, TpmError> {
    let mut bytes = vec![4];
    bytes.extend(padded(x, curve.size())?);
    bytes.extend(padded(y, curve.size())?);
    Ok(bytes)
}

/// The number with zeros in front, which some TPMs leave out.
pub(crate) fn padded(number: &[u8], size: usize) -> Result<Vec<u8>, TpmError> {
    let missing = size
        .checked_sub(number.len())
        .filter(|_| !number.is_empty())
        .ok_or_else(|| TpmError::invalid(KEY, "a number has the wrong length"))?;
    let mut bytes = vec![0; missing];
    bytes.extend_from_slice(number);
    Ok(bytes)
}

//! New keys for any algorithm of the registry.
//!
//! Owns generation of bit strings (from the operating system's generator) and of key pairs (by the library).
//!
//! Invariant: a key pair's private half leaves the library only as PKCS#8 in [`KeyMaterial`].
//!
//! Refuses: whatever the registry does not list as generated.

#[cfg(test)]
mod tests;

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};

use crate::algorithms::{Algorithm, Kind};
use crate::{CryptoError, KeyMaterial};

/// A key as it was generated.
#[derive(Debug)]
pub struct Generated {
    /// The key itself: a bit string, or the private key as PKCS#8 in DER (RFC 5208, for X25519 with RFC 8410).
    pub secret: KeyMaterial,
    /// The public half as `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1), for key pairs.
    pub public: Option<Vec<u8>>,
}

/// PKCS#8 around the 32 bytes of an X25519 private key (RFC 8410, section 7), which the library does not write.
const X25519_PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];

/// Generates a key of `bits` bits.
///
/// A key pair takes long where it is RSA: up to seconds for 4096 bits. Do not call it on an asynchronous executor.
///
/// # Errors
/// [`CryptoError::InvalidBitLength`] for lengths that are not generated, [`CryptoError::RefusedAlgorithm`],
/// [`CryptoError::Random`], [`CryptoError::Library`].
pub fn generate(algorithm: &Algorithm, bits: u32) -> Result<Generated, CryptoError> {
    Algorithm::find(algorithm.name)?.check_generated(bits)?;
    if algorithm.kind != Kind::KeyPair {
        let bits = usize::try_from(bits).map_err(|_| CryptoError::Library("bit length"))?;
        return Ok(Generated { secret: KeyMaterial::random(bits)?, public: None });
    }
    let pair = match (algorithm.name, bits) {
        ("rsa", 2048) => rsa_pair(KeySize::Rsa2048),
        ("rsa", 3072) => rsa_pair(KeySize::Rsa3072),
        ("rsa", 4096) => rsa_pair(KeySize::Rsa4096),
        ("ec", 256) => ec_pair(&ECDSA_P256_SHA256_ASN1_SIGNING),
        ("ec", 384) => ec_pair(&ECDSA_P384_SHA384_ASN1_SIGNING),
        ("ec", 521) => ec_pair(&ECDSA_P521_SHA512_ASN1_SIGNING),
        ("ed25519", _) => ed25519_pair(),
        ("x25519", _) => x25519_pair(),
        _ => Err(Unspecified),
    };
    pair.map_err(|_| CryptoError::Library("key pair generation"))
}

fn rsa_pair(size: KeySize) -> Result<Generated, Unspecified> {
    let pair = rsa::KeyPair::generate(size)?;
    let private: Pkcs8V1Der<'_> = pair.as_der()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(generated(private.as_ref(), public.as_ref()))
}

fn ec_pair(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Generated, Unspecified> {
    let pair = EcdsaKeyPair::generate(algorithm)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(generated(pair.to_pkcs8v1()?.as_ref(), public.as_ref()))
}

fn ed25519_pair() -> Result<Generated, Unspecified> {
    let pair = Ed25519KeyPair::generate()?;
    let private: Pkcs8V1Der<'_> = pair.as_der()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(generated(private.as_ref(), public.as_ref()))
}

fn x25519_pair() -> Result<Generated, Unspecified> {
    x25519_encoded(&agreement::PrivateKey::generate(&agreement::X25519)?)
}

fn x25519_encoded(private: &agreement::PrivateKey) -> Result<Generated, Unspecified> {
    let seed: Curve25519SeedBin<'_> = private.as_be_bytes()?;
    let secret = KeyMaterial::from_vec([&X25519_PRIVATE_PREFIX, seed.as_ref()].concat());
    let public: PublicKeyX509Der<'_> = private.compute_public_key()?.as_der()?;
    Ok(Generated { secret, public: Some(public.as_ref().to_vec()) })
}

fn generated(private: &[u8], public: &[u8]) -> Generated {
    Generated { secret: KeyMaterial::copy_from(private), public: Some(public.to_vec()) }
}

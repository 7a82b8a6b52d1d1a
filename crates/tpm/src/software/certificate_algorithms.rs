//! The signature algorithms of certificates, over the same Rust libraries that the rest of this crate uses: they are in the
//! tree anyway, so that no second cryptographic library is linked for a handful of verifications.
//!
//! Refuses: SHA-1, RSA below 2048 bits, curves other than P-256 and P-384.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, PublicKey};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::types::HashAlgorithm;

/// All of them, by key type and hash.
pub(super) static ALL: &[&dyn SignatureVerificationAlgorithm] = &[
    &Rsa(HashAlgorithm::Sha256),
    &Rsa(HashAlgorithm::Sha384),
    &Rsa(HashAlgorithm::Sha512),
    &Ecdsa(Curve::P256, HashAlgorithm::Sha256),
    &Ecdsa(Curve::P256, HashAlgorithm::Sha384),
    &Ecdsa(Curve::P256, HashAlgorithm::Sha512),
    &Ecdsa(Curve::P384, HashAlgorithm::Sha256),
    &Ecdsa(Curve::P384, HashAlgorithm::Sha384),
    &Ecdsa(Curve::P384, HashAlgorithm::Sha512),
];

const LEAST_RSA_BITS: u32 = 2048;

/// RSASSA-PKCS1-v1_5.
#[derive(Debug)]
struct Rsa(HashAlgorithm);

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = PublicKey::from_pkcs1_der(key).map_err(|_| InvalidSignature)?;
        if key.n().bit_width() < LEAST_RSA_BITS {
            return Err(InvalidSignature);
        }
        let scheme = match self.0 {
            HashAlgorithm::Sha256 => Pkcs1v15Sign::new::<sha2::Sha256>(),
            HashAlgorithm::Sha384 => Pkcs1v15Sign::new::<sha2::Sha384>(),
            HashAlgorithm::Sha512 => Pkcs1v15Sign::new::<sha2::Sha512>(),
        };
        key.verify(scheme, &self.0.digest(&[message]), signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            HashAlgorithm::Sha256 => alg_id::RSA_PKCS1_SHA256,
            HashAlgorithm::Sha384 => alg_id::RSA_PKCS1_SHA384,
            HashAlgorithm::Sha512 => alg_id::RSA_PKCS1_SHA512,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Curve {
    P256,
    P384,
}

#[derive(Debug)]
struct Ecdsa(Curve, HashAlgorithm);

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = self.1.digest(&[message]);
        macro_rules! verify {
            ($curve:ident) => {{
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
                let signature =
                    $curve::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
                key.verify_prehash(&digest, &signature).map_err(|_| InvalidSignature)
            }};
        }
        match self.0 {
            Curve::P256 => verify!(p256),
            Curve::P384 => verify!(p384),
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.1 {
            HashAlgorithm::Sha256 => alg_id::ECDSA_SHA256,
            HashAlgorithm::Sha384 => alg_id::ECDSA_SHA384,
            HashAlgorithm::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

//! Sealed data made in software for one TPM (`TPM2_Import`, Part 3, 13.3; Part 1, 23.3): only the TPM that has the private
//! part of the parent can open it, and only while the policy holds.

use zeroize::Zeroizing;

use super::credential::wrap;
use super::exchange::Purpose;
use crate::codec::Wire;
use crate::error::TpmError;
use crate::random;
use crate::types::{Attributes, HashAlgorithm, KeyParameters, Public, Sensitive};

/// What `TPM2_Import` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportBlob {
    /// The public area, with the policy that opens it.
    pub public: Public,
    /// The content of a `TPM2B_PRIVATE`.
    pub duplicate: Vec<u8>,
    /// The content of a `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_seed: Vec<u8>,
}

/// The longest duplicate, in bytes.
pub const MAX_DUPLICATE: usize = 512;

/// What sealed data that travels looks like; neither `fixedTPM` nor `fixedParent`, or no TPM would import it.
pub const TRAVELLING: Attributes = Attributes::ADMIN_WITH_POLICY.with(Attributes::NO_DICTIONARY_ATTACK);

/// Seals `secret` under `policy` to the TPM with the storage key `parent`.
///
/// # Errors
/// [`TpmError::Invalid`] when the parent is no storage key, the secret is empty or longer than 128 bytes, or the policy is
/// not a SHA-256 digest.
pub fn seal_for(parent: &Public, policy: &[u8], secret: &[u8]) -> Result<ImportBlob, TpmError> {
    if secret.is_empty() || secret.len() > Sensitive::MAX_DATA {
        return Err(TpmError::invalid("secret to be sealed", "its length is not in 1 to 128 bytes"));
    }
    let hash = HashAlgorithm::Sha256;
    if policy.len() != hash.size() {
        return Err(TpmError::invalid("policy", "it is not a SHA-256 digest"));
    }
    let sensitive = Sensitive { seed: random::bytes(hash.size())?, data: Zeroizing::new(secret.to_vec()) };
    let public = Public {
        name_algorithm: hash,
        attributes: TRAVELLING,
        auth_policy: policy.to_vec(),
        parameters: KeyParameters::KeyedHash { unique: hash.digest(&[&sensitive.seed, &sensitive.data]) },
    };
    let (duplicate, encrypted_seed) = wrap(parent, &public.name(), Purpose::Import, sensitive.to_sized())?;
    if duplicate.len() > MAX_DUPLICATE || public.to_bytes().len() > Public::MAX_SIZE {
        return Err(TpmError::invalid("secret to be sealed", "the sealed form is too long"));
    }
    Ok(ImportBlob { public, duplicate, encrypted_seed })
}

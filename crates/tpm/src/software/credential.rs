//! Credentials (`TPM2_MakeCredential`, Part 1, 24): a secret that a TPM gives out only if it holds both the endorsement key
//! it was made for and the key whose name is bound into it.

use zeroize::Zeroizing;

use super::cfb_encrypt;
use super::exchange::{Purpose, exchange};
use super::kdf::kdfa;
use crate::codec::Writer;
use crate::error::TpmError;
use crate::types::{Name, Public};

/// A credential, ready for `TPM2_ActivateCredential`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The content of a `TPM2B_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// The content of a `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_seed: Vec<u8>,
}

/// The longest blob, in bytes: two digests with their lengths.
pub const MAX_BLOB: usize = 132;

/// Makes a credential for the TPM with the endorsement key `key` and an object of the name `name`.
///
/// # Errors
/// [`TpmError::Invalid`] when the key is no storage key, or the secret is longer than a digest of its name algorithm.
pub fn make_credential(key: &Public, name: &Name, secret: &[u8]) -> Result<Credential, TpmError> {
    if secret.len() > key.name_algorithm.size() {
        return Err(TpmError::invalid("credential", "the secret is longer than a digest of the key's hash"));
    }
    let mut inner = Writer::secret();
    inner.sized(secret);
    let (blob, encrypted_seed) = wrap(key, name, Purpose::Credential, inner.into_secret())?;
    Ok(Credential { blob, encrypted_seed })
}

/// Encrypts to a storage key and binds to a name: the outer wrap of credentials and imported objects (Part 1, 23.3.2.3).
pub(super) fn wrap(
    key: &Public,
    name: &Name,
    purpose: Purpose,
    mut content: Zeroizing<Vec<u8>>,
) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
    let bits = key.aes_bits().ok_or_else(|| TpmError::invalid("public key", "it is no storage key"))?;
    let exchanged = exchange(key, purpose)?;
    let hash = key.name_algorithm;
    let cipher_key = kdfa(hash, &exchanged.secret, "STORAGE", name.as_bytes(), &[], bits);
    cfb_encrypt(&cipher_key, &[0; 16], &mut content)
        .ok_or_else(|| TpmError::invalid("public key", "its AES key is not of 128 or 256 bits"))?;
    let mac_bits = u16::try_from(hash.size().saturating_mul(8)).unwrap_or_default();
    let mac_key = kdfa(hash, &exchanged.secret, "INTEGRITY", &[], &[], mac_bits);
    let mac = hash.hmac(&mac_key, &[&content, name.as_bytes()]);
    let mut blob = Writer::default();
    blob.sized(&mac).raw(&content);
    Ok((blob.into_vec(), exchanged.encrypted))
}

//! Fingerprints of keys that customers bring, as Python functions over bytes.

use chatelaine_crypto::KeyMaterial;
use chatelaine_crypto::customer_key;
use pyo3::prelude::*;

use crate::raise;

/// A new random salt, of `SALT_LENGTH` bytes.
#[pyfunction]
pub(crate) fn customer_key_salt() -> PyResult<[u8; customer_key::SALT_LENGTH]> {
    customer_key::salt().map_err(raise)
}

/// The fingerprint of a key, under a salt and a context.
#[pyfunction]
pub(crate) fn customer_key_fingerprint(
    key: &[u8],
    salt: &[u8],
    context: &[u8],
) -> PyResult<[u8; customer_key::FINGERPRINT_LENGTH]> {
    customer_key::fingerprint(&KeyMaterial::copy_from(key), salt, context).map_err(raise)
}

/// Raises `WrongKeyError` unless the fingerprint was made of this key with the same salt and context.
#[pyfunction]
pub(crate) fn check_customer_key(
    key: &[u8],
    salt: &[u8],
    context: &[u8],
    fingerprint: &[u8],
) -> PyResult<()> {
    customer_key::check(&KeyMaterial::copy_from(key), salt, context, fingerprint).map_err(raise)
}

//! The native half of the Python package `chatelaine`: what Python cannot do fast, or must not do twice.
//!
//! Owns the edge between Python and the crates, one file for each subject: [`algorithms`], [`customer_key`]. The rules are in
//! the crates; here arguments are taken over and errors become Python's. Modules of the package re-export what is here: nobody else
//! imports `chatelaine._native`, and its names may change.
//!
//! Invariants: key bytes that come in are copied into memory that is wiped ([`KeyMaterial`](chatelaine_crypto::KeyMaterial)); no error
//! carries them. The interpreter is released while a function works long.

mod algorithms;
mod customer_key;

use chatelaine_crypto::CryptoError;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

create_exception!(
    _native,
    WrongKeyError,
    PyValueError,
    "The key is not the one that was used, or what is stored beside it was changed."
);

/// The error as Python knows it.
#[expect(clippy::needless_pass_by_value, reason = "the form in which `map_err` gives it")]
fn raise(error: CryptoError) -> PyErr {
    match error {
        CryptoError::Authentication => WrongKeyError::new_err(error.to_string()),
        CryptoError::Random | CryptoError::Library(_) => {
            pyo3::exceptions::PyRuntimeError::new_err(error.to_string())
        }
        _ => PyValueError::new_err(error.to_string()),
    }
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::WrongKeyError;
    #[pymodule_export]
    use super::algorithms::{Algorithm, DataCipher, algorithms, data_ciphers, find_algorithm};
    #[pymodule_export]
    use super::customer_key::{check_customer_key, customer_key_fingerprint, customer_key_salt};

    /// The version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}

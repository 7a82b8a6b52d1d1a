//! The registry of algorithms, as Python objects.

use chatelaine_crypto::algorithms as registry;
use chatelaine_crypto::{Unit, acceleration};
use pyo3::prelude::*;

use crate::raise;

/// An algorithm that a key can be for.
#[pyclass(frozen, module = "chatelaine.algorithms")]
pub(crate) struct Algorithm(&'static registry::Algorithm);

#[pymethods]
impl Algorithm {
    /// The canonical name, in lower case.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name
    }

    /// Other names that are understood.
    #[getter]
    fn aliases(&self) -> Vec<&'static str> {
        self.0.aliases.to_vec()
    }

    /// `symmetric`, `mac`, `key-pair` or `opaque`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.name()
    }

    /// Key lengths that may be stored, in words.
    #[getter]
    fn bit_lengths(&self) -> String {
        self.0.bit_lengths.to_string()
    }

    /// Key lengths that can be generated, in words.
    #[getter]
    fn generated(&self) -> String {
        self.0.generated.to_string()
    }

    /// The key length that is taken where none is given, in bits; 0 where one must be given.
    #[getter]
    fn default_bits(&self) -> u32 {
        self.0.default_bits
    }

    /// Modes of operation, where it has them.
    #[getter]
    fn modes(&self) -> Vec<&'static str> {
        self.0.modes.iter().map(|mode| mode.name).collect()
    }

    /// `recommended`, `allowed` or `refused`.
    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.name()
    }

    /// Why it is refused and what to use instead; nothing where it may be used.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.0.status.reason()
    }

    /// Whether this processor has units for it.
    #[getter]
    fn accelerated(&self) -> bool {
        accelerated(self.0.units)
    }

    /// Whether keys of so many bits may be stored.
    fn stores(&self, bits: u32) -> bool {
        self.0.bit_lengths.contains(bits)
    }

    /// Whether keys of so many bits can be generated.
    fn generates(&self, bits: u32) -> bool {
        self.0.generated.contains(bits)
    }

    fn __repr__(&self) -> String {
        format!("<Algorithm {}: {}>", self.0.name, self.0.status.name())
    }
}

/// A way to encrypt bulk data.
#[pyclass(frozen, module = "chatelaine.algorithms")]
pub(crate) struct DataCipher(&'static registry::DataCipher);

#[pymethods]
impl DataCipher {
    /// The canonical name, in lower case, as in the metadata of objects.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name
    }

    /// The name of the algorithm its keys are for.
    #[getter]
    fn algorithm(&self) -> &'static str {
        self.0.algorithm
    }

    /// The mode of that algorithm.
    #[getter]
    fn mode(&self) -> &'static str {
        self.0.mode
    }

    /// The key length in bits; for XTS that of both keys together.
    #[getter]
    fn key_bits(&self) -> u32 {
        self.0.key_bits
    }

    /// Whether a change of the stored data is noticed.
    #[getter]
    fn authenticated(&self) -> bool {
        self.0.authenticated
    }

    /// Whether the encrypted data is as long as the plain data, a header aside.
    #[getter]
    fn length_preserving(&self) -> bool {
        self.0.length_preserving
    }

    /// Whether a part can be read without reading everything before it.
    #[getter]
    fn random_access(&self) -> bool {
        self.0.random_access
    }

    /// `recommended`, `allowed` or `refused`.
    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.name()
    }

    /// Why it is refused and what to use instead; nothing where it may be used.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.0.status.reason()
    }

    /// Whether this processor has units for it.
    #[getter]
    fn accelerated(&self) -> bool {
        accelerated(self.0.units)
    }

    fn __repr__(&self) -> String {
        format!("<DataCipher {}: {}>", self.0.name, self.0.status.name())
    }
}

/// Every algorithm a key can be for, refused ones at the end.
#[pyfunction]
pub(crate) fn algorithms() -> Vec<Algorithm> {
    registry::ALGORITHMS.iter().map(Algorithm).collect()
}

/// Every way to encrypt bulk data, refused ones at the end.
#[pyfunction]
pub(crate) fn data_ciphers() -> Vec<DataCipher> {
    registry::DATA_CIPHERS.iter().map(DataCipher).collect()
}

/// The usable algorithm of that name or alias. `ValueError` where there is none, or it is refused; it says what there is.
#[pyfunction]
pub(crate) fn find_algorithm(name: &str) -> PyResult<Algorithm> {
    registry::Algorithm::find(name).map(Algorithm).map_err(raise)
}

fn accelerated(units: &[Unit]) -> bool {
    let acceleration = acceleration();
    units.iter().any(|unit| acceleration.has(*unit))
}

//! Secrets on their way into a TPM. Invariant: wiped when dropped, never printed.

use std::fmt;

use zeroize::Zeroizing;

use super::HashAlgorithm;
use crate::codec::Writer;
use crate::error::TpmError;

const TYPE_KEYED_HASH: u16 = 0x0008;

/// An authorization value (`TPM2B_AUTH`), without the zeros at its end, which the TPM ignores (Part 1, 19.6.4.3).
#[derive(Clone, Default)]
pub struct AuthValue(Zeroizing<Vec<u8>>);

impl AuthValue {
    /// A value of at most 64 bytes; empty is "none".
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it is longer.
    pub fn new(value: &[u8]) -> Result<Self, TpmError> {
        if value.len() > HashAlgorithm::MAX_SIZE {
            return Err(TpmError::invalid("authorization value", "it is longer than 64 bytes"));
        }
        let length = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        Ok(Self(Zeroizing::new(value.get(..length).unwrap_or_default().to_vec())))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthValue(..)")
    }
}

/// The secret part of sealed data (`TPMT_SENSITIVE`, Part 2, 12.3.2.4).
pub struct Sensitive {
    pub(crate) seed: Zeroizing<Vec<u8>>,
    pub(crate) data: Zeroizing<Vec<u8>>,
}

impl Sensitive {
    /// The most that can be sealed, in bytes (`MAX_SYM_DATA`).
    pub const MAX_DATA: usize = 128;

    /// The structure with its length in front.
    pub(crate) fn to_sized(&self) -> Zeroizing<Vec<u8>> {
        let mut inner = Writer::secret();
        // No authorization value: data that travels opens by its policy alone.
        inner.u16(TYPE_KEYED_HASH).sized(&[]).sized(&self.seed).sized(&self.data);
        let mut outer = Writer::secret();
        outer.sized(inner.as_slice());
        outer.into_secret()
    }
}

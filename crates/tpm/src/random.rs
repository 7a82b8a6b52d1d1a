//! The operating system's random generator, the only source of randomness here.

use zeroize::Zeroizing;

use crate::error::TpmError;

/// That many random bytes, wiped when dropped.
pub(crate) fn bytes(count: usize) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    getrandom::fill(&mut bytes).map_err(|_| TpmError::Random)?;
    Ok(bytes)
}

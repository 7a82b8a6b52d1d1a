//! Random bytes.
//!
//! Owns the two sources of the crate. Secret bit strings come from the operating system's generator (`getrandom(2)`), which mixes in
//! the processor's generator and blocks until it is seeded. Nonces, other public values and key pairs come from the library's
//! generator, which is seeded from the same source and is an order of magnitude faster.
//!
//! Invariant: an error is reported, never papered over with fewer or weaker bytes.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::CryptoError;

/// Fills `destination` from the operating system's random generator. Meant for keys.
///
/// # Errors
/// [`CryptoError::Random`] if the system gives no bytes.
pub fn fill_secret(destination: &mut [u8]) -> Result<(), CryptoError> {
    let mut remaining = destination;
    while !remaining.is_empty() {
        match getrandom(&mut *remaining, GetRandomFlags::empty()) {
            Ok(0) => return Err(CryptoError::Random),
            Ok(written) => remaining = remaining.get_mut(written..).ok_or(CryptoError::Random)?,
            Err(Errno::INTR) => {}
            Err(_) => return Err(CryptoError::Random),
        }
    }
    Ok(())
}

/// Fills `destination` from the library's generator. Meant for nonces, identifiers and challenges, not for keys.
///
/// # Errors
/// [`CryptoError::Random`] if the generator cannot be seeded.
pub fn fill_public(destination: &mut [u8]) -> Result<(), CryptoError> {
    aws_lc_rs::rand::fill(destination).map_err(|_| CryptoError::Random)
}

/// A byte whose `unused` low-order bits are zero and all others one.
pub(crate) fn mask(unused: usize) -> u8 {
    u32::try_from(unused).ok().and_then(|bits| 0xff_u8.checked_shl(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_give_different_bytes_each_time() {
        let mut first = [0_u8; 64];
        let mut second = [0_u8; 64];
        fill_secret(&mut first).unwrap();
        fill_secret(&mut second).unwrap();
        assert_ne!(first, second);
        assert_ne!(first, [0; 64]);
        fill_public(&mut first).unwrap();
        fill_public(&mut second).unwrap();
        assert_ne!(first, second);
        assert_ne!(first, [0; 64]);
    }

    #[test]
    fn mask_clears_low_bits() {
        assert_eq!([mask(0), mask(1), mask(7), mask(8)], [0xff, 0xfe, 0x80, 0]);
    }
}

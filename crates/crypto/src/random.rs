//! Random bytes.
//!
//! Owns the two sources of the crate. Secret bit strings come from the operating system's generator (`getrandom(2)`), which mixes in
//! the processor's generator and blocks until it is seeded. Nonces, other public values and key pairs come from the library's
//! generator, which is seeded from the same source and is an order of magnitude faster.
//!
//! Invariant: an error is reported, never papered over with fewer or weaker bytes.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::{CryptoError, KeyMaterial, kdf};

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

/// Makes a random key of `bits` bits with `extra` (for example a TPM's random bytes) mixed in.
///
/// The system's bytes are combined by XOR with HKDF output over `extra`, so the result is at least as unpredictable as
/// the system's generator alone, whatever `extra` is.
///
/// # Errors
/// As [`KeyMaterial::random`].
pub fn mixed(bits: usize, extra: &[u8]) -> Result<KeyMaterial, CryptoError> {
    let mut key = KeyMaterial::random(bits)?;
    let unused = key.len().saturating_mul(8).saturating_sub(bits);
    let seed = kdf::hkdf_sha256(extra, b"chatelaine random mix v1", b"", 32)?;
    // One HKDF expansion ends at 8160 bytes; the largest key is 8192, so each block is derived on its own.
    for (index, block) in key.expose_mut().chunks_mut(1024).enumerate() {
        let index = u32::try_from(index).map_err(|_| CryptoError::Random)?;
        let pad = kdf::derive(&seed, "random mix block", &[&index.to_be_bytes()], block.len())?;
        for (byte, pad) in block.iter_mut().zip(pad.expose()) {
            *byte ^= pad;
        }
    }
    if let Some(last) = key.expose_mut().last_mut() {
        *last &= mask(unused);
    }
    Ok(key)
}

/// A byte whose `unused` low-order bits are zero and all others one.
pub(crate) fn mask(unused: usize) -> u8 {
    u32::try_from(unused).ok().and_then(|bits| 0xff_u8.checked_shl(bits)).unwrap_or(0)
}

/// Random bytes of a fixed size, wiped on drop.
///
/// # Errors
/// [`CryptoError::Random`] if the generator cannot be seeded.
pub fn public_array<const N: usize>() -> Result<Zeroizing<[u8; N]>, CryptoError> {
    let mut bytes = Zeroizing::new([0_u8; N]);
    fill_public(bytes.as_mut())?;
    Ok(bytes)
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
        assert_ne!(*public_array::<32>().unwrap(), *public_array::<32>().unwrap());
    }

    #[test]
    fn mixing_keeps_the_length_and_the_unused_bits() {
        for bits in [8, 9, 127, 256, 65_535, 65_536] {
            let key = mixed(bits, b"from a TPM").unwrap();
            assert_eq!(key.len(), bits.div_ceil(8));
            let unused = key.len() * 8 - bits;
            assert_eq!(key.expose().last().unwrap() & !mask(unused), 0);
        }
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            assert!(seen.insert(mixed(256, b"same extra").unwrap().expose().to_vec()));
        }
        assert!(mixed(7, b"").is_err());
    }

    #[test]
    fn mask_clears_low_bits() {
        assert_eq!([mask(0), mask(1), mask(7), mask(8)], [0xff, 0xfe, 0x80, 0]);
    }
}

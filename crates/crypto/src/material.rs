//! Secret bytes in memory.
//!
//! Owns [`KeyMaterial`], the only type in which secrets may be kept for longer than a function call.
//!
//! Invariants: the bytes are in memory that is locked against swap (where `RLIMIT_MEMLOCK` allows it) and left out of
//! core dumps; they are wiped before that memory is used again; the length never changes.
//!
//! Refuses: `Clone`, `Display`, serialization, `==` (see [`KeyMaterial::ct_eq`]) and any `Debug` output that would say
//! something about the content.

// The only unsafe code of the workspace; each block carries its argument.
#[allow(unsafe_code)]
mod locked;
#[cfg(test)]
mod tests;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub(crate) use locked::Locked;

use crate::{CryptoError, random};

/// The shortest random key, in bits.
pub const MINIMUM_RANDOM_BITS: usize = 8;
/// The longest random key, in bits.
pub const MAXIMUM_RANDOM_BITS: usize = 65_536;

/// Secret bytes: wiped on drop, locked against swap where the system allows it, never in a core dump.
pub struct KeyMaterial {
    bytes: locked::Slot,
}

impl KeyMaterial {
    /// Makes a random key of `bits` bits, 8 to 65 536, from the operating system's generator.
    ///
    /// The key takes `bits / 8` bytes, rounded up; where `bits` is not a multiple of 8 the unused low-order bits of the
    /// last byte are zero.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] outside the range, [`CryptoError::Random`] if the system gives no bytes.
    pub fn random(bits: usize) -> Result<Self, CryptoError> {
        if !(MINIMUM_RANDOM_BITS..=MAXIMUM_RANDOM_BITS).contains(&bits) {
            return Err(CryptoError::InvalidLength {
                what: "random key, in bits,",
                length: bits,
                allowed: "8 to 65536 bits",
            });
        }
        let mut material = Self::zeroed(bits.div_ceil(8));
        random::fill_secret(material.expose_mut())?;
        let unused = material.len().saturating_mul(8).saturating_sub(bits);
        if let Some(last) = material.expose_mut().last_mut() {
            *last &= random::mask(unused);
        }
        Ok(material)
    }

    /// Copies `bytes`. The source stays as it is: wiping it is up to its owner.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut material = Self::zeroed(bytes.len());
        material.expose_mut().copy_from_slice(bytes);
        material
    }

    /// Copies `bytes` and wipes the source, its spare capacity included.
    #[must_use]
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        let material = Self::copy_from(&bytes);
        bytes.zeroize();
        material
    }

    /// `length` zero bytes, to be filled through [`KeyMaterial::expose_mut`].
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        Self { bytes: locked::Slot::allocate(length) }
    }

    /// The secret bytes. Copies made of them are not wiped by this type.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The secret bytes, for filling in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut_slice()
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares in time that depends on the lengths only, not on the content.
    #[must_use]
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.expose().ct_eq(other).into()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyMaterial(secret)")
    }
}

/// Whether the memory of all key material so far could be locked against swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLock {
    /// All of it is locked.
    Locked,
    /// Some of it is not, usually because `RLIMIT_MEMLOCK` is too small; secrets may reach the swap device.
    Partial {
        /// The largest amount of secret memory, in bytes, that was unlocked at any one time.
        unlocked_bytes: usize,
    },
}

/// Tells whether the memory of all key material so far could be locked against swap.
#[must_use]
pub fn memory_lock() -> MemoryLock {
    match locked::peak_unlocked_bytes() {
        0 => MemoryLock::Locked,
        unlocked_bytes => MemoryLock::Partial { unlocked_bytes },
    }
}

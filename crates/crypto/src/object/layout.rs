//! Lengths and places: how plain data and encrypted data of an object lie to each other. No key is needed for it.
//!
//! Invariant: all arithmetic is checked; what does not fit is an error.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::ops::Range;

use super::sealed::TAG_LENGTH;
use super::{BLOCK_LENGTH, Cipher, Mode};
use crate::CryptoError;

/// The plain bytes of an authenticated chunk where nothing else is asked for.
pub const DEFAULT_CHUNK_LENGTH: usize = 1 << DEFAULT_CHUNK_EXPONENT;
/// The bytes of an XTS sector.
pub const SECTOR_LENGTH: usize = 4096;
/// The longest object, in plain bytes: 16 TiB. Far below what any of the ciphers permits under one key (2^40 blocks).
pub const MAXIMUM_PLAIN_LENGTH: u64 = 1 << 44;

pub(super) const DEFAULT_CHUNK_EXPONENT: u8 = 16;
/// Chunks have 4 KiB to 4 MiB: a chunk is held in memory, and costs a tag.
const CHUNK_EXPONENTS: std::ops::RangeInclusive<u8> = 12..=22;
const TAG: u64 = TAG_LENGTH as u64;
const BLOCK: u64 = BLOCK_LENGTH as u64;

/// What the length of the encrypted data says about that of the plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainLength {
    /// It is this.
    Exact(u64),
    /// It is one of these, and which of them only the padding tells.
    Between {
        /// The least it can be.
        least: u64,
        /// The most it can be.
        most: u64,
    },
}

/// How the body of an object is cut, which follows from its cipher and chunk length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    mode: Mode,
    exponent: u8,
}

impl Layout {
    /// The layout of objects that are encrypted with default parameters.
    #[must_use]
    pub fn of(cipher: Cipher) -> Self {
        let exponent = match cipher.mode() {
            Mode::Gcm | Mode::ChaCha => DEFAULT_CHUNK_EXPONENT,
            Mode::Xts => 12,
            Mode::Ctr | Mode::Cbc => 4,
        };
        Self { mode: cipher.mode(), exponent }
    }

    /// The layout with chunks of `2^exponent` bytes, if the cipher has such.
    pub(super) fn with_exponent(cipher: Cipher, exponent: u8) -> Option<Self> {
        let layout = Self::of(cipher);
        let possible = if layout.is_sealed() {
            CHUNK_EXPONENTS.contains(&exponent)
        } else {
            exponent == layout.exponent
        };
        possible.then_some(Self { exponent, ..layout })
    }

    /// The layout with chunks of `length` bytes.
    pub(super) fn with_chunk_length(cipher: Cipher, length: usize) -> Result<Self, CryptoError> {
        let exponent = u8::try_from(length.trailing_zeros()).unwrap_or(u8::MAX);
        let layout = length.is_power_of_two().then(|| Self::with_exponent(cipher, exponent)).flatten();
        layout.ok_or(CryptoError::InvalidLength {
            what: "chunk of an object, in bytes,",
            length,
            allowed: "a power of two from 4096 to 4194304 bytes, for the authenticated ciphers only",
        })
    }

    /// Bytes of plain data that are encrypted together: a chunk, a sector or a block.
    #[must_use]
    pub fn unit_length(&self) -> usize {
        1_usize.checked_shl(u32::from(self.exponent)).unwrap_or(usize::MAX)
    }

    /// Bytes of encrypted data that a whole unit makes.
    #[must_use]
    pub fn encrypted_unit_length(&self) -> usize {
        self.unit_length().saturating_add(if self.is_sealed() { TAG_LENGTH } else { 0 })
    }

    /// How many bytes `plain` bytes make when encrypted, the header aside.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] beyond [`MAXIMUM_PLAIN_LENGTH`].
    pub fn encrypted_length(&self, plain: u64) -> Result<u64, CryptoError> {
        if plain > MAXIMUM_PLAIN_LENGTH {
            return Err(too_long(plain));
        }
        let whole = plain.checked_div(self.unit()).unwrap_or_default();
        let length = match self.mode {
            // A chunk that is not full ends every object.
            Mode::Gcm | Mode::ChaCha => {
                whole.checked_add(1).and_then(|n| n.checked_mul(TAG)).and_then(|n| n.checked_add(plain))
            }
            Mode::Xts | Mode::Ctr => Some(plain),
            Mode::Cbc => whole.checked_add(1).and_then(|n| n.checked_mul(BLOCK)),
        };
        length.ok_or_else(|| too_long(plain))
    }

    /// How many bytes of plain data are in `encrypted` bytes, the header aside.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`] for a length that no object has, [`CryptoError::InvalidLength`] beyond
    /// [`MAXIMUM_PLAIN_LENGTH`].
    pub fn plain_length(&self, encrypted: u64) -> Result<PlainLength, CryptoError> {
        let unit = self.encrypted_unit();
        let (whole, rest) = (
            encrypted.checked_div(unit).unwrap_or_default(),
            encrypted.checked_rem(unit).unwrap_or_default(),
        );
        let length = match self.mode {
            Mode::Gcm | Mode::ChaCha => {
                let last = rest.checked_sub(TAG).ok_or(CryptoError::InvalidFormat(
                    "no object has encrypted data of this length: it was cut off or extended",
                ))?;
                let plain = whole.checked_mul(self.unit()).and_then(|n| n.checked_add(last));
                PlainLength::Exact(plain.ok_or_else(|| too_long(encrypted))?)
            }
            Mode::Xts | Mode::Ctr => PlainLength::Exact(encrypted),
            Mode::Cbc => {
                if rest != 0 || encrypted == 0 {
                    return Err(CryptoError::InvalidFormat(
                        "encrypted data of AES-CBC is a multiple of 16 bytes and not empty: it was cut off or extended",
                    ));
                }
                PlainLength::Between {
                    least: encrypted.saturating_sub(BLOCK),
                    most: encrypted.saturating_sub(1),
                }
            }
        };
        let (PlainLength::Exact(least) | PlainLength::Between { least, .. }) = length;
        if least > MAXIMUM_PLAIN_LENGTH { Err(too_long(least)) } else { Ok(length) }
    }

    /// The encrypted bytes that are needed to read `plain` of an object, the header aside. They begin and end with whole
    /// units, or at the object's end; for AES-CBC they begin with the block before.
    ///
    /// `total` is the length of the object's plain data, where it is known already: then the answer ends with the object
    /// at the latest, and a range that reaches beyond it is cut to it.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`] for a range that is empty or begins behind the end,
    /// [`CryptoError::InvalidLength`] beyond [`MAXIMUM_PLAIN_LENGTH`].
    pub fn encrypted_range(&self, plain: Range<u64>, total: Option<u64>) -> Result<Range<u64>, CryptoError> {
        let end = plain.end.min(total.unwrap_or(u64::MAX));
        if plain.start >= end {
            return Err(CryptoError::InvalidFormat("a range must hold at least one byte of the object"));
        }
        if end > MAXIMUM_PLAIN_LENGTH {
            return Err(too_long(end));
        }
        let first = self.unit_of(plain.start);
        let last = self.unit_of(end.saturating_sub(1));
        // The block before gives AES-CBC what it needs to begin.
        let first = if self.mode == Mode::Cbc { first.saturating_sub(1) } else { first };
        let start = first.checked_mul(self.encrypted_unit());
        let behind = last.checked_add(1).and_then(|n| n.checked_mul(self.encrypted_unit()));
        let (Some(start), Some(behind)) = (start, behind) else { return Err(too_long(end)) };
        Ok(start..behind.min(match total {
            Some(total) => self.encrypted_length(total)?,
            None => u64::MAX,
        }))
    }

    /// The number of the unit that the plain byte `at` is in.
    pub(super) fn unit_of(&self, at: u64) -> u64 {
        at.checked_div(self.unit()).unwrap_or_default()
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn exponent(&self) -> u8 {
        self.exponent
    }

    fn is_sealed(&self) -> bool {
        matches!(self.mode, Mode::Gcm | Mode::ChaCha)
    }

    fn unit(&self) -> u64 {
        1_u64.checked_shl(u32::from(self.exponent)).unwrap_or(u64::MAX)
    }

    fn encrypted_unit(&self) -> u64 {
        self.unit().saturating_add(if self.is_sealed() { TAG } else { 0 })
    }
}

fn too_long(length: u64) -> CryptoError {
    CryptoError::InvalidLength {
        what: "object, in bytes,",
        length: usize::try_from(length).unwrap_or(usize::MAX),
        allowed: "at most 17592186044416 bytes (16 TiB)",
    }
}

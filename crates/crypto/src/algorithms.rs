//! The registry of algorithms.
//!
//! Owns the one table ([`ALGORITHMS`], [`DATA_CIPHERS`]) from which the discovery route, validation and documentation
//! derive, and the detection of the processor's cryptographic units ([`acceleration`]).
//!
//! Invariants: names, aliases and numbers are unique; numbers are never reused, because envelopes carry them; an
//! algorithm that is refused stays in the table with the reason, so that a request for it gets an explanation.
//!
//! Refuses: unknown names, lengths and modes, each with an error that lists what is allowed.

mod acceleration;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

pub use acceleration::{Acceleration, Unit, acceleration};
pub use table::{ALGORITHMS, DATA_CIPHERS, DEFAULT_DATA_CIPHER};

use crate::CryptoError;

/// What sort of key or secret an algorithm has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A key of a cipher: any random string of its length.
    Symmetric,
    /// A key for message authentication: any random string of its length.
    Mac,
    /// A private key with its public half, encoded as PKCS#8; the bit length is the strength parameter, not the size.
    KeyPair,
    /// Bytes that mean nothing to the key manager: passphrases, certificates, anything.
    Opaque,
}

impl Kind {
    /// The name in interfaces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::Mac => "mac",
            Self::KeyPair => "key-pair",
            Self::Opaque => "opaque",
        }
    }

    /// Whether a key of `bits` bits is a string of exactly that many bits, so that the two lengths can be compared.
    #[must_use]
    pub fn is_bit_string(self) -> bool {
        !matches!(self, Self::KeyPair)
    }
}

/// The key lengths of an algorithm, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitLengths {
    /// None: the algorithm is refused, or never generated.
    None,
    /// Exactly these.
    List(&'static [u32]),
    /// Every multiple of `step` from `minimum` to `maximum`, both included.
    Range {
        /// The shortest.
        minimum: u32,
        /// The longest.
        maximum: u32,
        /// Lengths are multiples of this.
        step: u32,
    },
}

impl BitLengths {
    /// Whether `bits` is one of them.
    #[must_use]
    pub fn contains(&self, bits: u32) -> bool {
        match *self {
            Self::None => false,
            Self::List(list) => list.contains(&bits),
            Self::Range { minimum, maximum, step } => {
                (minimum..=maximum).contains(&bits) && bits.is_multiple_of(step)
            }
        }
    }
}

impl fmt::Display for BitLengths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                write!(formatter, "{} bits", list.join(", "))
            }
            Self::Range { minimum, maximum, step: 1 } => write!(formatter, "{minimum} to {maximum} bits"),
            Self::Range { minimum, maximum, step } => {
                write!(formatter, "{minimum} to {maximum} bits in steps of {step}")
            }
        }
    }
}

/// Whether an algorithm may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The choice for something new.
    Recommended,
    /// Sound, but with a better choice for something new.
    Allowed,
    /// Named so that it can be explained, and never used. The text says why and what to use instead.
    Refused(&'static str),
}

impl Status {
    /// The name in interfaces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recommended => "recommended",
            Self::Allowed => "allowed",
            Self::Refused(_) => "refused",
        }
    }

    /// Why it is refused and what to use instead; nothing where it may be used.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Recommended | Self::Allowed => None,
        }
    }
}

/// A mode of operation and the key lengths it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The name, in lower case.
    pub name: &'static str,
    /// Key lengths in bits.
    pub bit_lengths: BitLengths,
}

/// An algorithm that a stored key can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    /// The number that stands for it in envelopes. Never reused.
    pub number: u16,
    /// The canonical name, in lower case.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What sort of key it has.
    pub kind: Kind,
    /// Key lengths that may be stored, in bits.
    pub bit_lengths: BitLengths,
    /// Key lengths the server can generate, in bits.
    pub generated: BitLengths,
    /// The key length that is taken where none is given, in bits; 0 where one must be given.
    pub default_bits: u32,
    /// Modes of operation, where the algorithm has them.
    pub modes: &'static [Mode],
    /// The processor's units its implementation runs on where they are there; empty where it has none.
    pub units: &'static [Unit],
    /// Whether it may be used.
    pub status: Status,
}

impl Algorithm {
    /// The algorithm of that name or alias, refused ones included. Case and `_` for `-` make no difference.
    #[must_use]
    pub fn lookup(name: &str) -> Option<&'static Self> {
        ALGORITHMS.iter().find(|entry| names_match(entry.name, entry.aliases, name))
    }

    /// The usable algorithm of that name or alias.
    ///
    /// # Errors
    /// [`CryptoError::UnknownAlgorithm`] with the names there are, [`CryptoError::RefusedAlgorithm`] with the reason.
    pub fn find(name: &str) -> Result<&'static Self, CryptoError> {
        Self::lookup(name).ok_or_else(|| unknown(name, usable_names()))?.usable()
    }

    /// The usable algorithm with that number in envelopes.
    ///
    /// # Errors
    /// As [`Algorithm::find`].
    pub fn by_number(number: u16) -> Result<&'static Self, CryptoError> {
        ALGORITHMS
            .iter()
            .find(|entry| entry.number == number)
            .ok_or_else(|| unknown(&format!("number {number}"), usable_names()))?
            .usable()
    }

    /// Checks that keys of `bits` bits exist, whether or not the server could generate them.
    ///
    /// # Errors
    /// [`CryptoError::InvalidBitLength`] with the lengths there are.
    pub fn check_bits(&self, bits: u32) -> Result<(), CryptoError> {
        self.check(&self.bit_lengths, bits)
    }

    /// Checks that the server can generate a key of `bits` bits.
    ///
    /// # Errors
    /// [`CryptoError::InvalidBitLength`] with the lengths there are.
    pub fn check_generated(&self, bits: u32) -> Result<(), CryptoError> {
        self.check(&self.generated, bits)
    }

    /// Checks that `mode` exists and takes keys of `bits` bits.
    ///
    /// # Errors
    /// [`CryptoError::InvalidMode`] or [`CryptoError::InvalidBitLength`] with what is allowed.
    pub fn check_mode(&self, mode: &str, bits: u32) -> Result<(), CryptoError> {
        let found = self.modes.iter().find(|entry| entry.name.eq_ignore_ascii_case(mode));
        match found {
            Some(found) => self.check(&found.bit_lengths, bits),
            None => Err(CryptoError::InvalidMode {
                name: self.name,
                mode: shorten(mode),
                allowed: join(self.modes.iter().map(|mode| mode.name)),
            }),
        }
    }

    fn check(&self, allowed: &BitLengths, bits: u32) -> Result<(), CryptoError> {
        if allowed.contains(bits) {
            return Ok(());
        }
        Err(CryptoError::InvalidBitLength { name: self.name, bits, allowed: allowed.to_string() })
    }

    fn usable(&'static self) -> Result<&'static Self, CryptoError> {
        refuse(self.name, self.status).map(|()| self)
    }
}

/// Checks algorithm, bit length and, where given, mode of a key. The length of a key string is not checked here: it
/// differs from the bit length where the string is wrapped or is a key pair.
///
/// # Errors
/// [`CryptoError::UnknownAlgorithm`], [`CryptoError::RefusedAlgorithm`], [`CryptoError::InvalidBitLength`],
/// [`CryptoError::InvalidMode`]; each says what is allowed.
pub fn validate(name: &str, bits: u32, mode: Option<&str>) -> Result<&'static Algorithm, CryptoError> {
    let algorithm = Algorithm::find(name)?;
    algorithm.check_bits(bits)?;
    if let Some(mode) = mode {
        algorithm.check_mode(mode, bits)?;
    }
    Ok(algorithm)
}

/// A way to encrypt bulk data, named as in object metadata and encryption defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataCipher {
    /// The canonical name, in lower case.
    pub name: &'static str,
    /// The name in [`ALGORITHMS`] of the algorithm its keys are for.
    pub algorithm: &'static str,
    /// The mode of that algorithm.
    pub mode: &'static str,
    /// The key length in bits; for XTS that of both keys together.
    pub key_bits: u32,
    /// Whether a change of the stored data is noticed.
    pub authenticated: bool,
    /// Whether the encrypted data is as long as the plain data, a header aside.
    pub length_preserving: bool,
    /// Whether a part can be read without reading everything before it.
    pub random_access: bool,
    /// The processor's units its implementation runs on where they are there.
    pub units: &'static [Unit],
    /// Whether it may be used.
    pub status: Status,
}

impl DataCipher {
    /// The data cipher of that name, refused ones included. Case and `_` for `-` make no difference.
    #[must_use]
    pub fn lookup(name: &str) -> Option<&'static Self> {
        DATA_CIPHERS.iter().find(|entry| names_match(entry.name, &[], name))
    }

    /// The usable data cipher of that name.
    ///
    /// # Errors
    /// [`CryptoError::UnknownAlgorithm`] with the names there are, [`CryptoError::RefusedAlgorithm`] with the reason.
    pub fn find(name: &str) -> Result<&'static Self, CryptoError> {
        let usable = DATA_CIPHERS.iter().filter(|entry| !matches!(entry.status, Status::Refused(_)));
        let entry = Self::lookup(name).ok_or_else(|| unknown(name, join(usable.map(|entry| entry.name))))?;
        refuse(entry.name, entry.status).map(|()| entry)
    }
}

fn names_match(name: &str, aliases: &[&str], wanted: &str) -> bool {
    std::iter::once(&name).chain(aliases).any(|candidate| {
        candidate.len() == wanted.len()
            && candidate.bytes().zip(wanted.bytes()).all(|(left, right)| fold(left) == fold(right))
    })
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

fn refuse(name: &'static str, status: Status) -> Result<(), CryptoError> {
    match status {
        Status::Refused(reason) => Err(CryptoError::RefusedAlgorithm { name, reason }),
        Status::Recommended | Status::Allowed => Ok(()),
    }
}

fn usable_names() -> String {
    join(
        ALGORITHMS.iter().filter(|entry| !matches!(entry.status, Status::Refused(_))).map(|entry| entry.name),
    )
}

fn unknown(name: &str, allowed: String) -> CryptoError {
    CryptoError::UnknownAlgorithm { name: shorten(name), allowed }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Keeps a caller's text short enough for an error message; its `Debug` form escapes control characters.
fn shorten(text: &str) -> String {
    text.chars().take(48).collect()
}

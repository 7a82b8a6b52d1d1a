//! The TPM's structures, as far as this client uses them.
//!
//! Owns: hash algorithms and [`Name`]s here, public areas ([`public`]), register selections and values ([`pcr`]),
//! signatures ([`signature`]), quotes ([`quote`]), secrets on their way into a TPM ([`sensitive`]).
//!
//! Invariant: a value of these types fits the wire format; reading and writing are inverse.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod pcr;
pub mod public;
pub mod quote;
pub mod sensitive;
pub mod signature;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::codec::{Malformed, Reader, Wire, Writer};

pub use pcr::{PcrSelection, PcrValues};
pub use public::{Attributes, Curve, KeyParameters, Public};
pub use quote::Quote;
pub use sensitive::{AuthValue, Sensitive};
pub use signature::EcdsaSignature;

/// `TPM_ALG_NULL`: no algorithm.
pub(crate) const ALGORITHM_NULL: u16 = 0x0010;

/// A hash algorithm (`TPMI_ALG_HASH`, Part 2, 9.27); SHA-1 is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl HashAlgorithm {
    /// The longest digest, in bytes.
    pub const MAX_SIZE: usize = 64;

    /// The number on the wire.
    #[must_use]
    pub fn id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The algorithm of a number.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|known| known.id() == id)
    }

    /// The name that selections of registers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest, in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of the parts after one another.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut state = D::new();
            parts.iter().for_each(|part| state.update(part));
            state.finalize().to_vec()
        }
        match self {
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha384 => digest::<Sha384>(parts),
            Self::Sha512 => digest::<Sha512>(parts),
        }
    }

    /// The HMAC of the parts after one another.
    #[must_use]
    pub fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
            // HMAC takes keys of any length; the other case cannot be reached and gives no usable tag.
            let Ok(mut state) = <M as KeyInit>::new_from_slice(key) else { return Zeroizing::default() };
            parts.iter().for_each(|part| state.update(part));
            Zeroizing::new(state.finalize().into_bytes().to_vec())
        }
        match self {
            Self::Sha256 => hmac::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => hmac::<Hmac<Sha384>>(key, parts),
            Self::Sha512 => hmac::<Hmac<Sha512>>(key, parts),
        }
    }
}

impl Wire for HashAlgorithm {
    const WHAT: &'static str = "hash algorithm";

    fn write(&self, writer: &mut Writer) {
        writer.u16(self.id());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_id(reader.u16()?)
            .ok_or_else(|| reader.malformed("the hash algorithm is not SHA-256, SHA-384 or SHA-512"))
    }
}

/// The name of an object (Part 1, 16): what policies, credentials and enrolments refer to.
///
/// Of an object with a public area it is the hash algorithm followed by the hash of the area; of registers, sessions and
/// hierarchies it is the handle.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The longest name, in bytes.
    pub const MAX_SIZE: usize = 66;

    /// The name of what has no public area.
    #[must_use]
    pub fn of_handle(handle: u32) -> Self {
        Self(handle.to_be_bytes().to_vec())
    }

    /// The name of what has the public area `area`.
    #[must_use]
    pub fn of_area(algorithm: HashAlgorithm, area: &[u8]) -> Self {
        let mut name = algorithm.id().to_be_bytes().to_vec();
        name.extend(algorithm.digest(&[area]));
        Self(name)
    }

    /// The name of an object in hexadecimal digits, as [`Name`] displays it.
    ///
    /// # Errors
    /// [`Malformed`] when it is not that.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |problem| Malformed { what: "name", problem };
        let digits = text.as_bytes();
        if !text.is_ascii() || digits.len() > 2 * Self::MAX_SIZE {
            return Err(wrong("it is not 68, 100 or 132 hexadecimal digits"));
        }
        let bytes: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| match pair {
                [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
                }
                _ => None,
            })
            .collect();
        Self::from_object_bytes(&bytes.ok_or_else(|| wrong("it is not 68, 100 or 132 hexadecimal digits"))?)
    }

    /// The name of an object from its bytes.
    ///
    /// # Errors
    /// [`Malformed`] when its length is not that of its algorithm.
    pub fn from_object_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "name");
        let algorithm = HashAlgorithm::read(&mut reader)?;
        reader.take(algorithm.size())?;
        reader.end()?;
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_displays_as_what_is_parsed() {
        let name = Name::of_area(HashAlgorithm::Sha256, b"area");
        assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        for wrong in ["", "000b", "0004da39a3ee5e6b4b0d3255bfef95601890afd80709", "+00b", "é"] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Name::parse(&format!("{name}00")).is_err());
    }

    /// RFC 4231, test case 2, and FIPS 180-2's "abc".
    #[test]
    fn hash_and_hmac_are_the_published_ones() {
        assert_eq!(
            hex(&HashAlgorithm::Sha256.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            hex(&HashAlgorithm::Sha384.digest(&[b"ab", b"c"]))
                .starts_with("cb00753f45a35e8bb5a03d699ac65007")
        );
        assert!(
            hex(&HashAlgorithm::Sha512.digest(&[b"abc"])).starts_with("ddaf35a193617abacc417349ae204131")
        );
    }
}

//! Public areas (`TPMT_PUBLIC`, Part 2, 12.2.4): what a key or sealed object is, without its secret.
//!
//! Refuses: keys other than RSA 2048 to 4096 and P-256 or P-384, storage keys without AES-CFB, keyed hashes with a scheme
//! (only sealed data is used).

use super::{ALGORITHM_NULL, HashAlgorithm, Name};
use crate::codec::{Malformed, Reader, Wire, Writer};

const TYPE_RSA: u16 = 0x0001;
const TYPE_KEYED_HASH: u16 = 0x0008;
const TYPE_ECC: u16 = 0x0023;
const ALGORITHM_AES: u16 = 0x0006;
const MODE_CFB: u16 = 0x0043;
const SCHEME_ECDSA: u16 = 0x0018;
/// The exponent of every RSA key here: what an exponent of 0 stands for.
pub(crate) const DEFAULT_EXPONENT: u32 = 65_537;

/// Attributes of an object (`TPMA_OBJECT`, Part 2, 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// It never leaves its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// It never gets another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made its secret.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// Its authorization value opens it.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Only its policy authorizes administration of it.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Failures to authorize it do not count towards the lockout.
    pub const NO_DICTIONARY_ATTACK: Self = Self(1 << 10);
    /// It works on structures of the TPM only.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// It decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// It signs.
    pub const SIGN: Self = Self(1 << 18);

    /// All of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other` is set.
    #[must_use]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// An elliptic curve (`TPM_ECC_CURVE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256
    P256,
    /// NIST P-384
    P384,
}

impl Curve {
    fn id(self) -> u16 {
        match self {
            Self::P256 => 3,
            Self::P384 => 4,
        }
    }

    /// The length of a coordinate, in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// What depends on the type of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyParameters {
    /// Sealed data.
    KeyedHash {
        /// Hash over obfuscation value and data.
        unique: Vec<u8>,
    },
    /// An RSA key, without scheme.
    Rsa {
        /// Bits of the AES key that protects children; storage keys have one.
        aes_bits: Option<u16>,
        /// Bits of the modulus.
        bits: u16,
        /// The exponent as the TPM writes it: 65537, or 0 which stands for it.
        exponent: u32,
        /// The modulus; empty or zeros in a template.
        modulus: Vec<u8>,
    },
    /// A key on an elliptic curve.
    Ecc {
        /// Bits of the AES key that protects children; storage keys have one.
        aes_bits: Option<u16>,
        /// The hash of ECDSA, where the key is bound to it.
        ecdsa: Option<HashAlgorithm>,
        /// The curve.
        curve: Curve,
        /// First coordinate; empty or zeros in a template.
        x: Vec<u8>,
        /// Second coordinate.
        y: Vec<u8>,
    },
}

/// A public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The hash algorithm of name, policy and protection.
    pub name_algorithm: HashAlgorithm,
    /// What it may be used for.
    pub attributes: Attributes,
    /// The digest of its policy; empty where it has none.
    pub auth_policy: Vec<u8>,
    /// Type, parameters and the public key itself.
    pub parameters: KeyParameters,
}

impl Public {
    /// The longest public area, in bytes.
    pub const MAX_SIZE: usize = 1024;

    /// The object's name, computed here.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of_area(self.name_algorithm, &self.to_bytes())
    }

    /// Bits of the AES key that protects the key's children.
    #[must_use]
    pub fn aes_bits(&self) -> Option<u16> {
        match self.parameters {
            KeyParameters::Rsa { aes_bits, .. } | KeyParameters::Ecc { aes_bits, .. } => aes_bits,
            KeyParameters::KeyedHash { .. } => None,
        }
    }

    /// Whether both are the same but for the public key itself: whether one was made from the other.
    #[must_use]
    pub fn same_template(&self, other: &Self) -> bool {
        self.without_unique() == other.without_unique()
    }

    fn without_unique(&self) -> Self {
        let mut template = self.clone();
        match &mut template.parameters {
            KeyParameters::KeyedHash { unique } | KeyParameters::Rsa { modulus: unique, .. } => {
                unique.clear();
            }
            KeyParameters::Ecc { x, y, .. } => {
                x.clear();
                y.clear();
            }
        }
        template
    }
}

fn write_symmetric(writer: &mut Writer, aes_bits: Option<u16>) {
    match aes_bits {
        Some(bits) => writer.u16(ALGORITHM_AES).u16(bits).u16(MODE_CFB),
        None => writer.u16(ALGORITHM_NULL),
    };
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<u16>, Malformed> {
    match reader.u16()? {
        ALGORITHM_NULL => Ok(None),
        ALGORITHM_AES => {
            let bits = reader.u16()?;
            if ![128, 256].contains(&bits) || reader.u16()? != MODE_CFB {
                return Err(reader.malformed("the symmetric algorithm is not AES-128-CFB or AES-256-CFB"));
            }
            Ok(Some(bits))
        }
        _ => Err(reader.malformed("the symmetric algorithm is not AES-128-CFB or AES-256-CFB")),
    }
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<KeyParameters, Malformed> {
    let aes_bits = read_symmetric(reader)?;
    if reader.u16()? != ALGORITHM_NULL {
        return Err(reader.malformed("an RSA key with a scheme is not supported"));
    }
    let bits = reader.u16()?;
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(reader.malformed("an RSA key has 2048, 3072 or 4096 bits"));
    }
    let exponent = reader.u32()?;
    if ![0, DEFAULT_EXPONENT].contains(&exponent) {
        return Err(reader.malformed("an RSA key has the exponent 65537"));
    }
    let modulus = reader.sized(usize::from(bits / 8))?.to_vec();
    Ok(KeyParameters::Rsa { aes_bits, bits, exponent, modulus })
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<KeyParameters, Malformed> {
    let aes_bits = read_symmetric(reader)?;
    let ecdsa = match reader.u16()? {
        ALGORITHM_NULL => None,
        SCHEME_ECDSA => Some(HashAlgorithm::read(reader)?),
        _ => return Err(reader.malformed("a scheme other than ECDSA is not supported")),
    };
    let curve = match reader.u16()? {
        3 => Curve::P256,
        4 => Curve::P384,
        _ => return Err(reader.malformed("the curve is not P-256 or P-384")),
    };
    if reader.u16()? != ALGORITHM_NULL {
        return Err(reader.malformed("a key derivation scheme is not supported"));
    }
    let x = reader.sized(curve.size())?.to_vec();
    let y = reader.sized(curve.size())?.to_vec();
    Ok(KeyParameters::Ecc { aes_bits, ecdsa, curve, x, y })
}

impl Wire for Public {
    const WHAT: &'static str = "public area";

    fn write(&self, writer: &mut Writer) {
        writer.u16(match self.parameters {
            KeyParameters::KeyedHash { .. } => TYPE_KEYED_HASH,
            KeyParameters::Rsa { .. } => TYPE_RSA,
            KeyParameters::Ecc { .. } => TYPE_ECC,
        });
        writer.structure(&self.name_algorithm).u32(self.attributes.0).sized(&self.auth_policy);
        match &self.parameters {
            KeyParameters::KeyedHash { unique } => {
                writer.u16(ALGORITHM_NULL).sized(unique);
            }
            KeyParameters::Rsa { aes_bits, bits, exponent, modulus } => {
                write_symmetric(writer, *aes_bits);
                writer.u16(ALGORITHM_NULL).u16(*bits).u32(*exponent).sized(modulus);
            }
            KeyParameters::Ecc { aes_bits, ecdsa, curve, x, y } => {
                write_symmetric(writer, *aes_bits);
                match ecdsa {
                    Some(hash) => writer.u16(SCHEME_ECDSA).structure(hash),
                    None => writer.u16(ALGORITHM_NULL),
                };
                writer.u16(curve.id()).u16(ALGORITHM_NULL).sized(x).sized(y);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.u16()?;
        let name_algorithm = HashAlgorithm::read(reader)?;
        let attributes = Attributes(reader.u32()?);
        let auth_policy = reader.sized(HashAlgorithm::MAX_SIZE)?.to_vec();
        if !auth_policy.is_empty() && auth_policy.len() != name_algorithm.size() {
            return Err(reader.malformed("the policy is not as long as a digest"));
        }
        let parameters = match kind {
            TYPE_RSA => read_rsa(reader)?,
            TYPE_ECC => read_ecc(reader)?,
            TYPE_KEYED_HASH => {
                if reader.u16()? != ALGORITHM_NULL {
                    return Err(reader.malformed("a keyed hash with a scheme is not supported"));
                }
                KeyParameters::KeyedHash { unique: reader.sized(HashAlgorithm::MAX_SIZE)?.to_vec() }
            }
            _ => return Err(reader.malformed("the type is not RSA, ECC or keyed hash")),
        };
        Ok(Self { name_algorithm, attributes, auth_policy, parameters })
    }
}

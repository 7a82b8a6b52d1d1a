//! Signatures (`TPMT_SIGNATURE`, Part 2, 11.3.4): ECDSA, the only kind that attestation keys and authorities here make.

use super::HashAlgorithm;
use crate::codec::{Malformed, Reader, Wire, Writer};

const ECDSA: u16 = 0x0018;
const MAX_NUMBER: usize = 48;

/// An ECDSA signature over a digest of `hash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// The hash of what was signed.
    pub hash: HashAlgorithm,
    /// First number.
    pub r: Vec<u8>,
    /// Second number.
    pub s: Vec<u8>,
}

impl Wire for EcdsaSignature {
    const WHAT: &'static str = "signature";

    fn write(&self, writer: &mut Writer) {
        writer.u16(ECDSA).structure(&self.hash).sized(&self.r).sized(&self.s);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u16()? != ECDSA {
            return Err(reader.malformed("it is not of ECDSA"));
        }
        Ok(Self {
            hash: HashAlgorithm::read(reader)?,
            r: reader.sized(MAX_NUMBER)?.to_vec(),
            s: reader.sized(MAX_NUMBER)?.to_vec(),
        })
    }
}

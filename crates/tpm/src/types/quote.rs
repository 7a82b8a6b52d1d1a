//! What a TPM says of its registers (`TPMS_ATTEST` with `TPMS_QUOTE_INFO`, Part 2, 10.12).
//!
//! Refuses every other kind of attestation: a signature over one proves nothing about registers.

use super::{HashAlgorithm, Name, PcrSelection};
use crate::codec::{Malformed, Reader, Wire, Writer};

/// `TPM_GENERATED_VALUE`: a restricted key signs nothing from outside that begins so.
const MAGIC: u32 = 0xff54_4347;
const TYPE_QUOTE: u16 = 0x8018;
/// The longest qualifying data, in bytes (`TPM2B_DATA`).
const MAX_DATA: usize = 66;

/// The content of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Qualified name of the key that signs: its name bound to its ancestors.
    pub signer: Vec<u8>,
    /// What the caller wanted to be signed along.
    pub extra_data: Vec<u8>,
    /// Milliseconds the TPM has been powered.
    pub clock: u64,
    /// Starts of the TPM after loss of power.
    pub reset_count: u32,
    /// Resumptions since.
    pub restart_count: u32,
    /// Whether the clock cannot have been set back by loss of power.
    pub safe: bool,
    /// The firmware's version, in the maker's numbering.
    pub firmware_version: u64,
    /// Which registers.
    pub selection: PcrSelection,
    /// The hash over their values.
    pub digest: Vec<u8>,
}

impl Quote {
    /// The longest quote, in bytes.
    pub const MAX_SIZE: usize = 1024;
}

impl Wire for Quote {
    const WHAT: &'static str = "quote";

    fn write(&self, writer: &mut Writer) {
        writer.u32(MAGIC).u16(TYPE_QUOTE).sized(&self.signer).sized(&self.extra_data);
        writer.u64(self.clock).u32(self.reset_count).u32(self.restart_count).u8(self.safe.into());
        writer.u64(self.firmware_version).structure(&self.selection).sized(&self.digest);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u32()? != MAGIC {
            return Err(reader.malformed("it was not made by a TPM"));
        }
        if reader.u16()? != TYPE_QUOTE {
            return Err(reader.malformed("it attests something else than registers"));
        }
        Ok(Self {
            signer: reader.sized(Name::MAX_SIZE)?.to_vec(),
            extra_data: reader.sized(MAX_DATA)?.to_vec(),
            clock: reader.u64()?,
            reset_count: reader.u32()?,
            restart_count: reader.u32()?,
            safe: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(reader.malformed("a yes-or-no is neither")),
            },
            firmware_version: reader.u64()?,
            selection: PcrSelection::read(reader)?,
            digest: reader.sized(HashAlgorithm::MAX_SIZE)?.to_vec(),
        })
    }
}

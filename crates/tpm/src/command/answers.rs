//! Reading of answers. Each function takes the answer's parameters, without handle and authorizations.

use zeroize::Zeroizing;

use crate::codec::{MAX_MESSAGE, Malformed, Reader, Wire, Writer};
use crate::types::pcr::PcrReading;
use crate::types::{EcdsaSignature, HashAlgorithm, Name, PcrSelection, Public, Quote};

/// The longest private part, in bytes.
pub(crate) const MAX_PRIVATE: usize = 1024;
const MAX_CREATION_DATA: usize = 1024;
const MAX_DIGEST: usize = HashAlgorithm::MAX_SIZE;
/// Entries of one answer to `TPM2_GetCapability`.
const MAX_ENTRIES: u32 = 256;

/// Proof of a TPM to itself that it has verified a signature (`TPMT_TK_VERIFIED`, Part 2, 10.7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    hierarchy: u32,
    digest: Vec<u8>,
}

impl Wire for Ticket {
    const WHAT: &'static str = "ticket";

    fn write(&self, writer: &mut Writer) {
        writer.u16(0x8022).u32(self.hierarchy).sized(&self.digest);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u16()? != 0x8022 {
            return Err(reader.malformed("it is not of a verified signature"));
        }
        Ok(Self { hierarchy: reader.u32()?, digest: reader.sized(MAX_DIGEST)?.to_vec() })
    }
}

fn whole<T>(
    what: &'static str,
    parameters: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(parameters, what);
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// The public area that `TPM2_CreatePrimary` answers, with the name the TPM says.
#[derive(Debug)]
pub struct CreatedPrimary {
    /// The public area.
    pub public: Public,
    /// The name by the TPM's word.
    pub claimed_name: Vec<u8>,
}

/// Reads the answer to `TPM2_CreatePrimary`.
///
/// # Errors
/// [`Malformed`]
pub fn created_primary(parameters: &[u8]) -> Result<CreatedPrimary, Malformed> {
    whole("answer to TPM2_CreatePrimary", parameters, |reader| {
        let public = reader.sized_structure(Public::MAX_SIZE)?;
        creation(reader)?;
        Ok(CreatedPrimary { public, claimed_name: reader.sized(Name::MAX_SIZE)?.to_vec() })
    })
}

/// Skips creation data, hash and ticket: nothing here is certified by them.
fn creation(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.sized(MAX_CREATION_DATA)?;
    reader.sized(MAX_DIGEST)?;
    reader.u16()?;
    reader.u32()?;
    reader.sized(MAX_DIGEST)?;
    Ok(())
}

/// The parts of an object that `TPM2_Create` answers.
#[derive(Debug)]
pub struct CreatedObject {
    /// The part only this TPM can open.
    pub private: Vec<u8>,
    /// The public area.
    pub public: Public,
}

/// Reads the answer to `TPM2_Create`.
///
/// # Errors
/// [`Malformed`]
pub fn created(parameters: &[u8]) -> Result<CreatedObject, Malformed> {
    whole("answer to TPM2_Create", parameters, |reader| {
        let private = reader.sized(MAX_PRIVATE)?.to_vec();
        let public = reader.sized_structure(Public::MAX_SIZE)?;
        creation(reader)?;
        Ok(CreatedObject { private, public })
    })
}

/// Reads the answer to `TPM2_ReadPublic`: the public area.
///
/// # Errors
/// [`Malformed`]
pub fn public_area(parameters: &[u8]) -> Result<Public, Malformed> {
    whole("answer to TPM2_ReadPublic", parameters, |reader| {
        let public = reader.sized_structure(Public::MAX_SIZE)?;
        reader.sized(Name::MAX_SIZE)?;
        reader.sized(Name::MAX_SIZE)?;
        Ok(public)
    })
}

/// Reads the answer to `TPM2_Load` and `TPM2_LoadExternal`: the name by the TPM's word.
///
/// # Errors
/// [`Malformed`]
pub fn name_answer(parameters: &[u8]) -> Result<Vec<u8>, Malformed> {
    whole("answer to a load", parameters, |reader| Ok(reader.sized(Name::MAX_SIZE)?.to_vec()))
}

/// Reads an answer that is one buffer: of `TPM2_Unseal`, `TPM2_ActivateCredential`, `TPM2_Import`, `TPM2_NV_Read`,
/// `TPM2_PolicyGetDigest`.
///
/// # Errors
/// [`Malformed`]
pub fn sized_answer(parameters: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    whole("answer of one buffer", parameters, |reader| {
        Ok(Zeroizing::new(reader.sized(MAX_MESSAGE)?.to_vec()))
    })
}

/// Reads the answer to `TPM2_GetRandom`.
///
/// # Errors
/// [`Malformed`]
pub fn random(parameters: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    whole("answer to TPM2_GetRandom", parameters, |reader| {
        Ok(Zeroizing::new(reader.sized(MAX_DIGEST)?.to_vec()))
    })
}

/// A quote with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteAnswer {
    /// What was signed, a [`Quote`] on the wire.
    pub attest: Vec<u8>,
    /// The signature over it.
    pub signature: EcdsaSignature,
}

/// Reads the answer to `TPM2_Quote`.
///
/// # Errors
/// [`Malformed`]
pub fn quote(parameters: &[u8]) -> Result<QuoteAnswer, Malformed> {
    whole("answer to TPM2_Quote", parameters, |reader| {
        let attest = reader.sized(Quote::MAX_SIZE)?.to_vec();
        Ok(QuoteAnswer { attest, signature: EcdsaSignature::read(reader)? })
    })
}

/// Reads the answer to `TPM2_VerifySignature`.
///
/// # Errors
/// [`Malformed`]
pub fn ticket(parameters: &[u8]) -> Result<Ticket, Malformed> {
    whole("answer to TPM2_VerifySignature", parameters, Ticket::read)
}

/// Reads the answer to `TPM2_StartAuthSession`: the TPM's nonce.
///
/// # Errors
/// [`Malformed`]
pub fn started_session(parameters: &[u8]) -> Result<Vec<u8>, Malformed> {
    whole("answer to TPM2_StartAuthSession", parameters, |reader| {
        let nonce = reader.sized(MAX_DIGEST)?;
        // A short nonce would let old answers come again.
        if nonce.len() < 16 {
            return Err(reader.malformed("the nonce is shorter than 16 bytes"));
        }
        Ok(nonce.to_vec())
    })
}

/// Reads the answer to `TPM2_PCR_Read` for registers of one bank. None is answered when the bank is not allocated.
///
/// # Errors
/// [`Malformed`]
pub fn pcr_values(parameters: &[u8], wanted: &PcrSelection) -> Result<PcrReading, Malformed> {
    whole("answer to TPM2_PCR_Read", parameters, |reader| PcrReading::read(reader, wanted.bank()))
}

/// What an NV index is (`TPMS_NV_PUBLIC`, Part 2, 13.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvPublic {
    /// The index's name, computed here.
    pub name: Name,
    /// Its attributes.
    pub attributes: u32,
    /// Bytes in it.
    pub size: u16,
}

/// Reads the answer to `TPM2_NV_ReadPublic`.
///
/// # Errors
/// [`Malformed`]
pub fn nv_public(parameters: &[u8]) -> Result<NvPublic, Malformed> {
    whole("answer to TPM2_NV_ReadPublic", parameters, |reader| {
        let area = reader.sized(Public::MAX_SIZE)?;
        reader.sized(Name::MAX_SIZE)?;
        whole("public area of an NV index", area, |reader| {
            reader.u32()?;
            let algorithm = HashAlgorithm::read(reader)?;
            let attributes = reader.u32()?;
            reader.sized(MAX_DIGEST)?;
            Ok(NvPublic { name: Name::of_area(algorithm, area), attributes, size: reader.u16()? })
        })
    })
}

/// Reads an answer to `TPM2_GetCapability` about handles; also whether there are more.
///
/// # Errors
/// [`Malformed`]
pub fn capability_handles(parameters: &[u8]) -> Result<(bool, Vec<u32>), Malformed> {
    capability(parameters, 1, |reader| reader.u32())
}

/// Reads an answer to `TPM2_GetCapability` about properties; also whether there are more.
///
/// # Errors
/// [`Malformed`]
pub fn capability_properties(parameters: &[u8]) -> Result<(bool, Vec<(u32, u32)>), Malformed> {
    capability(parameters, 6, |reader| Ok((reader.u32()?, reader.u32()?)))
}

fn capability<T>(
    parameters: &[u8],
    wanted: u32,
    mut entry: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<(bool, Vec<T>), Malformed> {
    whole("answer to TPM2_GetCapability", parameters, |reader| {
        let more = reader.u8()? != 0;
        if reader.u32()? != wanted {
            return Err(reader.malformed("it is about another capability"));
        }
        let count = reader.u32()?;
        if count > MAX_ENTRIES {
            return Err(reader.malformed("it has more than 256 entries"));
        }
        let entries = (0..count).map(|_| entry(reader)).collect::<Result<_, _>>()?;
        Ok((more, entries))
    })
}

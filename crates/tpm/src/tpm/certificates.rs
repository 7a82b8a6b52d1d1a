//! The certificate of the endorsement key, where the maker put one into the TPM.

use super::{Connection, EndorsementKind, Tpm};
use crate::codec::Malformed;
use crate::command::{self, Handle, OWNER};
use crate::error::TpmError;
use crate::session::Authorization;
use crate::software::certificate::{MAX_CERTIFICATE, MAX_INTERMEDIATES, der_length};
use crate::types::AuthValue;

/// Indices with the certificates of on-chip authorities (TCG EK Credential Profile, 2.2.1.5.2).
const CHAIN: std::ops::RangeInclusive<u32> = 0x01c0_0100..=0x01c0_01ff;
/// What every TPM gives at a time.
const CHUNK: u16 = 512;
/// Bytes of an index that are read at most.
const MAX_INDEX: u16 = 8192;
/// `TPMA_NV_AUTHREAD` and `TPMA_NV_WRITTEN` (Part 2, 13.4).
const AUTH_READ: u32 = 1 << 18;
const WRITTEN: u32 = 1 << 29;

impl Connection<'_> {
    /// The content of an NV index, or none when there is no such index or nothing was written into it.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn nv_read(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let answer = match self.run(&command::nv_read_public(index), &mut []) {
            Err(error) if error.code().is_some_and(|code| code.is_unknown_handle()) => return Ok(None),
            other => other?,
        };
        let public = command::nv_public(&answer.parameters)?;
        if public.attributes & WRITTEN == 0 {
            return Ok(None);
        }
        if public.size > MAX_INDEX {
            return Err(Malformed { what: "NV index", problem: "it is longer than 8192 bytes" }.into());
        }
        let index = Handle::object(index, public.name);
        let by_index = public.attributes & AUTH_READ != 0;
        let mut content = Vec::new();
        while content.len() < usize::from(public.size) {
            let offset = u16::try_from(content.len()).unwrap_or(u16::MAX);
            let size = CHUNK.min(public.size.saturating_sub(offset));
            let answer = if by_index {
                let none = AuthValue::default();
                let command = command::nv_read(&index, &index, size, offset);
                self.run(&command, &mut [Authorization::Password(&none)])?
            } else {
                let command = command::nv_read(&Handle::permanent(OWNER), &index, size, offset);
                self.run_with_hierarchy(&command, OWNER, None, &mut [])?
            };
            let chunk = command::sized_answer(&answer.parameters)?;
            if chunk.len() != usize::from(size) {
                return Err(Malformed { what: "answer to TPM2_NV_Read", problem: "it is too short" }.into());
            }
            content.extend_from_slice(&chunk);
        }
        Ok(Some(content))
    }

    /// The endorsement key's certificate in DER, cut at its own length: the index may be longer.
    ///
    /// # Errors
    /// [`TpmError::Malformed`] when something else is there; those of [`Connection::run`].
    pub fn endorsement_certificate(&mut self, kind: EndorsementKind) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(content) = self.nv_read(kind.certificate_index())? else { return Ok(None) };
        let wrong = |problem| Malformed { what: "endorsement certificate", problem };
        let length = der_length(&content).ok_or_else(|| wrong("it is no DER structure"))?;
        if length > MAX_CERTIFICATE {
            return Err(wrong("it is longer than 4096 bytes").into());
        }
        Ok(Some(content.get(..length).unwrap_or_default().to_vec()))
    }

    /// Certificates of authorities that live in the TPM, at most three. What is there and is none is passed over.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn endorsement_chain(&mut self) -> Result<Vec<Vec<u8>>, TpmError> {
        let mut chain = Vec::new();
        for index in self.handles(*CHAIN.start())?.into_iter().filter(|index| CHAIN.contains(index)) {
            let content = self.nv_read(index)?.unwrap_or_default();
            let mut rest = content.as_slice();
            while let Some(length) = der_length(rest).filter(|length| *length <= MAX_CERTIFICATE)
                && chain.len() < MAX_INTERMEDIATES
            {
                let (certificate, behind) = rest.split_at(length.min(rest.len()));
                chain.push(certificate.to_vec());
                rest = behind;
            }
        }
        Ok(chain)
    }
}

impl Tpm {
    /// The endorsement key's certificate in DER, if the TPM holds one.
    ///
    /// # Errors
    /// [`TpmError`]
    pub fn endorsement_certificate(&self, kind: EndorsementKind) -> Result<Option<Vec<u8>>, TpmError> {
        self.operation(|connection| connection.endorsement_certificate(kind))
    }
}

//! The parser of envelopes. It takes bytes from anyone: no indexing, no unchecked arithmetic, no panic.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::keys::check_wrapping_id;
use super::{Envelope, IV_LENGTH, KeySpec, LockKind, MAGIC, MAXIMUM_ENVELOPE_LENGTH, VERSION};
use crate::CryptoError;
use crate::aead::RECORD_OVERHEAD;

/// The bytes not read yet.
struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CryptoError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(END)?;
        self.0 = tail;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, CryptoError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn slice(&mut self, length: usize) -> Result<&'bytes [u8], CryptoError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(END)?;
        self.0 = tail;
        Ok(head)
    }

    fn id(&mut self, length: u8) -> Result<String, CryptoError> {
        let bytes = self.slice(usize::from(length))?;
        check_wrapping_id(bytes)?;
        Ok(bytes.iter().copied().map(char::from).collect())
    }
}

const END: CryptoError = CryptoError::InvalidFormat("the envelope ends too early");

pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope, CryptoError> {
    if bytes.len() > MAXIMUM_ENVELOPE_LENGTH {
        return Err(CryptoError::InvalidFormat("the envelope is longer than any can be"));
    }
    let mut reader = Reader(bytes);
    if reader.array::<8>()? != MAGIC {
        return Err(CryptoError::InvalidFormat("these bytes do not begin with the magic of an envelope"));
    }
    let version = reader.byte()?;
    if version != VERSION {
        return Err(CryptoError::UnsupportedVersion { found: version, supported: VERSION });
    }
    let lock_kind = match reader.byte()? {
        1 => LockKind::Single,
        2 => LockKind::Dual,
        3 => LockKind::Compound,
        _ => {
            return Err(CryptoError::InvalidFormat(
                "the lock kind must be 1 (single), 2 (dual) or 3 (compound)",
            ));
        }
    };
    let number = u16::from_be_bytes(reader.array()?);
    let bits = u32::from_be_bytes(reader.array()?);
    let spec = KeySpec::from_numbers(number, bits)?;
    let master_length = reader.byte()?;
    let scope_length = reader.byte()?;
    let master_key_id = reader.id(master_length)?;
    let scope_key_id = match (lock_kind, scope_length) {
        (LockKind::Single, 0) => None,
        (LockKind::Single, _) => {
            return Err(CryptoError::InvalidFormat("a single lock must not name a scope key"));
        }
        (LockKind::Dual | LockKind::Compound, length) => Some(reader.id(length)?),
    };
    let body_length = u32::from_be_bytes(reader.array()?);
    let body_length = usize::try_from(body_length).map_err(|_| END)?;
    let body = reader.slice(body_length)?;
    if !reader.0.is_empty() {
        return Err(CryptoError::InvalidFormat("bytes follow the end of the envelope"));
    }
    check_body(lock_kind, spec, body.len())?;
    Ok(Envelope { lock_kind, spec, master_key_id, scope_key_id, body: body.to_vec() })
}

fn check_body(lock_kind: LockKind, spec: KeySpec, length: usize) -> Result<(), CryptoError> {
    const SHORT: CryptoError = CryptoError::InvalidFormat("the body is shorter than its lock kind allows");
    let content = length.checked_sub(RECORD_OVERHEAD).ok_or(SHORT)?;
    match lock_kind {
        LockKind::Single => spec.check_length(content),
        LockKind::Dual => spec.check_length(content.checked_sub(RECORD_OVERHEAD).ok_or(SHORT)?),
        LockKind::Compound => {
            spec.check_derivable()?;
            if content == IV_LENGTH {
                return Ok(());
            }
            Err(CryptoError::InvalidFormat("the body of a compound lock must hold an IV of 32 bytes"))
        }
    }
}

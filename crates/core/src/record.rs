//! Sealing records: what stands between the domain and a store that must not be trusted.
//!
//! A body is bound to the kind, id, project, creation time and version of its record. A record that was edited, swapped
//! with another or given another version does not open: it is *corrupt*, never believed. Only a whole older version of
//! the same record opens; the audit trail tells that one apart ([`digest`]).

use chatelaine_crypto::{KeyMaterial, RecordCipher, sha256};

use crate::error::{Error, Result};
use crate::store::Record;

/// Under which key a body is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedUnder {
    /// This version of the key-encryption key of the record's project.
    ScopeKey(u32),
    /// The master key of this id.
    MasterKey(String),
}

const FORMAT_SCOPE_KEY: u8 = 1;
const FORMAT_MASTER_KEY: u8 = 2;

/// The additional data a body is bound to. Every variable part carries its length.
fn binding(record: &Record, header: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(160);
    data.extend_from_slice(b"chatelaine record v1\0");
    for part in [record.kind.as_str().as_bytes(), record.id.as_bytes(), record.project.as_bytes(), header] {
        data.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend_from_slice(part);
    }
    data.extend_from_slice(&record.created.as_micros().to_be_bytes());
    data.extend_from_slice(&record.version.number().to_be_bytes());
    data
}

fn header(under: &SealedUnder) -> Vec<u8> {
    match under {
        SealedUnder::ScopeKey(version) => {
            let mut header = vec![FORMAT_SCOPE_KEY];
            header.extend_from_slice(&version.to_be_bytes());
            header
        }
        SealedUnder::MasterKey(id) => {
            let mut header = vec![FORMAT_MASTER_KEY, u8::try_from(id.len()).unwrap_or(u8::MAX)];
            header.extend_from_slice(id.as_bytes());
            header
        }
    }
}

/// Seals `plaintext` as the body of `record`, whose other fields must be final.
///
/// # Errors
/// [`Error::Internal`] when the cryptographic library fails.
pub fn seal(record: &mut Record, under: &SealedUnder, cipher: &RecordCipher, plaintext: &[u8]) -> Result<()> {
    let mut body = header(under);
    let sealed = cipher
        .seal(&binding(record, &body), plaintext)
        .map_err(|error| Error::Internal(error.to_string()))?;
    body.extend_from_slice(&sealed);
    record.body = body;
    Ok(())
}

fn split(record: &Record) -> Option<(SealedUnder, &[u8], &[u8])> {
    let body = record.body.as_slice();
    match *body.first()? {
        FORMAT_SCOPE_KEY => {
            let version = body.get(1..)?.first_chunk::<4>()?;
            Some((SealedUnder::ScopeKey(u32::from_be_bytes(*version)), body.get(..5)?, body.get(5..)?))
        }
        FORMAT_MASTER_KEY => {
            let end = usize::from(*body.get(1)?).checked_add(2)?;
            let id = std::str::from_utf8(body.get(2..end)?).ok()?;
            Some((SealedUnder::MasterKey(id.to_owned()), body.get(..end)?, body.get(end..)?))
        }
        _ => None,
    }
}

fn corrupt(record: &Record) -> Error {
    Error::Corrupt(format!(
        "{}/{} version {} does not open: it was damaged, edited or put in another's place",
        record.kind, record.id, record.version
    ))
}

/// Which key a record's body is sealed under, by its own account.
///
/// # Errors
/// [`Error::Corrupt`] when the body is no sealed body.
pub fn sealed_under(record: &Record) -> Result<SealedUnder> {
    split(record).map(|(under, ..)| under).ok_or_else(|| corrupt(record))
}

/// Opens the body of a record.
///
/// # Errors
/// [`Error::Corrupt`] when the record is not what was sealed.
pub fn open(record: &Record, cipher: &RecordCipher) -> Result<KeyMaterial> {
    let (_, header, sealed) = split(record).ok_or_else(|| corrupt(record))?;
    cipher.open(&binding(record, header), sealed).map_err(|_| corrupt(record))
}

/// The fingerprint of a sealed body in the audit trail: the first 16 bytes of its SHA-256, in hex.
pub fn digest(record: &Record) -> String {
    let full = sha256(&[&record.body]);
    hex::encode(full.first_chunk::<16>().unwrap_or(&[0; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::Version;
    use crate::store::{IndexAttributes, Kind};

    fn record() -> (Record, RecordCipher) {
        let cipher = RecordCipher::new(&KeyMaterial::random(256).unwrap()).unwrap();
        let mut record = Record {
            kind: Kind::SECRET,
            id: "a".to_owned(),
            project: "p".to_owned(),
            created: Timestamp::from_micros(7),
            version: Version::FIRST,
            attributes: IndexAttributes::default(),
            body: Vec::new(),
        };
        seal(&mut record, &SealedUnder::ScopeKey(3), &cipher, b"plain").unwrap();
        (record, cipher)
    }

    #[test]
    fn opens_what_was_sealed() {
        let (record, cipher) = record();
        assert_eq!(sealed_under(&record).unwrap(), SealedUnder::ScopeKey(3));
        assert_eq!(open(&record, &cipher).unwrap().expose(), b"plain");
    }

    /// T-STORE-EDIT: whatever is changed in storage, the record is refused.
    #[test]
    fn refuses_every_edit() {
        let (good, cipher) = record();
        let edits: [fn(&mut Record); 6] = [
            |r| r.id = "b".to_owned(),
            |r| r.project = "q".to_owned(),
            |r| r.kind = Kind::TOMBSTONE,
            |r| r.version = r.version.next(),
            |r| r.created = Timestamp::from_micros(8),
            |r| r.body.truncate(4),
        ];
        for edit in edits {
            let mut edited = good.clone();
            edit(&mut edited);
            assert!(matches!(open(&edited, &cipher), Err(Error::Corrupt(_))), "{edited:?}");
        }
        for position in 0..good.body.len() {
            let mut edited = good.clone();
            edited.body[position] ^= 1;
            assert!(matches!(open(&edited, &cipher), Err(Error::Corrupt(_))), "byte {position}");
        }
    }
}

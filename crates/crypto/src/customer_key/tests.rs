use std::collections::HashSet;

use super::*;
use crate::hkdf_sha256;

const SALT: [u8; 16] = [7; 16];

fn key(byte: u8, length: usize) -> KeyMaterial {
    KeyMaterial::from_vec(vec![byte; length])
}

#[test]
fn it_is_hkdf_over_label_length_salt_and_context() {
    // Written out, so that no other build of it can make other fingerprints of the same keys.
    let mut info = b"chatelaine customer key fingerprint v1\0".to_vec();
    info.extend([0, 0, 0, 32]);
    info.extend([0, 0, 0, 16]);
    info.extend(SALT);
    info.extend([0, 0, 0, 5]);
    info.extend(b"a/c/o");
    let expected = hkdf_sha256(&[1; 32], b"chatelaine derive v1", &info, 32).unwrap();
    assert_eq!(fingerprint(&key(1, 32), &SALT, b"a/c/o").unwrap(), expected.expose());
}

#[test]
fn the_right_key_passes_and_no_other_does() {
    let right = key(1, 32);
    let made = fingerprint(&right, &SALT, b"a/c/o").unwrap();
    check(&right, &SALT, b"a/c/o", &made).unwrap();
    let refused = |key: &KeyMaterial, salt: &[u8], context: &[u8], made: &[u8]| {
        assert_eq!(check(key, salt, context, made), Err(CryptoError::Authentication));
    };
    refused(&key(2, 32), &SALT, b"a/c/o", &made);
    // Longer by zeros, or shorter.
    refused(&KeyMaterial::from_vec([vec![1; 32], vec![0; 32]].concat()), &SALT, b"a/c/o", &made);
    refused(&key(1, 31), &SALT, b"a/c/o", &made);
    refused(&right, &[8; 16], b"a/c/o", &made);
    refused(&right, &SALT, b"a/c/p", &made);
    for bit in 0..256 {
        let mut changed = made;
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(&right, &SALT, b"a/c/o", &changed);
    }
}

#[test]
fn salt_and_context_cannot_be_moved_into_each_other() {
    let made = fingerprint(&key(1, 32), &[7; 17], b"").unwrap();
    assert_ne!(made, fingerprint(&key(1, 32), &SALT, &[7]).unwrap());
}

#[test]
fn other_lengths_are_refused_with_what_is_allowed() {
    let made = fingerprint(&key(1, 16), &SALT, b"").unwrap();
    let long = vec![0; MAXIMUM_CONTEXT_LENGTH + 1];
    fingerprint(&key(1, 64), &[7; 64], &long[1..]).unwrap();
    for (key, salt, context) in [
        (key(1, 15), &SALT[..], &b""[..]),
        (key(1, 65), &SALT[..], &b""[..]),
        (key(1, 32), &SALT[1..], &b""[..]),
        (key(1, 32), &[7; 65][..], &b""[..]),
        (key(1, 32), &SALT[..], &long[..]),
    ] {
        for error in
            [fingerprint(&key, salt, context).unwrap_err(), check(&key, salt, context, &made).unwrap_err()]
        {
            assert!(matches!(error, CryptoError::InvalidLength { .. }), "{error}");
        }
    }
    for wrong in [&made[..31], &[&made[..], &[0]].concat(), &[]] {
        let error = check(&key(1, 16), &SALT, b"", wrong).unwrap_err();
        assert!(matches!(error, CryptoError::InvalidLength { .. }), "{error}");
    }
}

#[test]
fn salts_are_new_every_time() {
    let salts: HashSet<_> = (0..100).map(|_| salt().unwrap()).collect();
    assert_eq!(salts.len(), 100);
}

use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey};
use proptest::prelude::*;

use super::*;
use crate::test_support::cases;

const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

/// A token as the specification describes it; only these tests make any.
fn seal(key: &str, plain: &[u8]) -> String {
    let key = URL_SAFE.decode(key).unwrap();
    let (signing, encryption) = key.split_at(HALF_KEY);
    let cipher = UnboundCipherKey::new(&AES_128, encryption).unwrap();
    let iv = [7_u8; BLOCK];
    let mut sealed = plain.to_vec();
    PaddedBlockEncryptingKey::cbc_pkcs7(cipher)
        .unwrap()
        .less_safe_encrypt(&mut sealed, EncryptionContext::Iv128(FixedLength::from(&iv)))
        .unwrap();
    let mut token = vec![VERSION];
    token.extend_from_slice(&[0; TIME_LENGTH]);
    token.extend_from_slice(&iv);
    token.extend_from_slice(&sealed);
    let tag = MacKey::new(&KeyMaterial::copy_from(signing)).sign(&[&token]);
    token.extend_from_slice(&tag);
    URL_SAFE.encode(token)
}

#[test]
fn the_specifications_vectors_hold() {
    let cases = cases("fernet.json");
    assert_eq!(cases.len(), 9);
    for case in cases {
        let key = FernetKey::parse(case["secret"].as_str().unwrap().as_bytes()).unwrap();
        let opened = key.open(case["token"].as_str().unwrap().as_bytes());
        match case["plain"].as_str() {
            Some(plain) => assert_eq!(opened.unwrap().expose(), plain.as_bytes(), "{}", case["what"]),
            None => assert!(opened.is_err(), "{}", case["what"]),
        }
    }
}

#[test]
fn every_changed_byte_is_seen() {
    let key = FernetKey::parse(KEY.as_bytes()).unwrap();
    let token = URL_SAFE.decode(seal(KEY, b"a secret of more than one block")).unwrap();
    for position in 0..token.len() {
        let mut changed = token.clone();
        changed[position] ^= 1;
        assert!(key.open(URL_SAFE.encode(&changed).as_bytes()).is_err(), "byte {position}");
    }
    for length in 0..token.len() {
        assert!(key.open(URL_SAFE.encode(&token[..length]).as_bytes()).is_err(), "{length} bytes");
    }
}

#[test]
fn another_key_opens_nothing() {
    let other = FernetKey::parse(b"YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=").unwrap();
    assert_eq!(other.open(seal(KEY, b"secret").as_bytes()).unwrap_err(), CryptoError::Authentication);
}

#[test]
fn keys_are_read_in_both_alphabets_and_nothing_else_is() {
    let token = seal(KEY, b"secret");
    let standard = KEY.replace('_', "/").replace('-', "+");
    assert_eq!(
        FernetKey::parse(standard.as_bytes()).unwrap().open(token.as_bytes()).unwrap().expose(),
        b"secret"
    );
    let refused = [
        String::new(),
        KEY[..43].to_owned(),
        format!("{KEY}\n"),
        format!("{}====", &KEY[..40]),
        format!("{}A", &KEY[..43]),
        KEY.replace('w', "%"),
        "A".repeat(44),
    ];
    for text in refused {
        let error = FernetKey::parse(text.as_bytes()).unwrap_err();
        assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
    }
    assert_eq!(format!("{:?}", FernetKey::parse(KEY.as_bytes()).unwrap()), "FernetKey(secret)");
}

#[test]
fn a_token_beyond_the_limit_is_not_looked_at() {
    let key = FernetKey::parse(KEY.as_bytes()).unwrap();
    let token = vec![b'A'; MAXIMUM_TOKEN_LENGTH + 4];
    assert!(matches!(key.open(&token), Err(CryptoError::InvalidLength { .. })));
}

proptest! {
    #[test]
    fn what_was_sealed_opens(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let key = FernetKey::parse(KEY.as_bytes()).unwrap();
        let opened = key.open(seal(KEY, &plain).as_bytes()).unwrap();
        prop_assert_eq!(opened.expose(), plain.as_slice());
    }

    #[test]
    fn no_input_makes_it_panic(token in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = FernetKey::parse(KEY.as_bytes()).unwrap();
        prop_assert!(key.open(&token).is_err());
        let _ = FernetKey::parse(&token);
    }
}

//! Known answers for the whole format.

use serde_json::Value;

use super::*;
use crate::test_support::bytes;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/object-v1.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn headers_and_bodies_are_those_of_the_vectors() {
    let vectors = vectors();
    let mut seen = std::collections::HashSet::new();
    for case in vectors["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let cipher = Cipher::find(case["cipher"].as_str().unwrap()).unwrap();
        seen.insert((cipher, case["key_use"].as_str().unwrap()));
        let key = KeyMaterial::from_vec(bytes(&case["key"]));
        let context = bytes(&case["context"]);
        let mut parameters = Parameters::new(cipher).with_key_id(case["key_id"].as_str().unwrap()).unwrap();
        if case["key_use"] == "derived" {
            parameters = parameters.with_derived_key();
        }
        if cipher.is_authenticated() {
            let length = case["chunk_length"].as_u64().unwrap();
            parameters = parameters.with_chunk_length(length as usize).unwrap();
        }
        let salt = bytes(&case["salt"]).try_into().unwrap();
        let (header, encryptor) = ObjectKey::create_with_salt(&parameters, &key, &context, salt).unwrap();
        assert_eq!(hex::encode(header.to_bytes()), case["header"].as_str().unwrap(), "{name}");

        let plain = plain_bytes(case["plain_length"].as_u64().unwrap() as usize);
        let body = encrypt_in_pieces(encryptor, &plain, &[1000, 1, 5000]);
        assert_eq!(hex::encode(crate::sha256(&[&body])), case["body_sha256"].as_str().unwrap(), "{name}");
        if let Some(expected) = case["body"].as_str() {
            assert_eq!(hex::encode(&body), expected, "{name}");
        }
        assert_eq!(
            header.layout().encrypted_length(plain.len() as u64).unwrap(),
            body.len() as u64,
            "{name}"
        );
        assert_eq!(case["body_length"].as_u64().unwrap(), body.len() as u64);

        let parsed = Header::parse(&bytes(&case["header"])).unwrap();
        assert_eq!(parsed, header, "{name}");
        assert_eq!(parsed.key_id().unwrap_or_default(), case["key_id"].as_str().unwrap());
        let opened = ObjectKey::open(&parsed, &key, &context).unwrap();
        assert_eq!(decrypt(&opened, &body).unwrap(), plain, "{name}");
    }
    for cipher in Cipher::ALL {
        assert!(seen.contains(&(cipher, "derived")), "{}", cipher.name());
        assert_eq!(seen.contains(&(cipher, "direct")), cipher.mode() == Mode::Xts, "{}", cipher.name());
    }
}

/// Objects in storage carry these numbers.
#[test]
fn numbers_and_names_are_those_of_the_registry_and_never_change() {
    let names: Vec<(u8, &str)> = Cipher::ALL.map(|cipher| (cipher.number(), cipher.name())).to_vec();
    let written = [
        (1, "aes-256-gcm"),
        (2, "aes-192-gcm"),
        (3, "aes-128-gcm"),
        (4, "chacha20-poly1305"),
        (5, "aes-256-xts"),
        (6, "aes-128-xts"),
        (7, "aes-256-ctr"),
        (8, "aes-192-ctr"),
        (9, "aes-128-ctr"),
        (10, "aes-256-cbc"),
        (11, "aes-192-cbc"),
        (12, "aes-128-cbc"),
    ];
    assert_eq!(names, written);
    let usable = crate::algorithms::DATA_CIPHERS.iter().filter(|entry| entry.status.reason().is_none());
    assert_eq!(usable.clone().count(), written.len());
    for entry in usable {
        let cipher = Cipher::find(entry.name).unwrap();
        assert_eq!(Cipher::by_number(cipher.number()).unwrap(), cipher);
        assert_eq!(cipher.data_cipher(), Some(entry));
        assert_eq!(entry.key_bits as usize, cipher.key_length() * 8, "{}", entry.name);
        assert_eq!(entry.authenticated, cipher.is_authenticated(), "{}", entry.name);
        assert_eq!(entry.length_preserving, cipher.preserves_length(), "{}", entry.name);
        assert!(entry.random_access, "{}", entry.name);
    }
    assert!(Cipher::by_number(0).is_err() && Cipher::by_number(13).is_err());
    assert!(matches!(Cipher::find("des-cbc"), Err(crate::CryptoError::RefusedAlgorithm { .. })));
    assert!(Cipher::find("serpent").unwrap_err().to_string().contains("aes-256-gcm"));
}

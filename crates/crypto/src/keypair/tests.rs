use pkcs8::der::Decode as _;
use pkcs8::spki::DecodePublicKey as _;
use pkcs8::{DecodePrivateKey as _, EncryptedPrivateKeyInfoRef, SecretDocument};
use rsa::traits::PublicKeyParts as _;

use super::*;

fn text(material: &KeyMaterial) -> &str {
    std::str::from_utf8(material.expose()).unwrap()
}

/// Both halves of what this library (and, for RSA with 1024 bits, another one) makes are read by RustCrypto's readers.
#[test]
fn other_libraries_read_the_pairs() {
    for kind in [KeyPairKind::Rsa1024, KeyPairKind::Rsa2048] {
        let pair = key_pair(kind, None).unwrap();
        let private = rsa::PrivateKey::from_pkcs8_pem(text(&pair.private)).unwrap();
        let public = rsa::PublicKey::from_public_key_pem(&pair.public).unwrap();
        assert_eq!(private.to_public_key(), public, "{kind:?}");
        assert_eq!(public.n().bit_width(), kind.bits());
    }
    for (kind, oid) in [
        (KeyPairKind::P256, "1.2.840.10045.2.1"),
        (KeyPairKind::P384, "1.2.840.10045.2.1"),
        (KeyPairKind::P521, "1.2.840.10045.2.1"),
        (KeyPairKind::Ed25519, "1.3.101.112"),
    ] {
        let pair = key_pair(kind, None).unwrap();
        let (label, document) = SecretDocument::from_pem(text(&pair.private)).unwrap();
        assert_eq!(label, PRIVATE_LABEL);
        let private = pkcs8::PrivateKeyInfoRef::from_der(document.as_bytes()).unwrap();
        let (label, document) = pkcs8::Document::from_pem(&pair.public).unwrap();
        assert_eq!(label, PUBLIC_LABEL);
        let public = pkcs8::SubjectPublicKeyInfoRef::from_der(document.as_bytes()).unwrap();
        assert_eq!(private.algorithm, public.algorithm);
        assert_eq!(public.algorithm.oid.to_string(), oid, "{kind:?}");
    }
}

/// The parts of the small pair belong together: the other library's own check, and what one half does the other undoes.
#[test]
fn the_small_pair_is_a_pair_and_new_each_time() {
    let (private, public) = small_rsa().unwrap();
    let key = rsa::PrivateKey::from_pkcs8_der(private.expose()).unwrap();
    key.validate().unwrap();
    assert_eq!(key.to_public_key(), rsa::PublicKey::from_public_key_der(&public).unwrap());
    assert_ne!(public, small_rsa().unwrap().1);
}

#[test]
fn an_encrypted_private_half_names_its_parameters() {
    let passphrase = KeyMaterial::copy_from("Schlüssel".as_bytes());
    let pair = key_pair(KeyPairKind::P256, Some(&passphrase)).unwrap();
    let (label, document) = SecretDocument::from_pem(text(&pair.private)).unwrap();
    assert_eq!(label, ENCRYPTED_LABEL);
    let info = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).unwrap();
    let parameters = info.encryption_algorithm.pbes2().unwrap();
    assert_eq!(parameters.kdf.pbkdf2().unwrap().iteration_count, 600_000);
    assert!(matches!(parameters.encryption, pbes2::EncryptionScheme::Aes256Cbc { .. }));
}

/// With few rounds, since the other library is slow without optimization.
#[test]
fn another_library_decrypts_what_is_encrypted_here() {
    let few = NonZeroU32::new(10).unwrap();
    let passphrase = KeyMaterial::copy_from(b"open");
    for length in [1, 15, 16, 17, 200] {
        let private = KeyMaterial::random(length * 8).unwrap();
        let der = encrypted(&private, &passphrase, few).unwrap();
        let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
        let opened = info.encryption_algorithm.decrypt(b"open", info.encrypted_data.as_bytes()).unwrap();
        assert!(private.ct_eq(&opened));
        // One time in 256 a wrong key leaves valid padding, but never the same text.
        let wrong = info.encryption_algorithm.decrypt(b"Open", info.encrypted_data.as_bytes());
        assert!(wrong.is_err() || wrong.is_ok_and(|text| !private.ct_eq(&text)));
        assert_ne!(der, encrypted(&private, &passphrase, few).unwrap(), "salt and vector are fresh");
    }
}

#[test]
fn passphrases_have_bounds() {
    for length in [0, MAXIMUM_PASSPHRASE + 1] {
        let passphrase = KeyMaterial::zeroed(length);
        assert!(matches!(
            key_pair(KeyPairKind::Ed25519, Some(&passphrase)),
            Err(CryptoError::InvalidLength { .. })
        ));
    }
}

#[test]
fn kinds_are_found_by_name_and_length() {
    for (name, bits, kind) in [
        ("rsa", 1024, KeyPairKind::Rsa1024),
        ("RSA", 4096, KeyPairKind::Rsa4096),
        ("ec", 384, KeyPairKind::P384),
        ("ecdsa", 521, KeyPairKind::P521),
        ("Ed25519", 256, KeyPairKind::Ed25519),
    ] {
        assert_eq!(KeyPairKind::find(name, bits), Ok(kind));
        assert_eq!(kind.bits(), bits);
    }
    for (name, bits) in [("rsa", 1000), ("rsa", 8192), ("ec", 255), ("ed25519", 448)] {
        assert!(matches!(KeyPairKind::find(name, bits), Err(CryptoError::InvalidBitLength { .. })), "{name}");
    }
    for name in ["dsa", "x25519", "aes", "", "x"] {
        assert!(matches!(KeyPairKind::find(name, 256), Err(CryptoError::UnknownAlgorithm { .. })), "{name}");
    }
}

/// T-SECRET-LOGGED
#[test]
fn debug_output_hides_the_private_half() {
    let pair = key_pair(KeyPairKind::Ed25519, None).unwrap();
    assert!(format!("{pair:?}").contains("KeyMaterial(secret)"));
}

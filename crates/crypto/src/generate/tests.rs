use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use super::*;
use crate::algorithms::{ALGORITHMS, BitLengths};

#[test]
fn everything_listed_as_generated_is() {
    for algorithm in ALGORITHMS {
        let lengths: Vec<u32> = match algorithm.generated {
            BitLengths::None => continue,
            BitLengths::List(list) => list.iter().copied().filter(|bits| *bits < 4096).collect(),
            BitLengths::Range { minimum, maximum, .. } => vec![minimum, algorithm.default_bits, maximum],
        };
        for bits in lengths {
            let key = generate(algorithm, bits).unwrap();
            assert_eq!(key.public.is_some(), algorithm.kind == Kind::KeyPair, "{}", algorithm.name);
            if algorithm.kind == Kind::KeyPair {
                assert_eq!(key.secret.expose()[0], 0x30, "DER");
            } else {
                assert_eq!(key.secret.len(), usize::try_from(bits.div_ceil(8)).unwrap());
            }
            let again = generate(algorithm, bits).unwrap();
            assert!(bits < 64 || !again.secret.ct_eq(key.secret.expose()), "{}", algorithm.name);
        }
    }
}

#[test]
fn whatever_is_not_listed_is_refused() {
    for (name, bits) in
        [("aes", 100), ("rsa", 1024), ("ec", 255), ("passphrase", 128), ("opaque", 8), ("hmac", 9)]
    {
        let algorithm = Algorithm::find(name).unwrap();
        assert!(matches!(generate(algorithm, bits), Err(CryptoError::InvalidBitLength { .. })), "{name}");
    }
    let refused = Algorithm::lookup("des").unwrap();
    assert!(matches!(generate(refused, 64), Err(CryptoError::RefusedAlgorithm { .. })));
}

#[test]
fn both_halves_belong_together() {
    let ec = generate(Algorithm::find("ec").unwrap(), 256).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, ec.secret.expose()).unwrap();
    let signature = pair.sign(&SystemRandom::new(), b"text").unwrap();
    let public = ec.public.unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public).verify(b"text", signature.as_ref()).unwrap();

    let ed = generate(Algorithm::find("ed25519").unwrap(), 256).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(ed.secret.expose()).unwrap();
    let public = ed.public.unwrap();
    assert_eq!(public[12..], *pair.public_key().as_ref());
    UnparsedPublicKey::new(&ED25519, &public[12..]).verify(b"text", pair.sign(b"text").as_ref()).unwrap();

    let rsa = generate(Algorithm::find("rsa").unwrap(), 2048).unwrap();
    let pair = rsa::KeyPair::from_pkcs8(rsa.secret.expose()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    assert_eq!(public.as_ref(), rsa.public.unwrap());

    let x = generate(Algorithm::find("x25519").unwrap(), 256).unwrap();
    assert_eq!(x.secret.len(), 48);
    let private =
        agreement::PrivateKey::from_private_key(&agreement::X25519, &x.secret.expose()[16..]).unwrap();
    assert_eq!(private.compute_public_key().unwrap().as_ref(), &x.public.unwrap()[12..]);
}

/// The library reads no X25519 key as PKCS#8, so the bytes are compared with published ones: the key pair of RFC 7748
/// (section 6.1), whose public half is the `SubjectPublicKeyInfo` in the certificate of RFC 8410 (section 10.2).
#[test]
fn an_x25519_key_is_encoded_as_published() {
    let seed = hex::decode("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a").unwrap();
    let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &seed).unwrap();
    let encoded = x25519_encoded(&private).unwrap();
    assert_eq!(
        hex::encode(encoded.public.unwrap()),
        "302a300506032b656e0321008520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    );
    assert_eq!(encoded.secret.expose()[16..], seed);
}

/// RFC 8410 gives both curves one encoding, which differs in the last byte of the object identifier (section 3); the
/// library writes it for Ed25519, and so does the example of section 10.3.
#[test]
fn an_x25519_key_is_pkcs8_like_an_ed25519_key() {
    let published =
        "302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
    let published = hex::decode(published).unwrap();
    let library = generate(Algorithm::find("ed25519").unwrap(), 256).unwrap();
    let ours = generate(Algorithm::find("x25519").unwrap(), 256).unwrap();
    for other in [&published, library.secret.expose()] {
        let mut expected = other[..16].to_vec();
        assert_eq!(expected[11], 0x70, "id-Ed25519 ends with 112");
        expected[11] = 0x6e;
        assert_eq!(ours.secret.expose()[..16], expected);
        assert_eq!(ours.secret.len(), other.len());
    }
}

#[test]
fn debug_output_hides_the_secret() {
    let key = generate(Algorithm::find("aes").unwrap(), 256).unwrap();
    assert!(format!("{key:?}").contains("KeyMaterial(secret)"));
}

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

/// Checked by the library's own parser, which shares nothing with the prefixes above.
#[test]
fn an_x25519_key_is_well_formed_pkcs8() {
    let x = generate(Algorithm::find("x25519").unwrap(), 256).unwrap();
    let parsed = agreement::PrivateKey::from_private_key_der(&agreement::X25519, x.secret.expose()).unwrap();
    assert_eq!(parsed.compute_public_key().unwrap().as_ref(), &x.public.unwrap()[12..]);
}

#[test]
fn debug_output_hides_the_secret() {
    let key = generate(Algorithm::find("aes").unwrap(), 256).unwrap();
    assert!(format!("{key:?}").contains("KeyMaterial(secret)"));
}

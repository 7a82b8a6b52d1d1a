//! What is noticed, and what is not.

use super::*;
use crate::CryptoError;

/// Two and a half chunks or sectors, and a part of a block.
const LENGTH: usize = 2 * 4096 + 2053;

struct Object {
    cipher: Cipher,
    data_key: KeyMaterial,
    key: ObjectKey,
    plain: Vec<u8>,
    body: Vec<u8>,
}

fn object(cipher: Cipher, length: usize) -> Object {
    let data_key = random_key(cipher);
    let plain = plain_bytes(length);
    let (header, encryptor) =
        ObjectKey::create(&small_chunks(cipher).with_key_id("key-1").unwrap(), &data_key, b"a/c/o").unwrap();
    let body = encrypt_in_pieces(encryptor, &plain, &[usize::MAX]);
    let key = ObjectKey::open(&header, &data_key, b"a/c/o").unwrap();
    Object { cipher, data_key, key, plain, body }
}

fn sealed() -> impl Iterator<Item = Cipher> {
    Cipher::ALL.into_iter().filter(|cipher| cipher.is_authenticated())
}

/// What is accepted begins like the data, never differs from it, and the end says that something is wrong.
fn refused(object: &Object, body: &[u8]) -> CryptoError {
    let (plain, end) = decrypt_in_pieces(object.key.decryptor(), body, &[usize::MAX]);
    assert!(object.plain.starts_with(&plain), "only true bytes come out");
    end.expect_err("the change is noticed")
}

#[test]
fn every_flipped_bit_of_a_sealed_body_is_refused() {
    for cipher in sealed() {
        let object = object(cipher, LENGTH);
        for at in 0..object.body.len() {
            let mut body = object.body.clone();
            body[at] ^= 1 << (at % 8);
            let error = refused(&object, &body);
            let position = (at / 4112 * 4096) as u64;
            assert_eq!(error, CryptoError::ChangedData { position }, "{} byte {at}", cipher.name());
        }
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_refused() {
    for cipher in Cipher::ALL {
        let object = object(cipher, 100);
        let header = object.key.header().to_bytes();
        for at in 0..header.len() * 8 {
            let mut changed = header.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let Ok(parsed) = Header::parse(&changed) else { continue };
            // Another cipher may need another length of key, which is said first.
            match ObjectKey::open(&parsed, &object.data_key, b"a/c/o") {
                Err(CryptoError::WrongDataKey) => {}
                Err(CryptoError::InvalidLength { .. }) => {
                    assert_ne!(parsed.cipher().key_length(), cipher.key_length());
                }
                other => panic!("{} bit {at}: {other:?}", cipher.name()),
            }
        }
    }
}

#[test]
fn a_wrong_key_or_context_is_found_before_any_byte() {
    for cipher in Cipher::ALL {
        let object = object(cipher, 100);
        let header = object.key.header();
        for (key, context) in [
            (random_key(cipher), "a/c/o"),
            (KeyMaterial::copy_from(object.data_key.expose()), "a/c/other"),
            (KeyMaterial::copy_from(object.data_key.expose()), ""),
        ] {
            let refused = ObjectKey::open(header, &key, context.as_bytes()).unwrap_err();
            assert_eq!(refused, CryptoError::WrongDataKey, "{}", cipher.name());
        }
        for bit in 0..object.data_key.len() * 8 {
            let mut key = KeyMaterial::copy_from(object.data_key.expose());
            key.expose_mut()[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ObjectKey::open(header, &key, b"a/c/o").unwrap_err(), CryptoError::WrongDataKey);
        }
    }
}

#[test]
fn sealed_bodies_that_are_cut_or_extended_are_refused() {
    for cipher in sealed() {
        for length in [0, 1, 4096, 8192, LENGTH] {
            let object = object(cipher, length);
            for cut in 0..object.body.len() {
                let error = refused(&object, &object.body[..cut]);
                // Between two chunks, and within a tag, it can be seen that nothing was changed.
                let visible = cut % 4112 < 16;
                assert_eq!(matches!(error, CryptoError::TruncatedData { .. }), visible, "{cut}: {error}");
            }
            for more in [1, 16, 4112, 5000] {
                refused(&object, &[object.body.as_slice(), &vec![0; more]].concat());
                refused(
                    &object,
                    &[object.body.as_slice(), &object.body.repeat(3)[..more.min(object.body.len())]].concat(),
                );
            }
        }
    }
}

#[test]
fn sealed_chunks_that_are_moved_left_out_repeated_or_from_elsewhere_are_refused() {
    for cipher in sealed() {
        let one = object(cipher, 3 * 4096 + 100);
        let (other_header, encryptor) =
            ObjectKey::create(&small_chunks(cipher).with_key_id("key-1").unwrap(), &one.data_key, b"a/c/o")
                .unwrap();
        let other = encrypt_in_pieces(encryptor, &one.plain, &[usize::MAX]);
        assert_ne!(&other_header, one.key.header());
        let chunks: Vec<&[u8]> = one.body.chunks(4112).collect();
        let others: Vec<&[u8]> = other.chunks(4112).collect();
        let [a, b, c, end] = chunks[..] else { panic!("four chunks") };
        for wrong in [
            vec![b, a, c, end],
            vec![a, c, end],
            vec![a, b, b, c, end],
            vec![a, b, c],
            vec![a, b, c, end, end],
            vec![a, b, c, c, end],
            vec![others[0], b, c, end],
            vec![a, others[1], c, end],
            vec![a, b, c, others[3]],
            vec![end],
        ] {
            refused(&one, &wrong.concat());
        }
        // The body of another object under the same data key is not that of this header.
        refused(&one, &other);
    }
}

/// What the documentation says of modes that do not authenticate the data.
#[test]
fn changes_of_unauthenticated_bodies_do_what_is_documented() {
    for cipher in Cipher::ALL.into_iter().filter(|cipher| !cipher.is_authenticated()) {
        let object = object(cipher, LENGTH);
        for at in [0, 17, 4095, 4096, 5000, LENGTH - 40] {
            let mut body = object.body.clone();
            body[at] ^= 1;
            let plain = decrypt(&object.key, &body).unwrap();
            assert_eq!(plain.len(), LENGTH);
            let differing: Vec<usize> = (0..LENGTH).filter(|i| plain[*i] != object.plain[*i]).collect();
            let block = at / 16 * 16;
            match object.cipher.mode() {
                Mode::Ctr => assert_eq!(differing, [at], "the very bit"),
                // One block becomes noise.
                Mode::Xts => {
                    assert!(
                        !differing.is_empty() && differing.iter().all(|i| (block..block + 16).contains(i))
                    );
                }
                // One block becomes noise, and in the next the very bit is flipped.
                _ => {
                    assert!(differing.contains(&(at + 16)));
                    assert!(differing.iter().all(|i| (block..block + 16).contains(i) || *i == at + 16));
                }
            }
        }
        // A length that is known is held to.
        let known = object.key.decryptor_of_length(LENGTH as u64).unwrap();
        let (_, end) = decrypt_in_pieces(known, &object.body[..object.body.len() - 16], &[usize::MAX]);
        assert!(matches!(end, Err(CryptoError::TruncatedData { .. })));
        let known = object.key.decryptor_of_length(LENGTH as u64).unwrap();
        let (_, end) = decrypt_in_pieces(known, &[object.body.as_slice(), &[0; 16]].concat(), &[usize::MAX]);
        assert!(matches!(end, Err(CryptoError::ChangedData { .. })));
    }
    // Without it, AES-CBC notices a cut only by the padding or within a block.
    let object = object(Cipher::Aes256Cbc, LENGTH);
    for cut in [0, 1, 4097, object.body.len() - 1] {
        let error = decrypt(&object.key, &object.body[..cut]).unwrap_err();
        assert!(matches!(error, CryptoError::TruncatedData { .. }), "{cut}: {error}");
    }
    let mut body = object.body.clone();
    let at = body.len() - 17;
    body[at] ^= 0x40;
    assert!(matches!(decrypt(&object.key, &body), Err(CryptoError::ChangedData { .. })));
}

#[test]
fn headers_have_one_encoding_and_a_known_end() {
    let object = object(Cipher::Aes256Gcm, 0);
    let header = object.key.header();
    let bytes = header.to_bytes();
    assert!(Header::is_header(&bytes) && bytes.len() <= MAXIMUM_HEADER_LENGTH);
    assert_eq!(header.key_id(), Some("key-1"));
    for length in 0..bytes.len() {
        assert_eq!(Header::parse_front(&bytes[..length]).unwrap(), None, "{length}");
        assert!(Header::parse(&bytes[..length]).is_err());
    }
    let longer = [bytes.as_slice(), b"body"].concat();
    assert_eq!(Header::parse_front(&longer).unwrap(), Some((header.clone(), bytes.len())));
    assert!(Header::parse(&longer).is_err());
    assert_eq!(&Header::from_text(&header.to_text()).unwrap(), header);
    for wrong in ["", "====", "not base64!", &format!("{}=", header.to_text()), &"A".repeat(10_000)] {
        assert!(Header::from_text(wrong).is_err(), "{wrong}");
    }
    assert!(Header::parse_front(b"\x8fCHTLNWK").is_err(), "an envelope");
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(matches!(Header::parse(&newer), Err(CryptoError::UnsupportedVersion { found: 2, supported: 1 })));
    let mut direct = bytes;
    direct[10] = 1;
    assert!(Header::parse(&direct).is_err(), "a direct key is for XTS only");
}

#[test]
fn nothing_secret_is_shown() {
    let object = object(Cipher::Aes256Xts, 100);
    let key = hex::encode(object.data_key.expose());
    let (_, encryptor) =
        ObjectKey::create(&Parameters::new(Cipher::Aes256Xts), &object.data_key, b"").unwrap();
    let shown = format!("{:?} {:?} {:?}", object.key, encryptor, object.key.decryptor());
    assert!(!shown.contains(&key) && shown.contains("ObjectKey"));
}

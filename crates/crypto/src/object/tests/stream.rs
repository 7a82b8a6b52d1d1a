//! However data is cut, and whatever part is read: the bytes are the same.

use proptest::prelude::*;

use super::*;
use crate::CryptoError;

/// Around every border there is.
const LENGTHS: [usize; 22] = [
    0, 1, 15, 16, 17, 31, 32, 4080, 4095, 4096, 4097, 4111, 4112, 4113, 8191, 8192, 8193, 8208, 65_535,
    65_536, 65_537, 131_072,
];

#[test]
fn every_length_comes_back_and_is_foreseen() {
    for cipher in Cipher::ALL {
        let key = random_key(cipher);
        for parameters in
            [small_chunks(cipher), Parameters::new(cipher), small_chunks(cipher).with_derived_key()]
        {
            for length in LENGTHS {
                let plain = plain_bytes(length);
                let (header, encryptor) = ObjectKey::create(&parameters, &key, b"context").unwrap();
                let layout = header.layout();
                let body = encrypt_in_pieces(encryptor, &plain, &[usize::MAX]);
                assert_eq!(layout.encrypted_length(length as u64).unwrap(), body.len() as u64);
                match layout.plain_length(body.len() as u64).unwrap() {
                    PlainLength::Exact(exact) => assert_eq!(exact, length as u64),
                    PlainLength::Between { least, most } => {
                        assert!((least..=most).contains(&(length as u64)) && most - least == 15);
                    }
                }
                assert_eq!(cipher.preserves_length(), body.len() == length, "{} {length}", cipher.name());
                let object = ObjectKey::open(&header, &key, b"context").unwrap();
                assert!(decrypt(&object, &body).unwrap() == plain, "{} {length}", cipher.name());
                let known = object.decryptor_of_length(length as u64).unwrap();
                let (back, end) = decrypt_in_pieces(known, &body, &[4096]);
                end.unwrap();
                assert!(back == plain, "{} {length}", cipher.name());
            }
        }
    }
}

#[test]
fn the_same_object_never_encrypts_equally_but_under_a_direct_key() {
    for cipher in Cipher::ALL {
        let key = random_key(cipher);
        let plain = plain_bytes(8192);
        let body = |parameters: &Parameters| {
            encrypt_in_pieces(ObjectKey::create(parameters, &key, b"").unwrap().1, &plain, &[usize::MAX])
        };
        let derived = small_chunks(cipher).with_derived_key();
        assert_ne!(body(&derived), body(&derived));
        if cipher.mode() == Mode::Xts {
            let direct = Parameters::new(cipher);
            assert_eq!(body(&direct), body(&direct));
            // One changed byte changes one sector: this is what makes rsync's work short.
            let mut changed = plain.clone();
            changed[5000] ^= 1;
            let (_, encryptor) = ObjectKey::create(&direct, &key, b"").unwrap();
            let (before, after) = (body(&direct), encrypt_in_pieces(encryptor, &changed, &[usize::MAX]));
            assert_eq!(before[..4096], after[..4096]);
            assert_ne!(before[4096..], after[4096..]);
        }
    }
}

/// The tail that XTS has nothing for has a mask of its own each time, even under a direct key.
#[test]
fn short_tails_of_xts_do_not_share_a_mask() {
    let key = random_key(Cipher::Aes256Xts);
    let tail = || {
        let (_, encryptor) = ObjectKey::create(&Parameters::new(Cipher::Aes256Xts), &key, b"").unwrap();
        encrypt_in_pieces(encryptor, &[0; 15], &[usize::MAX])
    };
    assert_ne!(tail(), tail());
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    for cipher in Cipher::ALL {
        let layout = Layout::of(cipher);
        for (range, total) in [(5..5, None), (10..20, Some(10)), (7..9, Some(3)), (0..1, Some(0))] {
            assert!(layout.encrypted_range(range, total).is_err(), "{}", cipher.name());
        }
        assert!(layout.encrypted_range(0..MAXIMUM_PLAIN_LENGTH + 1, None).is_err());
        assert!(
            layout.encrypted_range(MAXIMUM_PLAIN_LENGTH - 1..u64::MAX, Some(MAXIMUM_PLAIN_LENGTH)).is_ok()
        );
        assert!(layout.encrypted_length(MAXIMUM_PLAIN_LENGTH).is_ok());
        assert!(layout.encrypted_length(MAXIMUM_PLAIN_LENGTH + 1).is_err());
        assert!(layout.encrypted_length(u64::MAX).is_err());
        assert!(layout.plain_length(u64::MAX).is_err());
    }
    for cut in [0, 15, 65_552, 65_552 + 15] {
        assert!(Layout::of(Cipher::Aes256Gcm).plain_length(cut).is_err(), "{cut}");
    }
    for cut in [0, 1, 17] {
        assert!(Layout::of(Cipher::Aes256Cbc).plain_length(cut).is_err(), "{cut}");
    }
}

#[test]
fn outputs_that_are_too_short_are_refused_and_nothing_is_lost() {
    for cipher in Cipher::ALL {
        let key = random_key(cipher);
        let plain = plain_bytes(10_000);
        let (header, mut encryptor) = ObjectKey::create(&small_chunks(cipher), &key, b"").unwrap();
        let needed = encryptor.output_length(plain.len());
        assert!(needed > 0);
        assert!(encryptor.update(&plain, &mut vec![0; needed - 1]).is_err());
        let body = encrypt_in_pieces(encryptor, &plain, &[usize::MAX]);
        let object = ObjectKey::open(&header, &key, b"").unwrap();
        let mut decryptor = object.decryptor();
        let needed = decryptor.output_length(body.len());
        assert!(matches!(
            decryptor.update(&body, &mut vec![0; needed - 1]),
            Err(CryptoError::InvalidLength { .. })
        ));
        let (back, end) = decrypt_in_pieces(decryptor, &body, &[usize::MAX]);
        end.unwrap();
        assert_eq!(back, plain);
    }
}

#[test]
fn parameters_that_do_not_exist_are_refused() {
    for cipher in Cipher::ALL {
        for length in [0, 1, 2048, 5000, 8 << 20, usize::MAX] {
            assert!(Parameters::new(cipher).with_chunk_length(length).is_err(), "{} {length}", cipher.name());
        }
        let possible = Parameters::new(cipher).with_chunk_length(1 << 20).is_ok();
        assert_eq!(possible, cipher.is_authenticated());
        for wrong in [cipher.key_length() - 1, cipher.key_length() + 1, 0] {
            let refused = ObjectKey::create(&Parameters::new(cipher), &KeyMaterial::zeroed(wrong), b"");
            assert!(matches!(refused, Err(CryptoError::InvalidLength { .. })));
        }
        for key_id in ["with space", "t\u{e4}g", "new\nline", &"x".repeat(256)] {
            assert!(Parameters::new(cipher).with_key_id(key_id).is_err(), "{key_id:?}");
        }
    }
}

fn ciphers() -> impl Strategy<Value = Cipher> {
    proptest::sample::select(Cipher::ALL.to_vec())
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![0..40_usize, 4000..4200_usize, 1..30_000_usize], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_cut_gives_the_same_bytes(
        cipher in ciphers(), length in 0..40_000_usize, first in pieces(), second in pieces(), derived: bool,
    ) {
        let key = random_key(cipher);
        let plain = plain_bytes(length);
        let parameters = small_chunks(cipher);
        let parameters = if derived { parameters.with_derived_key() } else { parameters };
        let begin = || ObjectKey::create_with_salt(&parameters, &key, b"", [3; 32]).unwrap();
        let (header, encryptor) = begin();
        // A piece of no bytes only makes no progress.
        let some = |pieces: &[usize]| [pieces, &[1234]].concat();
        let body = encrypt_in_pieces(encryptor, &plain, &some(&first));
        prop_assert!(body == encrypt_in_pieces(begin().1, &plain, &[usize::MAX]));
        let object = ObjectKey::open(&header, &key, b"").unwrap();
        let (back, end) = decrypt_in_pieces(object.decryptor(), &body, &some(&second));
        end.unwrap();
        prop_assert!(back == plain);
    }

    #[test]
    fn any_range_reads_the_same_bytes(
        cipher in ciphers(), length in 1..40_000_usize, at in 0.0..1.0_f64, extent in 0.0..1.0_f64, second in pieces(),
    ) {
        let key = random_key(cipher);
        let plain = plain_bytes(length);
        let (header, encryptor) = ObjectKey::create(&small_chunks(cipher), &key, b"").unwrap();
        let body = encrypt_in_pieces(encryptor, &plain, &[usize::MAX]);
        let object = ObjectKey::open(&header, &key, b"").unwrap();
        let start = (at * length as f64) as usize;
        let end = start + 1 + (extent * (length - start - 1) as f64) as usize;
        let (range, total) = (start as u64..end as u64, length as u64);
        let needed = header.layout().encrypted_range(range.clone(), Some(total)).unwrap();
        prop_assert!(needed.end <= body.len() as u64);
        // Without the length the same is asked for, but perhaps more than there is.
        let unclear = header.layout().encrypted_range(range.clone(), None).unwrap();
        prop_assert_eq!(unclear.start, needed.start);
        prop_assert_eq!(unclear.end.min(body.len() as u64), needed.end);
        let fed = &body[needed.start as usize..needed.end as usize];
        let decryptor = object.range_decryptor(range.clone(), total).unwrap();
        let (back, ended) = decrypt_in_pieces(decryptor, fed, &[second.as_slice(), &[1234]].concat());
        ended.unwrap();
        prop_assert!(back == plain[start..end]);
        // A range that reaches beyond the end is cut to it.
        let beyond = object.range_decryptor(range.start..u64::MAX, total).unwrap();
        let rest = header.layout().encrypted_range(range.start..u64::MAX, Some(total)).unwrap();
        let (back, ended) = decrypt_in_pieces(beyond, &body[rest.start as usize..rest.end as usize], &[usize::MAX]);
        ended.unwrap();
        prop_assert!(back == plain[start..]);
        // Less or more than that is noticed in every mode.
        let again = object.range_decryptor(range.clone(), total).unwrap();
        let (_, ended) = decrypt_in_pieces(again, &fed[..fed.len() - 1], &[usize::MAX]);
        prop_assert!(matches!(ended, Err(CryptoError::TruncatedData { .. })), "{ended:?}");
        let again = object.range_decryptor(range, total).unwrap();
        let (_, ended) = decrypt_in_pieces(again, &[fed, &[0]].concat(), &[usize::MAX]);
        prop_assert!(matches!(ended, Err(CryptoError::ChangedData { .. })), "{ended:?}");
    }
}

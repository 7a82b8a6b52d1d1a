//! The vectors in `tests/data` come from an implementation that shares no code with this one; `tests/object_openssl.rs`
//! compares with OpenSSL on random input.

mod luks;
mod standards;
mod stream;
mod tamper;
mod vectors;

use super::*;
use crate::KeyMaterial;

/// The plain data of the vectors.
fn plain_bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 167 + (i >> 8) * 13) as u8).collect()
}

fn random_key(cipher: Cipher) -> KeyMaterial {
    KeyMaterial::random(cipher.key_length() * 8).unwrap()
}

/// Everything with the smallest chunks, so that few bytes make many.
fn small_chunks(cipher: Cipher) -> Parameters {
    let parameters = Parameters::new(cipher);
    if cipher.is_authenticated() { parameters.with_chunk_length(4096).unwrap() } else { parameters }
}

/// Feeds pieces of the given lengths, over and over, to an encryptor.
fn encrypt_in_pieces(mut encryptor: Encryptor, plain: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in cut(plain, pieces) {
        let mut output = vec![0; encryptor.output_length(piece.len())];
        assert_eq!(encryptor.update(piece, &mut output).unwrap(), output.len());
        body.extend(output);
    }
    let mut output = vec![0; encryptor.finish_length()];
    assert_eq!(encryptor.finish(&mut output).unwrap(), output.len());
    body.extend(output);
    body
}

/// What came out, and how it ended.
fn decrypt_in_pieces(
    mut decryptor: Decryptor,
    body: &[u8],
    pieces: &[usize],
) -> (Vec<u8>, Result<(), crate::CryptoError>) {
    let mut plain = Vec::new();
    for piece in cut(body, pieces) {
        let mut output = vec![0; decryptor.output_length(piece.len())];
        match decryptor.update(piece, &mut output) {
            Ok(length) => assert_eq!(length, output.len()),
            Err(error) => {
                assert!(output.iter().all(|byte| *byte == 0), "nothing is released with an error");
                assert!(
                    decryptor.update(piece, &mut vec![0; 1 << 20]).is_err(),
                    "a failed stream stays failed"
                );
                return (plain, Err(error));
            }
        }
        plain.extend(output);
    }
    let mut output = vec![0; decryptor.finish_length()];
    match decryptor.finish(&mut output) {
        Ok(length) => {
            plain.extend(&output[..length]);
            (plain, Ok(()))
        }
        Err(error) => (plain, Err(error)),
    }
}

fn decrypt(key: &ObjectKey, body: &[u8]) -> Result<Vec<u8>, crate::CryptoError> {
    let (plain, end) = decrypt_in_pieces(key.decryptor(), body, &[usize::MAX]);
    end.map(|()| plain)
}

fn cut<'bytes>(bytes: &'bytes [u8], pieces: &[usize]) -> Vec<&'bytes [u8]> {
    let mut rest = bytes;
    let mut found = Vec::new();
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        found.push(now);
        rest = later;
        if pieces.iter().all(|piece| *piece == 0) {
            break;
        }
    }
    found
}

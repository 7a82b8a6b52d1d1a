//! Chunks that are each sealed by an AEAD.
//!
//! The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015) under a key that is derived for one
//! object. The nonce of a chunk is its number, 88 bits big-endian, and a byte that is 1 for the object's last chunk and 0
//! for all others. The last chunk is always shorter than a full one, and empty where the object's length is a multiple of
//! the chunk length; so a chunk's length alone tells whether it is to be the last.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};

use super::Cipher;
use crate::CryptoError;
use crate::material::Locked;

/// The length of a chunk's tag, in bytes.
pub(super) const TAG_LENGTH: usize = 16;

pub(super) struct Sealed {
    key: Locked<LessSafeKey>,
}

impl Sealed {
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes192Gcm => &AES_192_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            _ => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::Library("AEAD key set-up"))?;
        Ok(Self { key: Locked::new(LessSafeKey::new(key)) })
    }

    /// Seals one chunk; `output` is longer by the tag.
    pub(super) fn seal(
        &self,
        index: u64,
        last: bool,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let failed = CryptoError::Library("sealing of a chunk");
        let Some((text, tag)) = output.split_last_chunk_mut::<TAG_LENGTH>() else { return Err(failed) };
        self.key
            .seal_out_of_place_scatter(nonce(index, last), Aad::empty(), input, text, &[], tag)
            .map_err(|_| failed)
    }

    /// Opens one chunk; `output` is shorter by the tag. Tells whether it authenticates; if not, nothing is released.
    pub(super) fn open(&self, index: u64, last: bool, input: &[u8], output: &mut [u8]) -> bool {
        let Some((text, tag)) = input.split_last_chunk::<TAG_LENGTH>() else { return false };
        let opened =
            self.key.open_separate_gather(nonce(index, last), Aad::empty(), text, tag, output).is_ok();
        if !opened {
            output.fill(0);
        }
        opened
    }
}

fn nonce(index: u64, last: bool) -> Nonce {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    let nonce: [u8; NONCE_LEN] = [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)];
    Nonce::assume_unique_for_key(nonce)
}

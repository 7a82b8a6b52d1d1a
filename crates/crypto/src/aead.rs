//! The record cipher: XAES-256-GCM of C2SP (<https://c2sp.org/XAES-256-GCM>).
//!
//! Owns authenticated encryption of records and keys under long-lived keys. A nonce of 192 random bits makes it safe to
//! seal 2^80 records under one key without a counter. Each record gets its own AES-256-GCM key, derived from the first
//! half of the nonce by CMAC in counter mode (NIST SP 800-108r1, section 4.1), and the second half as GCM nonce.
//!
//! Layout of a sealed record: nonce (24 bytes), ciphertext (as long as the plaintext), tag (16 bytes).
//!
//! Invariants: nonces are chosen here, at random; plaintext is released only after its tag was verified.

#[cfg(test)]
mod tests;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

use crate::material::Locked;
use crate::{CryptoError, KeyMaterial, random};

/// The key length in bytes.
pub const RECORD_KEY_LENGTH: usize = 32;
/// How much longer a sealed record is than its plaintext, in bytes: nonce and tag.
pub const RECORD_OVERHEAD: usize = NONCE_LENGTH + TAG_LENGTH;

const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
const BLOCK_LENGTH: usize = 16;
/// The first 12 bytes of the nonce select the record's key, the other 12 are its GCM nonce.
const HALF_NONCE_LENGTH: usize = 12;

/// A key prepared for sealing and opening records. Its key schedule lies in secret memory.
pub struct RecordCipher {
    /// AES-256 with the record key, for the derivation only.
    block: Locked<EncryptingKey>,
    /// CMAC's first subkey (NIST SP 800-38B, section 6.1), which every full-block message is masked with.
    subkey: KeyMaterial,
}

impl RecordCipher {
    /// Prepares a key of 32 bytes.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for any other length.
    pub fn new(key: &KeyMaterial) -> Result<Self, CryptoError> {
        if key.len() != RECORD_KEY_LENGTH {
            return Err(CryptoError::InvalidLength {
                what: "record key, in bytes,",
                length: key.len(),
                allowed: "32 bytes",
            });
        }
        let block = UnboundCipherKey::new(&AES_256, key.expose())
            .and_then(EncryptingKey::ecb)
            .map_err(|_| CryptoError::Library("AES-256 key set-up"))?;
        let block = Locked::new(block);
        let mut subkey = KeyMaterial::zeroed(BLOCK_LENGTH);
        encrypt_blocks(&block, subkey.expose_mut())?;
        double(subkey.expose_mut());
        Ok(Self { block, subkey })
    }

    /// Seals `plaintext` and authenticates it together with `aad`, which is not part of the result.
    ///
    /// # Errors
    /// [`CryptoError::Random`] without a nonce, [`CryptoError::Library`] above GCM's limit of 64 GiB.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut nonce = [0_u8; NONCE_LENGTH];
        random::fill_public(&mut nonce)?;
        self.seal_with_nonce(&nonce, aad, plaintext)
    }

    /// Opens what [`RecordCipher::seal`] made under the same key and with the same `aad`.
    ///
    /// # Errors
    /// [`CryptoError::Authentication`] for another key, other `aad`, or changed, cut or extended data.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<KeyMaterial, CryptoError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LENGTH>().ok_or(CryptoError::Authentication)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>().ok_or(CryptoError::Authentication)?;
        let (key, nonce) = self.record_key(nonce)?;
        let mut plaintext = KeyMaterial::zeroed(ciphertext.len());
        key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext.expose_mut())
            .map_err(|_| CryptoError::Authentication)?;
        Ok(plaintext)
    }

    /// Seals under a given nonce. For known-answer tests and [`RecordCipher::seal`] only: a nonce must not repeat.
    pub(crate) fn seal_with_nonce(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (key, gcm_nonce) = self.record_key(nonce)?;
        let mut sealed = vec![0_u8; plaintext.len().saturating_add(RECORD_OVERHEAD)];
        let refused = CryptoError::Library("AES-256-GCM sealing");
        let Some((head, rest)) = sealed.split_first_chunk_mut::<NONCE_LENGTH>() else { return Err(refused) };
        let Some((ciphertext, tag)) = rest.split_last_chunk_mut::<TAG_LENGTH>() else { return Err(refused) };
        head.copy_from_slice(nonce);
        // Out of place, so that no plaintext ever stands in the ordinary memory of the result.
        key.seal_out_of_place_scatter(gcm_nonce, Aad::from(aad), plaintext, ciphertext, &[], tag)
            .map_err(|_| refused)?;
        Ok(sealed)
    }

    /// The AES-256-GCM key and nonce of one record.
    fn record_key(&self, nonce: &[u8; NONCE_LENGTH]) -> Result<(LessSafeKey, Nonce), CryptoError> {
        let mut derived = Zeroizing::new([0_u8; 2 * BLOCK_LENGTH]);
        let mut gcm_nonce = [0_u8; HALF_NONCE_LENGTH];
        let (selector, rest) = nonce.split_at(HALF_NONCE_LENGTH);
        gcm_nonce.copy_from_slice(rest);
        // Each message is exactly one block (counter, label 'X', separator, context), so its CMAC is one encryption.
        for (counter, block) in (1_u8..).zip(derived.chunks_exact_mut(BLOCK_LENGTH)) {
            let head = [0, counter, b'X', 0];
            for ((byte, message), mask) in
                block.iter_mut().zip(head.iter().chain(selector)).zip(self.subkey.expose())
            {
                *byte = message ^ mask;
            }
        }
        encrypt_blocks(&self.block, derived.as_mut())?;
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref())
            .map_err(|_| CryptoError::Library("AES-256-GCM key set-up"))?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(gcm_nonce)))
    }
}

impl std::fmt::Debug for RecordCipher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RecordCipher(secret)")
    }
}

/// Encrypts whole blocks independently of each other. Only for blocks that are distinct by construction.
fn encrypt_blocks(key: &EncryptingKey, blocks: &mut [u8]) -> Result<(), CryptoError> {
    key.encrypt(blocks).map(drop).map_err(|_| CryptoError::Library("AES-256 block encryption"))
}

/// Multiplies a block by x in GF(2^128), in constant time (NIST SP 800-38B, section 6.1).
fn double(block: &mut [u8]) {
    let mut carry = 0_u8;
    for byte in block.iter_mut().rev() {
        let next = *byte >> 7;
        *byte = (*byte << 1) | carry;
        carry = next;
    }
    if let Some(last) = block.last_mut() {
        *last ^= 0x87 & carry.wrapping_neg();
    }
}

//! AES with any of its key lengths, from the library that has it on vector units and lets several blocks go at once.

use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt, KeyInit,
};

use crate::CryptoError;
use crate::material::Locked;

/// The expanded key, in secret memory.
pub(super) enum AesKey {
    Aes128(Locked<aes::Aes128>),
    Aes192(Locked<aes::Aes192>),
    Aes256(Locked<aes::Aes256>),
}

impl AesKey {
    /// Expands a key of 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let refused = CryptoError::InvalidLength {
            what: "AES key, in bytes,",
            length: key.len(),
            allowed: "16, 24 or 32 bytes",
        };
        match key.len() {
            16 => aes::Aes128::new_from_slice(key).map(|key| Self::Aes128(Locked::new(key))),
            24 => aes::Aes192::new_from_slice(key).map(|key| Self::Aes192(Locked::new(key))),
            32 => aes::Aes256::new_from_slice(key).map(|key| Self::Aes256(Locked::new(key))),
            _ => return Err(refused),
        }
        .map_err(|_| refused)
    }

    /// Lets `work` encrypt with it.
    #[inline]
    pub(super) fn encrypt_with(&self, work: impl BlockCipherEncClosure<BlockSize = U16>) {
        match self {
            Self::Aes128(key) => key.encrypt_with_backend(work),
            Self::Aes192(key) => key.encrypt_with_backend(work),
            Self::Aes256(key) => key.encrypt_with_backend(work),
        }
    }

    /// Lets `work` decrypt with it.
    #[inline]
    pub(super) fn decrypt_with(&self, work: impl BlockCipherDecClosure<BlockSize = U16>) {
        match self {
            Self::Aes128(key) => key.decrypt_with_backend(work),
            Self::Aes192(key) => key.decrypt_with_backend(work),
            Self::Aes256(key) => key.decrypt_with_backend(work),
        }
    }

    /// Encrypts blocks independently of each other. Only for blocks that are distinct by construction.
    pub(super) fn encrypt_blocks(&self, blocks: &mut [aes::Block]) {
        match self {
            Self::Aes128(key) => key.encrypt_blocks(blocks),
            Self::Aes192(key) => key.encrypt_blocks(blocks),
            Self::Aes256(key) => key.encrypt_blocks(blocks),
        }
    }
}

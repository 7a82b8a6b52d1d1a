//! What needs no TPM: the other side of everything a TPM does.
//!
//! Owns: key derivation ([`kdf`]), digests of policies ([`policy`]), secrets encrypted to a TPM's key ([`exchange`]),
//! credentials ([`credential`]), objects made for import ([`import`]), checks of keys, quotes and signatures ([`verify`]),
//! certificates of endorsement keys ([`certificate`]).
//!
//! Invariant: works on public areas and secrets alone; no I/O, no clock.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod certificate;
mod certificate_algorithms;
pub mod credential;
pub mod exchange;
pub mod import;
pub mod kdf;
pub mod policy;
pub mod verify;

use aes::{Aes128, Aes256};
use cfb_mode::cipher::KeyIvInit;

/// Encrypts in place with AES-CFB; the key's length chooses AES-128 or AES-256.
pub(crate) fn cfb_encrypt(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    match key.len() {
        16 => cfb_mode::Encryptor::<Aes128>::new_from_slices(key, iv).ok()?.encrypt(data),
        32 => cfb_mode::Encryptor::<Aes256>::new_from_slices(key, iv).ok()?.encrypt(data),
        _ => return None,
    }
    Some(())
}

/// Decrypts in place with AES-CFB; the key's length chooses AES-128 or AES-256.
pub(crate) fn cfb_decrypt(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    match key.len() {
        16 => cfb_mode::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt(data),
        32 => cfb_mode::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt(data),
        _ => return None,
    }
    Some(())
}

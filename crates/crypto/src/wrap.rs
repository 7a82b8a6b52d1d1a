//! Key wrapping: AES-KW (RFC 3394, NIST SP 800-38F KW) and AES-KWP (RFC 5649, NIST SP 800-38F KWP).
//!
//! Owns interoperable wrapping for protocols that ask for it (KMIP, PKCS#11, PKCS#12 tools). Our own formats use the
//! record cipher, which binds associated data as well.
//!
//! The library wraps with keys of 128 and 256 bits only and copies them to ordinary memory, so the two modes are built
//! here from its block cipher; the tests compare both implementations.
//!
//! Invariant: on a failed integrity check nothing is released and nothing tells which part of the check failed.

#[cfg(test)]
mod tests;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use subtle::{Choice, ConstantTimeEq, ConstantTimeLess};
use zeroize::{Zeroize, Zeroizing};

use crate::{CryptoError, KeyMaterial};

/// The longest key that is wrapped, in bytes.
pub const MAXIMUM_KEY_LENGTH: usize = 65_536;

const HALF: usize = 8;
const BLOCK: usize = 16;
/// The initial value of KW (RFC 3394, section 2.2.3.1).
const INITIAL_VALUE: [u8; HALF] = [0xa6; HALF];
/// The first half of KWP's initial value; the second is the key's length (RFC 5649, section 3).
const PADDED_INITIAL_VALUE: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

type Register = Zeroizing<[u8; HALF]>;

/// Wraps `key`, a multiple of 8 bytes and at least 16, under `kek` of 16, 24 or 32 bytes. Adds 8 bytes.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for other lengths.
pub fn wrap(kek: &KeyMaterial, key: &KeyMaterial) -> Result<Vec<u8>, CryptoError> {
    if key.len() < BLOCK || !key.len().is_multiple_of(HALF) || key.len() > MAXIMUM_KEY_LENGTH {
        return Err(CryptoError::InvalidLength {
            what: "key to be wrapped by AES-KW, in bytes,",
            length: key.len(),
            allowed: "multiples of 8 from 16 to 65536 bytes (AES-KWP takes any length)",
        });
    }
    wrap_registers(&encrypting(kek)?, INITIAL_VALUE, key.expose())
}

/// Unwraps what [`wrap`] made under the same `kek`.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for lengths no wrapping gives, [`CryptoError::Authentication`] if the check fails.
pub fn unwrap(kek: &KeyMaterial, wrapped: &[u8]) -> Result<KeyMaterial, CryptoError> {
    if wrapped.len() < BLOCK + HALF
        || !wrapped.len().is_multiple_of(HALF)
        || wrapped.len() > MAXIMUM_KEY_LENGTH + HALF
    {
        return Err(CryptoError::InvalidLength {
            what: "key wrapped by AES-KW, in bytes,",
            length: wrapped.len(),
            allowed: "multiples of 8 from 24 to 65544 bytes",
        });
    }
    let (initial, key) = unwrap_registers(&decrypting(kek)?, wrapped)?;
    if bool::from(initial.ct_eq(&INITIAL_VALUE)) { Ok(key) } else { Err(CryptoError::Authentication) }
}

/// Wraps `key`, 1 to 65 536 bytes, under `kek` of 16, 24 or 32 bytes. Pads to a multiple of 8 bytes and adds 8.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for other lengths.
pub fn wrap_padded(kek: &KeyMaterial, key: &KeyMaterial) -> Result<Vec<u8>, CryptoError> {
    let too_long_or_empty = CryptoError::InvalidLength {
        what: "key to be wrapped by AES-KWP, in bytes,",
        length: key.len(),
        allowed: "1 to 65536 bytes",
    };
    if !(1..=MAXIMUM_KEY_LENGTH).contains(&key.len()) {
        return Err(too_long_or_empty);
    }
    let length = u32::try_from(key.len()).map_err(|_| too_long_or_empty)?;
    let mut initial = [0_u8; HALF];
    for (target, source) in initial.iter_mut().zip(PADDED_INITIAL_VALUE.iter().chain(&length.to_be_bytes())) {
        *target = *source;
    }
    let mut padded = KeyMaterial::zeroed(key.len().next_multiple_of(HALF));
    for (target, source) in padded.expose_mut().iter_mut().zip(key.expose()) {
        *target = *source;
    }
    let cipher = encrypting(kek)?;
    if padded.len() == HALF {
        // One register only: a single block (RFC 5649, section 4.1).
        let mut block = Zeroizing::new([0_u8; BLOCK]);
        join(&mut block, &initial, padded.expose());
        encrypt(&cipher, &mut block)?;
        return Ok(block.to_vec());
    }
    wrap_registers(&cipher, initial, padded.expose())
}

/// Unwraps what [`wrap_padded`] made under the same `kek`.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for lengths no wrapping gives, [`CryptoError::Authentication`] if the check fails.
pub fn unwrap_padded(kek: &KeyMaterial, wrapped: &[u8]) -> Result<KeyMaterial, CryptoError> {
    if wrapped.len() < BLOCK
        || !wrapped.len().is_multiple_of(HALF)
        || wrapped.len() > MAXIMUM_KEY_LENGTH + HALF
    {
        return Err(CryptoError::InvalidLength {
            what: "key wrapped by AES-KWP, in bytes,",
            length: wrapped.len(),
            allowed: "multiples of 8 from 16 to 65544 bytes",
        });
    }
    let cipher = decrypting(kek)?;
    let (initial, padded) = if wrapped.len() == BLOCK {
        let mut block = Zeroizing::new([0_u8; BLOCK]);
        block.copy_from_slice(wrapped);
        decrypt(&cipher, &mut block)?;
        split(&block)
    } else {
        unwrap_registers(&cipher, wrapped)?
    };
    let (marker, length) = initial.split_at(HALF / 2);
    let length = length.iter().fold(0_u32, |value, byte| (value << 8) | u32::from(*byte));
    let padded_length = u32::try_from(padded.len()).map_err(|_| CryptoError::Authentication)?;
    // All three checks are always made, whichever fails (RFC 5649, section 3).
    let mut good: Choice = marker.ct_eq(&PADDED_INITIAL_VALUE);
    good &= padded_length.wrapping_sub(8).ct_lt(&length) & !padded_length.ct_lt(&length);
    for (index, byte) in (0_u32..).zip(padded.expose()) {
        good &= index.ct_lt(&length) | byte.ct_eq(&0);
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match padded.expose().get(..length) {
        Some(key) if bool::from(good) => Ok(KeyMaterial::copy_from(key)),
        _ => Err(CryptoError::Authentication),
    }
}

/// The wrapping process W (RFC 3394, section 2.2.1, the indexed form).
fn wrap_registers(cipher: &EncryptingKey, initial: [u8; HALF], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut registers = KeyMaterial::copy_from(key);
    let mut integrity: Register = Zeroizing::new(initial);
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    let mut step = 0_u64;
    for _ in 0..6 {
        for register in registers.expose_mut().chunks_exact_mut(HALF) {
            step = step.wrapping_add(1);
            join(&mut block, integrity.as_ref(), register);
            encrypt(cipher, &mut block)?;
            let (left, right) = block.split_at(HALF);
            integrity.copy_from_slice(left);
            register.copy_from_slice(right);
            exclusive_or(&mut integrity, step);
        }
    }
    let mut wrapped = Vec::with_capacity(registers.len().saturating_add(HALF));
    wrapped.extend_from_slice(integrity.as_ref());
    wrapped.extend_from_slice(registers.expose());
    Ok(wrapped)
}

/// The unwrapping process W⁻¹ (RFC 3394, section 2.2.2). The caller checks the initial value.
fn unwrap_registers(cipher: &DecryptingKey, wrapped: &[u8]) -> Result<(Register, KeyMaterial), CryptoError> {
    let (head, tail) = wrapped.split_first_chunk::<HALF>().ok_or(CryptoError::Authentication)?;
    let mut integrity: Register = Zeroizing::new(*head);
    let mut registers = KeyMaterial::copy_from(tail);
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    let count = u64::try_from(tail.len() / HALF).map_err(|_| CryptoError::Authentication)?;
    let mut step = count.wrapping_mul(6);
    for _ in 0..6 {
        for register in registers.expose_mut().chunks_exact_mut(HALF).rev() {
            exclusive_or(&mut integrity, step);
            step = step.wrapping_sub(1);
            join(&mut block, integrity.as_ref(), register);
            decrypt(cipher, &mut block)?;
            let (left, right) = block.split_at(HALF);
            integrity.copy_from_slice(left);
            register.copy_from_slice(right);
        }
    }
    Ok((integrity, registers))
}

fn join(block: &mut [u8; BLOCK], left: &[u8], right: &[u8]) {
    for (target, source) in block.iter_mut().zip(left.iter().chain(right)) {
        *target = *source;
    }
}

fn split(block: &[u8; BLOCK]) -> (Register, KeyMaterial) {
    let (left, right) = block.split_at(HALF);
    let mut integrity: Register = Zeroizing::new([0_u8; HALF]);
    integrity.copy_from_slice(left);
    (integrity, KeyMaterial::copy_from(right))
}

fn exclusive_or(integrity: &mut [u8; HALF], step: u64) {
    for (byte, step) in integrity.iter_mut().zip(step.to_be_bytes()) {
        *byte ^= step;
    }
}

fn encrypt(cipher: &EncryptingKey, block: &mut [u8; BLOCK]) -> Result<(), CryptoError> {
    cipher.encrypt(block).map(drop).map_err(|_| CryptoError::Library("AES block encryption"))
}

fn decrypt(cipher: &DecryptingKey, block: &mut [u8; BLOCK]) -> Result<(), CryptoError> {
    let result = cipher.decrypt(block, DecryptionContext::None).map(drop);
    result.map_err(|_| {
        block.zeroize();
        CryptoError::Library("AES block decryption")
    })
}

fn unbound(kek: &KeyMaterial) -> Result<UnboundCipherKey, CryptoError> {
    let algorithm = match kek.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        length => {
            return Err(CryptoError::InvalidLength {
                what: "AES key-encryption key, in bytes,",
                length,
                allowed: "16, 24 or 32 bytes",
            });
        }
    };
    UnboundCipherKey::new(algorithm, kek.expose()).map_err(|_| CryptoError::Library("AES key set-up"))
}

fn encrypting(kek: &KeyMaterial) -> Result<EncryptingKey, CryptoError> {
    EncryptingKey::ecb(unbound(kek)?).map_err(|_| CryptoError::Library("AES key set-up"))
}

fn decrypting(kek: &KeyMaterial) -> Result<DecryptingKey, CryptoError> {
    DecryptingKey::ecb(unbound(kek)?).map_err(|_| CryptoError::Library("AES key set-up"))
}

//! The libraries, each behind one closure that encrypts a buffer in place.

use aes_gcm::aead::{AeadInOut, KeyInit};
use anyhow::{Result, anyhow};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};

/// A library with one cipher, set up.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
}

/// Encrypts a buffer in place.
pub(crate) type Run = Box<dyn FnMut(&mut [u8]) -> Result<()>>;

const KEY: [u8; 32] = [0x42; 32];

/// A fresh nonce for each call.
fn next(counter: &mut u64) -> [u8; 12] {
    *counter += 1;
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn next_iv(counter: &mut u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..12].copy_from_slice(&next(counter));
    iv
}

pub(crate) fn gcm() -> Result<Vec<Candidate>> {
    let failed = |name: &'static str| anyhow!("{name} failed");
    let aws = aws_lc_rs::aead::LessSafeKey::new(
        aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, &KEY)
            .map_err(|_| failed("aws-lc-rs"))?,
    );
    let ring = ring::aead::LessSafeKey::new(
        ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &KEY).map_err(|_| failed("ring"))?,
    );
    let rust_crypto = aes_gcm::Aes256Gcm::new(&KEY.into());
    let (mut one, mut two, mut three) = (0, 0, 0);
    Ok(vec![
        Candidate {
            name: "aws-lc-rs",
            run: Box::new(move |buffer| {
                let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(next(&mut one));
                let tag = aws.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::empty(), buffer);
                tag.map(drop).map_err(|_| failed("aws-lc-rs"))
            }),
        },
        Candidate {
            name: "ring",
            run: Box::new(move |buffer| {
                let nonce = ring::aead::Nonce::assume_unique_for_key(next(&mut two));
                let tag = ring.seal_in_place_separate_tag(nonce, ring::aead::Aad::empty(), buffer);
                tag.map(drop).map_err(|_| failed("ring"))
            }),
        },
        Candidate {
            name: "RustCrypto",
            run: Box::new(move |buffer| {
                let nonce = next(&mut three).into();
                let tag = rust_crypto.encrypt_inout_detached(&nonce, b"", buffer.into());
                tag.map(drop).map_err(|_| failed("aes-gcm"))
            }),
        },
    ])
}

pub(crate) fn ctr() -> Result<Vec<Candidate>> {
    let failed = || anyhow!("aws-lc-rs failed");
    let aws = UnboundCipherKey::new(&AES_256, &KEY).and_then(EncryptingKey::ctr).map_err(|_| failed())?;
    let schedule = aes::Aes256::new(&KEY.into());
    let (mut one, mut two) = (0, 0);
    Ok(vec![
        Candidate {
            name: "aws-lc-rs",
            run: Box::new(move |buffer| {
                let context = EncryptionContext::Iv128(FixedLength::from(next_iv(&mut one)));
                aws.less_safe_encrypt(buffer, context).map(drop).map_err(|_| failed())
            }),
        },
        // ring has no CTR mode of its own.
        Candidate {
            name: "RustCrypto",
            run: Box::new(move |buffer| {
                // Its stream is bound to one IV, so it copies the key schedule for each call.
                let core = ctr::CtrCore::inner_iv_init(schedule.clone(), &next_iv(&mut two).into());
                let mut stream: ctr::Ctr64BE<aes::Aes256> = StreamCipherCoreWrapper::from_core(core);
                stream.apply_keystream(buffer);
                Ok(())
            }),
        },
    ])
}

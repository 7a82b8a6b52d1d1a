//! AES-CBC. The last block is padded by 1 to 16 bytes that each hold their number, so there always is padding.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use super::BLOCK_LENGTH;
use crate::CryptoError;
use crate::material::Locked;

/// The block before the one that is worked on; at the beginning the initialization vector.
pub(super) type Chain = [u8; BLOCK_LENGTH];

pub(super) struct Cbc {
    encrypting: Locked<EncryptingKey>,
    decrypting: Locked<DecryptingKey>,
    first: Chain,
}

impl Cbc {
    pub(super) fn new(key: &[u8], first: Chain) -> Result<Self, CryptoError> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            _ => &AES_256,
        };
        let refused = |_| CryptoError::Library("AES-CBC key set-up");
        let bind = || UnboundCipherKey::new(algorithm, key);
        let encrypting = bind().and_then(EncryptingKey::cbc).map_err(refused)?;
        let decrypting = bind().and_then(DecryptingKey::cbc).map_err(refused)?;
        Ok(Self { encrypting: Locked::new(encrypting), decrypting: Locked::new(decrypting), first })
    }

    /// The initialization vector.
    pub(super) fn first(&self) -> Chain {
        self.first
    }

    /// Encrypts whole blocks and moves `chain` on.
    pub(super) fn encrypt(
        &self,
        chain: &mut Chain,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let failed = CryptoError::Library("AES-CBC encryption");
        if input.len() != output.len() {
            return Err(failed);
        }
        output.copy_from_slice(input);
        let context = EncryptionContext::Iv128(FixedLength::from(&*chain));
        self.encrypting.less_safe_encrypt(output, context).map_err(|_| failed)?;
        move_on(chain, output);
        Ok(())
    }

    /// Encrypts what is left, 0 to 15 bytes, padded to a block.
    pub(super) fn encrypt_last(
        &self,
        chain: &mut Chain,
        rest: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let padding = BLOCK_LENGTH.saturating_sub(rest.len());
        let mut block = [u8::try_from(padding).unwrap_or_default(); BLOCK_LENGTH];
        for (target, byte) in block.iter_mut().zip(rest) {
            *target = *byte;
        }
        self.encrypt(chain, &block, output)
    }

    /// Decrypts whole blocks and moves `chain` on.
    pub(super) fn decrypt(
        &self,
        chain: &mut Chain,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let failed = CryptoError::Library("AES-CBC decryption");
        if input.len() != output.len() {
            return Err(failed);
        }
        output.copy_from_slice(input);
        let context = DecryptionContext::Iv128(FixedLength::from(&*chain));
        self.decrypting.decrypt(output, context).map_err(|_| failed)?;
        move_on(chain, input);
        Ok(())
    }

    /// How many bytes of a decrypted last block are plain data; nothing where the padding is wrong.
    pub(super) fn unpadded_length(block: &[u8; BLOCK_LENGTH]) -> Option<usize> {
        let [.., last] = block;
        let padding = usize::from(*last);
        let length = BLOCK_LENGTH.checked_sub(padding)?;
        let padded = block.get(length..)?;
        (padding > 0 && padded.iter().all(|byte| byte == last)).then_some(length)
    }
}

fn move_on(chain: &mut Chain, ciphertext: &[u8]) {
    if let Some(last) = ciphertext.last_chunk::<BLOCK_LENGTH>() {
        *chain = *last;
    }
}

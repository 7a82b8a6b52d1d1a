//! AES-CTR with a big-endian counter of 128 bits that wraps: block `i` of the object has the counter `IV + i`.

use aes::Block;
use aes::cipher::array::Array;
use aes::cipher::{BlockCipherEncrypt, InOutBuf, InnerIvInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;

use super::BLOCK_LENGTH;
use super::aes_key::AesKey;
use crate::CryptoError;

pub(super) struct Ctr {
    key: AesKey,
    /// The counter of the first block. Derived and secret only by origin: it may be known.
    first: u128,
}

impl Ctr {
    pub(super) fn new(key: &[u8], first: [u8; BLOCK_LENGTH]) -> Result<Self, CryptoError> {
        Ok(Self { key: AesKey::new(key)?, first: u128::from_be_bytes(first) })
    }

    /// Encrypts or decrypts, which is the same, from block `index` of the object on. Both texts are equally long; the
    /// last block may be a part of one.
    pub(super) fn apply(&self, index: u64, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        match &self.key {
            AesKey::Aes128(key) => self.apply_with(&**key, index, input, output),
            AesKey::Aes192(key) => self.apply_with(&**key, index, input, output),
            AesKey::Aes256(key) => self.apply_with(&**key, index, input, output),
        }
    }

    fn apply_with<C>(&self, key: &C, index: u64, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError>
    where
        C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
    {
        let counter: Block = self.first.wrapping_add(u128::from(index)).to_be_bytes().into();
        let mut core = CtrCore::<&C, Ctr128BE>::inner_iv_init(key, &counter);
        let (blocks_in, rest_in) = Array::slice_as_chunks(input);
        let (blocks_out, rest_out) = Array::slice_as_chunks_mut(output);
        let blocks = InOutBuf::new(blocks_in, blocks_out)
            .map_err(|_| CryptoError::Library("AES-CTR texts of different lengths"))?;
        core.apply_keystream_blocks_inout(blocks);
        if !rest_in.is_empty() {
            let mut stream = Block::default();
            core.write_keystream_block(&mut stream);
            for ((out, byte), mask) in rest_out.iter_mut().zip(rest_in).zip(stream) {
                *out = byte ^ mask;
            }
        }
        Ok(())
    }
}

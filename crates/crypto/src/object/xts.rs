//! AES-XTS over sectors of 4096 bytes, with ciphertext stealing where the last one is no multiple of 16 (IEEE 1619-2018).
//!
//! The tweak of a sector is its number in the object, from 0, little-endian. That is dm-crypt's `aes-xts-plain64` with
//! `sector_size:4096 iv_large_sectors`.
//!
//! The masks of a whole sector are computed first, 32 at a time independently of each other, then whole batches of
//! blocks go through the cipher; all of it inside the library's code for the processor's units.

use aes::Block;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure,
    BlockSizeUser, InOutBuf,
};

use super::BLOCK_LENGTH;
use super::aes_key::AesKey;
use super::layout::SECTOR_LENGTH;
use crate::CryptoError;

/// Blocks in a sector.
const SECTOR_BLOCKS: usize = SECTOR_LENGTH / BLOCK_LENGTH;
/// Sectors whose tweaks are encrypted together.
const TWEAKS_AT_ONCE: usize = 16;
/// Masks that are computed independently of each other.
const LANES: usize = 32;

pub(super) struct Xts {
    data: AesKey,
    tweak: AesKey,
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl Xts {
    /// Takes the key for data and the key for tweaks, one after the other, equally long and different.
    pub(super) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let (data, tweak) = key.split_at(key.len() / 2);
        if bool::from(subtle::ConstantTimeEq::ct_eq(data, tweak)) {
            return Err(CryptoError::InvalidFormat(
                "the two halves of an XTS key must differ; use a random key",
            ));
        }
        Ok(Self { data: AesKey::new(data)?, tweak: AesKey::new(tweak)? })
    }

    /// Encrypts sectors from number `first` on; the last may be shorter, but not below 16 bytes.
    pub(super) fn encrypt(&self, first: u64, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.sectors::<SECTOR_LENGTH>(Direction::Encrypt, first, input, output)
    }

    /// Decrypts sectors from number `first` on; the last may be shorter, but not below 16 bytes.
    pub(super) fn decrypt(&self, first: u64, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.sectors::<SECTOR_LENGTH>(Direction::Decrypt, first, input, output)
    }

    /// As [`Xts::encrypt`] with sectors of 512 bytes, to compare with programs that have no others.
    #[cfg(test)]
    pub(super) fn encrypt_small(
        &self,
        first: u64,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.sectors::<512>(Direction::Encrypt, first, input, output)
    }

    fn sectors<const LENGTH: usize>(
        &self,
        direction: Direction,
        first: u64,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        if input.len() != output.len() {
            return Err(CryptoError::Library("AES-XTS texts of different lengths"));
        }
        let batch = LENGTH.saturating_mul(TWEAKS_AT_ONCE);
        let mut number = first;
        for (input, output) in input.chunks(batch).zip(output.chunks_mut(batch)) {
            let mut tweaks = [Block::default(); TWEAKS_AT_ONCE];
            let count = input.len().div_ceil(LENGTH);
            let used = tweaks.get_mut(..count).unwrap_or_default();
            for tweak in used.iter_mut() {
                *tweak = u128::from(number).to_le_bytes().into();
                number = number.wrapping_add(1);
            }
            self.tweak.encrypt_blocks(used);
            for ((input, output), tweak) in input.chunks(LENGTH).zip(output.chunks_mut(LENGTH)).zip(&tweaks) {
                self.sector(direction, u128::from_le_bytes((*tweak).into()), input, output)?;
            }
        }
        Ok(())
    }

    fn sector(
        &self,
        direction: Direction,
        tweak: u128,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let rest = input.len() % BLOCK_LENGTH;
        if rest == 0 {
            return self.blocks(direction, tweak, input, output);
        }
        let stolen = CryptoError::Library("AES-XTS text below 16 bytes");
        // All but the last whole block and the part that follows it.
        let head = input.len().checked_sub(rest + BLOCK_LENGTH).ok_or(stolen.clone())?;
        let (Some((head_in, tail_in)), Some((head_out, tail_out))) =
            (input.split_at_checked(head), output.split_at_mut_checked(head))
        else {
            return Err(stolen);
        };
        self.blocks(direction, tweak, head_in, head_out)?;
        let mut whole = tweak;
        for _ in 0..head / BLOCK_LENGTH {
            whole = double(whole);
        }
        let part = double(whole);
        // The order of the two masks is turned round for decryption (IEEE 1619-2018, 5.4.2).
        let (before, after) = match direction {
            Direction::Encrypt => (whole, part),
            Direction::Decrypt => (part, whole),
        };
        let Some((block_in, part_in)) = tail_in.split_first_chunk::<BLOCK_LENGTH>() else {
            return Err(stolen);
        };
        let Some((block_out, part_out)) = tail_out.split_first_chunk_mut::<BLOCK_LENGTH>() else {
            return Err(stolen);
        };
        let mut crossed = [0_u8; BLOCK_LENGTH];
        self.blocks(direction, before, block_in, &mut crossed)?;
        // Its first bytes become the part at the end, its other bytes are encrypted once more with that part's text.
        let mut joined = crossed;
        for ((joined, out), (crossed, byte)) in
            joined.iter_mut().zip(part_out).zip(crossed.iter().zip(part_in))
        {
            *out = *crossed;
            *joined = *byte;
        }
        self.blocks(direction, after, &joined, block_out)
    }

    /// Whole blocks of one sector.
    fn blocks(
        &self,
        direction: Direction,
        tweak: u128,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (input, _) = Array::slice_as_chunks(input);
        let (output, _) = Array::slice_as_chunks_mut(output);
        let blocks = InOutBuf::new(input, output)
            .map_err(|_| CryptoError::Library("AES-XTS texts of different lengths"))?;
        let work = Sector { tweak, blocks };
        match direction {
            Direction::Encrypt => self.data.encrypt_with(work),
            Direction::Decrypt => self.data.decrypt_with(work),
        }
        Ok(())
    }
}

/// At most [`SECTOR_BLOCKS`] blocks and the mask of the first.
struct Sector<'input, 'output> {
    tweak: u128,
    blocks: InOutBuf<'input, 'output, Block>,
}

impl BlockSizeUser for Sector<'_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Sector<'_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut masks = [Block::default(); SECTOR_BLOCKS];
        fill_masks(self.tweak, self.blocks.len(), &mut masks);
        let (batches, rest) = self.blocks.into_chunks::<B::ParBlocksSize>();
        let (batch_masks, rest_masks) = Array::slice_as_chunks(&masks);
        let done = batches.len();
        for (mut batch, mask) in batches.into_iter().zip(batch_masks) {
            let mut text = batch.clone_in();
            mix(&mut text, mask);
            backend.encrypt_par_blocks_inplace(&mut text);
            mix(&mut text, mask);
            *batch.get_out() = text;
        }
        let left = batch_masks.get(done..).unwrap_or_default();
        for (mut block, mask) in
            rest.into_iter().zip(Array::slice_as_flattened(left).iter().chain(rest_masks))
        {
            let mut text = block.clone_in();
            mix_block(&mut text, mask);
            backend.encrypt_block_inplace(&mut text);
            mix_block(&mut text, mask);
            *block.get_out() = text;
        }
    }
}

impl BlockCipherDecClosure for Sector<'_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let mut masks = [Block::default(); SECTOR_BLOCKS];
        fill_masks(self.tweak, self.blocks.len(), &mut masks);
        let (batches, rest) = self.blocks.into_chunks::<B::ParBlocksSize>();
        let (batch_masks, rest_masks) = Array::slice_as_chunks(&masks);
        let done = batches.len();
        for (mut batch, mask) in batches.into_iter().zip(batch_masks) {
            let mut text = batch.clone_in();
            mix(&mut text, mask);
            backend.decrypt_par_blocks_inplace(&mut text);
            mix(&mut text, mask);
            *batch.get_out() = text;
        }
        let left = batch_masks.get(done..).unwrap_or_default();
        for (mut block, mask) in
            rest.into_iter().zip(Array::slice_as_flattened(left).iter().chain(rest_masks))
        {
            let mut text = block.clone_in();
            mix_block(&mut text, mask);
            backend.decrypt_block_inplace(&mut text);
            mix_block(&mut text, mask);
            *block.get_out() = text;
        }
    }
}

/// Adds masks to a batch of blocks.
#[inline(always)]
fn mix<N: aes::cipher::array::ArraySize>(text: &mut Array<Block, N>, masks: &Array<Block, N>) {
    for (block, mask) in text.iter_mut().zip(masks) {
        mix_block(block, mask);
    }
}

#[inline(always)]
fn mix_block(block: &mut Block, mask: &Block) {
    for (byte, mask) in block.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The masks of the first `count` blocks, rounded up to [`LANES`]: each is the one before times x in GF(2^128).
///
/// Halves are kept in arrays of their own and nothing depends on its neighbour, so that this becomes vector code.
#[inline(always)]
fn fill_masks(tweak: u128, count: usize, masks: &mut [Block; SECTOR_BLOCKS]) {
    let (first_low, first_high) = halves(tweak);
    let (mut lows, mut highs) = ([0_u64; LANES], [0_u64; LANES]);
    for ((low, high), shift) in lows.iter_mut().zip(&mut highs).zip(0_u32..) {
        // Two steps, as nothing can be shifted by 64 at once.
        let rest = 63 - shift;
        *high = (first_high << shift) | ((first_low >> 1) >> rest);
        *low = (first_low << shift) ^ reduced((first_high >> 1) >> rest);
    }
    for group in masks.chunks_exact_mut(LANES).take(count.div_ceil(LANES)) {
        for ((block, low), high) in group.iter_mut().zip(&lows).zip(&highs) {
            let (first, second) = block.split_at_mut(8);
            first.copy_from_slice(&low.to_le_bytes());
            second.copy_from_slice(&high.to_le_bytes());
        }
        // Times x to the 32nd.
        for (low, high) in lows.iter_mut().zip(&mut highs) {
            let out = *high >> LANES;
            *high = (*high << LANES) | (*low >> (64 - LANES));
            *low = (*low << LANES) ^ reduced(out);
        }
    }
}

/// What is pushed out at the top comes in at the bottom times x^7 + x^2 + x + 1. At most 57 bits may be pushed out.
#[inline(always)]
fn reduced(out: u64) -> u64 {
    out ^ (out << 1) ^ (out << 2) ^ (out << 7)
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "each half is 64 bits")]
fn halves(mask: u128) -> (u64, u64) {
    (mask as u64, (mask >> 64) as u64)
}

/// Times x in GF(2^128), in constant time.
#[inline(always)]
fn double(mask: u128) -> u128 {
    (mask << 1) ^ (0x87 & (mask >> 127).wrapping_neg())
}

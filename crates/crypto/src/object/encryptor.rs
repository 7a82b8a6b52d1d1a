//! Encryption of a stream.

use super::cbc::Chain;
use super::key::Body;
use super::sealed::TAG_LENGTH;
use super::{BLOCK_LENGTH, MAXIMUM_PLAIN_LENGTH, Mode, ObjectKey};
use crate::CryptoError;

/// Encrypts an object from its first byte to its last, fed in pieces of any size.
///
/// Whole units (chunks, sectors, blocks) go straight from input to output; at most one that is not complete is held. The
/// encrypted data is the same however the plain data was cut.
pub struct Encryptor {
    key: ObjectKey,
    chain: Chain,
    /// The number of the next unit.
    next: u64,
    /// The bytes fed so far.
    fed: u64,
    /// The beginning of the next unit, never a whole one.
    held: Vec<u8>,
    failed: bool,
}

impl Encryptor {
    pub(super) fn new(key: ObjectKey) -> Self {
        let chain = match key.body() {
            Body::Cbc(cbc) => cbc.first(),
            _ => [0; BLOCK_LENGTH],
        };
        Self { key, chain, next: 0, fed: 0, held: Vec::new(), failed: false }
    }

    /// The keys, with which the object can be decrypted again.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// How many plain bytes were fed so far.
    #[must_use]
    pub fn plain_length(&self) -> u64 {
        self.fed
    }

    /// How many bytes [`Encryptor::update`] will write for `input` bytes now.
    #[must_use]
    pub fn output_length(&self, input: usize) -> usize {
        let layout = self.key.layout();
        let units = self.held.len().saturating_add(input) / layout.unit_length();
        units.saturating_mul(layout.encrypted_unit_length())
    }

    /// Encrypts `input` and writes what is complete to the beginning of `output`; tells how many bytes that is.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] where `output` is shorter than [`Encryptor::output_length`] (then nothing was done),
    /// or the object longer than [`MAXIMUM_PLAIN_LENGTH`]; [`CryptoError::Library`] after an earlier error.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CryptoError> {
        let length = self.output_length(input.len());
        let output = output.get_mut(..length).ok_or(short(length))?;
        let fed = u64::try_from(input.len()).ok().and_then(|length| self.fed.checked_add(length));
        let Some(fed) = fed.filter(|fed| *fed <= MAXIMUM_PLAIN_LENGTH && !self.failed) else {
            return Err(self.refusal());
        };
        // Until the end is reached, what happens in between leaves the stream in no usable state.
        self.failed = true;
        self.feed(input, output)?;
        self.failed = false;
        self.fed = fed;
        Ok(length)
    }

    /// How many bytes [`Encryptor::finish`] will write.
    #[must_use]
    pub fn finish_length(&self) -> usize {
        match self.key.layout().mode() {
            Mode::Gcm | Mode::ChaCha => self.held.len().saturating_add(TAG_LENGTH),
            Mode::Xts | Mode::Ctr => self.held.len(),
            Mode::Cbc => BLOCK_LENGTH,
        }
    }

    /// Encrypts what is held as the end of the object, to the beginning of `output`; tells how many bytes that is.
    ///
    /// # Errors
    /// As [`Encryptor::update`].
    pub fn finish(mut self, output: &mut [u8]) -> Result<usize, CryptoError> {
        if self.failed {
            return Err(self.refusal());
        }
        let length = self.finish_length();
        let output = output.get_mut(..length).ok_or(short(length))?;
        match self.key.body() {
            Body::Sealed(sealed) => sealed.seal(self.next, true, &self.held, output)?,
            Body::Xts(_, mask) if self.held.len() < BLOCK_LENGTH => mix(&self.held, mask, output),
            Body::Xts(xts, _) => xts.encrypt(self.next, &self.held, output)?,
            Body::Ctr(ctr) => ctr.apply(self.next, &self.held, output)?,
            Body::Cbc(cbc) => cbc.encrypt_last(&mut self.chain, &self.held, output)?,
        }
        Ok(length)
    }

    fn feed(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let layout = self.key.layout();
        let unit = layout.unit_length();
        if output.is_empty() {
            self.held.extend_from_slice(input);
            return Ok(());
        }
        let (mut input, mut output) = (input, output);
        if !self.held.is_empty() {
            let (missing, rest) = input.split_at(unit.saturating_sub(self.held.len()));
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(missing);
            let (encrypted, free) = output.split_at_mut(layout.encrypted_unit_length());
            self.units(&held, encrypted)?;
            held.clear();
            self.held = held;
            (input, output) = (rest, free);
        }
        let (whole, rest) = input.split_at(input.len() - input.len() % unit);
        self.units(whole, output)?;
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Encrypts whole units.
    fn units(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let layout = self.key.layout();
        let count = u64::try_from(input.len() / layout.unit_length()).unwrap_or(u64::MAX);
        match self.key.body() {
            Body::Sealed(sealed) => {
                let chunks = input.chunks_exact(layout.unit_length());
                let sealed_chunks = output.chunks_exact_mut(layout.encrypted_unit_length());
                for ((input, output), index) in chunks.zip(sealed_chunks).zip(self.next..) {
                    sealed.seal(index, false, input, output)?;
                }
            }
            Body::Xts(xts, _) => xts.encrypt(self.next, input, output)?,
            Body::Ctr(ctr) => ctr.apply(self.next, input, output)?,
            Body::Cbc(cbc) => cbc.encrypt(&mut self.chain, input, output)?,
        }
        self.next = self.next.saturating_add(count);
        Ok(())
    }

    fn refusal(&self) -> CryptoError {
        if self.failed {
            return CryptoError::Library("the stream failed before; begin the object anew");
        }
        CryptoError::InvalidLength {
            what: "object, in bytes,",
            length: usize::try_from(self.fed).unwrap_or(usize::MAX),
            allowed: "at most 17592186044416 bytes (16 TiB), which this piece exceeds",
        }
    }
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encryptor").field("fed", &self.fed).finish_non_exhaustive()
    }
}

/// The error for an output of less than `length` bytes.
pub(super) fn short(length: usize) -> CryptoError {
    CryptoError::InvalidLength {
        what: "output that is needed, in bytes,",
        length,
        allowed: "an output of at least the length that the stream tells beforehand",
    }
}

/// Adds the mask of a tail. Each mask is used for one object's tail only, as each object has a salt of its own.
pub(super) fn mix(input: &[u8], mask: &[u8; BLOCK_LENGTH], output: &mut [u8]) {
    for ((out, byte), mask) in output.iter_mut().zip(input).zip(mask) {
        *out = byte ^ mask;
    }
}

//! Decryption of a stream, or of a part of an object.

use std::ops::Range;

use super::cbc::{Cbc, Chain};
use super::encryptor::{mix, short};
use super::key::Body;
use super::sealed::TAG_LENGTH;
use super::{BLOCK_LENGTH, MAXIMUM_PLAIN_LENGTH, Mode, ObjectKey};
use crate::CryptoError;

/// Decrypts an object, or a range of it, fed in pieces of any size.
///
/// With an authenticated cipher, every byte that comes out was verified. Only after [`Decryptor::finish`] is it known that
/// there was nothing more: what came out before an error is a true beginning of the data, and not all of it.
pub struct Decryptor {
    key: ObjectKey,
    chain: Chain,
    /// Whether the chain is still to be read from the beginning of the input.
    chain_missing: bool,
    /// The number of the next unit.
    next: u64,
    /// The plain bytes of the next unit that were not asked for.
    skip: usize,
    /// The plain bytes still to be released, where that is known.
    left: Option<u64>,
    /// The encrypted bytes still to be fed, where that is known.
    to_come: Option<u64>,
    /// The length of the object's plain data, where that is known.
    total: Option<u64>,
    /// Whether the input ends where the object ends.
    reaches_end: bool,
    /// The beginning of the next unit.
    held: Vec<u8>,
    /// A unit of which not all is wanted.
    scratch: Vec<u8>,
    failed: bool,
}

impl Decryptor {
    /// For a whole body; with its plain and its encrypted length where they are known.
    pub(super) fn whole(key: ObjectKey, lengths: Option<(u64, u64)>) -> Self {
        let chain = match key.body() {
            Body::Cbc(cbc) => cbc.first(),
            _ => [0; BLOCK_LENGTH],
        };
        let (total, encrypted) = lengths.unzip();
        Self {
            key,
            chain,
            chain_missing: false,
            next: 0,
            skip: 0,
            left: total,
            to_come: encrypted,
            total,
            reaches_end: true,
            held: Vec::new(),
            scratch: Vec::new(),
            failed: false,
        }
    }

    /// For `plain` of `total` bytes, which are in the encrypted bytes `encrypted`.
    pub(super) fn part(
        key: ObjectKey,
        plain: Range<u64>,
        total: u64,
        encrypted: &Range<u64>,
    ) -> Result<Self, CryptoError> {
        let layout = key.layout();
        let next = layout.unit_of(plain.start);
        let unit = u64::try_from(layout.unit_length()).unwrap_or(u64::MAX);
        let skip = usize::try_from(plain.start % unit).unwrap_or(usize::MAX);
        let end = layout.encrypted_length(total)?;
        let mut part = Self::whole(key, Some((total, end)));
        part.chain_missing = layout.mode() == Mode::Cbc && next > 0;
        part.next = next;
        part.skip = skip;
        part.left = Some(plain.end.saturating_sub(plain.start));
        part.to_come = Some(encrypted.end.saturating_sub(encrypted.start));
        part.reaches_end = encrypted.end == end;
        Ok(part)
    }

    /// How many bytes [`Decryptor::update`] will write for `input` bytes now.
    #[must_use]
    pub fn output_length(&self, input: usize) -> usize {
        let mut available = self.held.len().saturating_add(input);
        if self.chain_missing {
            available = available.saturating_sub(BLOCK_LENGTH);
        }
        self.released(self.whole_units(available).saturating_mul(self.key.layout().unit_length()))
    }

    /// Decrypts `input` and writes what is complete and verified to the beginning of `output`; tells how many bytes that
    /// is.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] where `output` is shorter than [`Decryptor::output_length`] (then nothing was done);
    /// [`CryptoError::ChangedData`] for data that does not authenticate or is more than there should be;
    /// [`CryptoError::Library`] after an earlier error.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CryptoError> {
        self.usable()?;
        let length = self.output_length(input.len());
        let output = output.get_mut(..length).ok_or(short(length))?;
        self.failed = true;
        if let Some(to_come) = self.to_come {
            let fed = u64::try_from(input.len()).unwrap_or(u64::MAX);
            self.to_come = Some(to_come.checked_sub(fed).ok_or_else(|| self.changed())?);
        }
        if let Err(error) = self.feed(input, output) {
            output.fill(0);
            return Err(error);
        }
        self.failed = false;
        Ok(length)
    }

    /// How many bytes [`Decryptor::finish`] needs room for; it may write fewer where padding is taken away.
    #[must_use]
    pub fn finish_length(&self) -> usize {
        match self.key.layout().mode() {
            Mode::Gcm | Mode::ChaCha => self.released(self.held.len().saturating_sub(TAG_LENGTH)),
            Mode::Xts | Mode::Ctr | Mode::Cbc => self.released(self.held.len()),
        }
    }

    /// Decrypts what is held and checks that the data ends where it should; tells how many bytes were written to the
    /// beginning of `output`.
    ///
    /// # Errors
    /// [`CryptoError::TruncatedData`] where something is missing, [`CryptoError::ChangedData`] where the end does not
    /// authenticate, is padded wrongly or says another length, [`CryptoError::InvalidLength`] where `output` is shorter than
    /// [`Decryptor::finish_length`], [`CryptoError::Library`] after an earlier error.
    pub fn finish(mut self, output: &mut [u8]) -> Result<usize, CryptoError> {
        self.usable()?;
        let room = self.finish_length();
        let output = output.get_mut(..room).ok_or(short(room))?;
        if self.chain_missing || self.to_come.is_some_and(|to_come| to_come > 0) {
            return Err(self.truncated());
        }
        let length = match self.key.layout().mode() {
            Mode::Gcm | Mode::ChaCha if !self.reaches_end => 0,
            Mode::Xts | Mode::Ctr if self.held.is_empty() => 0,
            _ => self.last(output)?,
        };
        if self.left.is_some_and(|left| left > 0) {
            return Err(self.truncated());
        }
        Ok(length)
    }

    fn feed(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let mut input = input;
        if self.chain_missing {
            let (missing, rest) =
                input.split_at(input.len().min(BLOCK_LENGTH.saturating_sub(self.held.len())));
            self.held.extend_from_slice(missing);
            input = rest;
            let Some(chain) = self.held.first_chunk::<BLOCK_LENGTH>() else { return Ok(()) };
            self.chain = *chain;
            self.chain_missing = false;
            self.held.clear();
        }
        let unit = self.key.layout().encrypted_unit_length();
        let mut units = self.whole_units(self.held.len().saturating_add(input.len()));
        let mut output = output;
        if units > 0 && !self.held.is_empty() {
            let (missing, rest) = input.split_at(unit.saturating_sub(self.held.len()));
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(missing);
            output = self.run(&held, output)?;
            held.clear();
            self.held = held;
            input = rest;
            units = units.saturating_sub(1);
        }
        let (whole, rest) = input.split_at(units.saturating_mul(unit));
        self.run(whole, output)?;
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Decrypts whole units and releases what was asked for of them; gives back what is left of the output.
    fn run<'output>(
        &mut self,
        input: &[u8],
        output: &'output mut [u8],
    ) -> Result<&'output mut [u8], CryptoError> {
        let layout = self.key.layout();
        let (unit, encrypted_unit) = (layout.unit_length(), layout.encrypted_unit_length());
        let (mut input, mut output) = (input, output);
        while !input.is_empty() && self.left != Some(0) {
            let units = input.len() / encrypted_unit;
            let wanted = self.released(units.saturating_mul(unit));
            // Units of which all is wanted go straight to the output, others by way of the scratch.
            let direct = if self.skip == 0 { wanted / unit } else { 0 };
            let (now, rest) = input.split_at(direct.max(1).saturating_mul(encrypted_unit));
            if direct > 0 {
                let (plain, free) = output.split_at_mut(direct.saturating_mul(unit));
                self.units(now, plain)?;
                self.count(plain.len());
                output = free;
            } else {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.resize(unit, 0);
                self.units(now, &mut scratch)?;
                output = self.release(&scratch, output);
                self.scratch = scratch;
            }
            input = rest;
        }
        Ok(output)
    }

    /// Decrypts whole units.
    fn units(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let layout = self.key.layout();
        let count = u64::try_from(output.len() / layout.unit_length()).unwrap_or(u64::MAX);
        let next = self.next.saturating_add(count);
        if layout.unit_of(MAXIMUM_PLAIN_LENGTH) < next {
            return Err(self.changed());
        }
        match self.key.body() {
            Body::Sealed(sealed) => {
                let chunks = input.chunks_exact(layout.encrypted_unit_length());
                for (input, output) in chunks.zip(output.chunks_exact_mut(layout.unit_length())) {
                    if !sealed.open(self.next, false, input, output) {
                        return Err(self.changed());
                    }
                    self.next = self.next.saturating_add(1);
                }
            }
            Body::Xts(xts, _) => xts.decrypt(self.next, input, output)?,
            Body::Ctr(ctr) => ctr.apply(self.next, input, output)?,
            Body::Cbc(cbc) => cbc.decrypt(&mut self.chain, input, output)?,
        }
        self.next = next;
        Ok(())
    }

    /// Decrypts what is held, which is the end of the input.
    fn last(&mut self, output: &mut [u8]) -> Result<usize, CryptoError> {
        let held = std::mem::take(&mut self.held);
        let mut plain = std::mem::take(&mut self.scratch);
        plain.clear();
        plain.resize(held.len(), 0);
        match self.key.body() {
            Body::Sealed(sealed) => {
                let Some(length) = held.len().checked_sub(TAG_LENGTH) else { return Err(self.truncated()) };
                plain.truncate(length);
                if !sealed.open(self.next, true, &held, &mut plain) {
                    return Err(self.changed());
                }
            }
            Body::Xts(_, mask) if held.len() < BLOCK_LENGTH => mix(&held, mask, &mut plain),
            Body::Xts(xts, _) => xts.decrypt(self.next, &held, &mut plain)?,
            Body::Ctr(ctr) => ctr.apply(self.next, &held, &mut plain)?,
            Body::Cbc(cbc) => {
                if held.len() != BLOCK_LENGTH {
                    return Err(self.truncated());
                }
                cbc.decrypt(&mut self.chain, &held, &mut plain)?;
                if self.reaches_end {
                    let length = plain.first_chunk().and_then(Cbc::unpadded_length);
                    let expected = self.total.map(|total| total.saturating_sub(self.position()));
                    let length = length.filter(|length| {
                        expected.is_none_or(|expected| u64::try_from(*length) == Ok(expected))
                    });
                    plain.truncate(length.ok_or_else(|| self.changed())?);
                }
            }
        }
        let room = output.len();
        let free = self.release(&plain, output).len();
        Ok(room.saturating_sub(free))
    }

    /// Copies what was asked for of a unit; gives back what is left of the output.
    fn release<'output>(&mut self, plain: &[u8], output: &'output mut [u8]) -> &'output mut [u8] {
        let length = self.released(plain.len()).min(output.len());
        let (target, free) = output.split_at_mut(length);
        let wanted = plain.get(self.skip..).unwrap_or_default();
        for (target, byte) in target.iter_mut().zip(wanted) {
            *target = *byte;
        }
        self.skip = 0;
        self.count(length);
        free
    }

    fn count(&mut self, released: usize) {
        let released = u64::try_from(released).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(released));
    }

    /// How many of the next `plain` bytes were asked for.
    fn released(&self, plain: usize) -> usize {
        let wanted = plain.saturating_sub(self.skip);
        match self.left.map(usize::try_from) {
            Some(Ok(left)) => wanted.min(left),
            Some(Err(_)) | None => wanted,
        }
    }

    /// How many whole units to decrypt at once when so many encrypted bytes are there.
    fn whole_units(&self, available: usize) -> usize {
        // The last block of AES-CBC holds the padding, so one block waits for the next to come.
        let available =
            if self.key.layout().mode() == Mode::Cbc { available.saturating_sub(1) } else { available };
        available / self.key.layout().encrypted_unit_length()
    }

    /// Where the next unit begins in the plain data.
    fn position(&self) -> u64 {
        let unit = u64::try_from(self.key.layout().unit_length()).unwrap_or(u64::MAX);
        self.next.saturating_mul(unit)
    }

    fn usable(&self) -> Result<(), CryptoError> {
        if self.failed {
            return Err(CryptoError::Library("the stream failed before; what follows cannot be decrypted"));
        }
        Ok(())
    }

    fn changed(&self) -> CryptoError {
        CryptoError::ChangedData { position: self.position() }
    }

    fn truncated(&self) -> CryptoError {
        CryptoError::TruncatedData { position: self.position() }
    }
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Decryptor").field("next_unit", &self.next).finish_non_exhaustive()
    }
}

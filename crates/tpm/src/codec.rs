//! Reading and writing of the TPM's wire format: big-endian integers and buffers with their length in front.
//!
//! Invariant: a reader never reads past its bytes and never panics; what one accepts is written again byte for byte.
//! Refuses: lengths above the limit that each field has, and bytes left over.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use zeroize::Zeroizing;

/// The most a command or an answer may hold, in bytes (the buffer of common TPMs and of the kernel's driver).
pub const MAX_MESSAGE: usize = 4096;

/// Bytes that do not follow the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {problem}")]
pub struct Malformed {
    /// Which structure.
    pub what: &'static str,
    /// Which rule is broken.
    pub problem: &'static str,
}

/// A structure with exactly one encoding.
pub trait Wire: Sized {
    /// What errors call it.
    const WHAT: &'static str;

    /// Appends the structure.
    fn write(&self, writer: &mut Writer);

    /// Reads the structure and leaves what follows it.
    ///
    /// # Errors
    /// [`Malformed`] names the structure and the rule that is broken.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The encoding.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.into_vec()
    }

    /// Reads the structure from bytes that hold nothing else.
    ///
    /// # Errors
    /// [`Malformed`] names the structure and the rule that is broken.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, Self::WHAT);
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// Reads from a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; errors speak of `what`.
    #[must_use]
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// An error about what is being read.
    #[must_use]
    pub fn malformed(&self, problem: &'static str) -> Malformed {
        Malformed { what: self.what, problem }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A buffer with two bytes of length in front (`TPM2B`, Part 2, 10.3), of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when it is longer or cut off.
    pub fn sized(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(self.malformed("a field is longer than allowed"));
        }
        self.take(length)
    }

    /// A structure with two bytes of length in front that holds nothing else.
    ///
    /// # Errors
    /// [`Malformed`], also when the length is not the structure's.
    pub fn sized_structure<T: Wire>(&mut self, limit: usize) -> Result<T, Malformed> {
        T::from_bytes(self.sized(limit)?)
    }

    /// Whatever is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes that are left over.
    ///
    /// # Errors
    /// [`Malformed`] when something is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes are left over")) }
    }
}

/// Appends to a buffer that is wiped when dropped.
#[derive(Default)]
pub struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// A writer for secrets: it has room for the longest message from the start, so that no copy is left behind by growing.
    #[must_use]
    pub fn secret() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(MAX_MESSAGE)) }
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends a buffer with two bytes of length in front (`TPM2B`, Part 2, 10.3).
    ///
    /// A buffer that is longer than two bytes can say is cut; what it is in is then longer than any limit and refused.
    pub fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(length).raw(bytes.get(..usize::from(length)).unwrap_or(bytes))
    }

    /// Appends a structure.
    pub fn structure(&mut self, structure: &impl Wire) -> &mut Self {
        structure.write(self);
        self
    }

    /// Appends a structure with two bytes of length in front.
    pub fn sized_structure(&mut self, structure: &impl Wire) -> &mut Self {
        let mut inner = Self::default();
        structure.write(&mut inner);
        self.sized(&inner.bytes)
    }

    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written, no longer wiped: for what is not secret.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes)
    }

    /// What was written, still wiped when dropped.
    #[must_use]
    pub fn into_secret(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_stops_at_the_end_and_at_limits() {
        let mut reader = Reader::new(&[0, 2, 1, 2, 0, 3, 9], "thing");
        assert_eq!(reader.sized(2).unwrap(), [1, 2]);
        assert_eq!(reader.clone().sized(2).unwrap_err().problem, "a field is longer than allowed");
        assert_eq!(reader.sized(3).unwrap_err().to_string(), "malformed thing: it ends too early");
        assert!(Reader::new(&[], "thing").u64().is_err());
        let mut reader = Reader::new(&[1, 2], "thing");
        reader.u8().unwrap();
        assert_eq!(reader.end().unwrap_err().problem, "bytes are left over");
    }

    #[test]
    fn a_buffer_too_long_for_its_length_is_cut_to_more_than_any_message() {
        let mut writer = Writer::default();
        writer.sized(&[7; 70_000]);
        assert_eq!(writer.as_slice().len(), 65_537);
    }
}

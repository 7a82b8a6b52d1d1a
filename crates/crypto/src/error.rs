//! The one error type of this crate.
//!
//! Invariant: no variant carries secret bytes. A message says what was wrong and what is allowed.

/// Why a cryptographic operation was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// A key, nonce, tag, text or output has a length the operation does not take.
    #[error("{what} has length {length}; allowed: {allowed}")]
    InvalidLength {
        /// Which input, with its unit, for example `"AES-KW key-encryption key, in bytes"`.
        what: &'static str,
        /// The length that was given.
        length: usize,
        /// What would have been accepted.
        allowed: &'static str,
    },
    /// Bytes that should follow a documented format do not; the text names the rule that was broken.
    #[error("malformed input: {0}")]
    InvalidFormat(&'static str),
    /// The format is known, but not this version of it.
    #[error("format version {found} is not supported; this release reads version {supported}")]
    UnsupportedVersion {
        /// The version byte that was found.
        found: u8,
        /// The newest version this release reads.
        supported: u8,
    },
    /// No algorithm of that name or number is in the registry.
    #[error("unknown algorithm {name:?}; known algorithms: {allowed}")]
    UnknownAlgorithm {
        /// The name as given, shortened to a printable length.
        name: String,
        /// Comma-separated canonical names that are accepted.
        allowed: String,
    },
    /// The algorithm is known and refused on purpose.
    #[error("algorithm {name} is refused: {reason}")]
    RefusedAlgorithm {
        /// The canonical name.
        name: &'static str,
        /// Why, and what to use instead.
        reason: &'static str,
    },
    /// The algorithm exists, but not with that key length.
    #[error("{name} does not have keys of {bits} bits; allowed: {allowed}")]
    InvalidBitLength {
        /// The canonical name.
        name: &'static str,
        /// The bit length that was asked for.
        bits: u32,
        /// The permitted lengths, in words.
        allowed: String,
    },
    /// The algorithm exists, but does not have that mode of operation.
    #[error("{name} has no mode {mode:?}; allowed: {allowed}")]
    InvalidMode {
        /// The canonical name.
        name: &'static str,
        /// The mode as given, shortened to a printable length.
        mode: String,
        /// Comma-separated modes that are accepted.
        allowed: String,
    },
    /// A key was given whose id is not the one the envelope names.
    #[error("the envelope names {role} {wanted:?}, but {given:?} was given")]
    WrongKey {
        /// `"master key"` or `"scope key"`.
        role: &'static str,
        /// The id in the envelope.
        wanted: String,
        /// The id of the key that was given, or `none`.
        given: String,
    },
    /// The key is the wrong one or the data was changed. Which of the two cannot be told apart.
    #[error("authentication failed: the key is not the one used for sealing, or the data was changed")]
    Authentication,
    /// A data key does not fit the keyed check value in an object's header: it is another key, the context is another,
    /// or the header was changed. Found before any byte is decrypted.
    #[error(
        "the key is not the one the object was encrypted with, or its header was changed; \
         give the key that the header's key-id names"
    )]
    WrongDataKey,
    /// A part of an object does not authenticate, or is padded wrongly.
    #[error(
        "the object was changed: what belongs at byte {position} of the plain data is not what was encrypted \
         (changed, reordered, extended, or cut off inside)"
    )]
    ChangedData {
        /// Where the part begins in the plain data.
        position: u64,
    },
    /// An encrypted object ends before it should.
    #[error(
        "the object was cut off: the encrypted data ends where byte {position} of the plain data should follow"
    )]
    TruncatedData {
        /// The first byte of the plain data that cannot be had.
        position: u64,
    },
    /// The operating system's random generator gave no bytes.
    #[error("the system random generator failed; no key was made")]
    Random,
    /// The cryptographic library refused an operation that should always succeed.
    #[error("the cryptographic library failed: {0}")]
    Library(&'static str),
}

//! What the server says of itself: algorithms, readiness, the reaper's work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the cryptographic library can do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlgorithmsDocument {
    /// Algorithms that keys can be for.
    pub algorithms: Vec<AlgorithmDocument>,
    /// Ways to encrypt data with them.
    pub data_ciphers: Vec<DataCipherDocument>,
    /// What the server's processor has.
    pub acceleration: AccelerationDocument,
}

/// One algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlgorithmDocument {
    /// Canonical name.
    pub name: String,
    /// Other names that are understood.
    pub aliases: Vec<String>,
    /// `symmetric`, `mac`, `key-pair` or `opaque`.
    pub kind: String,
    /// `recommended`, `allowed` or `refused`.
    pub status: String,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Lengths a key can have, in bits.
    pub bit_lengths: BitLengthRange,
    /// Lengths that the server generates, in bits.
    pub generated_bit_lengths: BitLengthRange,
    /// The length that is generated where none is asked for; 0 where one must be.
    pub default_bit_length: u32,
    /// Modes of operation.
    pub modes: Vec<ModeDocument>,
    /// Whether the processor has units for it that the library uses.
    pub accelerated: bool,
}

/// A mode of an algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModeDocument {
    /// Its name.
    pub name: String,
    /// Lengths of its keys, in bits.
    pub bit_lengths: BitLengthRange,
}

/// Lengths in bits: a list, or every multiple of `step` from `minimum` to `maximum`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BitLengthRange {
    /// Exactly these; none at all if empty.
    List(Vec<u32>),
    /// A range, both ends included.
    Range {
        /// The shortest.
        minimum: u32,
        /// The longest.
        maximum: u32,
        /// The distance.
        step: u32,
    },
}

/// A way to encrypt data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataCipherDocument {
    /// Canonical name, for example `aes-256-gcm`.
    pub name: String,
    /// The algorithm its keys are for.
    pub algorithm: String,
    /// The mode.
    pub mode: String,
    /// Length of its keys, in bits.
    pub bit_length: u32,
    /// Whether a change of the stored data is noticed.
    pub authenticated: bool,
    /// Whether encrypted data is as long as plain data.
    pub length_preserving: bool,
    /// Whether a part can be read without what stands before it.
    pub random_access: bool,
    /// `recommended`, `allowed` or `refused`.
    pub status: String,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The processor's units for cryptography.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccelerationDocument {
    /// Instructions for AES.
    pub aes: bool,
    /// AES on several blocks per instruction.
    pub vector_aes: bool,
    /// The units by the operating system's names.
    pub units: Vec<String>,
}

/// Whether the server can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessDocument {
    /// Whether all checks passed.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<ReadinessCheck>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessCheck {
    /// `store`, `seal`, `audit` or `identity`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What is wrong, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a run of the reaper did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReapDocument {
    /// Keys whose material was destroyed.
    pub purged: u64,
    /// Keys on which a planted or outlived tombstone lay; the tombstone was removed.
    pub restored: u64,
    /// Tombstones without a key, removed.
    pub cleared: u64,
    /// Tombstones of deleted keys that were missing, made anew.
    #[serde(default)]
    pub remade: u64,
    /// Deletions that are due later.
    pub waiting: u64,
    /// Expired keys that were deleted.
    pub expired: u64,
    /// Records that did not open and were left as they are.
    pub corrupt: u64,
}

//! Which of the processor's cryptographic units are there, and what runs on them. The library looks for the same ones
//! and uses them; where one is missing it has portable code.

/// A part of the processor that algorithms of the registry run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Instructions for AES, with those for GCM's multiplication where the mode needs it.
    Aes,
    /// AES on several blocks per instruction (AVX-512 with VAES and VPCLMULQDQ).
    VectorAes,
    /// Vector instructions for general arithmetic (SSE4.1 and later, or NEON).
    Vector,
    /// Instructions for SHA-1 and SHA-256.
    Sha,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aes, Self::VectorAes, Self::Vector, Self::Sha];

    /// The name in interfaces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::VectorAes => "vector-aes",
            Self::Vector => "vector",
            Self::Sha => "sha",
        }
    }
}

/// The processor's units that speed up the algorithms of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceleration {
    /// Whether there are instructions for AES and for GCM's multiplication.
    pub aes: bool,
    /// Whether AES and GCM work on several blocks per instruction.
    pub vector_aes: bool,
    /// Whether there are vector instructions that ChaCha20-Poly1305 and the hashes are written for.
    pub vector: bool,
    /// Whether there are instructions for SHA-1 and SHA-256.
    pub sha: bool,
    /// The features that were found, named as the operating system names them.
    pub names: Vec<&'static str>,
}

impl Acceleration {
    /// Whether this processor has `unit`.
    #[must_use]
    pub fn has(&self, unit: Unit) -> bool {
        match unit {
            Unit::Aes => self.aes,
            Unit::VectorAes => self.vector_aes,
            Unit::Vector => self.vector,
            Unit::Sha => self.sha,
        }
    }
}

/// Detects the processor's units at run time.
#[must_use]
pub fn acceleration() -> Acceleration {
    let names: Vec<&'static str> =
        detected().into_iter().filter_map(|(name, present)| present.then_some(name)).collect();
    let all = |wanted: &[&str]| wanted.iter().all(|name| names.contains(name));
    Acceleration {
        aes: all(&["aes", "pclmulqdq"]) || all(&["aes", "pmull"]),
        // The conditions of the library's AVX-512 code; its XTS asks for one unit more, which all such processors have.
        vector_aes: all(&["vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512dq", "avx512vl"]),
        vector: all(&["sse4_1"]) || all(&["asimd"]),
        sha: all(&["sha_ni"]) || all(&["sha2"]),
        names,
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn detected() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as detect;
    // Not `rdseed`: kernels withdraw it from processors where it is faulty, and the processor goes on announcing it.
    vec![
        ("aes", detect!("aes")),
        ("pclmulqdq", detect!("pclmulqdq")),
        ("vaes", detect!("vaes")),
        ("vpclmulqdq", detect!("vpclmulqdq")),
        ("sse4_1", detect!("sse4.1")),
        ("avx2", detect!("avx2")),
        ("avx512f", detect!("avx512f")),
        ("avx512bw", detect!("avx512bw")),
        ("avx512dq", detect!("avx512dq")),
        ("avx512vl", detect!("avx512vl")),
        ("sha_ni", detect!("sha")),
        ("rdrand", detect!("rdrand")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as detect;
    vec![
        ("aes", detect!("aes")),
        ("pmull", detect!("pmull")),
        ("sha2", detect!("sha2")),
        ("sha3", detect!("sha3")),
        ("asimd", detect!("neon")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn detected() -> Vec<(&'static str, bool)> {
    Vec::new()
}

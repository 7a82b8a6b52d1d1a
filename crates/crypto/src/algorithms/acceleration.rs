//! Which of the processor's cryptographic units are there. The library looks for the same ones and uses them.

use serde::Serialize;

/// The processor's units that speed up the algorithms of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acceleration {
    /// Whether there are instructions for AES.
    pub aes: bool,
    /// Whether AES and GCM work on several blocks per instruction.
    pub vector_aes: bool,
    /// The units that were found, named as the operating system names them.
    pub names: Vec<&'static str>,
}

/// Detects the processor's units at run time.
#[must_use]
pub fn acceleration() -> Acceleration {
    let names: Vec<&'static str> =
        detected().into_iter().filter_map(|(name, present)| present.then_some(name)).collect();
    let has = |name: &str| names.contains(&name);
    let vector_aes = has("vaes") && has("vpclmulqdq") && (has("avx2") || has("avx512f"));
    Acceleration { aes: has("aes"), vector_aes, names }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn detected() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as detect;
    vec![
        ("aes", detect!("aes")),
        ("pclmulqdq", detect!("pclmulqdq")),
        ("vaes", detect!("vaes")),
        ("vpclmulqdq", detect!("vpclmulqdq")),
        ("avx2", detect!("avx2")),
        ("avx512f", detect!("avx512f")),
        ("avx512bw", detect!("avx512bw")),
        ("avx512vl", detect!("avx512vl")),
        ("sha_ni", detect!("sha")),
        ("rdrand", detect!("rdrand")),
        ("rdseed", detect!("rdseed")),
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

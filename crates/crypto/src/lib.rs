//! Key material and every cryptographic primitive of Chatelaine.
//!
//! Owns: secret memory ([`material`]), the record cipher ([`aead`]), key derivation ([`kdf`]), message
//! authentication ([`mac`]), key wrapping ([`wrap`]), opening of Fernet tokens ([`fernet`]), the wrapped-key format of
//! agents ([`envelope`]), fingerprints of customers' keys ([`customer_key`]), the format of encrypted objects and the engine for it ([`object`]), the registry of algorithms
//! ([`algorithms`]), key generation ([`generate`](mod@generate)), key pairs as PEM ([`keypair`]) and the random generator
//! ([`random`]).
//!
//! Invariants: secret bytes live in [`KeyMaterial`], which is wiped on drop and kept out of swap and core dumps where
//! the system allows it; no function performs I/O (beyond the operating system's random generator), reads a clock or
//! blocks on anything else; no error carries secret bytes; whatever fails to authenticate releases no plaintext.
//!
//! Refuses: algorithms the registry marks as broken, caller-chosen nonces, comparison of secrets with `==`.

pub mod aead;
pub mod algorithms;
pub mod customer_key;
pub mod envelope;
pub mod error;
pub mod fernet;
pub mod generate;
pub mod kdf;
pub mod keypair;
pub mod mac;
pub mod material;
pub mod object;
pub mod random;
pub mod wrap;

#[cfg(test)]
mod test_support;

pub use aead::{RECORD_OVERHEAD, RecordCipher};
pub use algorithms::{Acceleration, Algorithm, DataCipher, Unit, acceleration};
pub use envelope::{Envelope, KeySpec, LockKind};
pub use error::CryptoError;
pub use fernet::FernetKey;
pub use generate::{Generated, generate};
pub use kdf::{derive, hkdf_sha256};
pub use keypair::{KeyPairKind, PemKeyPair, key_pair};
pub use mac::{MacKey, sha256};
pub use material::{KeyMaterial, MemoryLock, memory_lock};

//! A TPM 2.0 client in Rust alone: seals master keys to a platform and its boot, and proves that boot to others.
//!
//! Owns: the wire format ([`codec`], [`types`]), commands and sessions without I/O ([`command`], [`session`]), everything
//! that needs no TPM ([`software`], [`approval`]), ways to a TPM ([`transport`]), what hosts do with theirs ([`tpm`]), and
//! how a host that has a master key hands it to one that has not ([`attest`]).
//!
//! Invariants: no `unsafe` code and no C library; names of keys are computed here and never believed; secret bytes cross
//! the bus only encrypted under a session whose answers are authenticated; every wait and every size has a limit; what was
//! loaded into a TPM is flushed, whatever happened.
//!
//! Refuses: algorithms below SHA-256, RSA-2048 and P-256; boot states that nobody measured; structures that have more
//! than one encoding.
//!
//! "Part 1", "Part 2" and "Part 3" in this documentation are those of the Trusted Platform Module Library, family 2.0.
#![forbid(unsafe_code)]

pub mod approval;
pub mod attest;
pub mod codec;
pub mod command;
mod error;
mod random;
pub mod response_code;
pub mod session;
pub mod software;
pub mod tpm;
pub mod transport;
pub mod types;

pub use approval::{Approval, Authority, ReleaseAuthority};
pub use error::TpmError;
pub use tpm::{Options, SealedBlob, Tpm};
pub use transport::Address;

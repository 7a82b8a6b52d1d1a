//! How a host that holds a master key hands it to one that proves its TPM and its boot.
//!
//! Owns: the four messages ([`messages`]), the holder's checks ([`holder`]), the joiner's steps ([`joiner`]) and every reason
//! to refuse ([`Refusal`]).
//!
//! ```text
//! joiner → holder   Hello      endorsement key, its certificate, attestation key
//! joiner ← holder   Challenge  credential for both keys, nonce, registers
//! joiner → holder   Answer     proof of the credential's secret, quote, values
//! joiner ← holder   Grant      master key, sealed to the endorsement key and the approved boot
//! ```
//!
//! Invariants: the holder needs no TPM; what it grants opens only in the TPM that answered and only after an approved boot;
//! the same grant opens at later starts without any sibling. All messages go through an authenticated, encrypted channel
//! and are safe without it.
//!
//! Left to the caller: which hosts are enrolled (a certificate alone proves a make, not a host), keeping challenges for a
//! short time and using each once, the audit trail, and the comparison of the received key with a known check value
//! before its first use: anybody can encrypt to an endorsement key.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod holder;
pub mod joiner;
pub mod messages;
mod refusal;

pub use holder::{Admitted, BootState, Enrolment, Pending, challenge, check_answer};
pub use joiner::{Answered, Joiner, Received};
pub use messages::{Answer, Challenge, Grant, Hello};
pub use refusal::Refusal;

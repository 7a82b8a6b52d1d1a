//! The agent: what stands between a service and the key manager on the service's own host.
//!
//! Owns the service's master key while it is open ([`keyring`]), the locks that are made with it ([`locks`]), the memory of
//! opened keys ([`cache`]), the requests to the key manager ([`remote`]), the operations over all of them ([`keys`]), and the
//! replacement of the master key ([`rotation`]).
//!
//! Invariants: the key manager is sent envelopes only; a master key never leaves the process; a plain key is kept no longer
//! than the token that fetched it is valid. Refuses everything while the master key is not open.
//!
//! Knows no configuration, no socket and no seal: the server's binary brings them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cache;
mod error;
pub mod keyring;
pub mod keys;
pub mod locks;
pub mod remote;
pub mod rotation;
pub mod scopes;

#[cfg(test)]
mod testing;

pub use error::AgentError;
pub use keys::Agent;

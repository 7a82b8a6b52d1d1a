//! The domain of the key manager: what a secret is, who may do what to it, and what is written down about it.
//!
//! This crate owns the rules and nothing of the world: no protocol, no database, no socket, no wall clock.
//! Everything a protocol may do goes through one door, [`manager::Manager`]; each of its operations authorizes,
//! audits and acts, in the order that module explains. Storage is a trait ([`store::Store`]) that sees ciphertext only.

pub mod acl;
pub mod audit;
pub mod check;
pub mod clock;
pub(crate) mod directory;
pub mod document;
pub mod error;
pub mod id;
pub mod keyring;
pub mod manager;
pub mod policy;
pub mod reap;
pub(crate) mod recent;
pub mod record;
pub mod secret;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod tombstone;
pub mod turns;
mod walk;

pub use clock::{Clock, Timestamp};
pub use error::{Error, Result};

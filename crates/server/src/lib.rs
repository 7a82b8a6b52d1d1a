//! The key manager: server and command line, one binary.
//!
//! Owns every protocol's edge (`http`), who callers are (`identity`), the audit trail on disk (`audit`), the
//! configuration and the command line. What may be done to a key is decided in `chatelaine_core::manager`, the one door
//! that everything here goes through.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod agent;
pub mod audit;
pub mod barbican;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod encryption_defaults;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod identity;
pub mod master_key;
pub mod platform;
mod policy_file;
pub mod reaper;
pub mod serve;
pub mod startup;
pub mod telemetry;

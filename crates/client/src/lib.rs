//! The clients: Keystone as the server and the tools use it, OpenStack's ways of naming credentials, and the
//! session that speaks to a Chatelaine server.
//!
//! Owns every outgoing HTTP connection of the project. Invariants: a token, password or key byte never reaches a
//! log line, an error message or a `Debug` output; every call has a timeout and a bound on what it reads; no
//! redirect is ever followed, because a redirect would carry a token to a place nobody chose. Reads no environment
//! variable and no wall clock: the caller hands in the environment.

pub mod clouds;
pub mod http;
pub mod keystone;
pub mod secret;
pub mod transport;

#[cfg(test)]
mod testing;

pub use secret::SecretText;
pub use transport::{TransportError, TransportOptions};

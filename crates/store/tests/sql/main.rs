//! The store in databases, against real ones: PostgreSQL, MariaDB alone, and MariaDB as a Galera cluster of three nodes.
//!
//! Every test starts what it needs, in folders of its own, on ports of its own on loopback, and ends it by its process id.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod checker;
mod conformance;
mod faults;
mod galera;
mod rules;
mod servers;
mod spread;
mod tls;

//! Tests against a real software TPM. Each test starts its own, with its own state folder and socket, and ends it by its
//! process. Without swtpm they fail and say what to install.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod bus;
mod endurance;
mod exchange;
mod faults;
mod interposer;
mod joining;
mod machine;
mod oracle;
mod refusals;
mod sealing;

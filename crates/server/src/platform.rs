//! What the process asks of the operating system for the sake of its secrets.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps and attaching debuggers of the same user off, and warns of secrets that may reach the swap.
pub fn protect() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be turned off: a crash could write keys to disk");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be made undumpable: its user's debuggers can read its memory");
    }
}

/// Whether keys in memory are locked against the swap; `None` when all is well, otherwise what is wrong and what to do.
pub fn memory_lock_problem() -> Option<&'static str> {
    use chatelaine_crypto::{MemoryLock, memory_lock};
    match memory_lock() {
        MemoryLock::Locked => None,
        _ => Some(
            "keys in memory are not locked against the swap: allow it with LimitMEMLOCK=infinity (systemd) or \
             `ulimit -l unlimited`, or run without swap",
        ),
    }
}

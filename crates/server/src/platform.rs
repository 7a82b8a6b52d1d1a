//! What the process asks of the operating system for the sake of its secrets.

use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps and attaching debuggers of the same user off, and says what could not be done.
#[must_use]
pub fn protect() -> Vec<String> {
    let mut problems = Vec::new();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        problems.push(format!("core dumps cannot be turned off ({error}): a crash could write keys to disk"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        problems.push(format!(
            "the process cannot be made undumpable ({error}): its user's debuggers can read its memory"
        ));
    }
    problems
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

/// What to do about something that belongs to `owner` and is refused to `user`. Root is not told to take it: the server
/// could not use it any more.
pub fn as_its_owner(user: u32, owner: u32, path: &Path) -> String {
    let run = format!("run this as user {owner}, for example with `sudo -u '#{owner}'`");
    if user == 0 {
        return run;
    }
    format!("{run}, or run `chown {user} {}` if you trust its content", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_not_told_to_take_the_server_s_files() {
        let path = Path::new("/var/lib/chatelaine");
        assert_eq!(as_its_owner(0, 991, path), "run this as user 991, for example with `sudo -u '#991'`");
        assert!(
            as_its_owner(7, 991, path).ends_with("`chown 7 /var/lib/chatelaine` if you trust its content")
        );
    }
}

//! The policy file of a running server: noticing its changes and putting them in force.
//!
//! Invariant: rules that are wrong, and a file that suddenly has none, leave the old rules in force. A file is read when it
//! has stayed the same from one look to the next, so that one in the middle of being written is not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use parking_lot::Mutex;

use crate::config::Config;
use crate::http::App;
use crate::startup;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

type Stamp = Option<(SystemTime, u64, u64)>;

fn look_at(path: &Path) -> Stamp {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len(), std::os::unix::fs::MetadataExt::ino(&facts)))
}

/// The file, if the configuration names one.
pub(crate) struct PolicyFile {
    config: Config,
    /// The state of the file that is in force, or was found wrong, and the one at the last look.
    seen: Mutex<(Stamp, Stamp)>,
    /// The rules in force came from the file.
    had_rules: AtomicBool,
}

impl PolicyFile {
    /// To be made before the file is read for the first time.
    pub(crate) fn new(config: &Config) -> Self {
        let stamp = config.policy_file().and_then(look_at);
        // What is wrong with the file the start itself tells.
        let had_rules = startup::overrides(config).is_ok_and(|overrides| !overrides.is_empty());
        Self {
            config: config.clone(),
            seen: Mutex::new((stamp, stamp)),
            had_rules: AtomicBool::new(had_rules),
        }
    }

    /// Looks at the file again and again.
    pub(crate) async fn watch(self: Arc<Self>, app: Arc<App>) {
        if self.config.policy_file().is_none() {
            return;
        }
        loop {
            tokio::time::sleep(EVERY).await;
            if self.has_settled() {
                self.reload(&app);
            }
        }
    }

    /// Whether the file is another than the one in force, and the same as at the last look.
    fn has_settled(&self) -> bool {
        let Some(path) = self.config.policy_file() else { return false };
        let now = look_at(path);
        let mut seen = self.seen.lock();
        let settled = now != seen.0 && now == seen.1;
        seen.1 = now;
        settled
    }

    /// Puts the file's rules in force now, if there is one.
    pub(crate) fn reload(&self, app: &App) {
        let Some(path) = self.config.policy_file() else { return };
        let stamp = look_at(path);
        let read = self.read();
        *self.seen.lock() = (stamp, stamp);
        match read {
            Ok(policy) => {
                app.manager().set_policy(policy);
                tracing::info!("the policy was read again and is in force");
            }
            Err(error) => {
                tracing::error!("the changed policy is wrong, the old rules stay in force: {error:#}");
            }
        }
    }

    fn read(&self) -> Result<chatelaine_core::policy::Policy> {
        let overrides = startup::overrides(&self.config)?;
        if overrides.are_missing() && self.had_rules.load(Ordering::Relaxed) {
            bail!(
                "policy.file: it had rules and is empty now; write {{}} into it if the defaults shall be in force"
            );
        }
        let policy = startup::policy_of(&self.config, &overrides)?;
        self.had_rules.store(!overrides.is_empty(), Ordering::Relaxed);
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf, PolicyFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::default();
        config.policy.file = path.clone();
        let policy = PolicyFile::new(&config);
        (folder, path, policy)
    }

    /// T-POLICY-MISREAD: the moment in which an editor has emptied the file does not put the defaults in force.
    #[test]
    fn a_file_that_suddenly_has_no_rules_is_refused() {
        let (_folder, path, policy) = file("key:get: \"role:admin\"\n");
        for empty in ["", "\n", "# rules follow\n"] {
            std::fs::write(&path, empty).unwrap();
            assert!(policy.read().err().unwrap().to_string().contains("is empty now"), "{empty:?}");
        }
        std::fs::write(&path, "key:get: \"role:reader\"\n").unwrap();
        assert!(policy.read().is_ok());
        std::fs::write(&path, "{}\n").unwrap();
        assert!(policy.read().is_ok());
        std::fs::write(&path, "").unwrap();
        assert!(policy.read().is_ok(), "the defaults are in force already");
    }

    #[test]
    fn a_file_that_never_had_rules_may_stay_empty() {
        let (_folder, path, policy) = file("");
        std::fs::write(&path, "# nothing yet\n").unwrap();
        assert!(policy.read().is_ok());
    }

    /// A change is read when it has stayed for a look, and one that came before the watching began is one, too.
    #[test]
    fn a_change_is_read_once_it_has_settled() {
        let (_folder, path, policy) = file("{}");
        assert!(!policy.has_settled());
        std::fs::write(&path, "key:get: \"role:a").unwrap();
        assert!(!policy.has_settled());
        std::fs::write(&path, "key:get: \"role:admin\"").unwrap();
        assert!(!policy.has_settled());
        assert!(policy.has_settled());
    }
}

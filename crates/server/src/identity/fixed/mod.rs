//! Identities from a file of hashed tokens.
//!
//! Owns the file, the map that was read from it, and noticing that it has changed: its state is looked at no more than
//! once a second, when somebody asks.
//!
//! Invariants: a token is good only if the newest readable state of the file has it and it has not expired
//! (T-TOKEN-FORGED, T-TOKEN-REVOKED, T-TOKEN-EXPIRED); a broken new file leaves the identities as they were and is
//! reported once. A service token must have the role `service` and must not have expired.

pub(crate) mod document;
pub(super) mod edit;
pub(super) mod first_start;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chatelaine_client::SecretText;
use chatelaine_core::policy::Identity;
use chatelaine_core::{Clock, Timestamp};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use self::first_start::FirstStart;
use super::config::StaticSettings;
use super::files::{self, Stamp};
use super::token::{self, Digest};
use super::{AuthenticationError, Counters, IdentityError, Presented, Proven, blocking};

/// The role by which a static token vouches for others.
const SERVICE_ROLE: &str = "service";
/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One token of the file.
#[derive(Debug)]
struct Known {
    digest: Digest,
    identity: Arc<Identity>,
}

/// The file as it was last understood.
#[derive(Debug)]
struct Snapshot {
    tokens: HashMap<Digest, Known>,
}

#[derive(Debug)]
struct Watch {
    looked_at: Timestamp,
    /// The state of the file that was last read, whether it could be used or not; `None`: it was not there.
    seen: Option<Stamp>,
    /// What is wrong with the newest state of the file.
    problem: Option<String>,
}

pub(super) struct StaticIdentities {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    snapshot: ArcSwap<Snapshot>,
    watch: Mutex<Watch>,
    /// Held while the file is read, so that an older reading cannot replace a newer one.
    reading: tokio::sync::Mutex<()>,
}

impl StaticIdentities {
    pub(super) async fn open(
        settings: &StaticSettings,
        data_folder: &Path,
        endpoint: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<FirstStart>), IdentityError> {
        let path = settings.path(data_folder);
        let by_default = settings.is_default();
        let (file, folder, endpoint) = (path.clone(), data_folder.to_path_buf(), endpoint.to_owned());
        let (first_start, (seen, snapshot)) = blocking(move || {
            let first_start = if by_default { first_start::ensure(&file, &folder, &endpoint)? } else { None };
            Ok((first_start, load(&file)?))
        })
        .await?;
        let watch = Watch { looked_at: clock.now(), seen: Some(seen), problem: None };
        let identities = Self {
            path,
            clock,
            snapshot: ArcSwap::from_pointee(snapshot),
            watch: Mutex::new(watch),
            reading: tokio::sync::Mutex::new(()),
        };
        Ok((identities, first_start))
    }

    pub(super) async fn authenticate(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Proven, AuthenticationError> {
        let token = presented.user()?;
        self.look().await;
        let snapshot = self.snapshot.load_full();
        let now = self.clock.now();
        let service = match presented.service()? {
            None => None,
            Some(token) => match snapshot.find(token, now) {
                Found::Good(identity) if identity.roles.iter().any(|role| role == SERVICE_ROLE) => {
                    Some(identity)
                }
                Found::Good(_) => {
                    return refused("the service token has no role that lets it vouch for others");
                }
                Found::Expired => return refused("the service token has expired"),
                Found::Nothing => return refused("the service token is not known"),
            },
        };
        match snapshot.find(token, now) {
            Found::Good(user) => Ok(Proven { user, service }),
            Found::Expired => refused("the token has expired"),
            Found::Nothing => refused("the token is not known"),
        }
    }

    /// Rereads the file if it has changed; done by one request a second while the others use what is there.
    async fn look(&self) {
        {
            let mut watch = self.watch.lock();
            let now = self.clock.now();
            // A clock that was set back must not put the next look off.
            if watch.looked_at <= now && now.since(watch.looked_at) < LOOK_EVERY {
                return;
            }
            watch.looked_at = now;
        }
        let path = self.path.clone();
        let Ok(stamp) = blocking(move || Ok(Stamp::now(&path))).await else { return };
        if self.watch.lock().seen != stamp {
            // A failure has been reported where it was found.
            let _ = self.reload().await;
        }
    }

    pub(super) async fn reload(&self) -> Result<(), IdentityError> {
        let _reading = self.reading.lock().await;
        let path = self.path.clone();
        let (before, result) = blocking(move || Ok((Stamp::now(&path), load(&path)))).await?;
        match result {
            Ok((seen, snapshot)) => {
                tracing::info!(path = %self.path.display(), identities = snapshot.tokens.len(), "read the identities");
                self.snapshot.store(Arc::new(snapshot));
                let mut watch = self.watch.lock();
                (watch.seen, watch.problem) = (Some(seen), None);
                Ok(())
            }
            Err(error) => {
                let mut watch = self.watch.lock();
                // Once for each state of the file, however many requests come.
                if watch.problem.is_none() || watch.seen != before {
                    tracing::error!(%error, "the identities have changed and cannot be used; the earlier ones stay");
                }
                (watch.seen, watch.problem) = (before, Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// An error while the newest state of the file cannot be used, although the earlier identities still are.
    pub(super) async fn health(&self) -> Result<(), String> {
        self.look().await;
        self.watch.lock().problem.clone().map_or(Ok(()), Err)
    }

    pub(super) fn describe(&self) -> String {
        let count = self.snapshot.load().tokens.len();
        format!("static identities in {} ({count} tokens)", self.path.display())
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { entries: self.snapshot.load().tokens.len() as u64, ..Counters::default() }
    }
}

fn refused<T>(reason: &'static str) -> Result<T, AuthenticationError> {
    Err(AuthenticationError::Refused { reason })
}

enum Found {
    Good(Arc<Identity>),
    Expired,
    Nothing,
}

impl Snapshot {
    /// The search in the map is by digest: its timing says something of the digest and nothing of the token.
    fn find(&self, token: &SecretText, now: Timestamp) -> Found {
        let digest = token::digest(token);
        match self.tokens.get(&digest) {
            Some(known) if bool::from(known.digest.ct_eq(&digest)) => match known.identity.expires_at {
                Some(moment) if moment <= now => Found::Expired,
                _ => Found::Good(Arc::clone(&known.identity)),
            },
            _ => Found::Nothing,
        }
    }
}

fn load(path: &Path) -> Result<(Stamp, Snapshot), IdentityError> {
    files::check_folder(files::folder_of(path))?;
    let content = files::read(path, document::MAX_FILE)?.ok_or_else(|| {
        IdentityError::setting(
            "identity.static.file",
            format!("{} does not exist", path.display()),
            "make it with `chatelaine identity add`, or leave the setting empty for a file in the data folder",
        )
    })?;
    let document = document::parse(path, &content.bytes)?;
    let mut tokens = HashMap::with_capacity(document.identity.len());
    for entry in document.identity {
        // Both were checked when the file was parsed.
        let (Some(digest), Some(expires_at)) = (entry.digest(), entry.expiry()) else { continue };
        let identity = Identity {
            user_id: entry.user_id,
            user_name: entry.user_name,
            project_id: Some(entry.project_id),
            roles: super::lower_case_roles(&entry.roles),
            expires_at,
            ..Identity::default()
        };
        tokens.insert(digest, Known { digest, identity: Arc::new(identity) });
    }
    Ok((content.stamp, Snapshot { tokens }))
}

//! Opening everything the server and its tools stand on, in the order in which each needs the other.
//!
//! Data folder, master key, audit trail, store, policy, identities. Refuses a folder others can enter, a store without
//! its master key and a master key with another's store; never makes a new master key where a store exists.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock, SystemClock};
use chatelaine_core::keyring::{Held, Keyring};
use chatelaine_core::manager::{Manager, Settings};
use chatelaine_core::policy::rules::{RuleText, parse_policy_file};
use chatelaine_core::policy::{Policy, PolicyConfig};
use chatelaine_core::store::{Kind, Store};
use chatelaine_crypto::MacKey;
use chatelaine_seal::{MasterKeys, SealError, Unsealed};
use chatelaine_store::Address;
use chatelaine_store::sql::{self, Password, SqlStore};

use crate::audit::{self, FileTrail, Head, LimitedTrail, Options, Recovery};
use crate::barbican::content::{ORDER, SECRET_CONSUMERS};
use crate::checkpoint;
use crate::config::Config;
use crate::http::App;
use crate::identity::{FirstStart, Identities, read_secret};
use crate::master_key::Keeper;
use crate::platform;

/// Largest policy file, in bytes.
const MAX_POLICY: u64 = 1024 * 1024;

/// A server that could serve.
pub struct Opened {
    /// The parts together.
    pub app: Arc<App>,
    /// The store's own words about itself.
    pub store: String,
    /// The seal's.
    pub seal: String,
    /// Where the first tokens are, if this was the first start.
    pub first_start: Option<FirstStart>,
}

/// Makes the data folder, or checks that nobody else can enter it.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn prepare_data_folder(folder: &Path) -> Result<()> {
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => platform::make_folders(folder)
            .with_context(|| format!("cannot make the data folder {}; set data.folder", folder.display())),
        Err(error) => {
            Err(error).with_context(|| format!("cannot look at the data folder {}", folder.display()))
        }
        Ok(facts) if !facts.is_dir() => bail!("data.folder: {} is not a folder", folder.display()),
        Ok(facts) if facts.mode() & 0o077 != 0 => bail!(
            "data.folder: others can enter {} (mode {:04o}); run `chmod 700 {}`",
            folder.display(),
            facts.mode() & 0o7777,
            folder.display()
        ),
        Ok(_) => Ok(()),
    }
}

/// Whether there is neither a store nor an audit trail yet, so that a first master key may be made. A store's address that
/// says nothing is for whoever opens the store.
///
/// A database that does not answer is not known to be empty.
pub async fn is_new(config: &Config) -> bool {
    if audit::has_lines(&config.audit_path()) {
        return false;
    }
    match store_address(config) {
        Err(_) => false,
        Ok(Address::Memory) => true,
        Ok(Address::Embedded(path)) => !path.exists(),
        Ok(Address::Database(address)) => {
            let empty =
                async { anyhow::Ok(SqlStore::is_empty(&address, &store_options(config)?.sql).await?) };
            empty.await.unwrap_or_else(|error| {
                tracing::warn!(error = format!("{error:#}"), "whether the store is empty cannot be told");
                false
            })
        }
    }
}

/// The store's address.
///
/// # Errors
/// What is wrong with it.
pub fn store_address(config: &Config) -> Result<Address> {
    Address::parse(&config.store_url()).context("store.url")
}

/// How the configured store behaves.
///
/// # Errors
/// A password that cannot be read.
pub fn store_options(config: &Config) -> Result<chatelaine_store::Options> {
    let file = &config.store.password_file;
    let password = if file.as_os_str().is_empty() {
        None
    } else {
        Some(Password::new(read_secret("store.password_file", file)?.expose()))
    };
    let sql = sql::Options {
        password,
        connections: config.store.connections,
        timeout: Duration::from_secs(config.store.timeout_seconds),
    };
    Ok(chatelaine_store::Options { sql, ..chatelaine_store::Options::default() })
}

/// Explains what is missing beside a store.
pub fn explain(config: &Config, error: SealError) -> anyhow::Error {
    let address = store_address(config);
    if let (SealError::Missing { what, place }, Ok(Address::Database(database))) = (&error, &address) {
        return anyhow::anyhow!(
            "there is no {what} in {place}, and {} is not known to be empty: give this server the sealed master keys of the \
             others or from their backup; if the database is new, see that it can be reached",
            database.describe()
        );
    }
    let store = match address {
        Ok(Address::Embedded(path)) => Some(path),
        _ => None,
    };
    let trail = Some(config.audit_path()).filter(|path| audit::has_lines(path));
    match (&error, store.filter(|path| path.exists()).or(trail)) {
        (SealError::Missing { what, place }, Some(there)) => anyhow::anyhow!(
            "{} is there, but no {what} in {place}: restore the master key from its backup; without it nothing in the \
             store can be read. To begin anew, move the store and the audit trail away",
            absolute(&there).display()
        ),
        _ => anyhow::Error::new(error).context("seal"),
    }
}

/// The keyring over opened master keys.
///
/// # Errors
/// Those of the cryptographic library.
pub fn keyring(unsealed: &Unsealed) -> Result<Keyring> {
    let MasterKeys { active, staged, retired } = &unsealed.keys;
    let retired: Vec<_> = retired.iter().map(|key| (key.id.as_str(), &key.material)).collect();
    let audit = (unsealed.audit_key.id.as_str(), &unsealed.audit_key.material);
    let keyring = Keyring::new((active.id.as_str(), &active.material), &retired, audit)?;
    if let Some(staged) = staged {
        keyring.hold(staged.id.as_str(), &staged.material, Held::Staged)?;
    }
    Ok(keyring)
}

/// The id of the master key that the configured store belongs to by its own word, where that is not among the opened ones.
///
/// # Errors
/// Those of the store.
pub async fn lacking_master_key(config: &Config, keeper: &Keeper) -> Result<Option<String>> {
    let keyring = match &*keeper.opened().await {
        Some(unsealed) => keyring(unsealed)?,
        None => return Ok(None),
    };
    let url = config.store_url();
    match chatelaine_store::embedded_file(&url).context("store.url")? {
        Some(file) if !file.exists() => return Ok(None),
        None if url.starts_with("memory:") => return Ok(None),
        _ => {}
    }
    Ok(keyring.lacks(&*store(config).await?).await?)
}

/// Opens the configured store.
///
/// # Errors
/// Those of the store, with the setting's name.
pub async fn store(config: &Config) -> Result<Arc<dyn Store>> {
    let address = store_address(config)?;
    if let Address::Database(database) = &address
        && let Some(risk) = database.risk()
    {
        tracing::warn!("store.url: {risk}");
    }
    chatelaine_store::open_with(&address, &store_options(config)?).await.context("store.url")
}

/// Opens the configured store for looking, while a server may use it; none where it is in the memory of a server.
///
/// # Errors
/// Those of the store, with the setting's name.
pub async fn store_for_reading(config: &Config) -> Result<Option<Arc<dyn Store>>> {
    let address = store_address(config)?;
    chatelaine_store::open_read_only(&address, &store_options(config)?).await.context("store.url")
}

/// The rules of the policy file; none without one.
pub struct Overrides {
    rules: BTreeMap<String, RuleText>,
    /// The file says `{}`: somebody meant it to have no rules.
    meant_empty: bool,
}

impl Overrides {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there are none and nobody says that this is meant: the file may be about to be written.
    pub fn are_missing(&self) -> bool {
        self.rules.is_empty() && !self.meant_empty
    }
}

/// Reads the policy file.
///
/// # Errors
/// A file that cannot be read, or is none of rules.
pub fn overrides(config: &Config) -> Result<Overrides> {
    match config.policy_file() {
        None => Ok(Overrides { rules: BTreeMap::new(), meant_empty: true }),
        Some(path) => {
            let describe = || format!("policy.file: {}", path.display());
            let length = std::fs::metadata(path).with_context(describe)?.len();
            if length > MAX_POLICY {
                bail!("{}: it has {length} bytes, at most {MAX_POLICY} are allowed", describe());
            }
            let text = std::fs::read_to_string(path).with_context(describe)?;
            let rules = parse_policy_file(&text).with_context(describe)?;
            Ok(Overrides { rules, meant_empty: text.trim() == "{}" })
        }
    }
}

/// The rules in force by the configuration.
///
/// # Errors
/// A policy file that cannot be read, or a rule that is wrong, by name and place.
pub fn policy(config: &Config) -> Result<Policy> {
    policy_of(config, &overrides(config)?)
}

/// The rules in force with these of the policy file.
///
/// # Errors
/// A rule that is wrong, by name and place.
pub fn policy_of(config: &Config, overrides: &Overrides) -> Result<Policy> {
    let around = PolicyConfig {
        defaults: config.policy.rule_defaults(),
        refused_roles: config.policy.refused_roles.clone(),
        networks: config.policy.networks.clone(),
    };
    let place = match config.policy_file() {
        None => "policy.file".to_owned(),
        Some(path) => format!("policy.file: {}", path.display()),
    };
    let (policy, warnings) = Policy::build(&overrides.rules, around).context(place)?;
    for warning in warnings {
        tracing::warn!(%warning, "policy");
    }
    Ok(policy)
}

/// The audit trail, opened for writing by this process alone.
///
/// # Errors
/// Those of the trail, with the setting's name.
pub fn trail(config: &Config, keyring: &Keyring) -> Result<(FileTrail, Recovery)> {
    let options =
        Options { segment_size: config.audit.segment_mib.saturating_mul(1024 * 1024), ..Options::default() };
    FileTrail::open(
        &config.audit_path(),
        keyring.audit_key(),
        keyring.audit_key_id(),
        &config.server_name(),
        &options,
        &SystemClock,
    )
    .context("audit.path")
}

/// Opens everything, with the keys that the keeper has opened.
///
/// # Errors
/// What is wrong, where, and what to do.
pub async fn open(config: &Config, keeper: Arc<Keeper>) -> Result<Opened> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let policy = policy(config)?;
    let keyring = match &*keeper.opened().await {
        Some(unsealed) => keyring(unsealed)?,
        None => bail!("the master keys are not open"),
    };
    let (trail, recovery) = trail(config, &keyring)?;
    let trail = Arc::new(trail);
    let refusals = Arc::new(LimitedTrail::new(Arc::clone(&trail)));
    let store = store(config).await?;
    let described = store.describe();
    refuse_lost_store(config, &keyring, &*store, &recovery).await?;
    refuse_lost_identities(config, &*store).await?;
    let (identities, first_start) =
        Identities::open(&config.identity, &config.data.folder, &config.own_url(), Arc::clone(&clock))
            .await?;
    let settings = settings(config);
    let audit_key = keyring.audit_key();
    let older_store = is_older(&*store, &recovery).await?;
    let manager = Manager::open(store, keyring, policy, refusals.clone(), clock, settings).await?;
    note_trail(&manager, &config.audit_path(), audit_key, &recovery, older_store).await?;
    keeper.diary().hand_over(&manager).await.context("the events of master keys")?;
    manager.note_own(Action::StartServer, Some(format!("version {}", env!("CARGO_PKG_VERSION")))).await?;
    let seal = keeper.describe();
    let app = Arc::new(App::new(manager, identities, trail, refusals, keeper, config));
    Ok(Opened { app, store: described, seal, first_start })
}

/// Opens everything at once, for tests and short work: a server that is sealed ends.
///
/// # Errors
/// What is wrong, where, and what to do.
pub async fn open_at_once(config: &Config) -> Result<Opened> {
    prepare_data_folder(&config.data.folder)?;
    let keeper = Arc::new(Keeper::new(config)?);
    let unsealing = keeper.unseal(is_new(config).await).await;
    unsealing.map_err(|error| explain(config, error.into_error()))?;
    open(config, keeper).await
}

/// Opens what work on the store needs without a server, over keys that are open: nothing is made where nothing is, and nobody
/// is authenticated.
/// The caller notes the beginning and the end of its work.
///
/// # Errors
/// What is wrong, where, and what to do.
pub async fn open_for_work(config: &Config, keyring: Keyring) -> Result<Manager> {
    prepare_data_folder(&config.data.folder)?;
    match store_address(config)? {
        Address::Database(_) => {}
        Address::Embedded(file) if file.exists() => {}
        Address::Embedded(file) => bail!("store.url: there is no store at {}", file.display()),
        Address::Memory => bail!("store.url: a memory: store exists in its server only"),
    }
    let (trail, recovery) = trail(config, &keyring)?;
    let store = store(config).await?;
    refuse_lost_store(config, &keyring, &*store, &recovery).await?;
    let audit_key = keyring.audit_key();
    let older_store = is_older(&*store, &recovery).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // No caller comes: nobody's rules are asked.
    let (policy, _) = Policy::build(&BTreeMap::new(), PolicyConfig::default()).context("policy")?;
    let manager = Manager::open(store, keyring, policy, Arc::new(trail), clock, settings(config)).await?;
    note_trail(&manager, &config.audit_path(), audit_key, &recovery, older_store).await?;
    Ok(manager)
}

fn settings(config: &Config) -> Settings {
    Settings {
        grace: Duration::from_secs(config.deletion.grace_seconds),
        expired_after: Some(config.deletion.expired_after_seconds)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        max_payload: config.limits.max_key_string_bytes,
        max_page: std::num::NonZeroUsize::new(config.limits.max_page).unwrap_or(std::num::NonZeroUsize::MIN),
        purge_wait: Duration::from_secs(config.deletion.purge_wait_seconds),
        max_secret_payload: config.barbican.max_payload_bytes,
        hide_existence: config.barbican.hide_existence,
        remembered_secrets: config.barbican.remembered_secrets,
        attached_kinds: vec![ORDER, SECRET_CONSUMERS],
        server: config.server_name(),
    }
}

/// Refuses an empty store beside a trail that knows of one: it would be taken for a new one, and the real one, whose disk
/// may only not be mounted, would be forgotten.
async fn refuse_lost_store(
    config: &Config,
    keyring: &Keyring,
    store: &dyn Store,
    recovery: &Recovery,
) -> Result<()> {
    let lasting = store_address(config)? != Address::Memory;
    if !lasting || recovery.head == Head::EMPTY || keyring.recognises(store).await? {
        return Ok(());
    }
    bail!(
        "{} is empty, and the audit trail in {} knows {} events: is the store's disk mounted, and store.url right? Mount it, \
         or restore the store from its backup. To begin anew with an empty store, move the audit trail away",
        store.describe(),
        absolute(&config.audit_path()).display(),
        recovery.head.seq
    )
}

/// Refuses to make new identities beside keys of older ones: nobody would see those keys any more.
async fn refuse_lost_identities(config: &Config, store: &dyn Store) -> Result<()> {
    let Some(file) = config.identity.file_to_be_made(&config.data.folder) else { return Ok(()) };
    if !store.kinds().await?.contains(&Kind::SECRET) {
        return Ok(());
    }
    bail!(
        "{file} is missing, and the store holds keys, which belong to the user ids in it: restore {file} from its backup. To \
         go on without it, make a new one with `chatelaine identity add`; new users see none of the keys that are there",
        file = absolute(&file).display()
    )
}

/// Whether a new trail begins beside a store that holds secrets already.
async fn is_older(store: &dyn Store, recovery: &Recovery) -> Result<bool> {
    // A start that was broken off may have left one line.
    Ok(recovery.head.seq <= 1 && store.kinds().await?.contains(&Kind::SECRET))
}

/// Writes down how the trail was found.
async fn note_trail(
    manager: &Manager,
    folder: &Path,
    key: MacKey,
    recovery: &Recovery,
    older_store: bool,
) -> Result<()> {
    if recovery.head == Head::EMPTY {
        tracing::info!("a new audit trail begins");
    }
    if older_store {
        let reason = "the store holds records whose events are in an older trail".to_owned();
        manager.note_own(Action::BeginTrail, Some(reason)).await?;
    }
    if recovery.torn_bytes > 0 {
        let kept =
            recovery.torn_file.as_deref().map(|path: &Path| path.display().to_string()).unwrap_or_default();
        tracing::warn!(bytes = recovery.torn_bytes, kept, "an unfinished line was cut off the audit trail");
    }
    if let Some(known) = checkpoint::read(manager).await? {
        let folder = folder.to_path_buf();
        if !tokio::task::spawn_blocking(move || audit::holds(&folder, &key, known)).await?? {
            checkpoint::keep_lost(manager, known, recovery.head).await?;
        }
    }
    if let Some(lost) = checkpoint::lost(manager).await? {
        tracing::error!("{}", checkpoint::lost_text(lost));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

/// Where a relative path in the configuration leads, for messages.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

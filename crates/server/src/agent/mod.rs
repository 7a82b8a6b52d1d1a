//! The agent as a process: its master keys, its sockets, its background work. What it does with keys is in
//! `chatelaine_agent`.
//!
//! Invariant: the data folder's lock is held as long as the process lives, so that nobody else changes the sealed keys.
//! Refuses to make a master key on its own: a service whose sealed keys are lost must be told, not given new ones.

mod connection;
mod opening;
pub(crate) mod peers;
pub(crate) mod rotation;

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chatelaine_agent::Agent;
use chatelaine_agent::keys::Settings;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::http::agent::{self as routes, Socket};
use crate::http::control::ControlSocket;
use crate::http::gate::Gate;
use crate::master_key::Keeper;
use crate::serve::{feed_watchdog_always, stop_signal, tell_systemd};
use crate::{audit, platform, startup};
use sd_notify::NotifyState;

pub(crate) use peers::Peers;

/// The agent and what it works with.
pub(crate) struct Host {
    pub(crate) agent: Arc<Agent>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) config: Config,
    pub(crate) metrics: routes::metrics::Metrics,
    pub(crate) rotating: rotation::Rotating,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// What keeps the agent from starting, and what to do.
pub async fn run(config: &Config, environment: &[(String, String)]) -> Result<()> {
    let peers = Peers::parse(&config.agent.peers).context("agent.peers")?;
    let listener = bind(&config.agent.socket).await?;
    become_user(config)?;
    startup::prepare_data_folder(&config.data.folder)?;
    let _lock = audit::lock(&config.audit_path()).context("another agent or server uses this data folder")?;
    let remote = connection::open(config, environment)?;
    let settings = Settings {
        keep: Duration::from_secs(config.agent.keep_seconds),
        capacity: if config.agent.keep_seconds == 0 { 0 } else { config.agent.max_keys },
        patience: Duration::from_secs(config.agent.timeout_seconds),
    };
    let keeper = Arc::new(Keeper::new(config).context("seal")?);
    keeper.take_from_descriptor().context("seal.passphrase.descriptor")?;
    let host = Arc::new(Host {
        agent: Arc::new(Agent::new(remote, settings)),
        keeper: Arc::clone(&keeper),
        config: config.clone(),
        metrics: routes::metrics::Metrics::new(),
        rotating: rotation::Rotating::default(),
    });
    let control = ControlSocket::bind(&config.control_path())
        .with_context(|| format!("cannot make the control socket {}", config.control_path().display()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(control.serve(Gate::new(routes::control(Arc::clone(&host)))));
    tasks.spawn(Arc::clone(&host.agent).sweep());
    tasks.spawn(opening::run(Arc::clone(&host)));
    tasks.spawn(feed_watchdog_always());
    if let Some(problem) = platform::memory_lock_problem() {
        tracing::warn!("{problem}");
    }
    if peers.is_empty() {
        tracing::warn!(
            "agent.peers is empty: nobody may ask for keys; name the service's user, for example user:swift"
        );
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.agent.socket.display(),
        peers = %peers,
        key_manager = host.agent.remote().endpoint(),
        seals = keeper.describe(),
        "the agent listens"
    );
    tell_systemd(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let stop = stop_signal()?;
    Socket::new(listener, peers, config).serve(Arc::clone(&host), stop).await;
    host.rotating.stop().await;
    tasks.shutdown().await;
    let _ = std::fs::remove_file(&config.agent.socket);
    tracing::info!("stopped");
    Ok(())
}

/// The socket for the service. Every process may connect; the kernel tells who it is.
async fn bind(path: &Path) -> Result<UnixListener> {
    if path.as_os_str().is_empty() {
        bail!("agent.socket: it is empty; name a socket, for example /run/chatelaine/agent.sock");
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .with_context(|| format!("agent.socket: cannot make the folder {}", folder.display()))?;
    }
    if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), UnixStream::connect(path)).await {
        bail!("agent.socket: another agent listens at {}", path.display());
    }
    match std::fs::symlink_metadata(path) {
        Ok(facts) if !std::os::unix::fs::FileTypeExt::is_socket(&facts.file_type()) => {
            bail!("agent.socket: {} is there and is not a socket; move it away", path.display());
        }
        Ok(_) => std::fs::remove_file(path).with_context(|| format!("agent.socket: {}", path.display()))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("agent.socket: cannot listen at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .with_context(|| format!("agent.socket: {}", path.display()))?;
    Ok(listener)
}

/// Gives root's rights up.
fn become_user(config: &Config) -> Result<()> {
    let name = &config.agent.user;
    if name.is_empty() {
        return Ok(());
    }
    let found = nix::unistd::User::from_name(name).context("agent.user")?;
    let Some(user) = found else { bail!("agent.user: there is no user {name} on this host") };
    if nix::unistd::geteuid() == user.uid {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "agent.user: only an agent that root starts can become {name}; leave it empty, or start it as root"
        );
    }
    let folder = &config.data.folder;
    if !folder.exists() {
        platform::make_folders(folder)
            .with_context(|| format!("cannot make the data folder {}; set data.folder", folder.display()))?;
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("cannot give {} to {name}", folder.display()))?;
    }
    nix::unistd::setgroups(&[user.gid]).context("agent.user: groups")?;
    nix::unistd::setgid(user.gid).context("agent.user: group")?;
    nix::unistd::setuid(user.uid).context("agent.user: user")?;
    // A change of the user makes the process dumpable again.
    for problem in platform::protect() {
        tracing::warn!("{problem}");
    }
    Ok(())
}

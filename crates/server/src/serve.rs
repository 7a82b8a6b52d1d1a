//! The main job: open, listen, serve, stop.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use chatelaine_core::audit::Action;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::config::{Config, LogFormat};
use crate::http::control::ControlSocket;
use crate::http::listener;
use crate::http::{App, TlsSettings, router};
use crate::identity::CLOUDS_FILE;
use crate::startup::{self, Opened};
use crate::{checkpoint, platform, reaper};

/// How often a policy file is looked at.
const POLICY_EVERY: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// What keeps the server from starting, and what to do.
pub async fn run(config: &Config) -> Result<()> {
    platform::protect();
    // First the port: a second server by mistake ends before it touches anything.
    let listener = listener::bind(config.server.listen).await.context("server.listen")?;
    let address = listener.local_addr()?;
    let tls = config.has_tls().then(|| TlsSettings::open(&config.server.tls)).transpose()?.map(Arc::new);
    let opened = startup::open(config).await?;
    let control_path = config.control_path();
    let control = ControlSocket::bind(&control_path)
        .with_context(|| format!("cannot make the control socket {}", control_path.display()))?;
    let app = Arc::clone(&opened.app);
    let mut tasks = JoinSet::new();
    tasks.spawn(control.serve(Arc::clone(&app)));
    tasks.spawn(checkpoint::schedule(Arc::clone(&app)));
    if config.deletion.reap_every_seconds > 0 {
        tasks.spawn(reaper::schedule(
            Arc::clone(&app),
            Duration::from_secs(config.deletion.reap_every_seconds),
        ));
    }
    tasks.spawn(watch_policy(Arc::clone(&app), config.clone()));
    tasks.spawn(reload_on_hangup(Arc::clone(&app), config.clone(), tls.clone())?);
    tasks.spawn(feed_watchdog(Arc::clone(&app)));
    warn_of_risks(config);
    summary(config, &opened, address);
    tell_systemd(&[NotifyState::Ready]);
    listener::serve(listener, tls, router(Arc::clone(&app)), &config.server, stop_signal()?).await;
    tasks.shutdown().await;
    checkpoint_and_note_end(&app).await;
    tracing::info!("stopped");
    Ok(())
}

async fn checkpoint_and_note_end(app: &App) {
    if let Err(error) = app.manager().note_own(Action::StopServer, None).await {
        tracing::error!(%error, "the stop could not be written to the audit trail");
    }
    checkpoint::write(app, &mut None).await;
}

/// Ends with the first SIGINT or SIGTERM; a second one ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: running requests are finished; a second signal ends at once");
        tell_systemd(&[NotifyState::Stopping]);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::warn!("ended at the second signal");
            std::process::exit(130);
        });
    })
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "no word could be sent to systemd");
    }
}

/// Feeds systemd's watchdog, where it is set, as long as the store answers.
async fn feed_watchdog(app: Arc<App>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(limit / 3);
    loop {
        ticks.tick().await;
        if matches!(tokio::time::timeout(limit / 3, app.manager().store_health()).await, Ok(Ok(()))) {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

type Seen = Option<(SystemTime, u64, u64)>;

fn look_at(path: &Path) -> Seen {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len(), std::os::unix::fs::MetadataExt::ino(&facts)))
}

/// Puts a changed policy file in force; one that is wrong leaves the old rules in force.
async fn watch_policy(app: Arc<App>, config: Config) {
    let Some(path) = config.policy_file().map(Path::to_path_buf) else { return };
    let mut last = look_at(&path);
    loop {
        tokio::time::sleep(POLICY_EVERY).await;
        let now = look_at(&path);
        if now != last {
            last = now;
            reload_policy(&app, &config);
        }
    }
}

fn reload_policy(app: &App, config: &Config) {
    match startup::policy(config) {
        Ok(policy) => {
            app.manager().set_policy(policy);
            tracing::info!("the policy was read again and is in force");
        }
        Err(error) => tracing::error!("the changed policy is wrong, the old rules stay in force: {error:#}"),
    }
}

/// Reads policy, identities and certificates again on SIGHUP.
fn reload_on_hangup(
    app: Arc<App>,
    config: Config,
    tls: Option<Arc<TlsSettings>>,
) -> Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            tell_systemd(&[NotifyState::Reloading]);
            if config.policy_file().is_some() {
                reload_policy(&app, &config);
            }
            if let Err(error) = app.identities().reload().await {
                tracing::error!(%error, "the identities could not be read again, the old ones stay");
            }
            if let Some(Err(error)) = tls.as_ref().map(|tls| tls.reload()) {
                tracing::error!(%error, "the certificate could not be read again, the old one stays");
            }
            tracing::info!("read again after SIGHUP");
            tell_systemd(&[NotifyState::Ready]);
        }
    })
}

fn warn_of_risks(config: &Config) {
    if let Some(problem) = platform::memory_lock_problem() {
        tracing::warn!("{problem}");
    }
    if !config.has_tls() && !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            listen = %config.server.listen,
            "insecure_bind: without TLS, tokens and key strings cross the network in the clear"
        );
    }
    if config.store.url == "memory:" {
        tracing::warn!("store.url is memory: — every key is lost when the server ends");
    }
}

/// One summary of what runs and how to try it.
fn summary(config: &Config, opened: &Opened, address: std::net::SocketAddr) {
    let scheme = if config.has_tls() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let version = env!("CARGO_PKG_VERSION");
    let identity = opened.app.identities().describe();
    let audit = startup::absolute(&config.audit_path());
    let data = startup::absolute(&config.data.folder);
    if config.log.format == LogFormat::Json {
        let (store, seal, audit) = (&opened.store, &opened.seal, audit.display());
        tracing::info!(version, url, store, seal, identity, %audit, "ready");
        return;
    }
    let mut text = format!(
        "Chatelaine {version} is ready on {url}\n  data      {}\n  store     {}\n  seal      {}\n  identity  {identity}\n  audit     {}",
        data.display(),
        opened.store,
        opened.seal,
        audit.display()
    );
    if let Some(first) = &opened.first_start {
        let clouds = startup::absolute(&first.clouds_file);
        text.push_str(&format!("\n  tokens    {} (new, for their owner's eyes only)", clouds.display()));
    }
    let clouds = startup::absolute(&config.data.folder.join(CLOUDS_FILE));
    if clouds.exists() {
        text.push_str(&format!(
            "\n  try it    OS_CLIENT_CONFIG_FILE={} OS_CLOUD=service chatelaine key create --algorithm aes",
            clouds.display()
        ));
    }
    tracing::info!("{text}");
}

//! The main job: open, listen, serve, stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::audit::refusals::COUNTS_EVERY;
use crate::config::{Config, LogFormat};
use crate::http::control::{self, ControlSocket};
use crate::http::gate::Gate;
use crate::http::{App, TlsSettings, listener, sealed, surrounded};
use crate::identity::CLOUDS_FILE;
use crate::master_key::changes::Book;
use crate::master_key::{Keeper, NotUnsealed};
use crate::policy_file::PolicyFile;
use crate::startup::{self, Opened};
use crate::{audit, checkpoint, master_key, reaper};

/// So long clients wait at a start for the seals to open; then they are answered that the server is sealed.
const PATIENCE_WITH_SEALS: Duration = Duration::from_secs(3);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// What keeps the server from starting, and what to do.
pub async fn run(config: &Config) -> Result<()> {
    // First the port: a second server by mistake ends before it touches anything.
    let listener = listener::bind(config.server.listen).await.context("server.listen")?;
    let address = listener.local_addr()?;
    let tls = config.has_tls().then(|| TlsSettings::open(&config.server.tls)).transpose()?.map(Arc::new);
    // Before the file is read: a change while it is read is one to be noticed.
    let policy = Arc::new(PolicyFile::new(config));
    startup::prepare_data_folder(&config.data.folder)?;
    let keeper = Arc::new(Keeper::new(config).context("seal")?);
    keeper.take_from_descriptor().context("seal.passphrase.descriptor")?;
    let control_path = config.control_path();
    let control = Gate::new(control::sealed_routes(Arc::clone(&keeper), config));
    let gate = Gate::new(sealed::routes(Arc::clone(&keeper), config));
    let bind_control = || {
        ControlSocket::bind(&control_path)
            .with_context(|| format!("cannot make the control socket {}", control_path.display()))
    };
    let mut tasks = JoinSet::new();
    let serving = listener::serve(listener, tls.clone(), gate.clone(), &config.server, stop_signal()?);
    let mut serving = std::pin::pin!(serving);
    // A seal that takes long keeps neither clients nor signals waiting for ever.
    let first = keeper.unseal(startup::is_new(config).await);
    let mut first = std::pin::pin!(first);
    let outcome = match tokio::time::timeout(PATIENCE_WITH_SEALS, &mut first).await {
        Ok(outcome) => outcome,
        Err(_) => tokio::select! {
            () = &mut serving => return Ok(()),
            outcome = first => outcome,
        },
    };
    let opened = match outcome {
        Err(NotUnsealed::Failed(error)) => return Err(startup::explain(config, error)),
        Ok(()) if !asks_siblings_first(config, &keeper).await? => {
            let opened = startup::open(config, Arc::clone(&keeper)).await?;
            tasks.spawn(bind_control()?.serve(control.clone()));
            opened
        }
        outcome => {
            if let Err(error) = outcome {
                let error = error.into_error();
                tracing::error!(%error, "SEALED: nothing is served until the master key opens; `chatelaine master-key status` says more");
            }
            // Nobody else waits in this folder.
            let waiting = audit::lock(&config.audit_path()).context("audit.path")?;
            tasks.spawn(bind_control()?.serve(control.clone()));
            tell_systemd(&[NotifyState::Ready, NotifyState::Status("sealed: waiting for the master key")]);
            tokio::select! {
                () = &mut serving => {
                    tracing::info!("stopped, still sealed");
                    return Ok(());
                }
                opened = open_when_unsealed(config, &keeper, waiting) => opened?,
                () = feed_watchdog_always() => return Ok(()),
            }
        }
    };
    let app = Arc::clone(&opened.app);
    keeper.cap(Book::Trail(app.manager())).await.context("seal.tpm.cap_register")?;
    control.lead_to(control::routes(Arc::clone(&app)));
    tasks.spawn(checkpoint::schedule(Arc::clone(&app)));
    tasks.spawn(count_refusals(Arc::clone(&app)));
    if config.deletion.reap_every_seconds > 0 {
        tasks.spawn(reaper::schedule(
            Arc::clone(&app),
            Duration::from_secs(config.deletion.reap_every_seconds),
        ));
    }
    if config.rotation.every_seconds > 0 {
        tasks.spawn(master_key::rotation::schedule(
            Arc::clone(&app),
            Duration::from_secs(config.rotation.every_seconds),
        ));
    }
    tasks.spawn(Arc::clone(&policy).watch(Arc::clone(&app)));
    tasks.spawn(reload_on_hangup(Arc::clone(&app), policy, tls)?);
    tasks.spawn(feed_watchdog(Arc::clone(&app)));
    tasks.spawn(master_key::siblings::schedule(Arc::clone(&app)));
    master_key::rotation::resume_all(&app).await;
    warn_of_risks(config);
    summary(config, &opened, address);
    gate.lead_to(surrounded(Arc::clone(&app)));
    tell_systemd(&[NotifyState::Ready, NotifyState::Status("serving")]);
    serving.await;
    tasks.shutdown().await;
    let limit = Duration::from_secs(config.server.shutdown_seconds);
    if tokio::time::timeout(limit, reaper::finished(&app)).await.is_err() {
        tracing::warn!(seconds = limit.as_secs(), "the reaper was still running when its time was over");
    }
    master_key::rotation::stop(&app).await;
    checkpoint_and_note_end(&app).await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for the master keys, then opens everything.
async fn open_when_unsealed(config: &Config, keeper: &Arc<Keeper>, waiting: audit::Lock) -> Result<Opened> {
    if keeper.opened().await.is_none() {
        let pause = Duration::from_secs(config.seal.retry_seconds);
        keeper.wait_until_unsealed(async || startup::is_new(config).await, pause).await;
    }
    if asks_siblings_first(config, keeper).await?
        && let Some(id) = startup::lacking_master_key(config, keeper).await?
    {
        let is_there = async || !matches!(startup::lacking_master_key(config, keeper).await, Ok(Some(_)));
        master_key::siblings::wait_for(keeper, &id, is_there).await;
    }
    drop(waiting);
    startup::open(config, Arc::clone(keeper)).await
}

/// Whether the store belongs to a master key that is not here, and there is somebody to ask for it.
async fn asks_siblings_first(config: &Config, keeper: &Arc<Keeper>) -> Result<bool> {
    if config.siblings.endpoints.is_empty() {
        return Ok(false);
    }
    Ok(startup::lacking_master_key(config, keeper).await?.is_some())
}

/// Feeds it as long as the process runs. For a sealed server, which does all that it can do: it waits; and for an agent.
pub(crate) async fn feed_watchdog_always() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(limit / 3);
    loop {
        ticks.tick().await;
        tell_systemd(&[NotifyState::Watchdog]);
    }
}

/// Writes down now and then how many refusals the audit trail has left out.
async fn count_refusals(app: Arc<App>) {
    loop {
        tokio::time::sleep(COUNTS_EVERY).await;
        write_counts(&app).await;
    }
}

async fn write_counts(app: &App) {
    if let Err(error) = app.refusals.write_counts(SystemClock.now()).await {
        tracing::error!(%error, "the number of refusals could not be written to the audit trail");
    }
}

async fn checkpoint_and_note_end(app: &App) {
    write_counts(app).await;
    if let Err(error) = app.manager().note_own(Action::StopServer, None).await {
        tracing::error!(%error, "the stop could not be written to the audit trail");
    }
    checkpoint::write(app, &mut None).await;
}

/// Ends with the first SIGINT or SIGTERM; a second one ends the process at once.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
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

pub(crate) fn tell_systemd(state: &[NotifyState<'_>]) {
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

/// Reads policy, identities and certificates again on SIGHUP.
fn reload_on_hangup(
    app: Arc<App>,
    policy: Arc<PolicyFile>,
    tls: Option<Arc<TlsSettings>>,
) -> Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            tell_systemd(&[NotifyState::Reloading]);
            policy.reload(&app);
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
    if let Some(problem) = crate::platform::memory_lock_problem() {
        tracing::warn!("{problem}");
    }
    if !config.has_tls() && !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            listen = %config.server.listen,
            "insecure_bind: without TLS, tokens and key strings cross the network in the clear"
        );
    }
    if let Some(consequence) = config.seal.cap_consequence() {
        tracing::warn!("{consequence}");
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

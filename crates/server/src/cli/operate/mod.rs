//! The commands of operators: they work on the configuration and the data folder of this machine.
//!
//! Invariant: none of them needs the server to be stopped, but `store restore` and `import`, which refuse to work while it
//! runs; what only the running server can do is asked of it over its control socket.

pub(super) mod agent;
pub(super) mod attest;
pub(super) mod audit;
pub(super) mod config;
pub(super) mod control;
pub(super) mod doctor;
pub(super) mod identity;
pub(super) mod import;
pub(super) mod master_key;
mod opening;
pub(super) mod project_key;
mod reading;
pub(super) mod reap;
mod restore;
pub(super) mod store;

use chatelaine_core::audit::Action;
use chatelaine_core::check::Knowledge;
use chatelaine_core::manager::Manager;

use super::{Exit, Failure, Global, Terminal};
use crate::config::{Config, Sources};

/// The configuration, from the file, the environment and the command line.
pub(super) fn load(global: &Global, terminal: &Terminal) -> Result<Config, Failure> {
    let sources = Sources {
        file: global.config.clone(),
        environment: terminal.environment.clone(),
        overrides: global.set.clone(),
    };
    crate::config::load(&sources).map_err(|error| {
        Failure::usage(error.to_string()).advise("`chatelaine config reference` explains every setting")
    })
}

/// Work on files, as a command does it.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(failed)?.map_err(failed)
}

/// An error of the server's side as a failure of a command.
fn failed(error: impl Into<anyhow::Error>) -> Failure {
    let error: anyhow::Error = error.into();
    Failure::new(Exit::Failed, format!("{error:#}"))
}

/// Work without a server: its beginning and its end are in the audit trail, as a server's are.
async fn during<T>(
    manager: &Manager,
    name: &str,
    work: impl Future<Output = chatelaine_core::Result<T>>,
) -> Result<T, Failure> {
    let reason = format!("{name}, version {}", env!("CARGO_PKG_VERSION"));
    manager.note_own(Action::StartServer, Some(reason.clone())).await.map_err(failed)?;
    let result = work.await;
    manager.note_own(Action::StopServer, Some(reason)).await.map_err(failed)?;
    result.map_err(failed)
}

/// How far back the trail goes.
const fn knowledge(first_seq: Option<u64>, younger_than_store: bool, is_shared: bool) -> Knowledge {
    match first_seq {
        _ if is_shared => Knowledge::Shared,
        None | Some(1) if !younger_than_store => Knowledge::Whole,
        _ => Knowledge::Recent,
    }
}

/// `serve`: the main job.
pub(super) async fn serve(global: &Global, terminal: &Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    crate::telemetry::logging::start(&config.log).map_err(|error| Failure::usage(error.to_string()))?;
    crate::serve::run(&config).await.map_err(failed)?;
    Ok(Exit::Done)
}

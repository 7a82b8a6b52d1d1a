//! The commands of operators: they work on the configuration and the data folder of this machine.
//!
//! Invariant: none of them needs the server to be stopped; what only the running server can do is asked of it over its
//! control socket.

pub(super) mod audit;
pub(super) mod config;
mod control;
pub(super) mod doctor;
pub(super) mod identity;
mod reading;
pub(super) mod reap;
pub(super) mod store;

use chatelaine_core::check::Knowledge;

use super::{Exit, Failure, Global, Terminal};
use crate::audit::{Expected, Head};
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

/// Where it is not the point whether older segments of the trail were archived.
const fn any_beginning(head: Option<Head>) -> Expected {
    Expected { first_seq: u64::MAX, head }
}

/// Whether the trail goes back to the beginning.
fn knowledge(first_seq: Option<u64>) -> Knowledge {
    if first_seq.is_none_or(|seq| seq == 1) { Knowledge::Whole } else { Knowledge::Recent }
}

/// `serve`: the main job.
pub(super) async fn serve(global: &Global, terminal: &Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    crate::telemetry::logging::start(&config.log).map_err(|error| Failure::usage(error.to_string()))?;
    crate::serve::run(&config).await.map_err(failed)?;
    Ok(Exit::Done)
}

//! `attest`: which hosts may get the master keys by their TPM ([`enrol`]), and how such a host gets them, over the network
//! ([`join`]) or in files ([`carried`]).
//!
//! Invariant: nothing that came is kept before it is what this host expects ([`arrival`]).

mod arrival;
mod carried;
mod enrol;
mod join;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chatelaine_seal::attest::Endorsement;
use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{control, failed, load};
use crate::cli::{Exit, Failure, Global, Terminal};
use crate::config::Config;

/// Largest file of a message, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The server may have to wait for a change of its seals.
const PATIENCE: Duration = Duration::from_secs(60);

const UPDATE_HELP: &str = "\
A running server asks by itself, every siblings.every_seconds and when the store is found to belong to a master key that it does
not have. What comes is used without a restart.

Example:
  chatelaine attest update";

/// Arguments of `attest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the endorsement keys of this host's TPM, by which it is enrolled
    #[command(after_help = enrol::EK_HELP)]
    Ek,
    /// Let a host get the master keys of this server
    #[command(after_help = enrol::ENROL_HELP)]
    Enrol(enrol::Enrol),
    /// No longer let a host get the master keys
    #[command(after_help = enrol::WITHDRAW_HELP)]
    Withdraw(enrol::Withdraw),
    /// Show the hosts that may get the master keys
    #[command(after_help = enrol::LIST_HELP)]
    List,
    /// Show boots of such hosts that wait to be approved, or write them to files
    #[command(after_help = enrol::PENDING_HELP)]
    Pending(enrol::Pending),
    /// Get the master keys from a server that has them, for this host
    #[command(after_help = join::HELP)]
    Join(join::Join),
    /// Without a network, first step, on the host that joins: say who it is
    #[command(after_help = carried::HELP)]
    Hello(carried::Hello),
    /// Second step, on the server's host: challenge it
    #[command(after_help = carried::HELP)]
    Challenge(carried::Files),
    /// Third step, on the host that joins: prove its TPM and its boot
    #[command(after_help = carried::HELP)]
    Answer(carried::Files),
    /// Fourth step, on the server's host: grant the master keys
    #[command(after_help = carried::HELP)]
    Grant(carried::Files),
    /// Fifth step, on the host that joins: receive them
    #[command(after_help = carried::HELP)]
    Receive(carried::Receive),
    /// Last step, on the server's host: take note that they were kept
    #[command(after_help = carried::HELP)]
    Confirm(carried::Confirm),
    /// On a host that has joined: ask the servers in siblings.endpoints for later master keys now
    #[command(after_help = UPDATE_HELP)]
    Update,
}

/// Which keys are expected, where the store cannot tell.
#[derive(Debug, clap::Args)]
pub(super) struct Expectation {
    /// The fingerprint of the active master key, as `master-key status` of the server shows it; needed where this host has
    /// no store that the keys must fit
    #[arg(long, value_name = "FINGERPRINT")]
    expect: Option<String>,
}

/// Which endorsement key joins.
#[derive(Debug, clap::Args)]
pub(super) struct Kind {
    /// Which endorsement key of the TPM: rsa-2048, ecc-p256 or ecc-p384
    #[arg(long, value_name = "KIND", default_value = "rsa-2048")]
    endorsement: Endorsement,
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    match arguments.command {
        Command::Ek => enrol::show_keys(&config, terminal).await,
        Command::Enrol(arguments) => enrol::enrol(&config, arguments, terminal).await,
        Command::Withdraw(arguments) => enrol::withdraw(&config, arguments, terminal).await,
        Command::List => enrol::list(&config, terminal).await,
        Command::Pending(arguments) => enrol::pending(&config, arguments, terminal).await,
        Command::Join(arguments) => join::run(&config, arguments, global, terminal).await,
        Command::Hello(arguments) => carried::hello(&config, arguments, terminal).await,
        Command::Challenge(files) => carried::challenge(&config, &files, terminal).await,
        Command::Answer(files) => carried::answer(&config, &files, terminal).await,
        Command::Grant(files) => carried::grant(&config, &files, terminal).await,
        Command::Receive(arguments) => carried::receive(&config, arguments, terminal).await,
        Command::Confirm(arguments) => carried::confirm(&config, arguments, terminal).await,
        Command::Update => carried::update(&config, terminal).await,
    }
}

/// Asks the running server.
async fn ask<T: DeserializeOwned>(
    config: &Config,
    path: &str,
    request: &impl Serialize,
) -> Result<T, Failure> {
    control::ask(&config.control_path(), path, request, PATIENCE).await
}

/// Reads a message that somebody carried here.
fn read_file<T: DeserializeOwned>(path: &Path, terminal: &Terminal) -> Result<T, Failure> {
    let path = terminal.working_folder.join(path);
    let wrong = |problem: String| Failure::usage(format!("{}: {problem}", path.display()));
    let file = std::fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text)
        .map_err(|error| wrong(format!("is not the file of the step before ({error})")))
}

fn write_file(path: &PathBuf, document: &impl Serialize, terminal: &mut Terminal) -> Result<(), Failure> {
    let path = terminal.working_folder.join(path);
    let mut text = serde_json::to_vec_pretty(document).map_err(failed)?;
    text.push(b'\n');
    std::fs::write(&path, text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    terminal.note(&format!("written to {}", path.display()));
    Ok(())
}

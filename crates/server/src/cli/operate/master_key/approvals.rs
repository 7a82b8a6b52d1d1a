//! `master-key authority`, `boot-state` and `approve`: which boots open the keys in a TPM.
//!
//! `authority` and `approve --state` need neither a server nor its configuration: they are for the machine of the release
//! authority.

use std::path::{Path, PathBuf};

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_seal::boot::BootState;
use chatelaine_seal::tpm::approvals::{self, ApprovalFile};
use chatelaine_seal::{KeyIdentity, SealError};

use super::access::{self, ask_server, seal_failed};
use super::show;
use crate::cli::operate::{blocking, control, failed};
use crate::cli::{Exit, Failure, Format, Terminal};
use crate::config::Config;
use crate::master_key::{self, Keeper};

pub(super) const AUTHORITY_HELP: &str = "\
The private key is written to FILE (mode 0600), the public one to FILE.pub. Make it on a machine that has nothing else, and
keep it there: whoever has it can approve any boot of an enrolled host. The public key goes to every server, as
seal.tpm.authority.

Example:
  chatelaine master-key authority --output release-authority";
pub(super) const STATE_HELP: &str = "\
Reads the TPM's registers and prints what would have to be approved for a master key: the active one, or another epoch, such
as the next one before a rotation.

Examples:
  chatelaine master-key boot-state --output state.json
  chatelaine master-key boot-state --epoch 2 --output next.json";
pub(super) const APPROVE_HELP: &str = "\
With --authority it signs: the state in --state, or the one that waits on this host. With --pcr, registers get the values that
a planned update will lead to. With --output the approval goes to a file; otherwise it is installed on this host, and a server that
waits is told. With --install a signed approval is checked and installed.

Examples:
  chatelaine master-key approve --authority release-authority --state state.json --output approval.json
  chatelaine master-key approve --install approval.json";

/// Arguments of `master-key authority`.
#[derive(Debug, clap::Args)]
pub(super) struct Authority {
    /// The new file of the private key
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Arguments of `master-key boot-state`.
#[derive(Debug, clap::Args)]
pub(super) struct State {
    /// For which master key's number; the active one without
    #[arg(long, value_name = "NUMBER")]
    epoch: Option<u32>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `master-key approve`.
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// The release authority's private key
    #[arg(long, value_name = "FILE", required_unless_present = "install", conflicts_with = "install")]
    authority: Option<PathBuf>,
    /// The boot state; the one that waits on this host without
    #[arg(long, value_name = "FILE", conflicts_with = "install")]
    state: Option<PathBuf>,
    /// A register's value after a planned update; may be given several times
    #[arg(long, value_name = "NUMBER=HEX", value_parser = register, conflicts_with = "install")]
    pcr: Vec<(u8, String)>,
    /// Why, in words for those who look at the approval later
    #[arg(long, default_value = "", conflicts_with = "install")]
    note: String,
    /// Write the approval to this file instead of installing it
    #[arg(long, value_name = "FILE", conflicts_with = "install")]
    output: Option<PathBuf>,
    /// Install this approval
    #[arg(long, value_name = "FILE")]
    install: Option<PathBuf>,
}

fn register(text: &str) -> Result<(u8, String), String> {
    let (number, value) = text.split_once('=').ok_or("write it as NUMBER=HEX")?;
    let number = number.parse().map_err(|_| "the number of a register is 0 to 23".to_owned())?;
    Ok((number, value.to_owned()))
}

pub(super) fn authority(arguments: &Authority, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let path = terminal.working_folder.join(&arguments.output);
    let public = approvals::create_release_authority(&path).map_err(seal_failed)?;
    let (path, public) = (path.display(), public.display());
    match terminal.format {
        Format::Json => terminal.json(&serde_json::json!({
            "private_key": path.to_string(),
            "public_key": public.to_string(),
        }))?,
        Format::Table => {
            terminal.note(&format!("the private key is in {path}; keep it away from the servers"));
            terminal.note(&format!("the public key is in {public}; it goes to every server"));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn boot_state(
    config: &Config,
    arguments: State,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let state = current(config, arguments.epoch).await?;
    let text = serde_json::to_vec_pretty(&state).map_err(failed)?;
    write(&text, arguments.output, terminal)?;
    Ok(Exit::Done)
}

/// How this host has booted, for a master key of its document.
async fn current(config: &Config, epoch: Option<u32>) -> Result<BootState, Failure> {
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    let seal = match keeper.tpm() {
        Some(seal) => std::sync::Arc::clone(seal),
        // The seal may be about to be added.
        None => std::sync::Arc::new(master_key::tpm(config).map_err(seal_failed)?),
    };
    let document = keeper.custody().read().map_err(seal_failed)?;
    blocking(move || {
        let active = document.active().ok_or(SealError::InvalidId)?;
        let epoch = epoch.unwrap_or(active.epoch);
        seal.boot_state(&KeyIdentity { cluster: &document.cluster, id: &active.id, epoch })
    })
    .await
}

fn write(text: &[u8], output: Option<PathBuf>, terminal: &mut Terminal) -> Result<(), Failure> {
    let Some(path) = output else {
        terminal.write(text)?;
        return terminal.write(b"\n");
    };
    let path = terminal.working_folder.join(path);
    std::fs::write(&path, text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// With a state from a file, nothing of this host is needed.
pub(super) fn needs_configuration(arguments: &Approve) -> bool {
    arguments.state.is_none() || arguments.output.is_none()
}

/// Signs a state from a file to a file: the release authority's machine.
pub(super) fn sign_only(arguments: Approve, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Approve { authority, state, pcr, note, output, .. } = arguments;
    let in_folder = |path: &PathBuf| terminal.working_folder.join(path);
    let (Some(authority), Some(state)) = (authority.as_ref().map(in_folder), state.as_ref().map(in_folder))
    else {
        return Err(Failure::usage("--authority and --state are needed"));
    };
    let state = approvals::read_state(&state).map_err(seal_failed)?;
    let file = sign(&authority, state, pcr, note)?;
    write(&serde_json::to_vec_pretty(&file).map_err(failed)?, output, terminal)?;
    Ok(Exit::Done)
}

fn sign(
    authority: &Path,
    state: BootState,
    pcr: Vec<(u8, String)>,
    note: String,
) -> Result<ApprovalFile, Failure> {
    let state = approvals::with_values(state, pcr).map_err(seal_failed)?;
    let authority = approvals::read_release_authority(authority).map_err(seal_failed)?;
    ApprovalFile::sign(&authority, state, note, &master_key::now()).map_err(seal_failed)
}

pub(super) async fn approve(
    config: &Config,
    arguments: Approve,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let Approve { authority, state, pcr, note, output, install } = arguments;
    let in_folder = |path: PathBuf| terminal.working_folder.join(path);
    let file = match (install.map(in_folder), authority.map(in_folder)) {
        (Some(path), _) => approvals::read_approval(&path).map_err(seal_failed)?,
        (None, Some(authority)) => {
            let state = match state.map(in_folder) {
                Some(path) => approvals::read_state(&path).map_err(seal_failed)?,
                None => waiting(config).await?,
            };
            sign(&authority, state, pcr, note)?
        }
        (None, None) => return Err(Failure::usage("one of --authority and --install is needed")),
    };
    if output.is_some() {
        write(&serde_json::to_vec_pretty(&file).map_err(failed)?, output, terminal)?;
        return Ok(Exit::Done);
    }
    install_here(config, &file, terminal).await
}

/// The boot state that waits on this host, or else the present one.
async fn waiting(config: &Config) -> Result<BootState, Failure> {
    let status = access::status(config).await?;
    match status.pending.into_iter().next() {
        Some(state) => {
            let value = serde_json::to_value(state).map_err(failed)?;
            serde_json::from_value(value).map_err(failed)
        }
        None => current(config, None).await,
    }
}

async fn install_here(
    config: &Config,
    file: &ApprovalFile,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    let seal = master_key::tpm(config).map_err(seal_failed)?;
    file.check(&seal.authority().map_err(seal_failed)?).map_err(seal_failed)?;
    let known = keeper.custody().read().map_err(seal_failed)?.cluster;
    if file.state.cluster != known {
        return Err(Failure::usage(format!(
            "the approval is for cluster {}, this is {known}",
            file.state.cluster
        )));
    }
    let path = seal.approvals().install(file).map_err(seal_failed)?;
    keeper.diary().note(Action::ApproveBootState, Outcome::Success, &file.state.to_string());
    terminal.note(&format!("installed as {}", path.display()));
    if control::connect(&config.control_path()).await?.is_none() {
        return Ok(Exit::Done);
    }
    if !access::status(config).await?.sealed {
        ask_server(config, "/master-key/diary", &()).await?;
        return Ok(Exit::Done);
    }
    match ask_server(config, "/master-key/unseal", &serde_json::json!({})).await {
        Ok(status) => show(&status, terminal),
        // The approval is installed, whatever else the server waits for.
        Err(failure) => {
            terminal.warn(&format!("the server stays sealed: {}", failure.message));
            Ok(Exit::Done)
        }
    }
}

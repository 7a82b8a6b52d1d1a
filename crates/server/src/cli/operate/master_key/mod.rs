//! `master-key`: the master keys of this machine's server, in it where it runs and here where it does not.
//!
//! Invariants: no key, passphrase or share is taken from an argument; what destroys asks first.

pub(super) mod access;
mod approvals;
mod recovery;

use std::time::{Duration, Instant};

use chatelaine_api::{
    DestroyMasterKeyRequest, MasterKeyDocument, MasterKeysDocument, RotateRequest, RotationDocument,
    SealChangeRequest, UnsealRequest,
};
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::KeyId;
use chatelaine_seal::passphrase::MAX_PASSPHRASE;
use clap::Subcommand;

use super::load;
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::{Config, SealKind};
use crate::master_key::changes::Book;
use access::Access;

const STATUS_HELP: &str = "\
It ends with code 8 while a running server is sealed.

Example:
  chatelaine master-key status --format json";
const UNSEAL_HELP: &str = "\
Asks the seals of a server that waits for its master key at once, instead of at its next attempt. Where a passphrase is
wanted from a person it is asked for, or read from the first line of standard input.

Example:
  chatelaine master-key unseal";
const ROTATE_HELP: &str = "\
The running server makes a new master key, seals it by every configured seal, and wraps the projects' keys anew while it
serves. The former key is retired; it is destroyed when nothing uses it any more and rotation.keep_retired_seconds have
passed. Until then backups made before the rotation can be opened.

Where hosts have got master keys from this server, the new key is handed out first, and used when each of them has confirmed it.
The command waits for that; so does the server when the command has ended. --without leaves a host out, also later: it cannot use
the store until it has got the key.

Examples:
  chatelaine master-key rotate
  chatelaine master-key rotate --without keys3";
const DESTROY_HELP: &str = "\
Only a retired key that nothing in the store uses is destroyed. Backups made before its rotation ended cannot be opened
afterwards.

Example:
  chatelaine master-key destroy 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --yes";
const ADD_HELP: &str = "\
Several seals may hold the master keys at once; one that opens is enough. To move from one to another, add the new one,
name it in seal.kind, restart the server, and remove the old one.

Example:
  chatelaine master-key seal add passphrase";
const REMOVE_HELP: &str = "\
The last seal of a key is not removed; the recovery key is none.

Example:
  chatelaine master-key seal remove file";

/// Arguments of `master-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the master keys, what seals them, and how far a rotation has come
    #[command(after_help = STATUS_HELP)]
    Status,
    /// Open the master keys of a server that waits for them
    #[command(after_help = UNSEAL_HELP)]
    Unseal,
    /// Make a new master key and wrap everything anew
    #[command(after_help = ROTATE_HELP)]
    Rotate(Rotate),
    /// Destroy a retired master key before its time
    #[command(after_help = DESTROY_HELP)]
    Destroy {
        /// The key's id
        #[arg(value_name = "ID")]
        id: String,
        /// Do not ask; needed where nobody can be asked
        #[arg(long)]
        yes: bool,
        /// An enrolled host that has not confirmed the active key, and for which this one is not kept; may be given several
        /// times
        #[arg(long, value_name = "HOST")]
        without: Vec<String>,
    },
    /// Change what seals the master keys
    #[command(subcommand)]
    Seal(SealCommand),
    /// Make, check and remove the recovery key, which opens the master keys when every seal is lost
    #[command(subcommand)]
    Recovery(recovery::Command),
    /// Make the key of a release authority, which approves boot states
    #[command(after_help = approvals::AUTHORITY_HELP)]
    Authority(approvals::Authority),
    /// Show how this host has booted, as something to be approved
    #[command(after_help = approvals::STATE_HELP)]
    BootState(approvals::State),
    /// Approve a boot state, or install an approval
    #[command(after_help = approvals::APPROVE_HELP)]
    Approve(approvals::Approve),
    /// Open the master keys with the recovery key, and seal them by the configured seals anew
    #[command(after_help = recovery::RECOVER_HELP)]
    Recover(recovery::Source),
}

/// Arguments of `master-key rotate`.
#[derive(Debug, clap::Args)]
struct Rotate {
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
    /// Wait no longer than this for hosts that have to confirm the new key
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    /// An enrolled host that the new key does not wait for; may be given several times
    #[arg(long, value_name = "HOST")]
    without: Vec<String>,
    /// Make a key on a server that gets its own from others, though none of them is enrolled here
    #[arg(long)]
    alone: bool,
}

#[derive(Debug, Subcommand)]
enum SealCommand {
    /// Seal all master keys by one more seal, or by a known one anew
    #[command(after_help = ADD_HELP)]
    Add {
        /// Its section of the configuration, [seal.KIND], says how
        kind: SealKind,
    },
    /// Remove what a seal made of the master keys
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// The seal's kind, as `master-key status` shows it
        kind: String,
        /// Which of several of its kind
        #[arg(long)]
        name: Option<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    // For the machine of the release authority, which has no server.
    let command = match arguments.command {
        Command::Authority(arguments) => return approvals::authority(&arguments, terminal),
        Command::Approve(arguments) if !approvals::needs_configuration(&arguments) => {
            return approvals::sign_only(arguments, terminal);
        }
        other => other,
    };
    let config = load(global, terminal)?;
    match command {
        Command::Authority(arguments) => approvals::authority(&arguments, terminal),
        Command::BootState(arguments) => approvals::boot_state(&config, arguments, terminal).await,
        Command::Approve(arguments) => approvals::approve(&config, arguments, terminal).await,
        Command::Status => show(&access::status(&config).await?, terminal),
        Command::Unseal => unseal(&config, terminal).await,
        Command::Rotate(arguments) => rotate(&config, arguments, terminal).await,
        Command::Destroy { id, yes, without } => destroy(&config, id, (yes, without), terminal).await,
        Command::Seal(command) => change_seal(&config, command, terminal).await,
        Command::Recovery(command) => recovery::run(&config, command, terminal).await,
        Command::Recover(source) => recovery::recover(&config, &source, terminal).await,
    }
}

fn show(status: &MasterKeysDocument, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let exit = if status.sealed && status.running { Exit::Unavailable } else { Exit::Done };
    if terminal.format == Format::Json {
        terminal.json(status)?;
        return Ok(exit);
    }
    let state = match (status.running, status.sealed) {
        (false, _) => "no server runs",
        (true, true) => "sealed",
        (true, false) => "open",
    };
    let mut text = format!("server    {state}\nseals     {}\n", status.seals);
    if !status.cluster.is_empty() {
        text.push_str(&format!("cluster   {}\n", status.cluster));
    }
    if let Some(active) = status.keys.iter().find(|key| key.state == "active") {
        text.push_str(&format!("active    {}\n", active.fingerprint));
    }
    text.push_str(&match &status.recovery {
        None => "recovery  none: make one with `chatelaine master-key recovery create`\n".to_owned(),
        Some(key) if key.shares < 2 => format!("recovery  {} of {}\n", key.fingerprint, key.created),
        Some(key) => format!(
            "recovery  {} of {}, {} of {} shares open it\n",
            key.fingerprint, key.created, key.threshold, key.shares
        ),
    });
    if let Some(rotation) = &status.rotation {
        text.push_str(&format!("rotation  {}\n", progress_text(rotation)));
    }
    if !status.waits_for.is_empty() {
        text.push_str(&format!(
            "waits     the staged key is used when it is at {}\n",
            status.waits_for.join(", ")
        ));
    }
    if !status.missing.is_empty() {
        text.push_str(&format!(
            "missing   {}: get them with `chatelaine attest update`\n",
            status.missing.join(", ")
        ));
    }
    for sibling in &status.siblings {
        let answer = match (&sibling.problem, &sibling.answered) {
            (Some(problem), _) => problem.clone(),
            (None, Some(time)) => format!("answered at {time}"),
            (None, None) => "not asked yet".to_owned(),
        };
        text.push_str(&format!("sibling   {}: {answer}\n", sibling.endpoint));
    }
    for state in &status.pending {
        text.push_str(&format!(
            "pending   boot state {} for epoch {} is not approved\n",
            state.digest, state.epoch
        ));
    }
    if let Some(problem) = &status.problem {
        text.push_str(&format!("problem   {problem}\n"));
    }
    text.push('\n');
    terminal.write(text.as_bytes())?;
    let row = |key: &MasterKeyDocument| {
        let seals: Vec<_> = key
            .seals
            .iter()
            .map(|seal| {
                if seal.name == seal.kind {
                    seal.kind.clone()
                } else {
                    format!("{} {}", seal.kind, seal.name)
                }
            })
            .collect();
        vec![key.id.clone(), key.epoch.to_string(), key.state.clone(), key.created.clone(), seals.join(", ")]
    };
    terminal.table(
        &["MASTER KEY", "EPOCH", "STATE", "CREATED", "SEALED BY"],
        status.keys.iter().map(row).collect(),
    )?;
    Ok(exit)
}

fn progress_text(rotation: &RotationDocument) -> String {
    let count = format!("{} of {} wrapped anew", rotation.done, rotation.total);
    match (&rotation.problem, rotation.running) {
        (Some(problem), _) => format!("stopped, {count}: {problem}"),
        (None, true) => format!("runs, {count}"),
        (None, false) if rotation.corrupt > 0 => {
            format!("ended, {count}; {} records did not open and keep a retired key", rotation.corrupt)
        }
        (None, false) => format!("ended, {count}"),
    }
}

async fn unseal(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let status = access::status(config).await?;
    if !status.running {
        return Err(Failure::new(Exit::Unavailable, "no server runs here").advise("start it first"));
    }
    if !status.sealed {
        terminal.note("the master keys are open");
        return show(&status, terminal);
    }
    let asked = config.seal.kinds().any(|kind| kind == SealKind::Passphrase)
        && config.seal.passphrase.file.as_os_str().is_empty();
    let mut request = UnsealRequest::default();
    if asked {
        let given = if status.keys.is_empty() {
            access::new_passphrase(terminal)?
        } else {
            terminal.ask_secret("Passphrase (empty: ask the other seals only): ", MAX_PASSPHRASE)?
        };
        if !given.is_empty() {
            request.passphrase = Some(chatelaine_api::KeyString::new(given.expose().to_vec()));
        }
    }
    let status = access::ask_server(config, "/master-key/unseal", &request).await?;
    terminal.note("the master key is open; the server begins to serve");
    show(&MasterKeysDocument { sealed: false, ..status }, terminal)
}

async fn rotate(config: &Config, arguments: Rotate, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Rotate { no_wait, wait, without, alone } = arguments;
    let request = RotateRequest { without, alone };
    let mut status = access::ask_server(config, "/master-key/rotate", &request).await?;
    let until = Instant::now() + Duration::from_secs(wait);
    let mut said = Vec::new();
    while !status.waits_for.is_empty() && !no_wait && Instant::now() < until {
        if said != status.waits_for {
            terminal.note(&format!(
                "the new key is handed out first; it waits for {}",
                status.waits_for.join(", ")
            ));
            said.clone_from(&status.waits_for);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        status = access::ask_server(config, "/master-key/status", &()).await?;
    }
    if !status.waits_for.is_empty() {
        terminal.note("the server goes on by itself when they have it; --without HOST leaves one out");
        show(&status, terminal)?;
        return Ok(if no_wait { Exit::Done } else { Exit::Unavailable });
    }
    let bar = if terminal.errors_is_terminal && !no_wait {
        indicatif::ProgressBar::new(0)
    } else {
        indicatif::ProgressBar::hidden()
    };
    while let Some(rotation) = status.rotation.as_ref().filter(|rotation| rotation.running && !no_wait) {
        bar.set_length(rotation.total);
        bar.set_position(rotation.done.min(rotation.total));
        tokio::time::sleep(Duration::from_millis(200)).await;
        status = access::ask_server(config, "/master-key/status", &()).await?;
    }
    bar.finish_and_clear();
    show(&status, terminal)?;
    let whole = status.rotation.as_ref().is_none_or(|last| last.problem.is_none() && last.corrupt == 0);
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

async fn destroy(
    config: &Config,
    id: String,
    (yes, without): (bool, Vec<String>),
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    KeyId::parse(&id).map_err(|error| Failure::usage(error.to_string()))?;
    access::confirm(
        yes,
        &format!(
            "Master key {id} will be destroyed for good; backups that need it cannot be opened any more."
        ),
        terminal,
    )?;
    let request = DestroyMasterKeyRequest { id, without };
    show(&access::ask_server(config, "/master-key/destroy", &request).await?, terminal)
}

/// The passphrase of a seal that is to be added and gets it from a person.
fn new_passphrase_for(
    config: &Config,
    kind: SealKind,
    terminal: &mut Terminal,
) -> Result<Option<KeyMaterial>, Failure> {
    let asked = kind == SealKind::Passphrase && config.seal.passphrase.file.as_os_str().is_empty();
    asked.then(|| access::new_passphrase(terminal)).transpose()
}

async fn change_seal(
    config: &Config,
    command: SealCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let access = Access::open(config, terminal).await?;
    let status = match (&access, command) {
        (Access::Server, SealCommand::Add { kind }) => {
            let passphrase = new_passphrase_for(config, kind, terminal)?
                .map(|given| chatelaine_api::KeyString::new(given.expose().to_vec()));
            let request = SealChangeRequest { kind: kind.name().to_owned(), name: None, passphrase };
            access::ask_server(config, "/master-key/seal/add", &request).await?
        }
        (Access::Server, SealCommand::Remove { kind, name }) => {
            let request = SealChangeRequest { kind, name, passphrase: None };
            access::ask_server(config, "/master-key/seal/remove", &request).await?
        }
        (Access::Here { keeper, .. }, SealCommand::Add { kind }) => {
            let passphrase = new_passphrase_for(config, kind, terminal)?;
            keeper.add_seal(Book::Diary, kind, passphrase).await.map_err(access::refused)?;
            access.status().await?
        }
        (Access::Here { keeper, .. }, SealCommand::Remove { kind, name }) => {
            let name = name.unwrap_or_else(|| kind.clone());
            keeper.remove_seal(Book::Diary, kind, name).await.map_err(access::refused)?;
            access.status().await?
        }
    };
    show(&status, terminal)
}

//! Which hosts may get the master keys.

use std::path::PathBuf;
use std::sync::Arc;

use chatelaine_api::{EnrolRequest, HostsDocument, WithdrawRequest};
use chatelaine_seal::attest;
use chatelaine_seal::hosts::{EnrolledHost, SERVER};
use serde_json::json;

use super::{ask, write_file};
use crate::cli::operate::master_key::access::{Access, refused, seal_failed};
use crate::cli::operate::{blocking, control};
use crate::cli::{Exit, Failure, Format, Terminal};
use crate::config::Config;
use crate::master_key::changes::Book;
use crate::master_key::{self, Keeper, attestation};

pub(super) const EK_HELP: &str = "\
The name of an endorsement key tells this TPM from every other one. Take it to the server by a way that nobody can change, and
enrol the host there.

Example:
  chatelaine attest ek";
pub(super) const ENROL_HELP: &str = "\
A host that is enrolled gets the master keys when its TPM proves the endorsement key and a boot that the release authority
approved. With its certificate it also has to show one of a maker in seal.tpm.makers; --no-certificate is for TPMs that have
none.

Example:
  chatelaine attest enrol --host keys2 --endorsement-key 000b… --no-certificate";
pub(super) const WITHDRAW_HELP: &str = "\
What the host got it still has: rotate the master key afterwards if it is not to be trusted.

Example:
  chatelaine attest withdraw --host keys2";
pub(super) const LIST_HELP: &str = "\
HAS EPOCH is the number of the newest master key that the host has confirmed to have kept.

Example:
  chatelaine attest list --format json";
pub(super) const PENDING_HELP: &str = "\
A host that booted in a way that nobody approved is refused, and the running server remembers its boot state. With --output the
states go to files, which `master-key approve --state FILE` signs.

Example:
  chatelaine attest pending --output states";

/// Arguments of `attest enrol`.
#[derive(Debug, clap::Args)]
pub(super) struct Enrol {
    /// What to call it
    #[arg(long, value_name = "NAME")]
    host: String,
    /// The name of its endorsement key, as `attest ek` shows it there
    #[arg(long, value_name = "HEX")]
    endorsement_key: String,
    /// Do not ask for a certificate of that key
    #[arg(long)]
    no_certificate: bool,
    /// Which master keys it may get; may be given several times
    #[arg(long, value_name = "NAME", default_value = SERVER)]
    key: Vec<String>,
}

/// Arguments of `attest withdraw`.
#[derive(Debug, clap::Args)]
pub(super) struct Withdraw {
    /// Its name
    #[arg(long, value_name = "NAME")]
    host: String,
}

/// Arguments of `attest pending`.
#[derive(Debug, clap::Args)]
pub(super) struct Pending {
    /// Write each state to a file of its own in this folder
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) async fn show_keys(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let seal = master_key::tpm(config).map_err(seal_failed)?;
    let tpm = Arc::clone(seal.tpm());
    let keys = tokio::task::spawn_blocking(move || attest::endorsement_keys(&tpm))
        .await
        .map_err(super::failed)?
        .map_err(seal_failed)?;
    if terminal.format == Format::Json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                let kind = key.kind.to_string();
                json!({"kind": kind, "endorsement_name": key.name, "certificate": key.certificate})
            })
            .collect();
        terminal.json(&keys)?;
        return Ok(Exit::Done);
    }
    let rows = keys.into_iter().map(|key| {
        let certificate = if key.certificate { "present" } else { "none" };
        vec![key.kind.to_string(), certificate.to_owned(), key.name]
    });
    terminal.table(&["KIND", "CERTIFICATE", "ENDORSEMENT KEY"], rows.collect())?;
    Ok(Exit::Done)
}

pub(super) async fn enrol(
    config: &Config,
    arguments: Enrol,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let Enrol { host, endorsement_key, no_certificate, key } = arguments;
    let certificate = !no_certificate;
    if certificate && config.seal.tpm.makers.as_os_str().is_empty() {
        terminal.warn("seal.tpm.makers is empty: no certificate is trusted, and the host will be refused until that is set");
    }
    let request = EnrolRequest {
        name: host,
        endorsement_name: endorsement_key.to_ascii_lowercase(),
        certificate,
        keys: key,
    };
    let hosts = match Access::open(config, terminal).await? {
        Access::Server => ask(config, "/attest/enrol", &request).await?,
        Access::Here { keeper, .. } => {
            let EnrolRequest { name, endorsement_name, certificate, keys } = request;
            let host = EnrolledHost {
                name,
                endorsement_name,
                certificate,
                keys,
                enrolled: String::new(),
                has: None,
            };
            keeper.enrol(Book::Diary, host).await.map_err(refused)?;
            keeper.hosts().await.map_err(seal_failed)?
        }
    };
    show(&hosts, terminal)
}

pub(super) async fn withdraw(
    config: &Config,
    Withdraw { host }: Withdraw,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let hosts = match Access::open(config, terminal).await? {
        Access::Server => ask(config, "/attest/withdraw", &WithdrawRequest { name: host }).await?,
        Access::Here { keeper, .. } => {
            keeper.withdraw(Book::Diary, host).await.map_err(refused)?;
            keeper.hosts().await.map_err(seal_failed)?
        }
    };
    terminal.note("what it got it still has: rotate the master key if it is not to be trusted");
    show(&hosts, terminal)
}

/// The server's word, or what the document says where none runs.
async fn hosts(config: &Config) -> Result<HostsDocument, Failure> {
    if control::connect(&config.control_path()).await?.is_some() {
        return ask(config, "/attest/hosts", &()).await;
    }
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    let custody = keeper.custody().clone();
    let document = blocking(move || custody.read()).await?;
    Ok(attestation::document(&document, Vec::new()))
}

pub(super) async fn list(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    show(&hosts(config).await?, terminal)
}

pub(super) async fn pending(
    config: &Config,
    Pending { output }: Pending,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let pending = hosts(config).await?.pending;
    if let Some(folder) = output {
        let there = terminal.working_folder.join(&folder);
        std::fs::create_dir_all(&there)
            .map_err(|error| Failure::usage(format!("{}: {error}", there.display())))?;
        for waiting in &pending {
            // Names of hosts may have signs in them that mean something in paths.
            let plain = |sign: char| if sign.is_ascii_alphanumeric() || sign == '-' { sign } else { '_' };
            let host: String = waiting.host.chars().map(plain).collect();
            let digest = waiting.state.digest.get(..16).unwrap_or_default();
            let name = format!("{host}-{}-{digest}.json", waiting.state.epoch);
            write_file(&folder.join(name), &waiting.state, terminal)?;
        }
        return Ok(Exit::Done);
    }
    if terminal.format == Format::Json {
        terminal.json(&pending)?;
        return Ok(Exit::Done);
    }
    let rows = pending
        .into_iter()
        .map(|waiting| vec![waiting.host, waiting.state.epoch.to_string(), waiting.state.digest]);
    terminal.table(&["HOST", "EPOCH", "BOOT STATE"], rows.collect())?;
    Ok(Exit::Done)
}

fn show(document: &HostsDocument, terminal: &mut Terminal) -> Result<Exit, Failure> {
    if terminal.format == Format::Json {
        terminal.json(document)?;
        return Ok(Exit::Done);
    }
    let rows = document.hosts.iter().map(|host| {
        vec![
            host.name.clone(),
            host.keys.join(", "),
            if host.certificate { "needed" } else { "not needed" }.to_owned(),
            host.enrolled.clone(),
            match (host.granted, host.kept) {
                (0, _) => "none".to_owned(),
                (granted, kept) if kept < granted => format!("{kept}, granted {granted}"),
                (_, kept) => kept.to_string(),
            },
            host.endorsement_name.clone(),
        ]
    });
    terminal.table(
        &["HOST", "KEYS", "CERTIFICATE", "ENROLLED", "HAS EPOCH", "ENDORSEMENT KEY"],
        rows.collect(),
    )?;
    if !document.pending.is_empty() {
        terminal.note("boots of hosts wait to be approved: `chatelaine attest pending` shows them");
    }
    Ok(Exit::Done)
}

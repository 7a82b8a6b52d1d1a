//! The exchange in files, for a host that has no way to the server's network.
//!
//! A host that has joined gets later master keys in the same steps, while its server runs or not.
//!
//! What the host that joins has to remember is in `attestation-state` (mode 0600) in its data folder; it is of use to nobody
//! without this TPM, and removed at the end. The server remembers its challenge for an hour, in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, HelloRequest,
    ReceiveRequest, ReceivedDocument, SiblingsDocument,
};
use chatelaine_seal::attest::{Proven, Said, StateFile};
use chatelaine_seal::hosts::SERVER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::arrival::{Host, Judge, join_failed, take_over};
use super::join::decoded;
use super::{Expectation, Kind, ask, read_file, write_file};
use crate::cli::operate::master_key::access::{Access, refused, seal_failed};
use crate::cli::operate::{control, failed};
use crate::cli::{Exit, Failure, Format, Terminal};
use crate::config::Config;
use crate::master_key::later::{self, LaterError};
use crate::master_key::siblings;

/// All servers, each with its longest exchange, are not waited for; the running server goes on by itself.
const LONGEST_UPDATE: Duration = Duration::from_secs(300);

/// The keys on their way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried {
    id: String,
    bundle: String,
}

pub(super) const HELP: &str = "\
Carry each file to the other host; none of them is secret. The server has to be the same one in all of its steps, and each
answer has to come within an hour. A host that has joined gets master keys that were made later in the same way, and needs no
--expect; the last file tells the server that they were kept, for which a rotation may wait.

Example:
  joining host$ chatelaine attest hello --output 1-hello
  server$       chatelaine attest challenge --input 1-hello --output 2-challenge
  joining host$ chatelaine attest answer --input 2-challenge --output 3-answer
  server$       chatelaine attest grant --input 3-answer --output 4-keys
  joining host$ chatelaine attest receive --input 4-keys --expect 6f1c-7a0e-3b52-4a53-9a54-0f6c-1f5b-e1a7 --output 5-kept
  server$       chatelaine attest confirm --input 5-kept";

/// Arguments of `attest hello`.
#[derive(Debug, clap::Args)]
pub(super) struct Hello {
    /// The file for the server's host
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    kind: Kind,
}

/// Arguments of the steps in between.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// The file of the step before
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The file for the next step, on the other host
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Arguments of `attest receive`.
#[derive(Debug, clap::Args)]
pub(super) struct Receive {
    /// The file of the step before
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The file for the server's host, to tell it that the keys were kept
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    expectation: Expectation,
}

/// Arguments of `attest confirm`.
#[derive(Debug, clap::Args)]
pub(super) struct Confirm {
    /// The file of the step before
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
}

fn state_file(config: &Config) -> StateFile {
    StateFile::at(config.data.folder.join("attestation-state"))
}

pub(super) async fn hello(
    config: &Config,
    Hello { output, kind }: Hello,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let host = Host::find(config).await?;
    let tpm = Arc::clone(host.seal().tpm());
    let said = tokio::task::spawn_blocking(move || Said::hello(&tpm, kind.endorsement))
        .await
        .map_err(failed)?
        .map_err(join_failed)?;
    state_file(config).keep(&said.to_secret_bytes()).map_err(seal_failed)?;
    let request = HelloRequest { key: SERVER.to_owned(), hello: STANDARD.encode(said.message()) };
    write_file(&output, &request, terminal)?;
    Ok(Exit::Done)
}

pub(super) async fn challenge(
    config: &Config,
    files: &Files,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let request: HelloRequest = read_file(&files.input, terminal)?;
    let challenged: ChallengeDocument = ask(config, "/attest/challenge", &request).await?;
    write_file(&files.output, &challenged, terminal)?;
    Ok(Exit::Done)
}

pub(super) async fn answer(config: &Config, files: &Files, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let challenged: ChallengeDocument = read_file(&files.input, terminal)?;
    let challenge = decoded("challenge", &challenged.challenge)?;
    let host = Host::find(config).await?;
    let kept = state_file(config).kept().map_err(seal_failed)?;
    let said = Said::from_secret_bytes(&kept).map_err(join_failed)?;
    let tpm = Arc::clone(host.seal().tpm());
    let (proven, answer) = tokio::task::spawn_blocking(move || said.answer(&tpm, &challenge))
        .await
        .map_err(failed)?
        .map_err(join_failed)?;
    state_file(config).keep(&proven.to_secret_bytes()).map_err(seal_failed)?;
    let request = AnswerRequest { id: challenged.id, answer: STANDARD.encode(answer) };
    write_file(&files.output, &request, terminal)?;
    Ok(Exit::Done)
}

pub(super) async fn grant(config: &Config, files: &Files, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let request: AnswerRequest = read_file(&files.input, terminal)?;
    let granted: BundleDocument = ask(config, "/attest/release", &request).await?;
    // The host that receives it tells by the exchange's id that it has.
    write_file(&files.output, &Carried { id: request.id, bundle: granted.bundle }, terminal)?;
    Ok(Exit::Done)
}

pub(super) async fn receive(
    config: &Config,
    Receive { input, output, expectation }: Receive,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let Carried { id, bundle } = read_file(&input, terminal)?;
    let message = decoded("bundle", &bundle)?;
    let kept = || state_file(config).kept().map_err(seal_failed);
    let confirmation = match Host::find(config).await? {
        Host::Joins(place) => {
            let judge = Judge::find(config, expectation).await?;
            let proven = Proven::from_secret_bytes(&kept()?).map_err(join_failed)?;
            let confirmation = take_over(&place, proven, message, judge, "files", terminal).await?;
            STANDARD.encode(confirmation)
        }
        Host::HasJoined(_) => {
            let taken = take_later(config, kept()?, bundle, message, expectation, terminal).await?;
            terminal.note(&taken.text);
            taken.confirmation
        }
    };
    if let Some(output) = output {
        write_file(&output, &ConfirmRequest { id, confirmation }, terminal)?;
    }
    state_file(config).forget().map_err(seal_failed)?;
    Ok(Exit::Done)
}

/// Later keys, for the running server, or for the document where none runs.
async fn take_later(
    config: &Config,
    state: Zeroizing<Vec<u8>>,
    bundle: String,
    message: Vec<u8>,
    expectation: Expectation,
    terminal: &mut Terminal,
) -> Result<ReceivedDocument, Failure> {
    let expect = expectation.expect;
    match Access::open(config, terminal).await? {
        Access::Server => {
            let state = chatelaine_api::KeyString::new(state.to_vec());
            ask(config, "/attest/receive", &ReceiveRequest { state, bundle, expect }).await
        }
        Access::Here { keeper, .. } => {
            let proven = Proven::from_secret_bytes(&state).map_err(join_failed)?;
            let taken = later::take(&keeper, None, (proven, message), expect, "files").await;
            let updated = taken.map_err(later_failed)?;
            let confirmation = STANDARD.encode(&updated.confirmation);
            Ok(ReceivedDocument { text: later::text(&updated), confirmation })
        }
    }
}

fn later_failed(error: LaterError) -> Failure {
    match error {
        LaterError::Join(error) => join_failed(error),
        LaterError::Kept(error) => refused(error),
    }
}

pub(super) async fn confirm(
    config: &Config,
    Confirm { input }: Confirm,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let request: ConfirmRequest = read_file(&input, terminal)?;
    let confirmed: ConfirmedDocument = ask(config, "/attest/confirm", &request).await?;
    terminal.note(&format!("the host has the master keys up to epoch {}", confirmed.epoch));
    Ok(Exit::Done)
}

/// Asks the servers in `siblings.endpoints` for later keys.
pub(super) async fn update(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    if config.siblings.endpoints.is_empty() {
        return Err(Failure::usage("it is not said which servers are asked")
            .advise("name them in siblings.endpoints, or carry files: `chatelaine attest hello --help`"));
    }
    let document: SiblingsDocument = match Access::open(config, terminal).await? {
        Access::Server => control::ask(&config.control_path(), "/attest/update", &(), LONGEST_UPDATE).await?,
        Access::Here { keeper, .. } => {
            siblings::ask_all(&keeper, None).await;
            keeper.siblings.document()
        }
    };
    let good = document.siblings.iter().any(|sibling| sibling.problem.is_none());
    if terminal.format == Format::Json {
        terminal.json(&document)?;
    } else {
        let rows = document.siblings.into_iter().map(|sibling| {
            let answer = sibling.problem.unwrap_or_else(|| "up to date".to_owned());
            vec![sibling.endpoint, sibling.answered.unwrap_or_default(), answer]
        });
        terminal.table(&["SERVER", "ANSWERED", "RESULT"], rows.collect())?;
    }
    Ok(if good { Exit::Done } else { Exit::Unavailable })
}

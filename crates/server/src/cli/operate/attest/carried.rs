//! The exchange in files, for a host that has no way to the server's network.
//!
//! What the host that joins has to remember is in `attestation-state` (mode 0600) in its data folder; it is of use to nobody
//! without this TPM, and removed at the end. The server remembers its challenge for an hour, in memory.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{AnswerRequest, BundleDocument, ChallengeDocument, HelloRequest};
use chatelaine_seal::attest::{Proven, Said, StateFile};
use chatelaine_seal::hosts::SERVER;

use super::arrival::{Judge, Place, join_failed, take_over};
use super::join::decoded;
use super::{Expectation, Kind, ask, read_file, write_file};
use crate::cli::operate::failed;
use crate::cli::operate::master_key::access::seal_failed;
use crate::cli::{Exit, Failure, Terminal};
use crate::config::Config;

pub(super) const HELP: &str = "\
Carry each file to the other host; none of them is secret. The server has to be the same one in both of its steps, and the
answer has to come within an hour.

Example:
  joining host$ chatelaine attest hello --output 1-hello
  server$       chatelaine attest challenge --input 1-hello --output 2-challenge
  joining host$ chatelaine attest answer --input 2-challenge --output 3-answer
  server$       chatelaine attest grant --input 3-answer --output 4-keys
  joining host$ chatelaine attest receive --input 4-keys --expect 6f1c-7a0e-3b52-4a53-9a54-0f6c-1f5b-e1a7";

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
    #[command(flatten)]
    expectation: Expectation,
}

fn state_file(config: &Config) -> StateFile {
    StateFile::at(config.data.folder.join("attestation-state"))
}

pub(super) async fn hello(
    config: &Config,
    Hello { output, kind }: Hello,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let place = Place::prepare(config).await?;
    let tpm = Arc::clone(place.seal.tpm());
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
    let place = Place::prepare(config).await?;
    let kept = state_file(config).kept().map_err(seal_failed)?;
    let said = Said::from_secret_bytes(&kept).map_err(join_failed)?;
    let tpm = Arc::clone(place.seal.tpm());
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
    write_file(&files.output, &granted, terminal)?;
    Ok(Exit::Done)
}

pub(super) async fn receive(
    config: &Config,
    Receive { input, expectation }: Receive,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let granted: BundleDocument = read_file(&input, terminal)?;
    let bundle = decoded("bundle", &granted.bundle)?;
    let place = Place::prepare(config).await?;
    let judge = Judge::find(config, expectation).await?;
    let kept = state_file(config).kept().map_err(seal_failed)?;
    let proven = Proven::from_secret_bytes(&kept).map_err(join_failed)?;
    let exit = take_over(&place, proven, bundle, judge, "files", terminal).await?;
    state_file(config).forget().map_err(seal_failed)?;
    Ok(exit)
}

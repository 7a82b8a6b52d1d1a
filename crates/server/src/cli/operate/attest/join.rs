//! `attest join`: the whole exchange, over the network.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, HelloRequest,
};
use chatelaine_client::http::{Request, Session};
use chatelaine_seal::attest::Said;
use chatelaine_seal::hosts::SERVER;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arrival::{Judge, Place, join_failed, take_over};
use super::{Expectation, Kind};
use crate::cli::operate::failed;
use crate::cli::{Exit, Failure, Global, Terminal, connection};
use crate::config::Config;

pub(super) const HELP: &str = "\
The server at the endpoint must have enrolled this host. The keys are kept if they fit the store of this host, or have the
expected fingerprint; they open in this TPM alone, and at later starts without any other server. A boot that nobody has
approved yet is refused; the server remembers it (`attest pending`), and when it is approved there, join again.

Examples:
  chatelaine attest join --endpoint https://keys1:9311 --token-file token --expect 6f1c-7a0e-3b52-4a53-9a54-0f6c-1f5b-e1a7
  chatelaine attest join --os-cloud keys";

/// Arguments of `attest join`.
#[derive(Debug, clap::Args)]
pub(super) struct Join {
    #[command(flatten)]
    expectation: Expectation,
    #[command(flatten)]
    kind: Kind,
}

async fn send<T: DeserializeOwned>(
    session: &Session,
    path: &str,
    request: &impl Serialize,
) -> Result<T, Failure> {
    let request = Request::new(Method::POST, path).json(request)?;
    let answer = session.request(request).await.map_err(|error| {
        let failure = Failure::from(error);
        match failure.exit {
            Exit::Forbidden => failure.advise(
                "on the server's host, `chatelaine attest list` shows who is enrolled, `chatelaine attest pending` which \
                 boots wait to be approved; the token needs the rule attestation:join",
            ),
            _ => failure,
        }
    })?;
    Ok(answer.json()?)
}

/// What a server sent, out of base64.
pub(super) fn decoded(what: &str, text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(|_| Failure::new(Exit::Invalid, format!("the {what} is not base64")))
}

pub(super) async fn run(
    config: &Config,
    Join { expectation, kind }: Join,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let place = Place::prepare(config).await?;
    let judge = Judge::find(config, expectation).await?;
    let session = connection::open(global, false, terminal).await?;
    let tpm = Arc::clone(place.seal.tpm());
    let said = tokio::task::spawn_blocking(move || Said::hello(&tpm, kind.endorsement))
        .await
        .map_err(failed)?
        .map_err(join_failed)?;
    let request = HelloRequest { key: SERVER.to_owned(), hello: STANDARD.encode(said.message()) };
    let challenged: ChallengeDocument = send(&session, "/v1/attestation/challenge", &request).await?;
    let challenge = decoded("challenge", &challenged.challenge)?;
    let tpm = Arc::clone(place.seal.tpm());
    let (proven, answer) = tokio::task::spawn_blocking(move || said.answer(&tpm, &challenge))
        .await
        .map_err(failed)?
        .map_err(join_failed)?;
    let request = AnswerRequest { id: challenged.id.clone(), answer: STANDARD.encode(answer) };
    let granted: BundleDocument = send(&session, "/v1/attestation/release", &request).await?;
    let bundle = decoded("bundle", &granted.bundle)?;
    let confirmation = take_over(&place, proven, bundle, judge, session.endpoint(), terminal).await?;
    let request = ConfirmRequest { id: challenged.id, confirmation: STANDARD.encode(confirmation) };
    let told: Result<ConfirmedDocument, _> = send(&session, "/v1/attestation/confirm", &request).await;
    if told.is_err() {
        terminal.warn(
            "the keys are kept, and the server could not be told so: a rotation there waits for this host until it has \
             asked again",
        );
    }
    Ok(Exit::Done)
}

//! `key delete`, `key undelete` and `key revoke`: the same request for several keys, one after the other.
//!
//! Invariants: an error of one key does not keep the next from being tried; each outcome is told; the exit code is
//! that of the worst. A reader of the output that went away does not stop the work half-way.

use std::collections::HashSet;

use chatelaine_api::{KeyDocument, RevocationReason, RevokeRequest};
use chatelaine_client::http::{ClientError, HttpMethod, Request, Session};
use chatelaine_core::id::SecretId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{if_match, path_of, words};
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const DELETE_EXAMPLE: &str = "\
Example:
  chatelaine key delete 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --if-match 2";
const UNDELETE_EXAMPLE: &str = "\
Example:
  chatelaine key undelete 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
const REVOKE_EXAMPLE: &str = "\
Example:
  chatelaine key revoke 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --reason superseded";

/// From more keys than this on, progress is shown.
const FEW: usize = 20;
/// Most keys of one command.
const MOST: usize = 10_000;

/// The keys.
#[derive(Debug, clap::Args)]
struct Ids {
    /// The keys' ids, at most 10,000
    #[arg(value_name = "KEY-ID", value_parser = words::key_id, required = true, num_args = 1..=MOST)]
    ids: Vec<SecretId>,
}

/// Arguments of `key delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_EXAMPLE)]
pub(super) struct Delete {
    #[command(flatten)]
    keys: Ids,
    /// Delete only this version; for one key
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    if_match: Option<u64>,
}

/// Arguments of `key undelete`.
#[derive(Debug, clap::Args)]
#[command(after_help = UNDELETE_EXAMPLE)]
pub(super) struct Undelete {
    #[command(flatten)]
    keys: Ids,
}

/// Arguments of `key revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_EXAMPLE)]
pub(super) struct Revoke {
    #[command(flatten)]
    keys: Ids,
    /// Why
    #[arg(long, value_name = "REASON", value_parser = words::reasons())]
    reason: RevocationReason,
}

pub(super) async fn delete(
    arguments: Delete,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    if arguments.if_match.is_some() && arguments.keys.ids.len() > 1 {
        return Err(Failure::usage("--if-match is the version of one key")
            .advise("delete one key at a time, or leave --if-match out"));
    }
    let request = |id| {
        let request = Request::new(HttpMethod::DELETE, path_of(id));
        match arguments.if_match {
            Some(version) => if_match(request, version),
            None => Ok(request),
        }
    };
    let work = Work { done: "deleted", answer_is_key: false };
    work.run(arguments.keys, request, global, terminal).await
}

pub(super) async fn undelete(
    arguments: Undelete,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let request = |id| Ok(Request::new(HttpMethod::POST, format!("{}/undelete", path_of(id))));
    let work = Work { done: "undeleted", answer_is_key: true };
    work.run(arguments.keys, request, global, terminal).await
}

pub(super) async fn revoke(
    arguments: Revoke,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let body = RevokeRequest { reason: arguments.reason };
    let request = |id| Request::new(HttpMethod::POST, format!("{}/revoke", path_of(id))).json(&body);
    let work = Work { done: "revoked", answer_is_key: true };
    work.run(arguments.keys, request, global, terminal).await
}

/// What is done to each key.
struct Work {
    /// What happened, in a word.
    done: &'static str,
    /// Whether the answer shows the key as it is then.
    answer_is_key: bool,
}

impl Work {
    async fn run(
        &self,
        keys: Ids,
        request: impl Fn(SecretId) -> Result<Request, ClientError>,
        global: &Global,
        terminal: &mut Terminal,
    ) -> Result<Exit, Failure> {
        let session = connection::open(global, false, terminal).await?;
        let mut seen = HashSet::new();
        let ids: Vec<SecretId> = keys.ids.into_iter().filter(|id| seen.insert(*id)).collect();
        let bar = bar(ids.len(), terminal);
        let mut worst = Exit::Done;
        let mut output = Ok(());
        let mut results = Vec::new();
        for id in ids {
            match self.one(&session, request(id)).await {
                Ok(key) if terminal.format == Format::Table => {
                    let state = key.map(|key| format!(" ({})", words::text(&key.state))).unwrap_or_default();
                    let line = format!("{} {id}{state}\n", self.done);
                    // Not a word more once the output is gone; the work goes on.
                    if output.is_ok() {
                        output = bar.suspend(|| terminal.write(line.as_bytes()));
                    }
                }
                Ok(key) => results.push(json!({"id": id.to_string(), "result": self.done, "key": key})),
                Err(error) => {
                    let failure = Failure::from(error).about(&format!("key {id}"));
                    worst = worst.worse(failure.exit);
                    bar.suspend(|| terminal.report(&failure));
                    results.push(with_id(failure.json(), id));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        output?;
        if terminal.format == Format::Json {
            terminal.json(&results)?;
        }
        Ok(worst)
    }

    async fn one(
        &self,
        session: &Session,
        request: Result<Request, ClientError>,
    ) -> Result<Option<KeyDocument>, ClientError> {
        let response = session.request(request?).await?;
        if self.answer_is_key { response.json().map(Some) } else { Ok(None) }
    }
}

fn with_id(mut result: Value, id: SecretId) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.insert("id".to_owned(), Value::from(id.to_string()));
        fields.insert("result".to_owned(), Value::from("failed"));
    }
    result
}

/// A bar for many keys on a terminal; elsewhere the lines of the outcomes show the progress.
fn bar(count: usize, terminal: &Terminal) -> ProgressBar {
    if count <= FEW || !terminal.errors_is_terminal || terminal.format != Format::Table {
        return ProgressBar::hidden();
    }
    let length = u64::try_from(count).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {pos}/{len} keys, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

//! The same request for several keys or secrets, one after the other.
//!
//! Invariants: an error of one does not keep the next from being tried; each outcome is told; the exit code is that of
//! the worst. A reader of the output that went away does not stop the work half-way.

use std::collections::HashSet;

use chatelaine_api::State;
use chatelaine_client::http::{ClientError, Request, Session};
use chatelaine_core::id::SecretId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::key::words;
use super::{Exit, Failure, Format, Global, Terminal, connection};

/// From more than this on, progress is shown.
const FEW: usize = 20;
/// Most of one command.
pub(crate) const MOST: usize = 10_000;

/// What things are done to, as the server shows it.
pub(crate) trait Thing: Serialize + DeserializeOwned {
    /// What it is, in a word; also the name of its field in JSON.
    const NOUN: &'static str;

    /// Its state.
    fn state(&self) -> State;

    /// What an error means for it.
    fn explain(error: ClientError) -> Failure;
}

/// What is done to each thing.
pub(crate) struct Work {
    /// What happened, in a word.
    pub(crate) done: &'static str,
    /// Whether the answer shows the thing as it is then.
    pub(crate) answered: bool,
}

impl Work {
    pub(crate) async fn run<T: Thing>(
        &self,
        ids: Vec<SecretId>,
        request: impl Fn(SecretId) -> Result<Request, ClientError>,
        global: &Global,
        terminal: &mut Terminal,
    ) -> Result<Exit, Failure> {
        let session = connection::open(global, false, terminal).await?;
        let ids = once_each(ids);
        let bar = bar(ids.len(), T::NOUN, terminal);
        let mut worst = Exit::Done;
        let mut output = Ok(());
        let mut results = Vec::new();
        for id in ids {
            match self.one::<T>(&session, request(id)).await {
                Ok(thing) if terminal.format == Format::Table => {
                    let state =
                        thing.map(|thing| format!(" ({})", words::text(&thing.state()))).unwrap_or_default();
                    let line = format!("{} {id}{state}\n", self.done);
                    // Not a word more once the output is gone; the work goes on.
                    if output.is_ok() {
                        output = bar.suspend(|| terminal.write(line.as_bytes()));
                    }
                }
                Ok(thing) => {
                    results.push(json!({"id": id.to_string(), "result": self.done, T::NOUN: thing}));
                }
                Err(error) => {
                    let failure = T::explain(error).about(&format!("{} {id}", T::NOUN));
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

    async fn one<T: Thing>(
        &self,
        session: &Session,
        request: Result<Request, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        let response = session.request(request?).await?;
        if self.answered { response.json().map(Some) } else { Ok(None) }
    }
}

/// Without those that were named before.
pub(crate) fn once_each(ids: Vec<SecretId>) -> Vec<SecretId> {
    let mut seen = HashSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).collect()
}

fn with_id(mut result: Value, id: SecretId) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.insert("id".to_owned(), Value::from(id.to_string()));
        fields.insert("result".to_owned(), Value::from("failed"));
    }
    result
}

/// A bar for many on a terminal; elsewhere the lines of the outcomes show the progress.
fn bar(count: usize, noun: &str, terminal: &Terminal) -> ProgressBar {
    if count <= FEW || !terminal.errors_is_terminal || terminal.format != Format::Table {
        return ProgressBar::hidden();
    }
    let length = u64::try_from(count).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {noun}s, {{eta}} left")) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

//! `scope-key destroy`: crypto-shredding. Without its keys, what is locked with a customer's keys is noise.
//!
//! Invariants: nothing is deleted before a person has typed `yes` or `--yes` was given; an error of one key does not keep
//! the next from being tried; it is told until when each deletion can be taken back.

use std::collections::BTreeMap;

use chatelaine_api::KeyDocument;
use chatelaine_client::http::{HttpMethod, Request, Session};
use serde_json::{Value, json};

use super::{all_of, explain};
use crate::cli::customer::Customer;
use crate::cli::key;
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Whatever is locked with these keys, dual or compound, can be read no more: by whoever has keys in a cache until those expire,
by nobody after that. `key undelete` takes it back until the grace period of the server is over; then the key strings are
destroyed for good. An operator can have them destroyed earlier with `secret purge`.

Example:
  chatelaine scope-key destroy --project 4f1c7a0e3b524a539a540f6c1f5be1a7";

/// Arguments of `scope-key destroy`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(flatten)]
    customer: Customer,
    /// Do not ask; needed where nobody can be asked
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(
    arguments: &Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let customer = arguments.customer.one()?;
    if !arguments.yes && !terminal.can_ask() {
        return Err(Failure::usage(
            "nothing locked with these keys can be read any more, and there is nobody to confirm it",
        )
        .advise("give --yes if that is meant, or run it on a terminal without --format json"));
    }
    let whose = format!("{} {}", customer.0.as_str(), customer.1);
    let session = connection::open(global, false, terminal).await?;
    let keys = all_of(&session, customer, false).await?;
    if keys.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{whose} has no keys here")).advise(
            "`chatelaine scope-key list --deleted` shows those that were destroyed and can still be undeleted",
        ));
    }
    if !arguments.yes {
        let count = keys.len();
        let question = format!(
            "all keys of {whose} will be deleted ({count}): nothing locked with them can be read any more. Type yes to go on: "
        );
        if terminal.ask(&question)? != "yes" {
            return Err(Failure::new(Exit::Failed, "nothing was deleted: the answer was not yes"));
        }
    }
    let (deleted, failures) = delete(&session, &keys).await;
    let mut worst = Exit::Done;
    for (_, failure) in &failures {
        worst = worst.worse(failure.exit);
        terminal.report(failure);
    }
    if deleted.is_empty() {
        return Ok(worst);
    }
    let ends = all_of(&session, customer, true).await.map_err(|failure| {
        failure.about(&format!(
            "{} keys were deleted; until when that can be taken back is not known",
            deleted.len()
        ))
    })?;
    let ends: BTreeMap<&str, &str> = ends
        .iter()
        .filter_map(|key| Some((key.id.as_str(), key.deletion.as_ref()?.purge_at.as_str())))
        .collect();
    let end = |id: &str| ends.get(id).copied().unwrap_or_default().to_owned();
    match terminal.format {
        Format::Json => {
            let done = deleted.iter().map(|id| json!({"id": id, "result": "deleted", "purge_at": end(id)}));
            let failed = failures.iter().map(|(id, _)| json!({"id": id, "result": "failed"}));
            terminal.json(&done.chain(failed).collect::<Vec<Value>>())?;
        }
        Format::Table => {
            let rows = deleted.iter().map(|id| vec![id.clone(), end(id)]).collect();
            terminal.table(&["DELETED", "CAN BE UNDELETED UNTIL"], rows)?;
        }
    }
    Ok(worst)
}

/// The ids of those that are deleted now, and what failed.
async fn delete(session: &Session, keys: &[KeyDocument]) -> (Vec<String>, Vec<(String, Failure)>) {
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for key in keys {
        match session.request(Request::new(HttpMethod::DELETE, key::path_of(&key.id))).await {
            Ok(_) => deleted.push(key.id.clone()),
            Err(error) => {
                failures.push((key.id.clone(), explain(error).about(&format!("key {}", key.id))));
            }
        }
    }
    (deleted, failures)
}

//! `secret undelete` and `secret purge`.
//!
//! Invariant: nothing is purged, nor even the server spoken to, before a person has typed `yes` or `--yes` was given.

use chatelaine_api::SecretDocument;
use chatelaine_client::http::{HttpMethod, Request};
use chatelaine_core::id::SecretId;

use super::path_of;
use crate::cli::key::words;
use crate::cli::several::{MOST, Work, once_each};
use crate::cli::{Exit, Failure, Global, Terminal};

const UNDELETE_EXAMPLE: &str = "\
Example:
  chatelaine secret undelete 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
const PURGE_EXAMPLE: &str = "\
A secret can be purged once it has been deleted for as long as deletion.purge_wait_seconds of the server's configuration says.

Example:
  chatelaine secret purge 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --yes";

/// The secrets.
#[derive(Debug, clap::Args)]
struct Ids {
    /// The secrets' ids, at most 10,000
    #[arg(value_name = "ID", value_parser = words::key_id, required = true, num_args = 1..=MOST)]
    ids: Vec<SecretId>,
}

/// Arguments of `secret undelete`.
#[derive(Debug, clap::Args)]
#[command(after_help = UNDELETE_EXAMPLE)]
pub(super) struct Undelete {
    #[command(flatten)]
    secrets: Ids,
}

/// Arguments of `secret purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = PURGE_EXAMPLE)]
pub(super) struct Purge {
    #[command(flatten)]
    secrets: Ids,
    /// Do not ask; needed where nobody can be asked
    #[arg(long)]
    yes: bool,
}

pub(super) async fn undelete(
    arguments: Undelete,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let request = |id| Ok(Request::new(HttpMethod::POST, format!("{}/undelete", path_of(id))));
    let work = Work { done: "undeleted", answered: true };
    work.run::<SecretDocument>(arguments.secrets.ids, request, global, terminal).await
}

pub(super) async fn purge(
    arguments: Purge,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let ids = once_each(arguments.secrets.ids);
    if !arguments.yes {
        confirm(&ids, terminal)?;
    }
    let request = |id| Ok(Request::new(HttpMethod::POST, format!("{}/purge", path_of(id))));
    let work = Work { done: "purged", answered: false };
    work.run::<SecretDocument>(ids, request, global, terminal).await
}

fn confirm(ids: &[SecretId], terminal: &mut Terminal) -> Result<(), Failure> {
    if !terminal.can_ask() {
        return Err(Failure::usage("purging destroys secrets for good, and there is nobody to confirm it")
            .advise("give --yes if that is meant, or run it on a terminal without --format json"));
    }
    let what = match ids {
        [id] => format!("secret {id}"),
        several => format!("{} secrets", several.len()),
    };
    let question = format!("{what} will be destroyed for good, there is no way back. Type yes to go on: ");
    if terminal.ask(&question)? == "yes" {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was purged: the answer was not yes"))
    }
}

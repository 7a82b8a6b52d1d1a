//! `key delete`, `key undelete` and `key revoke`.

use chatelaine_api::{KeyDocument, RevocationReason, RevokeRequest, State};
use chatelaine_client::http::{ClientError, HttpMethod, Request};
use chatelaine_core::id::SecretId;

use super::{if_match, path_of, words};
use crate::cli::several::{MOST, Thing, Work};
use crate::cli::{Exit, Failure, Global, Terminal};

const DELETE_EXAMPLE: &str = "\
Example:
  chatelaine key delete 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --if-match 2";
const UNDELETE_EXAMPLE: &str = "\
Example:
  chatelaine key undelete 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
const REVOKE_EXAMPLE: &str = "\
Example:
  chatelaine key revoke 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --reason superseded";

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
    let work = Work { done: "deleted", answered: false };
    work.run::<KeyDocument>(arguments.keys.ids, request, global, terminal).await
}

pub(super) async fn undelete(
    arguments: Undelete,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let request = |id| Ok(Request::new(HttpMethod::POST, format!("{}/undelete", path_of(id))));
    let work = Work { done: "undeleted", answered: true };
    work.run::<KeyDocument>(arguments.keys.ids, request, global, terminal).await
}

pub(super) async fn revoke(
    arguments: Revoke,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let body = RevokeRequest { reason: arguments.reason };
    let request = |id| Request::new(HttpMethod::POST, format!("{}/revoke", path_of(id))).json(&body);
    let work = Work { done: "revoked", answered: true };
    work.run::<KeyDocument>(arguments.keys.ids, request, global, terminal).await
}

impl Thing for KeyDocument {
    const NOUN: &'static str = "key";

    fn state(&self) -> State {
        self.state
    }

    fn explain(error: ClientError) -> Failure {
        error.into()
    }
}

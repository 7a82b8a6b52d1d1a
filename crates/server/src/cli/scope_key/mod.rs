//! `scope-key …`: the keys of users, projects and domains, with which their data keys are locked.
//!
//! Owns what their listing looks like and what errors mean. Invariant: no command here asks for a key string.

mod create;
mod destroy;
mod list;
mod show;

use chatelaine_api::{KeyDocument, KeyPage, WiderScope};
use chatelaine_client::http::{ClientError, HttpMethod, Request, Session};
use clap::Subcommand;

use super::pages::Listing;
use super::{Exit, Failure, Global, Terminal};

/// Arguments of `scope-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key of a user, project or domain, by the identity service's agent
    Create(create::Arguments),
    /// List the keys of users, projects and domains that you put
    List(list::Arguments),
    /// Show what is known about the key that new data is locked with
    Show(show::Arguments),
    /// Delete all keys of a user, project or domain, so that nothing locked with them can be read any more
    Destroy(destroy::Arguments),
}

/// Runs a command about the keys of users, projects and domains.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Create(arguments) => create::run(&arguments, global, terminal).await,
        Command::List(arguments) => list::run(&arguments, global, terminal).await,
        Command::Show(arguments) => show::run(&arguments, global, terminal).await,
        Command::Destroy(arguments) => destroy::run(&arguments, global, terminal).await,
    }
}

/// The listing.
const SCOPE_KEYS: &str = "/v1/scope-keys";

/// An error with what can be done about it.
fn explain(error: ClientError) -> Failure {
    match error.status() {
        Some(403) => Failure::from(error).advise(
            "the identity service's own credentials are needed, with the roles service and identity_service unless the \
             policy's rules `scope_key:…` were changed",
        ),
        _ => error.into(),
    }
}

/// All keys of a customer: live ones, or deleted ones that can be undeleted.
async fn all_of(
    session: &Session,
    (scope, id): (WiderScope, &str),
    deleted: bool,
) -> Result<Vec<KeyDocument>, Failure> {
    let listing = Listing {
        entries: "keys",
        limit: None,
        all: true,
        narrow: "delete keys that nothing is locked with",
        explain,
    };
    let request = || {
        let request =
            Request::new(HttpMethod::GET, SCOPE_KEYS).query("scope", scope.as_str()).query("scope_id", id);
        if deleted { request.query("deleted", "true") } else { request }
    };
    Ok(listing.collect::<KeyPage>(session, request).await?.0)
}

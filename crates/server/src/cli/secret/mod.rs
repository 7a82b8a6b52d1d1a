//! `secret …`: what an operator does to secrets of any project, over the operator's routes.
//!
//! Owns what a secret looks like in a table and what errors mean to an operator. Invariant: no command here reads or
//! prints a payload; the routes release none. Refuses to destroy anything nobody has confirmed.

mod change;
mod list;

use chatelaine_api::{SecretDocument, State};
use chatelaine_client::http::{ClientError, HttpMethod, Request};
use chatelaine_core::id::SecretId;
use clap::Subcommand;

use super::key::words;
use super::several::Thing;
use super::{Exit, Failure, Format, Global, Terminal, connection};

const SHOW_EXAMPLE: &str = "\
Example:
  chatelaine secret show 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";

/// Arguments of `secret`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List secrets of all projects
    List(list::Arguments),
    /// Show what is known about a secret, without its payload
    Show(Show),
    /// Take the deletion of secrets back
    Undelete(change::Undelete),
    /// Destroy deleted secrets before their grace period is over; there is no way back
    Purge(change::Purge),
}

/// Arguments of `secret show`.
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLE)]
struct Show {
    /// The secret's id
    #[arg(value_name = "ID", value_parser = words::key_id)]
    id: SecretId,
}

/// Runs a command about secrets of any project.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match arguments.command {
        Command::List(arguments) => list::run(&arguments, global, terminal).await,
        Command::Show(arguments) => show(&arguments, global, terminal).await,
        Command::Undelete(arguments) => change::undelete(arguments, global, terminal).await,
        Command::Purge(arguments) => change::purge(arguments, global, terminal).await,
    }
}

/// All secrets.
const SECRETS: &str = "/v1/operator/secrets";

fn path_of(id: SecretId) -> String {
    format!("{SECRETS}/{id}")
}

/// An error with what an operator can do about it.
fn explain(error: ClientError) -> Failure {
    let advice = match error.status() {
        Some(403) => {
            "it takes a role that the policy's rules `operator:…` allow, `admin` unless they were changed; `chatelaine \
             policy list` shows them"
        }
        Some(404) => {
            "`chatelaine secret list`, also with --deleted, shows what there is; what was purged is gone; if that fails \
             too, check the endpoint"
        }
        Some(409) => {
            "`chatelaine secret show ID` tells whether and since when it is deleted; a purge has to wait for \
             deletion.purge_wait_seconds of the server's configuration"
        }
        _ => return error.into(),
    };
    Failure::from(error).advise(advice)
}

impl Thing for SecretDocument {
    const NOUN: &'static str = "secret";

    fn state(&self) -> State {
        self.state
    }

    fn explain(error: ClientError) -> Failure {
        explain(error)
    }
}

async fn show(arguments: &Show, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let session = connection::open(global, false, terminal).await?;
    let response = session.request(Request::new(HttpMethod::GET, path_of(arguments.id))).await;
    let document: SecretDocument = response.and_then(|response| response.json()).map_err(explain)?;
    match terminal.format {
        Format::Json => terminal.json(&document)?,
        Format::Table => terminal.table(&["FIELD", "VALUE"], rows(&document))?,
    }
    Ok(Exit::Done)
}

/// A line for each field that the secret has.
fn rows(secret: &SecretDocument) -> Vec<Vec<String>> {
    let access = secret.access.as_ref().map(|list| {
        let project = if list.project_access { "the project" } else { "not the project" };
        format!("{project}, and {} users of the list (changed at {})", list.users, list.updated_at)
    });
    let revoked =
        secret.revocation.as_ref().map(|found| format!("{} ({})", found.at, words::text(&found.reason)));
    let deleted =
        secret.deletion.as_ref().map(|found| format!("{} (purged at {})", found.at, found.purge_at));
    let fields = [
        ("id", Some(secret.id.clone())),
        ("version", Some(secret.version.to_string())),
        ("state", Some(words::text(&secret.state))),
        ("project_id", Some(secret.project_id.clone())),
        ("owner", Some(secret.owner.clone())),
        ("name", secret.name.clone()),
        ("origin", Some(words::text(&secret.origin))),
        ("secret_type", Some(words::text(&secret.secret_type))),
        ("algorithm", secret.algorithm.clone()),
        ("bit_length", secret.bit_length.map(|bits| bits.to_string())),
        ("mode", secret.mode.clone()),
        ("content_type", secret.content_type.clone()),
        ("has_payload", Some(secret.has_payload.to_string())),
        ("created_at", Some(secret.created_at.clone())),
        ("updated_at", Some(secret.updated_at.clone())),
        ("activates_at", secret.activates_at.clone()),
        ("expires_at", secret.expires_at.clone()),
        ("revoked_at", revoked),
        ("deleted_at", deleted),
        ("access", access),
    ];
    fields.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect()
}

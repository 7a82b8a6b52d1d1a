//! `key …`: keys over the native interface.
//!
//! Owns the arguments of each command and what a key looks like in a table. Refuses key strings as arguments: they come
//! from a file or standard input.

mod create;
mod encoding;
pub(super) mod file;
mod list;
mod read;
mod several;
mod update;
pub(super) mod words;

use chatelaine_api::KeyDocument;
use chatelaine_client::http::{ClientError, HttpMethod, Request, Response, Session};
use chatelaine_core::id::SecretId;
use clap::Subcommand;

use super::{Exit, Failure, Format, Global, Terminal};

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let the server generate a key
    Create(create::Create),
    /// Store a key string you have, under your key-id or one the server makes
    Put(create::Put),
    /// Read a key string
    Get(read::Get),
    /// Show what is known about a key, without its key string
    Show(read::Show),
    /// List the keys you put
    List(list::Arguments),
    /// Change a key
    Update(update::Arguments),
    /// Delete keys; within the grace period this can be taken back
    Delete(several::Delete),
    /// Take the deletion of keys back
    Undelete(several::Undelete),
    /// Revoke keys: their key strings are released no more
    Revoke(several::Revoke),
}

/// Runs a command about keys.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Create(arguments) => create::create(arguments, global, terminal).await,
        Command::Put(arguments) => create::put(arguments, global, terminal).await,
        Command::Get(arguments) => read::get(&arguments, global, terminal).await,
        Command::Show(arguments) => read::show(&arguments, global, terminal).await,
        Command::List(arguments) => list::run(&arguments, global, terminal).await,
        Command::Update(arguments) => update::run(arguments, global, terminal).await,
        Command::Delete(arguments) => several::delete(arguments, global, terminal).await,
        Command::Undelete(arguments) => several::undelete(arguments, global, terminal).await,
        Command::Revoke(arguments) => several::revoke(arguments, global, terminal).await,
    }
}

/// The collection of keys.
const KEYS: &str = "/v1/keys";

pub(super) fn path_of(id: impl std::fmt::Display) -> String {
    format!("{KEYS}/{id}")
}

/// Where the metadata of a key is read without its key string.
fn metadata_path_of(id: SecretId) -> String {
    format!("{KEYS}/{id}/metadata")
}

fn if_match(request: Request, version: u64) -> Result<Request, ClientError> {
    request.header("If-Match", &format!("\"{version}\""))
}

/// Reads a key's metadata.
async fn metadata(session: &Session, id: SecretId) -> Result<KeyDocument, ClientError> {
    session.request(Request::new(HttpMethod::GET, metadata_path_of(id))).await?.json()
}

/// Sends a request whose answer is a key, and prints it.
async fn send_and_print(
    session: &Session,
    request: Request,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let response: Response = session.request(request).await?;
    let document: KeyDocument = response.json()?;
    print(&document, terminal)?;
    Ok(Exit::Done)
}

/// Prints one key.
pub(super) fn print(document: &KeyDocument, terminal: &mut Terminal) -> Result<(), Failure> {
    match terminal.format {
        Format::Json => terminal.json(document),
        Format::Table => terminal.table(&["FIELD", "VALUE"], rows(document)),
    }
}

/// A line for each field that the key has.
fn rows(key: &KeyDocument) -> Vec<Vec<String>> {
    let mut fields = vec![
        ("id", Some(key.id.clone())),
        ("version", Some(key.version.to_string())),
        ("state", Some(words::text(&key.state))),
        ("name", key.name.clone()),
        ("algorithm", key.algorithm.clone()),
        ("bit_length", key.bit_length.map(|bits| bits.to_string())),
        ("scope", Some(words::text(&key.scope))),
        ("scope_id", key.scope_id.clone()),
        ("master_key", key.master_key.clone()),
        ("owner", Some(key.owner.clone())),
        ("project_id", Some(key.project_id.clone())),
        ("created_at", Some(key.created_at.clone())),
        ("updated_at", Some(key.updated_at.clone())),
        ("activates_at", key.activates_at.clone()),
        ("expires_at", key.expires_at.clone()),
    ];
    let revoked =
        key.revocation.as_ref().map(|found| format!("{} ({})", found.at, words::text(&found.reason)));
    let deleted = key.deletion.as_ref().map(|found| format!("{} (purged at {})", found.at, found.purge_at));
    fields.extend([("revoked_at", revoked), ("deleted_at", deleted)]);
    let mut rows: Vec<Vec<String>> =
        fields.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect();
    rows.extend(key.attributes.iter().map(|(name, value)| vec![format!("attribute {name}"), value.clone()]));
    rows
}

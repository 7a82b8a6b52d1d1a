//! `secret list`.

use chatelaine_api::{SecretDocument, SecretPage};
use chatelaine_client::http::{HttpMethod, Request};

use super::{SECRETS, explain};
use crate::cli::key::words;
use crate::cli::pages::Listing;
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Examples:
  chatelaine secret list --project 1f2e3d4c5b6a79880716253443526170 --limit 50
  chatelaine secret list --deleted --all-pages --format json";

/// Arguments of `secret list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    /// Of the project with this id
    #[arg(long, value_name = "PROJECT-ID", value_parser = project)]
    project: Option<String>,
    /// Deleted secrets, which can still be undeleted, instead of live ones
    #[arg(long)]
    deleted: bool,
    /// At most this many secrets, from as many pages as that takes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// All secrets (at most 100,000), not only the first page
    #[arg(long, visible_alias = "all", conflicts_with = "limit")]
    all_pages: bool,
}

/// An empty variable of a script must not list all projects.
fn project(text: &str) -> Result<String, &'static str> {
    match text.chars().count() {
        1..=255 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("a project's id has 1 to 255 characters; leave --project out for all projects"),
    }
}

pub(super) async fn run(
    arguments: &Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let session = connection::open(global, false, terminal).await?;
    let listing = Listing {
        entries: "secrets",
        limit: arguments.limit,
        all: arguments.all_pages,
        narrow: "narrow the listing with --project",
        explain,
    };
    let (secrets, more) = listing.collect::<SecretPage>(&session, || filtered(arguments)).await?;
    match terminal.format {
        Format::Json => terminal.json(&secrets)?,
        Format::Table if arguments.deleted => terminal.table(
            &["ID", "PROJECT", "OWNER", "ORIGIN", "TYPE", "DELETED", "PURGED AT", "NAME"],
            secrets.iter().map(deleted_row).collect(),
        )?,
        Format::Table => terminal.table(
            &["ID", "PROJECT", "OWNER", "ORIGIN", "TYPE", "STATE", "CREATED", "NAME"],
            secrets.iter().map(live_row).collect(),
        )?,
    }
    if more {
        terminal.note("there are more secrets: --all-pages lists all, --limit COUNT that many");
    }
    Ok(Exit::Done)
}

fn filtered(arguments: &Arguments) -> Request {
    let mut request = Request::new(HttpMethod::GET, SECRETS);
    if let Some(project) = &arguments.project {
        request = request.query("project", project);
    }
    if arguments.deleted {
        request = request.query("deleted", "true");
    }
    request
}

fn live_row(secret: &SecretDocument) -> Vec<String> {
    row(secret, words::text(&secret.state), secret.created_at.clone())
}

fn deleted_row(secret: &SecretDocument) -> Vec<String> {
    let (at, purge_at) = match &secret.deletion {
        Some(deletion) => (deletion.at.clone(), deletion.purge_at.clone()),
        None => (String::new(), String::new()),
    };
    row(secret, at, purge_at)
}

fn row(secret: &SecretDocument, first: String, second: String) -> Vec<String> {
    vec![
        secret.id.clone(),
        secret.project_id.clone(),
        secret.owner.clone(),
        words::text(&secret.origin),
        words::text(&secret.secret_type),
        first,
        second,
        secret.name.clone().unwrap_or_default(),
    ]
}

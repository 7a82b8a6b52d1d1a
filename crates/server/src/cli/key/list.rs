//! `key list`.

use chatelaine_api::{KeyDocument, KeyPage, Scope, State};
use chatelaine_client::http::{HttpMethod, Request};

use super::{KEYS, words};
use crate::cli::pages::Listing;
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Examples:
  chatelaine key list --scope entity --state active --limit 50
  chatelaine key list --master-key swift-2025 --all-pages --format json";

/// Arguments of `key list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    /// Of this scope
    #[arg(long, value_name = "SCOPE", value_parser = words::scopes())]
    scope: Option<Scope>,
    /// Wrapped under this master key of yours
    #[arg(long, value_name = "NAME")]
    master_key: Option<String>,
    /// In this state
    #[arg(long, value_name = "STATE", value_parser = words::states())]
    state: Option<State>,
    /// Deleted keys, which can still be undeleted, instead of live ones
    #[arg(long)]
    deleted: bool,
    /// At most this many keys, from as many pages as that takes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// All keys (at most 100,000), not only the first page
    #[arg(long, conflicts_with = "limit")]
    all_pages: bool,
}

pub(super) async fn run(
    arguments: &Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let session = connection::open(global, false, terminal).await?;
    let listing = Listing {
        entries: "keys",
        limit: arguments.limit,
        all: arguments.all_pages,
        narrow: "narrow the listing with --scope, --state or --master-key",
        explain: Failure::from,
    };
    let (keys, more) = listing.collect::<KeyPage>(&session, || filtered(arguments)).await?;
    match terminal.format {
        Format::Json => terminal.json(&keys)?,
        Format::Table => terminal.table(
            &["ID", "STATE", "ALGORITHM", "BITS", "SCOPE", "VERSION", "CREATED", "NAME"],
            keys.iter().map(row).collect(),
        )?,
    }
    if more {
        terminal.note("there are more keys: --all-pages lists all, --limit COUNT that many");
    }
    Ok(Exit::Done)
}

fn filtered(arguments: &Arguments) -> Request {
    let filters = [
        ("scope", arguments.scope.as_ref().map(words::text)),
        ("master_key", arguments.master_key.clone()),
        ("state", arguments.state.as_ref().map(words::text)),
        ("deleted", arguments.deleted.then(|| "true".to_owned())),
    ];
    let request = Request::new(HttpMethod::GET, KEYS);
    filters.into_iter().fold(request, |request, (name, value)| match value {
        Some(value) => request.query(name, &value),
        None => request,
    })
}

fn row(key: &KeyDocument) -> Vec<String> {
    vec![
        key.id.clone(),
        words::text(&key.state),
        key.algorithm.clone().unwrap_or_default(),
        key.bit_length.map(|bits| bits.to_string()).unwrap_or_default(),
        words::text(&key.scope),
        key.version.to_string(),
        key.created_at.clone(),
        key.name.clone().unwrap_or_default(),
    ]
}

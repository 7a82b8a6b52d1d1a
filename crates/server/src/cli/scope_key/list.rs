//! `scope-key list`.

use chatelaine_api::{KeyDocument, KeyPage, State};
use chatelaine_client::http::{HttpMethod, Request};

use super::{SCOPE_KEYS, explain};
use crate::cli::customer::Customer;
use crate::cli::key::words;
use crate::cli::pages::Listing;
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Examples:
  chatelaine scope-key list --project 4f1c7a0e3b524a539a540f6c1f5be1a7
  chatelaine scope-key list --state active --all-pages --format json";

/// Arguments of `scope-key list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(flatten)]
    customer: Customer,
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
        narrow: "narrow the listing with --project, --domain, --user or --state",
        explain,
    };
    let (keys, more) = listing.collect::<KeyPage>(&session, || filtered(arguments)).await?;
    match terminal.format {
        Format::Json => terminal.json(&keys)?,
        Format::Table => terminal.table(
            &["ID", "SCOPE", "OF", "STATE", "MASTER KEY", "CREATED", "NAME"],
            keys.iter().map(row).collect(),
        )?,
    }
    if more {
        terminal.note("there are more keys: --all-pages lists all, --limit COUNT that many");
    }
    Ok(Exit::Done)
}

fn filtered(arguments: &Arguments) -> Request {
    let customer = arguments.customer.named();
    let filters = [
        ("scope", customer.map(|(scope, _)| scope.as_str().to_owned())),
        ("scope_id", customer.map(|(_, id)| id.to_owned())),
        ("state", arguments.state.as_ref().map(words::text)),
        ("deleted", arguments.deleted.then(|| "true".to_owned())),
    ];
    let request = Request::new(HttpMethod::GET, SCOPE_KEYS);
    filters.into_iter().fold(request, |request, (name, value)| match value {
        Some(value) => request.query(name, &value),
        None => request,
    })
}

fn row(key: &KeyDocument) -> Vec<String> {
    vec![
        key.id.clone(),
        words::text(&key.scope),
        key.scope_id.clone().unwrap_or_default(),
        words::text(&key.state),
        key.master_key.clone().unwrap_or_default(),
        key.created_at.clone(),
        key.name.clone().unwrap_or_default(),
    ]
}

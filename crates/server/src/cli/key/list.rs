//! `key list`.
//!
//! Owns going from page to page. Invariants: of a link only the marker is taken, so that no server sends the token
//! elsewhere; a marker that comes again, or more keys than fit into memory, end it with an error instead of a part that
//! looks complete.

use std::collections::HashSet;

use chatelaine_api::{KeyDocument, KeyPage, Scope, State};
use chatelaine_client::http::{HttpMethod, Request, Session};
use reqwest::Url;

use super::{KEYS, words};
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Examples:
  chatelaine key list --scope entity --state active --limit 50
  chatelaine key list --master-key swift-2025 --all-pages --format json";

/// Most keys asked for at once; the server may give fewer.
const PAGE: usize = 200;
/// Most keys of one listing.
const MOST_KEYS: usize = 100_000;
/// Most pages of one listing; a filter may leave some of them empty.
const MOST_PAGES: usize = 100_000;

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
    let (keys, more) = collect(arguments, &session).await?;
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

/// The keys, and whether there are more.
async fn collect(arguments: &Arguments, session: &Session) -> Result<(Vec<KeyDocument>, bool), Failure> {
    let wanted = match arguments.limit {
        Some(limit) => usize::try_from(limit).unwrap_or(MOST_KEYS),
        None => MOST_KEYS,
    };
    let mut keys: Vec<KeyDocument> = Vec::new();
    let mut seen = HashSet::new();
    let mut marker: Option<String> = None;
    loop {
        let missing = wanted.saturating_sub(keys.len());
        let mut request = filtered(arguments);
        if arguments.limit.is_some() || arguments.all_pages {
            request = request.query("limit", &missing.min(PAGE).to_string());
        }
        if let Some(marker) = &marker {
            request = request.query("marker", marker);
        }
        let page: KeyPage = session.request(request).await?.json()?;
        let given = page.keys.len();
        keys.extend(page.keys.into_iter().take(missing));
        let next = page.links.next.as_deref().map(marker_of).transpose()?;
        let Some(next) = next else { return Ok((keys, given > missing)) };
        if !arguments.all_pages && (arguments.limit.is_none() || keys.len() >= wanted) {
            return Ok((keys, true));
        }
        if keys.len() >= wanted {
            return Err(Failure::new(Exit::Failed, format!("there are more than {MOST_KEYS} keys"))
                .advise("narrow the listing with --scope, --state or --master-key"));
        }
        // A page may be empty and yet lead on.
        if !seen.insert(next.clone()) || seen.len() > MOST_PAGES {
            return Err(Failure::new(Exit::Failed, "the server's pages lead in a circle"));
        }
        marker = Some(next);
    }
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

/// The marker in a link, which may be relative.
fn marker_of(link: &str) -> Result<String, Failure> {
    let url = Url::parse("http://localhost/").and_then(|base| base.join(link)).ok();
    let marker = url.as_ref().and_then(|url| url.query_pairs().find(|(name, _)| name == "marker"));
    match marker {
        Some((_, marker)) if !marker.is_empty() => Ok(marker.into_owned()),
        _ => Err(Failure::new(Exit::Failed, "the server's link to the next page has no marker")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_taken_from_any_link() {
        for link in
            ["https://elsewhere.example/v1/keys?limit=2&marker=a%20b", "/v1/keys?marker=a+b", "?marker=a%20b"]
        {
            assert_eq!(marker_of(link).unwrap(), "a b", "{link}");
        }
        for link in ["", "/v1/keys", "/v1/keys?marker=", "http://[", "?other=1"] {
            assert_eq!(marker_of(link).unwrap_err().exit, Exit::Failed, "{link}");
        }
    }
}

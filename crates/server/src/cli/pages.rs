//! Going from page to page of a listing.
//!
//! Invariants: of a link only the marker is taken, so that no server sends the token elsewhere; a marker that comes
//! again, or more entries than fit into memory, end it with an error instead of a part that looks complete.

use std::collections::HashSet;

use chatelaine_api::{KeyDocument, KeyPage, Links, SecretDocument, SecretPage};
use chatelaine_client::http::{ClientError, Request, Session};
use reqwest::Url;
use serde::de::DeserializeOwned;

use super::{Exit, Failure};

/// Most entries asked for at once; the server may give fewer.
const PAGE: usize = 200;
/// Most entries of one listing.
const MOST: usize = 100_000;
/// Most pages of one listing; a filter may leave some of them empty.
const MOST_PAGES: usize = 100_000;

/// A page as a server gives it.
pub(crate) trait Page: DeserializeOwned {
    /// What is listed.
    type Entry;

    /// The entries and where to go on.
    fn split(self) -> (Vec<Self::Entry>, Links);
}

impl Page for KeyPage {
    type Entry = KeyDocument;

    fn split(self) -> (Vec<KeyDocument>, Links) {
        (self.keys, self.links)
    }
}

impl Page for SecretPage {
    type Entry = SecretDocument;

    fn split(self) -> (Vec<SecretDocument>, Links) {
        (self.secrets, self.links)
    }
}

/// How much is wanted, and what to say when that cannot be had.
pub(crate) struct Listing {
    /// What is listed, in a word.
    pub(crate) entries: &'static str,
    /// At most this many.
    pub(crate) limit: Option<u32>,
    /// All pages, not only the first.
    pub(crate) all: bool,
    /// What to do when there are too many.
    pub(crate) narrow: &'static str,
    /// What an error means here.
    pub(crate) explain: fn(ClientError) -> Failure,
}

impl Listing {
    /// The entries, and whether there are more.
    pub(crate) async fn collect<P: Page>(
        &self,
        session: &Session,
        first: impl Fn() -> Request,
    ) -> Result<(Vec<P::Entry>, bool), Failure> {
        let wanted = match self.limit {
            Some(limit) => usize::try_from(limit).unwrap_or(MOST),
            None => MOST,
        };
        let mut entries: Vec<P::Entry> = Vec::new();
        let mut seen = HashSet::new();
        let mut marker: Option<String> = None;
        loop {
            let missing = wanted.saturating_sub(entries.len());
            let mut request = first();
            if self.limit.is_some() || self.all {
                request = request.query("limit", &missing.min(PAGE).to_string());
            }
            if let Some(marker) = &marker {
                request = request.query("marker", marker);
            }
            let page: P = self.page(session, request).await.map_err(self.explain)?;
            let (given, links) = page.split();
            let count = given.len();
            entries.extend(given.into_iter().take(missing));
            let next = links.next.as_deref().map(marker_of).transpose()?;
            let Some(next) = next else { return Ok((entries, count > missing)) };
            if !self.all && (self.limit.is_none() || entries.len() >= wanted) {
                return Ok((entries, true));
            }
            if entries.len() >= wanted {
                let what = format!("there are more than {MOST} {}", self.entries);
                return Err(Failure::new(Exit::Failed, what).advise(self.narrow));
            }
            // A page may be empty and yet lead on.
            if !seen.insert(next.clone()) || seen.len() > MOST_PAGES {
                return Err(Failure::new(Exit::Failed, "the server's pages lead in a circle"));
            }
            marker = Some(next);
        }
    }

    async fn page<P: Page>(&self, session: &Session, request: Request) -> Result<P, ClientError> {
        session.request(request).await?.json()
    }
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

//! Pages of lists: `limit` and `offset`, and the links to the pages around.
//!
//! Never an error: what makes no sense is replaced by what does.

use super::query::{Query, integer};

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many, at least one.
    pub(crate) limit: usize,
    /// After so many.
    pub(crate) offset: u64,
}

/// The addresses of the pages around, as far as there are any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) next: Option<String>,
    pub(crate) previous: Option<String>,
}

impl Page {
    /// Reads `limit` and `offset`. Without a limit that is a number `default_limit` is taken; none is above `max_limit`.
    pub(crate) fn read(query: &Query, default_limit: usize, max_limit: usize) -> Self {
        let limit = match query.first("limit").and_then(integer) {
            None => default_limit,
            Some(number) => usize::try_from(number.max(1)).unwrap_or(usize::MAX),
        };
        let offset = query.first("offset").and_then(integer).filter(|offset| *offset < i64::MAX);
        Self {
            limit: limit.min(max_limit).max(1),
            offset: offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0),
        }
    }

    /// The part of a whole list.
    pub(crate) fn of<T>(self, items: Vec<T>) -> Vec<T> {
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        items.into_iter().skip(offset).take(self.limit).collect()
    }

    /// Links to the pages around. `collection` is the list's address; `kept` is the query whose other parameters go into
    /// the links, where the list does that; `shown` is how many entries this page has.
    pub(crate) fn links(self, collection: &str, kept: Option<&Query>, total: u64, shown: usize) -> Links {
        if shown == 0 {
            return Links::default();
        }
        let limit = u64::try_from(self.limit).unwrap_or(u64::MAX);
        let link = |offset: u64| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limit.to_string()).append_pair("offset", &offset.to_string());
            for (name, value) in kept.into_iter().flat_map(Query::pairs) {
                if name != "limit" && name != "offset" {
                    query.append_pair(name, value);
                }
            }
            format!("{collection}?{}", query.finish())
        };
        let next = self.offset.saturating_add(limit);
        Links {
            next: (total > next).then(|| link(next)),
            previous: (self.offset > 0).then(|| link(self.offset.saturating_sub(limit))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> (usize, u64) {
        let page = Page::read(&Query::read(Some(query)), 10, 100);
        (page.limit, page.offset)
    }

    #[test]
    fn nothing_is_an_error() {
        for (query, expected) in [
            ("", (10, 0)),
            ("limit=0", (1, 0)),
            ("limit=-5&offset=-5", (1, 0)),
            ("limit=x&offset=x", (10, 0)),
            ("limit=&offset=", (10, 0)),
            ("limit=100", (100, 0)),
            ("limit=101&offset=7", (100, 7)),
            ("limit=99999999999999999999&offset=99999999999999999999", (100, 0)),
            ("offset=9223372036854775807", (10, 0)),
            ("limit=5&limit=6&offset=1&offset=2", (5, 1)),
        ] {
            assert_eq!(page(query), expected, "{query}");
        }
    }

    #[test]
    fn links_are_there_when_there_is_something_to_find() {
        let query = Query::read(Some("name=a%25b&offset=10&sort=created:desc&limit=10&x="));
        let page = Page::read(&query, 10, 100);
        let links = page.links("http://k/v1/secrets", Some(&query), 21, 10);
        assert_eq!(
            links.next.unwrap(),
            "http://k/v1/secrets?limit=10&offset=20&name=a%25b&sort=created%3Adesc&x="
        );
        assert_eq!(
            links.previous.unwrap(),
            "http://k/v1/secrets?limit=10&offset=0&name=a%25b&sort=created%3Adesc&x="
        );
        assert_eq!(page.links("c", None, 20, 10).next, None);
        assert_eq!(page.links("c", None, 21, 10).previous.unwrap(), "c?limit=10&offset=0");
        assert_eq!(page.links("c", None, 5, 0), Links::default());
        let first = Page { limit: 10, offset: 0 };
        assert_eq!(first.links("c", None, 10, 10), Links::default());
        assert_eq!(
            Page { limit: 10, offset: 3 }.links("c", None, 4, 1).previous.unwrap(),
            "c?limit=10&offset=0"
        );
    }

    #[test]
    fn a_page_is_cut_out() {
        let all: Vec<u8> = (0..25).collect();
        assert_eq!(Page { limit: 10, offset: 20 }.of(all.clone()), [20, 21, 22, 23, 24]);
        assert!(Page { limit: 10, offset: u64::MAX }.of(all).is_empty());
    }
}

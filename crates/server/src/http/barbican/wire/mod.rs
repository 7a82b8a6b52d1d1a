//! The bodies of requests and answers, by what they are about.
//!
//! Each module owns the rules of its requests, in the order Barbican checks them, and the exact keys of its answers.

pub(crate) mod acl;
pub(crate) mod consumer;
pub(crate) mod container;
pub(crate) mod metadata;
pub(crate) mod order;
pub(crate) mod quota;
pub(crate) mod secret;

use serde::Serialize;

use super::paging::Links;

/// An answer that names what was made, as a full address.
#[derive(Debug, Serialize)]
pub(crate) enum Reference {
    #[serde(rename = "secret_ref")]
    Secret(String),
    #[serde(rename = "container_ref")]
    Container(String),
    #[serde(rename = "order_ref")]
    Order(String),
    #[serde(rename = "acl_ref")]
    Acl(String),
    #[serde(rename = "metadata_ref")]
    Metadata(String),
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    /// The name of the list: `secrets`, `containers`, `orders`, `consumers`, `project_quotas`.
    pub(crate) name: &'static str,
    pub(crate) entries: Vec<T>,
    /// How many there are on all pages.
    pub(crate) total: u64,
    pub(crate) links: Links,
}

impl<T: Serialize> Serialize for Listing<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.name, &self.entries)?;
        map.serialize_entry("total", &self.total)?;
        if let Some(next) = &self.links.next {
            map.serialize_entry("next", next)?;
        }
        if let Some(previous) = &self.links.previous {
            map.serialize_entry("previous", previous)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_have_links_only_where_there_are_pages() {
        let mut listing = Listing { name: "orders", entries: vec![1], total: 3, links: Links::default() };
        assert_eq!(serde_json::to_value(&listing).unwrap(), json!({"orders": [1], "total": 3}));
        listing.links = Links { next: Some("n".to_owned()), previous: Some("p".to_owned()) };
        assert_eq!(
            serde_json::to_value(&listing).unwrap(),
            json!({"orders": [1], "total": 3, "next": "n", "previous": "p"})
        );
    }

    #[test]
    fn references_have_one_key() {
        for (reference, expected) in [
            (Reference::Secret("x".to_owned()), json!({"secret_ref": "x"})),
            (Reference::Container("x".to_owned()), json!({"container_ref": "x"})),
            (Reference::Order("x".to_owned()), json!({"order_ref": "x"})),
            (Reference::Acl("x".to_owned()), json!({"acl_ref": "x"})),
            (Reference::Metadata("x".to_owned()), json!({"metadata_ref": "x"})),
        ] {
            assert_eq!(serde_json::to_value(reference).unwrap(), expected);
        }
    }
}

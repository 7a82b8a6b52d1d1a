//! The parsers of Barbican's API.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_core::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::barbican::body::{MAX_TEXT, Object};
use crate::http::barbican::content::{self, ContentType};
use crate::http::barbican::error::BarbicanError;
use crate::http::barbican::filter::{ContainerFilter, OrderFilter, SecretEntry, SecretFilter};
use crate::http::barbican::paging::Page;
use crate::http::barbican::query::Query;
use crate::http::barbican::version::Microversion;
use crate::http::barbican::wire::{acl, consumer, container, metadata, order, quota, secret};
use crate::http::barbican::{accept, path, time};
use crate::http::error::ApiError;

const MAX_PAYLOAD: usize = 4096;
const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);
const BASE: &str = "http://k";

/// What was accepted; a refusal must be one of these.
fn accepted<T>(result: Result<T, BarbicanError>, refusals: &[StatusCode]) -> Option<T> {
    result
        .map_err(|error| {
            let error = ApiError::from(error);
            assert!(refusals.contains(&error.status), "{error:?}");
        })
        .ok()
}

/// The body of any request: it is refused in words, or what was read keeps its limits and can be written and read again.
pub fn body(bytes: &[u8]) {
    const REFUSALS: &[StatusCode] = &[StatusCode::BAD_REQUEST];
    let object = |schema| accepted(Object::parse(schema, bytes), REFUSALS);
    let again = |schema, written: serde_json::Result<Vec<u8>>| {
        accepted(Object::parse(schema, &written.unwrap_or_default()), &[])
    };
    payload(bytes);
    let Some(first) = object(secret::SCHEMA) else { return };
    let refusals = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE];
    if let Some(read) = accepted(secret::NewSecret::read(first, NOW, MAX_PAYLOAD), &refusals) {
        assert!(read.payload.is_none_or(|payload| (1..=MAX_PAYLOAD).contains(&payload.bytes.len())));
        assert!(read.expiration.is_none_or(|moment| moment > NOW));
        assert!(read.name.is_none_or(|name| name.chars().count() <= MAX_TEXT));
    }
    if let Some(read) =
        object(metadata::SCHEMA).and_then(|object| accepted(metadata::read_all(object), REFUSALS))
    {
        let written = again(metadata::SCHEMA, serde_json::to_vec(&read));
        assert_eq!(written.and_then(|object| metadata::read_all(object).ok()), Some(read));
    }
    if let Some(read) =
        object(metadata::ENTRY_SCHEMA).and_then(|object| accepted(metadata::read_entry(object), REFUSALS))
    {
        let written = again(metadata::ENTRY_SCHEMA, serde_json::to_vec(&read));
        assert_eq!(written.and_then(|object| metadata::read_entry(object).ok()), Some(read));
    }
    if let Some(Some(read)) = object(acl::SCHEMA).and_then(|object| accepted(acl::read(object), REFUSALS)) {
        assert!(read.users.is_none_or(|users| users.len() <= acl::MAX_USERS));
    }
    if let Some(read) =
        object(consumer::SCHEMA).and_then(|object| accepted(consumer::SecretConsumer::read(object), REFUSALS))
    {
        let written = again(consumer::SCHEMA, serde_json::to_vec(&read));
        assert_eq!(written.and_then(|object| consumer::SecretConsumer::read(object).ok()), Some(read));
    }
    if let Some(read) = object(consumer::SCHEMA)
        .and_then(|object| accepted(consumer::ContainerConsumer::read(object), REFUSALS))
    {
        let written = again(consumer::SCHEMA, serde_json::to_vec(&read));
        assert_eq!(written.and_then(|object| consumer::ContainerConsumer::read(object).ok()), Some(read));
    }
    if let Some(read) = object(container::SCHEMA)
        .and_then(|object| accepted(container::NewContainer::read(object, BASE), REFUSALS))
    {
        let named = read.members.iter().filter_map(|member| member.secret).collect::<Vec<_>>();
        let mut unique = named.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), named.len());
    }
    if let Some(object) = object(container::MEMBER_SCHEMA) {
        accepted(container::Member::read(object), REFUSALS);
    }
    if let Some(read) =
        object(order::SCHEMA).and_then(|object| accepted(order::NewOrder::read(object, NOW), REFUSALS))
    {
        assert!(!read.meta.contains_key("passphrase") && !read.meta.contains_key("payload"));
        assert!(read.meta.contains_key("name") && read.meta.contains_key("expiration"));
        assert!(read.plan().err().is_none_or(|failure| !failure.reason.is_empty()));
    }
    if let Some(read) =
        object(quota::SCHEMA).and_then(|object| accepted(quota::Quotas::read(object), REFUSALS))
    {
        assert_eq!(read.over(quota::Quotas::default()), read);
    }
}

/// A payload: what is accepted as base64 is what strict base64 says of the same bytes.
fn payload(bytes: &[u8]) {
    let refusals = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE];
    let put =
        |encoding| accepted(content::put(ContentType::OctetStream, encoding, bytes, MAX_PAYLOAD), &refusals);
    let raw = put(None);
    assert_eq!(raw.is_some(), (1..=MAX_PAYLOAD).contains(&bytes.len()));
    if let Some(read) = put(Some("base64")) {
        assert!(!read.bytes.is_empty());
        let strict = STANDARD.encode(read.bytes.expose());
        let again = content::put(ContentType::OctetStream, Some("base64"), strict.as_bytes(), usize::MAX);
        assert!(again.is_ok_and(|again| again.bytes.ct_eq(read.bytes.expose())));
    }
    if let Some(exact) = STANDARD.decode(bytes).ok().filter(|exact| !exact.is_empty() && raw.is_some()) {
        assert!(put(Some("base64")).is_some_and(|read| read.bytes.ct_eq(&exact)));
    }
}

/// A line each of path, query, version and accept header: nothing is answered but 400, 404 and 406, and what is made of
/// them is within its bounds.
pub fn query(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let path_text = String::from_utf8_lossy(line());
    if let Some(clean) = path::normalised(&path_text) {
        assert!(clean.starts_with('/') && !clean.contains("//") && path::is_barbican(&path_text));
        assert_eq!(path::normalised(&clean), None);
    }
    accepted(path::id("secret", &path_text), &[StatusCode::NOT_FOUND]);
    if let Some(moment) = time::parsed(&path_text) {
        assert_eq!(time::parsed(&time::written(moment)), Some(moment));
    }

    let query_text = String::from_utf8_lossy(line());
    let query = Query::read(Some(&query_text));
    let page = Page::read(&query, 10, 100);
    assert!((1..=100).contains(&page.limit));
    let links = page.links("c", Some(&query), u64::MAX, 1);
    if let Some(next) = links.next {
        let again = Page::read(&Query::read(next.strip_prefix("c?")), 10, 100);
        let offset = page.offset.saturating_add(u64::try_from(page.limit).unwrap_or(0));
        assert!(again.limit == page.limit && (again.offset == offset || offset >= i64::MAX.unsigned_abs()));
    }
    filters(&query);

    for (name, line) in [("openstack-api-version", line()), ("accept", line())] {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        let version = Microversion::read(&headers);
        assert!(version.is_ok_and(|version| version <= Microversion::MAXIMUM) || name != "accept");
        let refusals = [StatusCode::NOT_ACCEPTABLE];
        accepted(accept::json(&headers), &refusals);
        for bytes in [&b"text"[..], b"\xff"] {
            let chosen = accepted(accept::payload(&headers, Some(ContentType::TextPlain), bytes), &refusals);
            let text = chosen.is_some_and(|chosen| chosen.as_bytes().starts_with(b"text/"));
            assert!(!text || std::str::from_utf8(bytes).is_ok());
        }
        // Whoever gets a payload on the route of both did not name JSON.
        assert!(!accept::wants_payload(&headers) || headers.contains_key(header::ACCEPT));
    }
}

fn filters(query: &Query) {
    let entry = |id, name, created| SecretEntry {
        id,
        name,
        algorithm: Some("aes"),
        mode: None,
        bit_length: Some(256),
        secret_type: "symmetric",
        created: Timestamp::from_micros(created),
        updated: NOW,
        expiration: None,
    };
    if let Some(filter) = accepted(SecretFilter::read(query), &[StatusCode::BAD_REQUEST]) {
        let (left, right) = (entry("1", Some("volume"), 5), entry("2", None, 4));
        assert_eq!(filter.compare(&left, &right), filter.compare(&right, &left).reverse());
        assert_eq!(filter.compare(&left, &left), Ordering::Equal);
        assert!(!filter.is_plain() || (filter.matches(&left) && filter.matches(&right)));
    }
    ContainerFilter::read(query).matches(Some("name"), "rsa");
    OrderFilter::read(query).matches(&serde_json::Map::new());
}

//! What the fuzz targets reach into: the parsers of this crate, each with what must hold for any input.

mod barbican;

use std::num::NonZeroUsize;
use std::path::Path;

use chatelaine_api::{NewKeyRequest, RevokeRequest, UpdateKeyRequest};
use chatelaine_core::id::SecretId;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::audit::format;
use crate::config::load;
use crate::http::body;
use crate::http::native::{listing, precondition};
use crate::identity::fixed::document;

pub use barbican::{body as barbican_body, query as barbican_query};

/// A configuration file is refused in words, or is a configuration that reads back as itself.
pub fn configuration(text: &str) {
    let Ok(table) = load::parse(text) else { return };
    match load::finish(table) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(config) => {
            let written = toml::to_string(&config).unwrap_or_default();
            let again = load::parse(&written).ok().and_then(|table| load::finish(table).ok());
            let again = again.and_then(|config| toml::to_string(&config).ok());
            assert_eq!(again.as_deref(), Some(written.as_str()));
        }
    }
}

/// A body is refused with 400, or is an object; what was read can be written.
pub fn json_body(bytes: &[u8]) {
    let object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let refusals = [
        body::parse::<NewKeyRequest>(bytes).map(|read| assert!(object && serde_json::to_vec(&read).is_ok())),
        body::parse::<UpdateKeyRequest>(bytes)
            .map(|read| assert!(object && serde_json::to_vec(&read).is_ok())),
        body::parse::<RevokeRequest>(bytes).map(|read| assert!(object && serde_json::to_vec(&read).is_ok())),
    ];
    for refusal in refusals.into_iter().filter_map(Result::err) {
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
    }
}

/// A line of the audit trail is taken apart only where it is put together again to the same bytes; what it tells is
/// read or refused in words.
pub fn audit_line(bytes: &[u8]) {
    if let Some(line) = format::Line::parse(bytes) {
        let mut again = format::Line::renumbered(line.event, line.seq);
        assert_eq!(again, line.authenticated);
        format::render_mac(&line.mac, &mut again);
        assert_eq!(again.strip_suffix(b"\n").unwrap_or(&again), bytes);
        if let Some((previous, key)) = line.start() {
            let mut start = Vec::new();
            format::render_start(&previous, key, &mut start);
            assert!(line.event.ends_with(&start));
        }
    }
    if let Err(problem) = format::parse_change(bytes) {
        assert!(!problem.is_empty());
    }
}

/// A file of identities is refused in words, or it is one that is written and read as itself.
pub fn identities(bytes: &[u8]) {
    let path = Path::new("identities.toml");
    match document::parse(path, bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(read) => {
            let written = document::render(path, &read).ok();
            let again = written.and_then(|text| document::parse(path, text.as_bytes()).ok());
            assert_eq!(again.as_ref(), Some(&read));
        }
    }
}

/// A query is refused with 400, or the query for the next page asks for the same from another key on.
pub fn query(text: &str, page: NonZeroUsize, last: SecretId) {
    match listing::filter(Some(text), page) {
        Err(refusal) => assert_eq!(refusal.status, StatusCode::BAD_REQUEST),
        Ok(asked) => {
            let next = listing::filter(Some(&listing::next_query(Some(text), last)), page).ok();
            let next = next.map(|next| {
                assert_eq!(next.marker, Some(last));
                (next.scope, next.master_key, next.state, next.deleted, next.limit)
            });
            assert_eq!(next, Some((asked.scope, asked.master_key, asked.state, asked.deleted, asked.limit)));
        }
    }
    if let Err(refusal) = listing::allow_inactive(Some(text)) {
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
    }
}

/// `If-Match`, given once for each line, is refused with 400 or 428, or it is the one way to write that version.
pub fn if_match(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(header::IF_MATCH, value);
    }
    match (precondition::optional(&headers), precondition::required(&headers)) {
        (Ok(None), Err(refusal)) => assert_eq!(refusal.status, StatusCode::PRECONDITION_REQUIRED),
        (Err(one), Err(other)) => {
            assert_eq!((one.status, other.status), (StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST));
        }
        (Ok(Some(version)), Ok(again)) => {
            assert_eq!((version, headers.len()), (again, 1));
            let value =
                headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let digits = value.trim().trim_matches('"').trim_start_matches('0');
            assert_eq!(if digits.is_empty() { "0" } else { digits }, version.to_string());
        }
        (one, other) => assert_eq!(one.is_ok(), other.is_ok(), "the two do not agree"),
    }
}

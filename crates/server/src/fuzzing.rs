//! What the fuzz targets reach into: the parsers of this crate, each with what must hold for any input.

use chatelaine_api::{NewKeyRequest, RevokeRequest, UpdateKeyRequest};

use crate::config::load;
use crate::http::body;

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
        assert_eq!(refusal.status, http::StatusCode::BAD_REQUEST);
    }
}

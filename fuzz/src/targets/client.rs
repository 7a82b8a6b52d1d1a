//! What Keystone answers and what users of OpenStack have in their files.

use chatelaine_client::{clouds, keystone};

/// Keystone's document about a token.
pub(crate) fn token_document(bytes: &[u8]) {
    keystone::fuzzing::token_document(bytes);
}

/// An access rule's pattern in the first line, a request's path in the rest.
pub(crate) fn access_rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, text));
    // The matcher's time is the product of both; a request's path has its limit.
    if pattern.len() <= 1024 && path.len() <= 8192 {
        keystone::fuzzing::access_rule(pattern, path);
    }
}

/// A `clouds.yaml`.
pub(crate) fn clouds_file(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        clouds::fuzzing::clouds_file(text);
    }
}

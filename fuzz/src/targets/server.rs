//! What operators and clients write: configuration files, identities, JSON bodies, queries and headers; and the audit trail.

use std::num::NonZeroUsize;

use chatelaine_core::id::SecretId;

use super::choices;

/// A configuration file.
pub fn configuration(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        chatelaine_server::fuzzing::configuration(text);
    }
}

/// The body of a request of the native API.
pub fn json_body(bytes: &[u8]) {
    chatelaine_server::fuzzing::json_body(bytes);
}

/// A line of the audit trail, without its line break.
pub fn audit_line(bytes: &[u8]) {
    chatelaine_server::fuzzing::audit_line(bytes);
}

/// The file of static identities.
pub fn identities(bytes: &[u8]) {
    chatelaine_server::fuzzing::identities(bytes);
}

/// A query string; before it, the page size the server allows.
pub fn query(bytes: &[u8]) {
    let Some(([page], rest)) = choices(bytes) else { return };
    let (Some(page), Ok(text)) = (NonZeroUsize::new(page.into()), std::str::from_utf8(rest)) else { return };
    chatelaine_server::fuzzing::query(text, page, SecretId::random());
}

/// Values of `If-Match`, one in a line.
pub fn if_match(bytes: &[u8]) {
    chatelaine_server::fuzzing::if_match(bytes);
}

/// The body of a request of Barbican's API, whichever it is for.
pub fn barbican_body(bytes: &[u8]) {
    chatelaine_server::fuzzing::barbican_body(bytes);
}

/// A line each of path, query and headers of a request of Barbican's API.
pub fn barbican_query(bytes: &[u8]) {
    chatelaine_server::fuzzing::barbican_query(bytes);
}

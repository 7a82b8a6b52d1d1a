//! What operators and clients write: configuration files and JSON bodies.

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

//! JSON bodies: bounded in size and time, wiped after use, strict, with errors that name the field and never repeat what
//! was sent: a key string in the wrong place must not reach the log (T-SECRET-LOGGED).

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::error::{ApiError, is_repeatable};

/// Reads a body as JSON of type `T`.
///
/// # Errors
/// 415 for another type, 413 beyond `limit` bytes, 408 when the client is too slow, 400 naming the field.
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<T, ApiError> {
    let bytes = read(headers, body, limit, patience).await?;
    parse(&bytes)
}

/// Reads a body of type JSON, unread as JSON.
///
/// # Errors
/// 415 for another type; as for [`collect`].
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON, with Content-Type: application/json",
        ));
    }
    collect(headers, body, limit, patience).await
}

/// Reads a body of any type, into memory that is wiped.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 when the client is too slow, 400 when it breaks off.
pub(crate) async fn collect(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let too_large =
        || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"));
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let reading = async {
        // Never grown beyond what was announced or the limit, so that no unwiped copy is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(announced.unwrap_or(limit)));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                ApiError::new(StatusCode::BAD_REQUEST, "the body ended before it was complete")
            })?;
            if let Some(data) = frame.data_ref() {
                if bytes.len().saturating_add(data.len()) > limit {
                    return Err(too_large());
                }
                bytes.extend_from_slice(data);
            }
        }
        Ok(bytes)
    };
    match tokio::time::timeout(patience, reading).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body was not sent within {} s", patience.as_secs()),
        )),
    }
}

/// Reads bytes as JSON of type `T`.
///
/// # Errors
/// 400 naming the field and what is allowed.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // The derived readers of objects would take a list of the values as well.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "the body: it must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.inner().to_string();
        let told = without_what_was_sent(&problem);
        match unknown_field(&problem) {
            Some(name) if path == "." || path == name => ApiError::chosen_field(&name, "the body", told),
            _ => match repeatable_path(&path) {
                path if path.is_empty() => {
                    ApiError::new(StatusCode::BAD_REQUEST, format!("the body: {told}"))
                }
                path => ApiError::field(path, told),
            },
        }
    })?;
    deserializer
        .end()
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "the body: something follows the JSON value"))?;
    Ok(value)
}

/// The name in serde's message for a field it does not know, does not find or finds twice.
fn unknown_field(problem: &str) -> Option<String> {
    let known = ["unknown field `", "missing field `", "duplicate field `"];
    let rest = known.iter().find_map(|words| problem.strip_prefix(words))?;
    Some(rest.split('`').next()?.to_owned())
}

/// The parts of a path as far as they may be repeated: names of attributes are the client's.
fn repeatable_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').take_while(|part| is_repeatable(part)).collect();
    parts.join(".")
}

/// Serde's message less the value or name it quotes: ``invalid type: string "…", expected u32`` loses the string.
fn without_what_was_sent(problem: &str) -> String {
    let quoted = ["invalid type: ", "invalid value: ", "unknown field ", "unknown variant "];
    if !quoted.iter().any(|words| problem.starts_with(words)) {
        return problem.to_owned();
    }
    // What is expected comes last and is ours.
    let (found, expected) =
        problem.rfind(", expected ").and_then(|at| problem.split_at_checked(at)).unwrap_or((problem, ""));
    let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
    format!("{kind}{expected}")
}

#[cfg(test)]
mod tests {
    use chatelaine_api::NewKeyRequest;

    use super::*;

    async fn body(kind: &str, bytes: &'static [u8], limit: usize) -> Result<NewKeyRequest, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_str(kind).unwrap());
        json(&headers, Body::from(bytes), limit, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn wrong_bodies_are_told_apart() {
        for (kind, bytes, limit, status, field) in [
            ("text/plain", &b"{}"[..], 100, 415, None),
            ("application/jsonx", b"{}", 100, 415, None),
            ("application/json", b"{}          ", 5, 413, None),
            ("application/json", b"", 100, 400, None),
            ("application/json", b"{", 100, 400, None),
            ("application/json", b"[]", 100, 400, None),
            ("application/json", b"{} {}", 100, 400, None),
            ("application/json", b"{\"key\":1}", 100, 400, Some("key")),
            ("application/json", b"{\"name\":1}", 100, 400, Some("name")),
            ("application/json", b"{\"name\":\"a\",\"name\":\"b\"}", 100, 400, Some("name")),
            ("application/json", b"{\"attributes\":{\"a\":1}}", 100, 400, Some("attributes.a")),
            ("application/json", b"{\"scope\":\"planet\"}", 100, 400, Some("scope")),
            ("application/json", b"{\"bit_length\":-1}", 100, 400, Some("bit_length")),
            ("application/json", b"{\"key_string\":\"*\"}", 100, 400, Some("key_string")),
        ] {
            let error = body(kind, bytes, limit).await.unwrap_err();
            assert_eq!(
                (error.status.as_u16(), error.field.as_deref()),
                (status, field),
                "{bytes:?} {error:?}"
            );
        }
        let key = body("Application/JSON; charset=utf-8", b"{\"generate\":true}", 100).await.unwrap();
        assert!(key.generate);
    }

    /// T-SECRET-LOGGED: neither values nor names that could be key strings are repeated.
    #[tokio::test]
    async fn what_was_sent_is_not_repeated() {
        const SENT: &str = "w88PNz/8wZQA97w5OLVcvtiYpkE0dC58ggsp0Uv76sM=, expected `";
        for (text, field) in [
            ("{\"SENT\":1}", None),
            ("{\"scope\":\"SENT\"}", Some("scope")),
            ("{\"bit_length\":\"SENT\"}", Some("bit_length")),
            ("{\"generate\":\"SENT\"}", Some("generate")),
            ("{\"name\":[\"SENT\"]}", Some("name")),
            ("{\"attributes\":\"SENT\"}", Some("attributes")),
            ("{\"attributes\":{\"SENT\":1}}", Some("attributes")),
            ("{\"key_string\":\"SENT\"}", Some("key_string")),
            ("{\"key_string\":[\"SENT\"]}", Some("key_string")),
        ] {
            let error = parse::<NewKeyRequest>(text.replace("SENT", SENT).as_bytes()).unwrap_err();
            assert!(!format!("{error:?}").contains(&SENT[..8]), "{error:?}");
            assert_eq!((error.status.as_u16(), error.field.as_deref()), (400, field), "{text}");
            assert!(error.message.len() > 20, "{error:?}");
        }
        let error = parse::<NewKeyRequest>(b"{\"scope\":\"planet\"}").unwrap_err();
        assert!(error.message.starts_with("scope: unknown variant, expected one of `entity`"), "{error:?}");
    }

    /// T-SLOW-CLIENT: a body that does not come does not hold the server.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let never =
            Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let error = json::<NewKeyRequest>(&headers, never, 100, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.status, StatusCode::REQUEST_TIMEOUT);
    }
}

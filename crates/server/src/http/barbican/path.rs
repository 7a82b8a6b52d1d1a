//! Paths as Barbican's clients write them: with slashes at the end and twice in the middle.
//!
//! Owns which paths are Barbican's ([`is_barbican`]) and the layer that brings those into the one form the router knows.
//! Nothing is redirected, since clients do not send a body twice. Paths of the native interface stay as they are: a
//! wrong one is wrong there.

use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{Request, Uri};
use tower::{Layer, Service};

use chatelaine_core::id::SecretId;

use super::error::BarbicanError;

/// What follows `/v1/` on the native routes.
const NATIVE: [&str; 7] =
    ["keys", "scope-keys", "encryption-defaults", "algorithms", "openapi.json", "operator", "attestation"];

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Whether a path, normalised or not, is one of Barbican's: the root and all of `/v1` but the native routes.
pub(crate) fn is_barbican(path: &str) -> bool {
    let mut segments = segments(path);
    match segments.next() {
        None => true,
        Some("v1") => segments.next().is_none_or(|first| !NATIVE.contains(&first)),
        Some(_) => false,
    }
}

/// The path with single slashes only and none at its end; none where it is so already or is not Barbican's.
pub(crate) fn normalised(path: &str) -> Option<String> {
    let odd = path.contains("//") || (path.len() > 1 && path.ends_with('/'));
    if !odd || !is_barbican(path) {
        return None;
    }
    let mut clean = String::with_capacity(path.len());
    for segment in segments(path) {
        clean.push('/');
        clean.push_str(segment);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Some(clean)
}

fn normalised_uri(uri: &Uri) -> Option<Uri> {
    let path = normalised(uri.path())?;
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// The id in a path. Barbican's ids are lower-case UUIDs of version 4; anything else names nothing.
///
/// # Errors
/// 404.
pub(crate) fn id(what: &str, text: &str) -> Result<SecretId, BarbicanError> {
    valid_id(text).ok_or_else(|| BarbicanError::invalid_id(what))
}

/// The id, where the text is one.
pub(crate) fn valid_id(text: &str) -> Option<SecretId> {
    let bytes = text.as_bytes();
    let version = bytes.get(14) == Some(&b'4');
    let variant = bytes.get(19).is_some_and(|byte| b"89ab".contains(byte));
    SecretId::parse(text).ok().filter(|_| version && variant)
}

/// The layer. It must be around the router, not inside: it decides which route is found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NormalisePath;

/// The service of [`NormalisePath`].
#[derive(Debug, Clone)]
pub(crate) struct Normalised<S>(S);

impl<S> Layer<S> for NormalisePath {
    type Service = Normalised<S>;

    fn layer(&self, inner: S) -> Normalised<S> {
        Normalised(inner)
    }
}

impl<S, B> Service<Request<B>> for Normalised<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(uri) = normalised_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.0.call(request)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{any, post};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn native_routes_are_not_barbicans() {
        for path in ["/", "//", "/v1", "/v1/", "//v1/secrets", "/v1/secrets/", "/v1/nonsense", "/v1/keysx"] {
            assert!(is_barbican(path), "{path}");
        }
        for path in [
            "/v1/keys",
            "/v1/keys/",
            "/v1//keys/x",
            "/v1/scope-keys/project/p1",
            "/v1/encryption-defaults/effective",
            "/v1/algorithms",
            "/v1/attestation/challenge",
            "/v1/openapi.json",
            "/healthcheck",
            "/v2/secrets",
            "/metrics",
        ] {
            assert!(!is_barbican(path), "{path}");
        }
    }

    #[test]
    fn slashes_are_taken_away() {
        for (path, clean) in [
            ("//", Some("/")),
            ("/v1/", Some("/v1")),
            ("//v1/secrets", Some("/v1/secrets")),
            ("/v1//secrets///x//", Some("/v1/secrets/x")),
            ("/v1/secrets", None),
            ("/", None),
            ("/v1/keys/", None),
            ("/healthcheck/", None),
            ("/v1/secrets/%2F/", Some("/v1/secrets/%2F")),
        ] {
            assert_eq!(normalised(path).as_deref(), clean, "{path}");
        }
    }

    #[tokio::test]
    async fn the_router_sees_the_clean_path_with_query_and_body() {
        let router = Router::new()
            .route("/v1/secrets", post(|uri: Uri, body: String| async move { format!("{uri} {body}") }))
            .fallback(any(|| async { "nothing" }));
        let service = NormalisePath.layer(router);
        for (path, expected) in [
            ("/v1/secrets/?a=b//", "/v1/secrets?a=b// text"),
            ("//v1//secrets//", "/v1/secrets text"),
            ("/v1/secrets?x", "/v1/secrets?x text"),
            ("/v1/keys/", "nothing"),
        ] {
            let request = Request::post(path).body(Body::from("text")).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, expected, "{path}");
        }
    }

    #[test]
    fn ids_are_random_uuids_in_lower_case() {
        assert!(id("secret", "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7").is_ok());
        for wrong in [
            "",
            "x",
            "6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7",
            "6f1c7a0e3b524a539a540f6c1f5be1a7",
            "6f1c7a0e-3b52-1a53-9a54-0f6c1f5be1a7",
            "6f1c7a0e-3b52-4a53-ca54-0f6c1f5be1a7",
            "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 ",
        ] {
            assert_eq!(id("secret", wrong).unwrap_err().status(), 404, "{wrong}");
        }
    }
}

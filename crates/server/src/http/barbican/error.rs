//! Errors in Barbican's shape: `{"code", "title", "description"}`.
//!
//! Owns the one mapping from the domain's errors to Barbican's, and how any error of this server looks on Barbican's
//! routes: handlers fail with [`BarbicanError`], the layers around them with [`ApiError`], and [`render`] writes both.
//! A refused token keeps Keystone's shape, which is what clients of OpenStack look for there.

use axum::response::{IntoResponse, Response};
use chatelaine_core::Error;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::{ApiError, is_repeatable};

/// Clients find this sentence in the answer and turn it into an error of its own; it must stay as it is.
pub(crate) const HAS_CONSUMERS: &str = "Secret cannot be deleted as it has consumers.";

/// An answer that refuses, on a route of Barbican's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BarbicanError {
    status: StatusCode,
    /// For the client; none is JSON's null.
    description: Option<String>,
    /// The property of the body or the query, for the log.
    property: Option<String>,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
    /// What only the log may say.
    detail: Option<String>,
}

/// What every refusal holds but that of a token.
#[derive(Serialize, ToSchema)]
#[schema(as = BarbicanError)]
pub(crate) struct Document<'a> {
    /// The HTTP status.
    code: u16,
    /// The status in words.
    title: &'a str,
    /// What was wrong and what is allowed; null for an `Accept` header that cannot be served.
    #[schema(required)]
    description: Option<&'a str>,
}

impl BarbicanError {
    pub(crate) fn new(status: StatusCode, description: impl Into<String>) -> Self {
        Self {
            status,
            description: Some(description.into()),
            property: None,
            retry_after: None,
            detail: None,
        }
    }

    /// 400.
    pub(crate) fn bad_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, description)
    }

    /// 400 for a property of a body; none when the property that is wrong is a missing one or the body itself.
    pub(crate) fn invalid(schema: &str, property: Option<&str>, reason: impl AsRef<str>) -> Self {
        let named = property.unwrap_or("None");
        let reason = reason.as_ref();
        Self {
            property: property.map(str::to_owned),
            ..Self::bad_request(format!(
                "The body does not fit the schema '{schema}': property '{named}': {reason}"
            ))
        }
    }

    /// 400 for a property whose name the client chose: it could be a misplaced key, and is repeated only if it is a word.
    pub(crate) fn chosen(schema: &str, name: &str, reason: impl AsRef<str>) -> Self {
        Self::invalid(schema, Some(name).filter(|name| is_repeatable(name)), reason)
    }

    /// 400 for a parameter of the query.
    pub(crate) fn parameter(name: &str, reason: impl AsRef<str>) -> Self {
        Self {
            property: Some(name.to_owned()),
            ..Self::bad_request(format!("The query parameter '{name}' is wrong: {}", reason.as_ref()))
        }
    }

    /// 404.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// 404 for a part of the path that is no id.
    pub(crate) fn invalid_id(what: &str) -> Self {
        Self::not_found(format!("The {what} id is an invalid id: it must be a lower-case UUID of version 4."))
    }

    /// 406: what the client accepts is nothing this route has. Barbican says no more than null.
    pub(crate) fn not_acceptable() -> Self {
        Self {
            status: StatusCode::NOT_ACCEPTABLE,
            description: None,
            property: None,
            retry_after: None,
            detail: None,
        }
    }

    /// 415 for a body of another type.
    pub(crate) fn unsupported_type(found: &str, allowed: &str) -> Self {
        Self {
            property: Some("Content-Type".to_owned()),
            ..Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("The content type '{}' is not supported here; allowed: {allowed}", shortened(found)),
            )
        }
    }

    /// 413 for a payload or a body of more than `limit` bytes.
    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The {what} is too large: at most {limit} bytes are allowed."),
        )
    }

    /// 403 for a project that has as many of these as its quota allows.
    pub(crate) fn over_quota(what: &str, quota: i64) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            format!(
                "The quota of this project is used up: it may have {quota} {what}. Delete some, or ask the operator for more."
            ),
        )
    }

    /// 400 for the deletion of a secret that services are registered for.
    pub(crate) fn has_consumers() -> Self {
        Self::bad_request(format!("{HAS_CONSUMERS} Remove them first, or delete with force=true."))
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    #[cfg(test)]
    pub(crate) fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

/// The first characters of a text that a client sent, for a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}

impl From<Error> for BarbicanError {
    /// The text of what went wrong here goes to the log only.
    fn from(error: Error) -> Self {
        match error {
            Error::Forbidden { reason } => Self {
                detail: Some(reason),
                ..Self::new(
                    StatusCode::FORBIDDEN,
                    "The attempt is not allowed with the roles and the project of this token; review your privileges.",
                )
            },
            Error::Invalid { field, reason } => {
                Self { property: Some(field.clone()), ..Self::bad_request(format!("'{field}': {reason}")) }
            }
            // No client of Barbican's names a version: somebody was faster, and the same request may be sent again.
            Error::VersionMismatch { .. } => Self::new(
                StatusCode::CONFLICT,
                "It was changed by another request at the same time; send the request again.",
            ),
            other => ApiError::from(other).into(),
        }
    }
}

impl From<ApiError> for BarbicanError {
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status,
            description: Some(error.message),
            property: error.field,
            retry_after: error.retry_after,
            detail: error.detail,
        }
    }
}

impl From<BarbicanError> for ApiError {
    fn from(error: BarbicanError) -> Self {
        Self {
            // The log says which it was; what a client chose may be a misplaced key.
            field: error.property.filter(|name| is_repeatable(name)),
            retry_after: error.retry_after,
            detail: error.detail,
            ..Self::new(error.status, error.description.unwrap_or_default())
        }
    }
}

impl IntoResponse for BarbicanError {
    /// An empty answer that carries the error: the context layer logs it and has it rendered.
    fn into_response(self) -> Response {
        ApiError::from(self).into_response()
    }
}

/// Any error as Barbican's clients see it. An error without a message says null.
pub(crate) fn render(error: &ApiError, request_id: &str) -> Response {
    if error.status == StatusCode::UNAUTHORIZED {
        return error.render(request_id);
    }
    let title = match error.status {
        // By its older name, as Barbican has it.
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        status => status.canonical_reason().unwrap_or("Error"),
    };
    let document = Document {
        code: error.status.as_u16(),
        title,
        description: Some(error.message.as_str()).filter(|message| !message.is_empty()),
    };
    let mut response = (error.status, axum::Json(document)).into_response();
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;

    async fn rendered(error: impl Into<ApiError>) -> (u16, Value, http::HeaderMap) {
        let response = render(&error.into(), "req-1");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap(), headers)
    }

    #[tokio::test]
    async fn errors_have_barbicans_shape() {
        let (status, body, headers) =
            rendered(BarbicanError::invalid("Secret", Some("name"), "too long")).await;
        assert_eq!(status, 400);
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            body,
            json!({"code": 400, "title": "Bad Request",
                "description": "The body does not fit the schema 'Secret': property 'name': too long"})
        );
        let (status, body, _) = rendered(BarbicanError::too_large("payload", 7)).await;
        assert_eq!((status, &body["title"]), (413, &json!("Request Entity Too Large")));
        let missing = BarbicanError::invalid("Order", None, "'type' is required");
        assert!(missing.description().unwrap().contains("property 'None'"));
    }

    #[tokio::test]
    async fn a_refused_accept_header_has_a_null_description() {
        let (status, body, _) = rendered(BarbicanError::not_acceptable()).await;
        assert_eq!(
            (status, body),
            (406, json!({"code": 406, "title": "Not Acceptable", "description": null}))
        );
    }

    #[tokio::test]
    async fn a_refused_token_keeps_keystones_shape() {
        let refused = ApiError {
            challenge: Some("Keystone uri=\"https://identity\"".to_owned()),
            ..ApiError::new(StatusCode::UNAUTHORIZED, "no")
        };
        let (status, body, headers) = rendered(refused).await;
        assert_eq!((status, &body["error"]["title"]), (401, &json!("Unauthorized")));
        assert_eq!(headers[header::WWW_AUTHENTICATE], "Keystone uri=\"https://identity\"");
    }

    #[tokio::test]
    async fn what_failed_here_is_not_told() {
        for (error, status) in [
            (Error::Internal("SECRET".to_owned()), 500),
            (Error::Corrupt("SECRET".to_owned()), 500),
            (Error::Unavailable("SECRET".to_owned()), 503),
            (Error::Forbidden { reason: "SECRET".to_owned() }, 403),
        ] {
            let (found, body, _) = rendered(BarbicanError::from(error)).await;
            assert_eq!(found, status);
            assert!(!body.to_string().contains("SECRET"), "{body}");
        }
    }

    #[tokio::test]
    async fn errors_of_the_domain_have_a_status() {
        let version = chatelaine_core::id::Version::FIRST;
        for (error, status) in [
            (Error::not_found("secret x"), 404),
            (Error::invalid("payload", "it is too large"), 400),
            (Error::Exists { what: "key".to_owned() }, 409),
            (Error::WrongState { reason: "it has a payload".to_owned() }, 409),
            (Error::VersionMismatch { current: version }, 409),
            (Error::Sealed, 503),
        ] {
            assert_eq!(BarbicanError::from(error).status(), status);
        }
        let limited =
            ApiError { retry_after: Some(7), ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "slower") };
        let (status, _, headers) = rendered(BarbicanError::from(limited)).await;
        assert_eq!((status, headers[header::RETRY_AFTER].to_str().unwrap()), (429, "7"));
    }

    #[test]
    fn the_sentence_that_clients_look_for_is_there() {
        let error = BarbicanError::has_consumers();
        assert!(error.description().unwrap().contains("Secret cannot be deleted as it has consumers."));
        assert_eq!(error.status(), 400);
    }
}

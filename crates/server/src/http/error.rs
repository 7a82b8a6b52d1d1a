//! Errors as the clients see them: OpenStack's shape, a fixed message, the request's id.
//!
//! [`ApiError`] is the one type handlers fail with; [`From<Error>`] is the one mapping from the domain. What went wrong
//! inside goes to the log, never to the client.

use axum::response::{IntoResponse, Response};
use chatelaine_api::{ErrorBody, ErrorDocument};
use chatelaine_core::Error;
use http::{HeaderValue, StatusCode, header};

/// An answer that refuses.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
    /// For `WWW-Authenticate`.
    pub(crate) challenge: Option<String>,
    /// What only the log may say.
    pub(crate) detail: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            field: None,
            retry_after: None,
            challenge: None,
            detail: None,
        }
    }

    /// 400 for one field.
    pub(crate) fn field(field: impl Into<String>, problem: impl AsRef<str>) -> Self {
        let field = field.into();
        let message = format!("{field}: {}", problem.as_ref());
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// 400 for a field whose name the client chose. A name that could be a misplaced key string is not repeated; then
    /// only `place`, the part of the request it is in, is named.
    pub(crate) fn chosen_field(name: &str, place: &str, problem: impl AsRef<str>) -> Self {
        if is_repeatable(name) {
            return Self::field(name, problem);
        }
        Self::new(StatusCode::BAD_REQUEST, format!("{place}: {}", problem.as_ref()))
    }

    /// 500, a defect of ours; what it is goes to the log.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the key manager failed; give the operator the request id",
            )
        }
    }

    /// 503, to be tried again.
    pub(crate) fn unavailable(
        message: impl Into<String>,
        retry_after: u64,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            retry_after: Some(retry_after),
            detail: Some(detail.into()),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    /// The answer, with the request's id in it.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let document = ErrorDocument {
            error: ErrorBody {
                code: self.status.as_u16(),
                title: title.to_owned(),
                message: self.message.clone(),
                field: self.field.clone(),
                request_id: Some(request_id.to_owned()),
            },
        };
        let mut response = (self.status, axum::Json(document)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Whether a name that the client chose may stand in answers and in the log: a word, as field names are. What keys look
/// like in hexadecimal or base64 has digits, capitals or more letters.
pub(crate) fn is_repeatable(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

impl IntoResponse for ApiError {
    /// An empty answer that carries the error; the context layer renders it, since it knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        const LATER: &str = "the key manager cannot do this at the moment; try again";
        let detail = error.to_string();
        match error {
            Error::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, detail),
            Error::Forbidden { .. } => Self::new(StatusCode::FORBIDDEN, detail),
            Error::Invalid { field, reason } => Self::field(field, reason),
            Error::Exists { .. } | Error::WrongState { .. } => Self::new(StatusCode::CONFLICT, detail),
            Error::VersionMismatch { .. } => Self::new(StatusCode::PRECONDITION_FAILED, detail),
            Error::Sealed => {
                Self::unavailable("the key manager is sealed: its master key is not available", 30, detail)
            }
            Error::Unavailable(_) => Self::unavailable(LATER, 5, detail),
            Error::Corrupt(_) => Self {
                detail: Some(detail),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "what is stored here is damaged and was not released; give the operator the request id",
                )
            },
            Error::Internal(_) => Self::failed(detail),
        }
    }
}

//! What can go wrong between a client and a key manager, and the two error shapes servers speak.
//!
//! OpenStack's native shape is `{"error": {"code", "title", "message"}}`, Barbican's `{"code", "title",
//! "description"}`. Invariant: text of a server is bounded and free of control characters before anyone prints it;
//! a body of another shape is not quoted at all.

use std::time::Duration;

use serde::Deserialize;

use crate::keystone::AuthenticateError;
use crate::transport::{Answer, SetupError, TransportError, printable};

pub(super) const REQUEST_ID: &str = "x-openstack-request-id";
const MESSAGE_LIMIT: usize = 1000;

/// Why a request to the key manager did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The session cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Keystone gave us no token.
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
    /// The configured token cannot be sent as a header.
    #[error("the token holds characters a token cannot have; was it copied completely, without line breaks?")]
    UnusableToken,
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0} is not acceptable")]
    InvalidRequest(String),
    /// No answer.
    #[error("the key manager gave no answer: {0}")]
    Transport(#[from] TransportError),
    /// The endpoint points elsewhere; a token is not carried there.
    #[error("the endpoint answers with a redirect (status {status}); configure the address it leads to")]
    Redirected {
        /// The status.
        status: u16,
    },
    /// The server refused or failed; the fields are what it said.
    #[error(
        "{title} (status {status}): {message}{request}",
        request = request_id.as_ref().map(|id| format!(" [{id}]")).unwrap_or_default()
    )]
    Api {
        /// The HTTP status.
        status: u16,
        /// Short title.
        title: String,
        /// What was wrong, for people.
        message: String,
        /// The id under which the server's log knows the request.
        request_id: Option<String>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// A success whose body is not what was expected.
    #[error("the answer (status {status}) is not what was expected at field `{field}`")]
    Malformed {
        /// The HTTP status.
        status: u16,
        /// The field, as a path.
        field: String,
    },
}

impl ClientError {
    /// The HTTP status when the server gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } | Self::Redirected { status } | Self::Malformed { status, .. } => {
                Some(*status)
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Native { error: Native },
    Barbican { title: String, description: Option<String> },
}

#[derive(Deserialize)]
struct Native {
    title: Option<String>,
    message: Option<String>,
}

/// The error of an answer with a status from 400 on.
pub(super) fn api_error(answer: &Answer, retry_after: Option<Duration>) -> ClientError {
    let (title, message) = match serde_json::from_slice(&answer.body) {
        Ok(Body::Native { error }) => (error.title, error.message),
        Ok(Body::Barbican { title, description }) => (Some(title), description),
        Err(_) => (None, None),
    };
    let status = answer.status;
    let default_title = || {
        let code = reqwest::StatusCode::from_u16(status).ok();
        code.and_then(|code| code.canonical_reason()).unwrap_or("Error").to_owned()
    };
    let default_message = || "the server gave no explanation in a form this client knows".to_owned();
    let clean = |text: String| printable(&text, MESSAGE_LIMIT);
    ClientError::Api {
        status,
        title: title.map(clean).filter(|text| !text.is_empty()).unwrap_or_else(default_title),
        message: message.map(clean).filter(|text| !text.is_empty()).unwrap_or_else(default_message),
        request_id: answer
            .headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .map(|id| printable(id, 100)),
        retry_after,
    }
}

//! What can go wrong at the agent.

use std::time::Duration;

use chatelaine_client::http::ClientError;
use chatelaine_crypto::CryptoError;

/// Why a peer gets no answer. Texts are for the peer; they hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The service's master key is not open.
    #[error("the agent is sealed: the service's master key is not open")]
    Sealed,
    /// There is no such key for the service.
    #[error("there is no key {0}")]
    NotFound(String),
    /// The key manager refuses it.
    #[error("{0}")]
    Forbidden(String),
    /// The token of the request's user is not valid.
    #[error("{0}")]
    Unauthorized(String),
    /// A field of the request is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The key is there already, or its state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// Somebody changed the key meanwhile.
    #[error("the key was changed by somebody else")]
    Changed,
    /// The key is wrapped under a key that is not here.
    #[error("{0}")]
    NotHere(String),
    /// What is stored is not what was put.
    #[error("the key {0} does not open: it was changed where it is stored, or belongs to another key-id")]
    Corrupt(String),
    /// The key manager or Keystone does not answer, or cannot do it now.
    #[error("{problem}")]
    Unavailable {
        /// In which way.
        problem: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A defect, here or there.
    #[error("{0}")]
    Internal(String),
}

impl AgentError {
    /// An unavailable neighbour.
    #[must_use]
    pub fn unavailable(problem: impl Into<String>) -> Self {
        Self::Unavailable { problem: problem.into(), retry_after: Duration::from_secs(5) }
    }

    /// A field that is wrong.
    #[must_use]
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }

    /// What the key manager said to a request about `key`.
    #[must_use]
    pub fn of_client(error: ClientError, key: &str) -> Self {
        match error {
            ClientError::Api { status, message, retry_after, .. } => match status {
                400 | 413 | 422 => Self::Invalid { field: "request", problem: message },
                401 => Self::Unauthorized(format!("the key manager does not accept the token: {message}")),
                403 => Self::Forbidden(format!("Forbidden: {message}")),
                404 => Self::NotFound(key.to_owned()),
                409 => Self::Conflict(message),
                412 | 428 => Self::Changed,
                429 | 503 => Self::Unavailable {
                    problem: format!("the key manager cannot do it now: {message}"),
                    retry_after: retry_after.unwrap_or(Duration::from_secs(5)),
                },
                _ => Self::Internal(format!("the key manager failed (status {status}): {message}")),
            },
            error @ (ClientError::Transport(_) | ClientError::Authenticate(_)) => {
                Self::unavailable(error.to_string())
            }
            other => Self::Internal(other.to_string()),
        }
    }

    /// What the registry or a cipher said about a field of a request.
    #[must_use]
    pub fn of_request(error: &CryptoError) -> Self {
        let field = match error {
            CryptoError::UnknownAlgorithm { .. } | CryptoError::RefusedAlgorithm { .. } => "algorithm",
            CryptoError::InvalidBitLength { .. } => "bit_length",
            CryptoError::InvalidLength { .. } => "key_string",
            CryptoError::InvalidFormat(_) => "lock",
            CryptoError::Random => return Self::unavailable("the system gives no random bytes"),
            _ => return Self::Internal(error.to_string()),
        };
        Self::invalid(field, error.to_string())
    }
}

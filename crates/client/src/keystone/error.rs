//! What can go wrong with Keystone, told apart by who has to act.
//!
//! No variant can hold a token or text of an answer's body.

use crate::transport::TransportError;

/// Keystone gave no usable answer; asking again later may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No answer at all.
    #[error(transparent)]
    Transport(TransportError),
    /// A status that is no answer to the question; redirects are not followed.
    #[error("it answered with the unexpected status {0}")]
    Status(u16),
    /// The status is right, the rest is not.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
}

/// Why we have no token of our own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// Wrong name, password, secret or token, or no role in the wanted scope.
    #[error(
        "Keystone refuses to authenticate {who}: check name, domain, password or secret, and that it has a role in the project, domain or system it asks for"
    )]
    Refused {
        /// Who we claim to be.
        who: String,
    },
    /// Keystone wants a second factor, which a service cannot give.
    #[error("Keystone wants a further authentication method from {who}; exempt it from multi-factor rules")]
    MoreMethods {
        /// Who we claim to be.
        who: String,
    },
    /// Authenticated, but this scope is not for us; also a trust token that was to be exchanged.
    #[error("Keystone knows {who} but does not allow the scope asked for")]
    NotAllowed {
        /// Who we are.
        who: String,
    },
    /// Keystone does not understand the request.
    #[error("Keystone calls the authentication request malformed; check ids and names in the credentials")]
    BadRequest,
    /// Something answers at the address, but it is not Keystone v3.
    #[error("there is no Keystone v3 at the configured address; check auth_url")]
    NotKeystone,
    /// No usable answer.
    #[error("Keystone is unavailable: {0}")]
    Unavailable(#[from] Unavailable),
}

/// Why a caller's token was not vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// Keystone says the token is not valid: unknown, expired, revoked, its user or trust gone.
    #[error("the token is not valid")]
    NotValid,
    /// We ourselves cannot authenticate; the message says why.
    #[error("our own Keystone credentials do not work: {0}")]
    OwnCredentials(String),
    /// We authenticated, but may not ask about tokens.
    #[error("{who} may not validate tokens; give it the role `service` (or `admin`) in the service project")]
    NotAllowed {
        /// Who we are.
        who: String,
    },
    /// No usable answer.
    #[error("Keystone is unavailable: {0}")]
    Unavailable(#[from] Unavailable),
}

impl From<AuthenticateError> for ValidateError {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Unavailable(unavailable) => Self::Unavailable(unavailable),
            other => Self::OwnCredentials(other.to_string()),
        }
    }
}

//! Why a command failed, what to do about it, and the exit code for it.
//!
//! Owns the one mapping from errors to exit codes. Invariant: a failure holds names, ids and what a server said for
//! people, never a key string or token.

use std::time::Duration;

use chatelaine_client::clouds::CloudsError;
use chatelaine_client::http::ClientError;
use chatelaine_client::keystone::{AuthenticateError, EndpointError};
use chatelaine_client::transport::{SetupError, TransportError};
use serde_json::{Value, json};

use super::output::clean;

/// The exit codes as the help prints them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  another failure
  2  usage: arguments or settings that cannot be used
  3  not authenticated
  4  forbidden
  5  not found
  6  conflict: it exists, somebody was faster, or its state does not allow it
  7  invalid: what was sent or read is not acceptable
  8  unavailable: no connection, no answer in time, or the server cannot work now
  9  rate limited

Credentials come from --token-file, from --os-cloud or OS_CLOUD and clouds.yaml, or from the OS_* variables.";

/// The code a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotAuthenticated = 3,
    Forbidden = 4,
    NotFound = 5,
    Conflict = 6,
    Invalid = 7,
    Unavailable = 8,
    RateLimited = 9,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The word for it in JSON.
    const fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotAuthenticated => "not_authenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The worse of two: code 1, of which nothing is known, before all others, then the greater code.
    pub(crate) const fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            _ if self.code() >= other.code() => self,
            _ => other,
        }
    }

    /// The code for a status of a server.
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::NotAuthenticated,
            403 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            409 | 412 | 428 => Self::Conflict,
            400 | 413 | 415 | 422 => Self::Invalid,
            408 | 502 | 503 | 504 => Self::Unavailable,
            429 => Self::RateLimited,
            _ => Self::Failed,
        }
    }

    /// The code for an error of the client.
    pub(crate) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Setup(SetupError::Builder(_))
            | ClientError::Transport(TransportError::TooLarge { .. })
            | ClientError::Redirected { .. }
            | ClientError::Malformed { .. } => Self::Failed,
            ClientError::Setup(_) | ClientError::InvalidRequest(_) => Self::Usage,
            ClientError::Authenticate(AuthenticateError::Unavailable(_)) | ClientError::Transport(_) => {
                Self::Unavailable
            }
            ClientError::Authenticate(AuthenticateError::NotKeystone) => Self::Usage,
            ClientError::Authenticate(_) | ClientError::UnusableToken => Self::NotAuthenticated,
            ClientError::Api { status, .. } => Self::of_status(*status),
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    advice: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
    /// The reader of our output is gone: nothing is to be said.
    pub(crate) silent: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None, status: None, request_id: None, silent: false }
    }

    /// Arguments that do not fit together, or settings that cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do, where nothing was said yet.
    pub(crate) fn or_advise(self, advice: impl Into<String>) -> Self {
        if self.advice.is_some() { self } else { self.advise(advice) }
    }

    /// Adds what to do.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Says what it was about.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// One line, and one more with what to do.
    pub(crate) fn text(&self) -> String {
        let message = clean(&self.message);
        match &self.advice {
            Some(advice) => format!("error: {message}\n  {advice}\n"),
            None => format!("error: {message}\n"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let mut error =
            json!({"exit_code": self.exit.code(), "kind": self.exit.kind(), "message": self.message});
        if let Some(fields) = error.as_object_mut() {
            let optional = [
                ("status", self.status.map(Value::from)),
                ("advice", self.advice.clone().map(Value::from)),
                ("request_id", self.request_id.clone().map(Value::from)),
            ];
            for (name, value) in optional {
                fields.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        json!({ "error": error })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let request_id = match &error {
            ClientError::Api { request_id, .. } => request_id.clone(),
            _ => None,
        };
        Self {
            exit: Exit::of(&error),
            message: error.to_string(),
            advice: advice(&error),
            status: error.status(),
            request_id,
            silent: false,
        }
    }
}

impl From<AuthenticateError> for Failure {
    fn from(error: AuthenticateError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<CloudsError> for Failure {
    fn from(error: CloudsError) -> Self {
        let failure = Self::usage(error.to_string());
        match error {
            CloudsError::NothingConfigured => {
                failure.advise("for a token of the server itself, use --token-file FILE with --endpoint URL")
            }
            _ => failure,
        }
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Self::usage(error.to_string()).advise(
            "choose with --os-interface and --os-region-name, or name the address with --endpoint URL",
        )
    }
}

fn advice(error: &ClientError) -> Option<String> {
    let text = match error {
        ClientError::Api { retry_after: Some(pause), status: 429 | 503, .. } => {
            return Some(format!("try again in {}", seconds(*pause)));
        }
        ClientError::Api { status, .. } => match status {
            401 => "the token is unknown or has ended: check --token-file or the OS_* credentials",
            403 => {
                "it takes the role `service` in the project the key was put from; `chatelaine policy check --help` \
                 shows how to try the rules out"
            }
            404 => {
                "keys of others are not shown either: `chatelaine key list` shows those you can see; if that fails too, \
                 check the endpoint"
            }
            412 => "somebody was faster: look at the key with `chatelaine key show` and repeat the change",
            428 => "give the version the change is meant for, with --if-match VERSION",
            429 => "try again later, with fewer requests at a time",
            503 => "try again later; the server's /readyz says what it lacks",
            _ => return None,
        },
        ClientError::Transport(
            TransportError::Connect(_) | TransportError::ConnectTimeout | TransportError::Broken(_),
        ) => "is the server running, and is this its address? see --endpoint and --verbose",
        ClientError::Transport(TransportError::Timeout) => "allow more time with --timeout SECONDS",
        ClientError::Transport(TransportError::Tls(_)) => {
            "name the certificate authorities to trust with --os-cacert FILE"
        }
        ClientError::Malformed { .. } => "does a key manager of this version answer at this address?",
        _ => return None,
    };
    Some(text.to_owned())
}

fn seconds(pause: Duration) -> String {
    match pause.as_secs() {
        1 => "1 second".to_owned(),
        count => format!("{count} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use chatelaine_client::keystone::Unavailable;

    use super::*;

    fn api(status: u16, retry_after: Option<Duration>) -> ClientError {
        ClientError::Api {
            status,
            title: "Title".to_owned(),
            message: "what was wrong".to_owned(),
            request_id: Some("req-1".to_owned()),
            retry_after,
        }
    }

    #[test]
    fn every_status_has_its_code() {
        for (status, code) in [
            (400, 7),
            (401, 3),
            (403, 4),
            (404, 5),
            (405, 1),
            (408, 8),
            (409, 6),
            (410, 5),
            (412, 6),
            (413, 7),
            (415, 7),
            (422, 7),
            (428, 6),
            (429, 9),
            (500, 1),
            (502, 8),
            (503, 8),
            (504, 8),
            (507, 1),
        ] {
            assert_eq!(Exit::of(&api(status, None)).code(), code, "{status}");
        }
    }

    #[test]
    fn errors_without_a_status_have_theirs() {
        let refused = AuthenticateError::Refused { who: "swift".to_owned() };
        let down = AuthenticateError::Unavailable(Unavailable::Status(500));
        for (error, exit) in [
            (ClientError::from(TransportError::Connect("refused".to_owned())), Exit::Unavailable),
            (TransportError::ConnectTimeout.into(), Exit::Unavailable),
            (TransportError::Timeout.into(), Exit::Unavailable),
            (TransportError::TooLarge { limit: 1 }.into(), Exit::Failed),
            (refused.into(), Exit::NotAuthenticated),
            (down.into(), Exit::Unavailable),
            (AuthenticateError::NotKeystone.into(), Exit::Usage),
            (ClientError::UnusableToken, Exit::NotAuthenticated),
            (ClientError::Redirected { status: 301 }, Exit::Failed),
            (ClientError::Malformed { status: 200, field: "id".to_owned() }, Exit::Failed),
            (SetupError::Url { what: "x", reason: "y" }.into(), Exit::Usage),
        ] {
            assert_eq!(Exit::of(&error), exit, "{error}");
        }
    }

    #[test]
    fn the_worst_of_several_counts() {
        use Exit::{Done, Failed, NotFound, Unavailable};
        assert_eq!(Done.worse(NotFound), NotFound);
        assert_eq!(Unavailable.worse(NotFound), Unavailable);
        assert_eq!(NotFound.worse(Unavailable), Unavailable);
        assert_eq!(Unavailable.worse(Failed), Failed);
        assert_eq!(Failed.worse(Done), Failed);
    }

    #[test]
    fn the_help_names_every_code() {
        for code in 0..=9 {
            assert!(EXIT_CODES.lines().any(|line| line.starts_with(&format!("  {code}  "))), "{code}");
        }
    }

    #[test]
    fn texts_say_what_to_do_and_json_holds_the_parts() {
        let failure = Failure::from(api(429, Some(Duration::from_secs(7)))).about("key a");
        assert_eq!(
            failure.text(),
            "error: key a: Title (status 429): what was wrong [req-1]\n  try again in 7 seconds\n"
        );
        assert_eq!(
            failure.json(),
            json!({"error": {"exit_code": 9, "kind": "rate_limited", "status": 429, "request_id": "req-1",
                "message": "key a: Title (status 429): what was wrong [req-1]", "advice": "try again in 7 seconds"}})
        );
    }
}

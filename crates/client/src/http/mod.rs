//! The session with a key manager: sends requests with a token, reads answers, turns errors into one type.
//!
//! Owns authentication of requests, renewal of the token and retries. Invariants: a change is sent again only if it was
//! certainly not acted upon, what only reads also when the server is busy, at most three times and within a bounded
//! wait; bodies are wiped when dropped, because they
//! can hold key bytes; error messages hold what the server says for people, never a body or a token. Refuses paths
//! that are not plain absolute paths, so that no id given by a user can reach another route.

mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use error::ClientError;
pub use reqwest::Method as HttpMethod;

use crate::keystone::{Keystone, Token};
use crate::secret::SecretText;
use crate::transport::{self, Answer, Outgoing, Transport, TransportError, TransportOptions};

/// Further attempts after the first.
const RETRIES: u32 = 3;
/// A server that asks for a longer pause than this gets no retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause after a failure to connect, doubled with each attempt.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const X_SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// How a session proves who is asking.
#[derive(Debug)]
pub enum Authentication {
    /// Not at all: for health, versions and documents that need no token.
    Anonymous,
    /// A fixed token, as the server's static identities have.
    StaticToken(SecretText),
    /// Tokens from Keystone, renewed when needed.
    Keystone(Arc<Keystone>),
}

/// One request, built step by step.
pub struct Request {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    json: Option<Bytes>,
    on_behalf: Option<HeaderValue>,
}

impl Request {
    /// A request for an absolute path below the endpoint; ids in it go through [`encode_segment`] first.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            json: None,
            on_behalf: None,
        }
    }

    /// Adds a query parameter; it is encoded as needed.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header, replacing one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ClientError> {
        let refused = || ClientError::InvalidRequest(format!("header `{}`", transport::printable(name, 60)));
        let name = HeaderName::try_from(name).map_err(|_| refused())?;
        let value = HeaderValue::from_str(value).map_err(|_| refused())?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sends another's token as that of the request, and the session's own as the service's that vouches for it.
    pub fn on_behalf_of(mut self, token: &SecretText) -> Result<Self, ClientError> {
        self.on_behalf = Some(token.header_value().ok_or(ClientError::UnusableToken)?);
        Ok(self)
    }

    /// Gives the request a JSON body, kept in memory that is wiped afterwards.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Result<Self, ClientError> {
        // The size is counted first: a buffer that grows while writing would leave unwiped pieces of key bytes.
        let mut size = ByteCount(0);
        serde_json::to_writer(&mut size, body).map_err(|_| unwritable())?;
        let mut buffer = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *buffer, body).map_err(|_| unwritable())?;
        self.json = Some(Bytes::from_owner(buffer));
        Ok(self)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.json.as_ref().map_or(0, Bytes::len))
            .finish_non_exhaustive()
    }
}

fn unwritable() -> ClientError {
    ClientError::InvalidRequest("the body cannot be written as JSON".to_owned())
}

struct ByteCount(usize);

impl std::io::Write for ByteCount {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(buffer.len());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A successful answer: a status below 400 that is no redirect.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
    /// When the session's own token ends that the request was made with; `None` where it has no end that is known.
    pub authorized_until: Option<Instant>,
}

impl Response {
    /// A header's text; `None` when it is missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The id under which the server's log knows this request.
    pub fn request_id(&self) -> Option<&str> {
        self.header(error::REQUEST_ID)
    }

    /// Reads the body as JSON; the error names the field and no value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| ClientError::Malformed { status: self.status, field: error.path().to_string() })
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("request_id", &self.request_id())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A session with one key manager.
pub struct Session {
    transport: Transport,
    endpoint: Url,
    authentication: Authentication,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("endpoint", &self.endpoint.as_str())
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// The token a request goes out with, to be renewed if it is refused.
enum Ticket {
    None,
    Fixed(HeaderValue),
    Issued(Arc<Token>, HeaderValue),
}

impl Session {
    /// Builds a session; nothing is sent yet.
    pub fn new(
        endpoint: &str,
        authentication: Authentication,
        options: &TransportOptions,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(options)?,
            endpoint: transport::base_url("the key manager's endpoint", endpoint)?,
            authentication,
        })
    }

    /// The endpoint without a trailing slash in its path.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    /// Sends a request and returns its answer; statuses from 400 on are errors.
    pub async fn request(&self, request: Request) -> Result<Response, ClientError> {
        let mut outgoing = Outgoing::new(request.method, self.url(&request.path, &request.query)?);
        outgoing.headers = request.headers;
        outgoing.json = request.json;
        let on_behalf = request.on_behalf.as_ref();
        let ticket = self.ticket(None).await?;
        let answer = self.exchange(&outgoing, &ticket, on_behalf).await?;
        match (answer.status, &ticket) {
            // A 401 was not acted upon, so any method may be sent again; but only once. Not where it was said of another's
            // token, or everybody could have us renew ours.
            (401, Ticket::Issued(refused, _)) if on_behalf.is_none() => {
                let ticket = self.ticket(Some(refused)).await?;
                outcome(self.exchange(&outgoing, &ticket, None).await?, &ticket)
            }
            _ => outcome(answer, &ticket),
        }
    }

    async fn ticket(&self, refused: Option<&Arc<Token>>) -> Result<Ticket, ClientError> {
        match &self.authentication {
            Authentication::Anonymous => Ok(Ticket::None),
            Authentication::StaticToken(token) => {
                token.header_value().map(Ticket::Fixed).ok_or(ClientError::UnusableToken)
            }
            Authentication::Keystone(keystone) => {
                let token = match refused {
                    Some(refused) => keystone.renew(refused).await?,
                    None => keystone.token().await?,
                };
                let header = token.value.header_value().ok_or(ClientError::UnusableToken)?;
                Ok(Ticket::Issued(token, header))
            }
        }
    }

    /// One logical exchange, repeated where that is safe.
    async fn exchange(
        &self,
        outgoing: &Outgoing,
        ticket: &Ticket,
        on_behalf: Option<&HeaderValue>,
    ) -> Result<Answer, TransportError> {
        let mut attempt = 0;
        loop {
            let mut sent = outgoing.clone();
            if let Ticket::Fixed(token) | Ticket::Issued(_, token) = ticket {
                let header = if on_behalf.is_some() { X_SERVICE_TOKEN } else { X_AUTH_TOKEN };
                sent.headers.insert(header, token.clone());
            }
            sent.headers.extend(on_behalf.map(|token| (X_AUTH_TOKEN, token.clone())));
            let result = self.transport.send(sent).await;
            let pause = match &result {
                _ if attempt >= RETRIES => None,
                // The change may have been made before its answer was 503; repeated, a put would find its own key there
                // and a delete nothing any more, and both would be told as failures.
                Ok(answer) if answer.status == 503 && outgoing.method.is_safe() => {
                    retry_after(&answer.headers).filter(|pause| *pause <= LONGEST_PAUSE)
                }
                // Without a connection nothing was sent, so that any method may be tried again.
                Err(TransportError::Connect(_) | TransportError::ConnectTimeout) => {
                    Some(CONNECT_PAUSE.saturating_mul(1 << attempt))
                }
                _ => None,
            };
            let Some(pause) = pause else { return result };
            attempt += 1;
            tracing::debug!(attempt, ?pause, "retrying a request to the key manager");
            tokio::time::sleep(pause).await;
        }
    }

    fn url(&self, path: &str, query: &[(String, String)]) -> Result<Url, ClientError> {
        let plain = path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\'))
            && !path.split('/').any(is_dot_segment);
        if !plain {
            return Err(ClientError::InvalidRequest(format!("path `{}`", transport::printable(path, 200))));
        }
        let mut url = transport::join(&self.endpoint, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// The wait a server asks for, in its form of whole seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn outcome(answer: Answer, ticket: &Ticket) -> Result<Response, ClientError> {
    let authorized_until = match ticket {
        Ticket::Issued(token, _) => Some(token.ends_at),
        Ticket::None | Ticket::Fixed(_) => None,
    };
    match answer.status {
        301 | 302 | 303 | 307 | 308 => Err(ClientError::Redirected { status: answer.status }),
        400.. => Err(error::api_error(&answer, retry_after(&answer.headers))),
        status => Ok(Response { status, headers: answer.headers, body: answer.body, authorized_until }),
    }
}

/// An id made fit for one path segment: everything but letters, digits and `-._~` is percent-encoded.
/// The ids `.` and `..` stay as they are and are then refused by the session.
pub fn encode_segment(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;

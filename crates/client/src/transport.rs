//! One HTTP client over reqwest and rustls, shared by the Keystone client and the session.
//!
//! Owns TLS set-up, timeouts and the bound on what is read. Invariants: redirects are never followed; no proxy is
//! used unless asked for; a body longer than the limit is an error, not a truncation; errors name the cause (timeout,
//! refused connection, certificate) and never a URL, header or body. Refuses endpoints that are not http or https
//! and those with credentials inside the URL.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use zeroize::Zeroizing;

/// How connections are made: trust, timeouts, limits.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// A PEM file of the only certificate authorities to trust; `None` trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate. For laboratories: whoever sits on the path reads every token.
    pub insecure: bool,
    /// A client certificate to present.
    pub client_certificate: Option<ClientCertificate>,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest wait for the whole exchange, from connecting to the last byte of the body.
    pub request_timeout: Duration,
    /// Longest body accepted, in bytes.
    pub body_limit: usize,
    /// Use the proxies named by the environment (`HTTPS_PROXY`, `NO_PROXY` …).
    pub environment_proxy: bool,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            insecure: false,
            client_certificate: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            body_limit: 4 << 20,
            environment_proxy: false,
        }
    }
}

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate chain; may hold the key as well.
    pub certificate: PathBuf,
    /// PEM file of the private key, when it is not in the same file.
    pub key: Option<PathBuf>,
}

/// What keeps a client from being built.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SetupError {
    /// A file named in the options cannot be used.
    #[error("{what} {path}: {reason}", path = path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// A URL cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Url {
        /// Which URL.
        what: &'static str,
        /// Why; never the URL itself, which may hold credentials.
        reason: &'static str,
    },
    /// The HTTP library refused the combination of options.
    #[error("the HTTP client cannot be built: {0}")]
    Builder(String),
}

/// Why an exchange gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection within the connect timeout.
    #[error("no connection within the connect timeout")]
    ConnectTimeout,
    /// A connection, but no complete answer within the request timeout.
    #[error("no complete answer within the request timeout")]
    Timeout,
    /// No connection: refused, unreachable, name unknown.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server's certificate is not trusted or TLS failed otherwise.
    #[error("TLS failed: {0}; is the right CA file configured?")]
    Tls(String),
    /// The body was longer than the limit.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The connection broke or the peer does not speak HTTP.
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

/// One request as the transport sends it.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Option<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), json: None }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// One answer, completely read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// The HTTP client itself; cheap to share by reference, connections are pooled.
pub(crate) struct Transport {
    client: reqwest::Client,
    body_limit: usize,
}

impl Transport {
    pub(crate) fn new(options: &TransportOptions) -> Result<Self, SetupError> {
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .tls_backend_rustls()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("chatelaine/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_danger_accept_invalid_certs(options.insecure);
        if !options.environment_proxy {
            builder = builder.no_proxy();
        }
        if let Some(path) = options.ca_file.as_deref()
            && !options.insecure
        {
            builder = builder.tls_certs_only(certificate_authorities(path)?);
        }
        if let Some(files) = &options.client_certificate {
            builder = builder.identity(client_identity(files)?);
        }
        let client = builder.build().map_err(|error| SetupError::Builder(root_cause(&error)))?;
        Ok(Self { client, body_limit: options.body_limit })
    }

    /// Sends one request and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Answer, TransportError> {
        let mut request = self.client.request(outgoing.method, outgoing.url).headers(outgoing.headers);
        if let Some(json) = outgoing.json {
            request = request
                .header(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(json);
        }
        let mut response = request.send().await.map_err(|error| classify(&error))?;
        let limit = self.body_limit;
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(TransportError::TooLarge { limit });
        }
        // The announced size is reserved at once: a growing vector would leave unwiped copies of key bytes behind.
        let reserve = usize::try_from(announced).unwrap_or(limit).max(4096);
        let mut body = Zeroizing::new(Vec::with_capacity(reserve));
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err(TransportError::TooLarge { limit });
            }
            append_wiping(&mut body, &chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

/// Appends like `extend_from_slice`, but wipes the old buffer when a larger one is needed.
fn append_wiping(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity().saturating_sub(body.len()) < chunk.len() {
        let wanted = body.len().saturating_add(chunk.len()).saturating_mul(2);
        let mut larger = Zeroizing::new(Vec::with_capacity(wanted));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

/// reqwest without a built-in provider takes the process's default one; whoever installed one first is left alone.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // The only error is that another thread was faster, which is just as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

fn certificate_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, SetupError> {
    let failed = |reason: String| SetupError::File { what: "the CA file", path: path.to_path_buf(), reason };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|_| failed("is not a file of PEM certificates".into()))?;
    if certificates.is_empty() {
        return Err(failed("holds no PEM certificate".into()));
    }
    Ok(certificates)
}

fn client_identity(files: &ClientCertificate) -> Result<reqwest::Identity, SetupError> {
    let failed = |path: &Path, reason: String| SetupError::File {
        what: "the client certificate",
        path: path.to_path_buf(),
        reason,
    };
    let read = |path: &Path| std::fs::read(path).map_err(|error| failed(path, error.to_string()));
    let mut pem = Zeroizing::new(read(&files.certificate)?);
    if let Some(path) = &files.key {
        let key = Zeroizing::new(read(path)?);
        append_wiping(&mut pem, b"\n");
        append_wiping(&mut pem, &key);
    }
    reqwest::Identity::from_pem(&pem)
        .map_err(|_| failed(&files.certificate, "certificate and private key in PEM are needed".into()))
}

/// Reads a base URL: http or https, a host, no credentials, no query; without a trailing slash in its path.
pub(crate) fn base_url(what: &'static str, text: &str) -> Result<Url, SetupError> {
    let refuse = |reason| SetupError::Url { what, reason };
    let mut url =
        Url::parse(text.trim()).map_err(|_| refuse("it is not a URL like https://host:port/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("its scheme must be http or https"));
    }
    if !url.has_host() {
        return Err(refuse("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must not contain a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must not have a query or fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// `base` with `path` (which starts with a slash) appended to its own path.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let whole = format!("{}{path}", base.path().trim_end_matches('/'));
    url.set_path(&whole);
    url
}

fn classify(error: &reqwest::Error) -> TransportError {
    let cause = root_cause(error);
    if is_tls(error) {
        TransportError::Tls(cause)
    } else if error.is_timeout() {
        if error.is_connect() { TransportError::ConnectTimeout } else { TransportError::Timeout }
    } else if error.is_connect() {
        TransportError::Connect(cause)
    } else {
        TransportError::Broken(cause)
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is::<rustls::Error>() || wrapped.is_some_and(|error| error.is::<rustls::Error>()) {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The innermost cause in words, bounded; reqwest's own message is left out because it holds the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut innermost = None;
    let mut source = error.source();
    while let Some(inner) = source {
        innermost = Some(inner);
        source = inner.source();
    }
    innermost.map_or_else(|| "unknown cause".to_owned(), |cause| printable(&cause.to_string(), 200))
}

/// Text of foreign origin made fit for a terminal and a log line: bounded, control characters replaced.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut clean: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests;

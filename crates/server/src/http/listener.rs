//! The accept loop: so many connections and no more, slow clients cut off, running requests finished at the end.
//!
//! Invariant: a connection on which no request runs for as long as a client may take gives its place back, whatever it
//! speaks and however far it has come: before its first byte, within HTTP/2's preface, or idle after a request.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tower::Service as _;

use super::context::Peer;
use super::gate::Gate;
use super::tls::TlsSettings;
use crate::config::ServerConfig;

/// Largest header of a request, in bytes, and most fields in it.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADER_FIELDS: usize = 100;
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// A pause when the system has no more sockets for us, so that it can recover.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address.
///
/// # Errors
/// The system's, with what to do.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => ": another server uses it; stop that one or set server.listen",
            io::ErrorKind::PermissionDenied => {
                ": ports below 1024 need CAP_NET_BIND_SERVICE; set server.listen"
            }
            io::ErrorKind::AddrNotAvailable => ": this machine has no such address; set server.listen",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{advice}"))
    })
}

/// Serves until `stop` ends, then lets running requests finish for a while.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsSettings>>,
    gate: Gate,
    config: &ServerConfig,
    stop: impl Future<Output = ()>,
) {
    let patience = Duration::from_secs(config.client_timeout_seconds);
    let places = Arc::new(Semaphore::new(config.max_connections));
    let (stopping, stopped) = watch::channel(false);
    let builder = Arc::new(builder(patience));
    tokio::pin!(stop);
    loop {
        let accepted = async {
            // The place first: beyond the limit, connections wait in the system's queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let Ok(place) = place else { break };
        match accepted {
            Ok((stream, address)) => {
                let connection = Connection {
                    builder: Arc::clone(&builder),
                    stop: stopped.clone(),
                    gate: gate.clone(),
                    tls: tls.as_ref().map(|tls| tls.current()),
                    patience,
                    place,
                };
                tokio::spawn(connection.run(stream, address));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying on");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stopped);
    stopping.send_replace(true);
    let limit = Duration::from_secs(config.shutdown_seconds);
    // Each connection holds a receiver as long as it lives.
    if tokio::time::timeout(limit, stopping.closed()).await.is_err() {
        tracing::warn!(
            seconds = limit.as_secs(),
            "requests were still running when their time to finish was over"
        );
    }
}

fn builder(patience: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADER_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(patience);
    builder
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// What goes on on a connection.
struct Activity(Mutex<(usize, Instant)>);

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((0, Instant::now()))))
    }

    /// A request that runs until the guard is dropped.
    fn begin(self: &Arc<Self>) -> Running {
        let mut state = self.0.lock();
        state.0 = state.0.saturating_add(1);
        Running(Arc::clone(self))
    }

    /// Returns when no request has run for so long, counted from now at the earliest.
    async fn quiet(&self, patience: Duration) {
        let called = Instant::now();
        loop {
            let until = {
                let (running, since) = *self.0.lock();
                let since = if running > 0 { Instant::now() } else { since.max(called) };
                since.checked_add(patience)
            };
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        *state = (state.0.saturating_sub(1), Instant::now());
    }
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    /// Turns true when the server stops; the server waits until all of these are dropped.
    stop: watch::Receiver<bool>,
    gate: Gate,
    tls: Option<Arc<rustls::ServerConfig>>,
    patience: Duration,
    place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, address: SocketAddr) {
        // Answers are small and complete: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.talk(TokioIo::new(stream), address).await,
            Some(tls) => {
                let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
                match tokio::time::timeout(self.patience, handshake).await {
                    Ok(Ok(stream)) => self.talk(TokioIo::new(stream), address).await,
                    Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
                }
            }
        }
    }

    async fn talk<S>(self, stream: S, address: SocketAddr)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let Self { builder, mut stop, mut gate, patience, place, .. } = self;
        let activity = Activity::new();
        let seen = Arc::clone(&activity);
        let service = tower::service_fn(move |mut request: http::Request<Incoming>| {
            let running = seen.begin();
            request.extensions_mut().insert(Peer(address));
            let answer = gate.call(request.map(axum::body::Body::new));
            async move {
                let answer = answer.await;
                drop(running);
                answer
            }
        });
        let service = hyper_util::service::TowerToHyperService::new(service);
        let mut connection = pin!(builder.serve_connection(stream, service));
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "connection ended");
                    }
                    break;
                }
                () = activity.quiet(patience) => {
                    if leaving {
                        tracing::debug!(%address, "an idle connection did not let itself be closed: cut off");
                        break;
                    }
                    tracing::debug!(%address, "no request for too long: the connection is closed");
                }
                _ = stop.wait_for(|stop| *stop), if !leaving => {}
            }
            // Requests that run are finished, and the client is told which ones were not begun.
            connection.as_mut().graceful_shutdown();
            leaving = true;
        }
        drop(place);
        drop(stop);
    }
}

#[cfg(test)]
mod tests;

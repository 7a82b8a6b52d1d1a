//! The accept loop: so many connections and no more, slow clients cut off, running requests finished at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use super::context::Peer;
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
    router: Router,
    config: &ServerConfig,
    stop: impl Future<Output = ()>,
) {
    let patience = Duration::from_secs(config.client_timeout_seconds);
    let places = Arc::new(Semaphore::new(config.max_connections));
    let graceful = GracefulShutdown::new();
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
                    watcher: graceful.watcher(),
                    router: router.clone(),
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
    let limit = Duration::from_secs(config.shutdown_seconds);
    if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
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

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    watcher: Watcher,
    router: Router,
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
        let Self { builder, watcher, router, place, patience, .. } = self;
        let first = Arc::new(Notify::new());
        let came = Arc::clone(&first);
        let service = router.map_request(move |mut request: http::Request<Incoming>| {
            came.notify_one();
            request.extensions_mut().insert(Peer(address));
            request.map(axum::body::Body::new)
        });
        let service = hyper_util::service::TowerToHyperService::new(service);
        let watched = watcher.watch(builder.serve_connection(stream, service).into_owned());
        tokio::pin!(watched);
        // The library's own limits begin when it knows whether this is HTTP/1 or 2, and end a silent client never.
        let ended = tokio::select! {
            ended = &mut watched => ended,
            () = first.notified() => watched.await,
            () = tokio::time::sleep(patience) => {
                tracing::debug!(%address, "no request came in time");
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, error = %error, "connection ended");
        }
        drop(place);
    }
}

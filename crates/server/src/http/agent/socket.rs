//! The service's socket: who connects, how many, for how long.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::super::gate::{FromWire, Gate};
use crate::agent::{Host, Peers};
use crate::config::Config;

/// A process has so long to send a request's header.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// After an error that concerns all connections, such as too many open files.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(500);

/// The bound socket.
pub(crate) struct Socket {
    listener: UnixListener,
    peers: Arc<Peers>,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Socket {
    pub(crate) fn new(listener: UnixListener, peers: Peers, config: &Config) -> Self {
        Self {
            listener,
            peers: Arc::new(peers),
            places: Arc::new(Semaphore::new(config.agent.max_connections)),
            patience: Duration::from_secs(config.server.shutdown_seconds),
        }
    }

    /// Serves until `stop`, then lets running requests finish.
    pub(crate) async fn serve(self, host: Arc<Host>, stop: impl Future<Output = ()>) {
        let gate = Gate::new(super::service(host));
        let (stopping, stopped) = watch::channel(false);
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            let Ok(place) = place else { break };
            match accepted {
                Ok((stream, _)) => {
                    let gate = self.gate_of(&stream, &gate);
                    let stopped = stopped.clone();
                    tokio::spawn(async move {
                        talk(stream, gate, stopped).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept at the agent's socket; trying on");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        drop(stopped);
        stopping.send_replace(true);
        // Each connection holds a receiver as long as it lives.
        if tokio::time::timeout(self.patience, stopping.closed()).await.is_err() {
            tracing::warn!("requests were still running when their time to finish was over");
        }
    }

    fn gate_of(&self, stream: &UnixStream, service: &Gate) -> Gate {
        match stream.peer_cred() {
            Ok(peer) if self.peers.admit(&peer) => service.clone(),
            Ok(peer) => {
                let (uid, gid) = (peer.uid(), peer.gid());
                tracing::warn!(uid, gid, pid = peer.pid(), "refused: not in agent.peers");
                Gate::new(super::refused(uid, gid))
            }
            Err(error) => {
                tracing::warn!(%error, "refused: the kernel does not tell who connects");
                Gate::new(super::refused(u32::MAX, u32::MAX))
            }
        }
    }
}

async fn talk(stream: UnixStream, gate: Gate, mut stopped: watch::Receiver<bool>) {
    let service = hyper_util::service::TowerToHyperService::new(FromWire(gate));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(HEADER_PATIENCE, connection).await;
}

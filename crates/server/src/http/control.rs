//! The control socket: how the tools of the server's own user reach the running server.
//!
//! A Unix socket in the data folder (mode 0600), whose peers must run as the server's user or as root. It carries what
//! only the process that holds the trail and the master key can do: a run of the reaper, an operator's word on a loss.

mod attestation;
pub(super) mod master_key;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::ReapDocument;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{UnixListener, UnixStream};

use super::App;
use super::attestation::Scribe;
use super::error::ApiError;
use super::gate::{FromWire, Gate};
use crate::checkpoint;
use crate::config::Config;
use crate::master_key::Keeper;
use crate::master_key::changes::Book;

/// The socket; its file goes when this is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Binds the socket. The caller holds the audit trail's lock, so a file left here belongs to a server that is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(path: &std::path::Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_path_buf() })
    }

    /// Serves what the gate leads to, until the future is dropped.
    pub async fn serve(self, gate: Gate) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_own(&stream) => {
                    let service = hyper_util::service::TowerToHyperService::new(FromWire(gate.clone()));
                    tokio::spawn(async move {
                        let builder = Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Ok(_) => tracing::warn!("a process of another user was refused at the control socket"),
                Err(error) => {
                    tracing::error!(%error, "cannot accept at the control socket");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// A process that holds master keys, as the routes see it that servers and agents share.
pub(super) trait Home: Send + Sync + 'static {
    /// Who holds them.
    fn keeper(&self) -> &Arc<Keeper>;
    /// Where it is written down what was done.
    fn book(&self) -> Book<'_>;
    /// Where it is written down who asked for them.
    fn scribe(&self) -> Scribe<'_>;
}

impl Home for App {
    fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    fn book(&self) -> Book<'_> {
        Book::Trail(self.manager())
    }

    fn scribe(&self) -> Scribe<'_> {
        Scribe::Trail(self, None)
    }
}

/// The routes that servers and agents share.
pub(super) fn shared<H: Home>() -> Router<Arc<H>> {
    master_key::shared::<H>().merge(attestation::shared::<H>())
}

/// The routes of an unsealed server.
pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/reap", post(reap))
        .route("/audit/acknowledge/{seq}", post(acknowledge))
        .merge(shared::<App>())
        .merge(master_key::routes())
        .merge(attestation::routes())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), super::context::surround_long))
        .with_state(app)
}

/// The routes of a sealed one.
pub fn sealed_routes(keeper: Arc<Keeper>, config: &Config) -> Router {
    master_key::sealed_routes(keeper, config)
}

fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn acknowledge(
    State(app): State<Arc<App>>,
    seq: Result<Path<u64>, PathRejection>,
) -> Result<Json<()>, ApiError> {
    let Path(seq) = seq.map_err(|error| ApiError::field("seq", error.body_text()))?;
    Ok(Json(checkpoint::acknowledge(app.manager(), seq).await?))
}

async fn reap(State(app): State<Arc<App>>) -> Result<Json<ReapDocument>, ApiError> {
    Ok(Json(crate::reaper::run(&app).await?))
}

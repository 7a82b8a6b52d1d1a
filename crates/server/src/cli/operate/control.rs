//! Asking the running server, over its control socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::failed;
use crate::cli::{Exit, Failure};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Connects to the server whose control socket this is; `None` when no server runs.
pub(super) async fn connect(path: &Path) -> Result<Option<UnixStream>, Failure> {
    match tokio::time::timeout(Duration::from_secs(5), UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Some(stream)),
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Failure::new(Exit::Forbidden, format!("{}: {error}", path.display()))
                .advise("run the command as the server's user or as root"))
        }
        Ok(Err(error)) => Err(Failure::new(Exit::Unavailable, format!("{}: {error}", path.display()))),
        Err(_) => {
            Err(Failure::new(Exit::Unavailable, format!("{}: the server does not answer", path.display())))
        }
    }
}

/// Asks the server whose control socket this is, which must run. The request is wiped.
pub(in crate::cli) async fn ask<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    request: &impl Serialize,
    patience: Duration,
) -> Result<T, Failure> {
    let stream = connect(socket).await?.ok_or_else(|| {
        Failure::new(Exit::Unavailable, "no server runs here").advise("start it first: only it can do this")
    })?;
    let body = Zeroizing::new(serde_json::to_vec(request).map_err(failed)?);
    let answer = send(stream, path, body, patience).await?;
    serde_json::from_slice(&answer).map_err(failed)
}

/// Sends one POST without a body and returns the answer's JSON.
pub(super) async fn post(stream: UnixStream, path: &str, patience: Duration) -> Result<Bytes, Failure> {
    send(stream, path, Zeroizing::new(Vec::new()), patience).await
}

/// Sends one POST with a JSON body, which is wiped, and returns the answer's JSON.
pub(super) async fn send(
    stream: UnixStream,
    path: &str,
    body: Zeroizing<Vec<u8>>,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let unavailable = |problem: String| Failure::new(Exit::Unavailable, format!("control socket: {problem}"));
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let driving = tokio::spawn(connection);
        let request = http::Request::post(path)
            .header(http::header::HOST, "control")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_owner(body)))
            .map_err(|error| unavailable(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| unavailable(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        driving.abort();
        let body = body.map_err(|error| unavailable(error.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_slice::<chatelaine_api::ErrorDocument>(&body)
            .map_or_else(|_| format!("the server answers {status}"), |document| document.error.message);
        let exit = Exit::of_status(status.as_u16());
        Err(Failure::new(exit, message).advise("the server's log says more"))
    };
    tokio::time::timeout(patience, exchange)
        .await
        .map_err(|_| unavailable(format!("no answer within {} s", patience.as_secs())))?
}

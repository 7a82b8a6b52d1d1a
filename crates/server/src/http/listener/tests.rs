//! Over real sockets: clients that say nothing, little, or nothing more.

use axum::routing::get;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use axum::Router;

use super::*;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// One connection at a time, each of which may be silent for a second.
    async fn start(router: Router) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ServerConfig {
            client_timeout_seconds: 1,
            max_connections: 1,
            shutdown_seconds: 15,
            ..ServerConfig::default()
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            serve(listener, None, Gate::new(router), &config, async { drop(stopped.await) }).await;
        });
        Self { address, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn plain() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

async fn request(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

/// T-SLOW-CLIENT: who holds the only place without a request loses it, however far the connection has come.
#[tokio::test]
async fn the_silent_give_their_place_back() {
    let server = Server::start(plain()).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HT"] {
        let mut silent = server.connect().await;
        silent.write_all(beginning.as_bytes()).await.unwrap();
        // In the queue behind the silent one.
        let mut next = server.connect().await;
        let answer = request(&mut next).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{beginning:?}: {answer}");
    }
}

/// An HTTP/2 connection lives as long as requests come, and is closed in order when none do.
#[tokio::test]
async fn idle_http2_connections_are_closed() {
    let slow = get(|| async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        "late"
    });
    let server = Server::start(plain().route("/slow", slow)).await;
    let stream = TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |path: &str| {
        http::Request::get(format!("http://{}{path}", server.address)).body(Empty::new()).unwrap()
    };
    // Longer than a client may be silent: the request runs, so the connection stays.
    assert_eq!(sender.send_request(ask("/slow")).await.unwrap().status(), 200);
    assert_eq!(sender.send_request(ask("/")).await.unwrap().status(), 200);
    tokio::time::timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    assert!(sender.is_closed());
}

/// A running request is finished when the server stops.
#[tokio::test]
async fn stopping_waits_for_running_requests() {
    let (begun, mut begins) = tokio::sync::mpsc::channel(1);
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let waiting = get(move || {
        let (begun, gate) = (begun.clone(), Arc::clone(&opened));
        async move {
            begun.send(()).await.unwrap();
            let _place = gate.acquire().await.unwrap();
            "done"
        }
    });
    let server = Server::start(Router::new().route("/", waiting)).await;
    let mut stream = server.connect().await;
    let asking = tokio::spawn(async move { request(&mut stream).await });
    tokio::time::timeout(LONG, begins.recv()).await.unwrap().unwrap();
    server.stop.send(()).unwrap();
    gate.add_permits(1);
    assert!(asking.await.unwrap().ends_with("done"));
    tokio::time::timeout(LONG, server.task).await.unwrap().unwrap();
}

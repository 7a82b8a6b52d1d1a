//! Answers of a whole server, without its sockets.

use axum::body::Body;
use chatelaine_api::{ErrorDocument, ReadinessDocument};
use http::Request;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::context::Peer;
use super::gate::Gate;
use super::*;
use crate::startup;

struct Server {
    folder: tempfile::TempDir,
    app: Arc<App>,
    gate: Gate,
}

impl Server {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.folder = folder.path().join("data");
        config.server.metrics_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let app = startup::open_at_once(&config).await.unwrap().app;
        Self { folder, gate: Gate::new(surrounded(Arc::clone(&app))), app }
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, from: &str, token: Option<&str>) -> (u16, T) {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(format!("{from}:1000").parse().unwrap()));
        if let Some(token) = token {
            request.headers_mut().insert("x-auth-token", token.parse().unwrap());
        }
        let answer = self.gate.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")))
    }

    /// The token of the first start's service.
    fn token(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("data/clouds.yaml")).unwrap();
        text.rsplit("token: \"").next().unwrap().split('"').next().unwrap().to_owned()
    }
}

/// A path that cannot be decoded is answered as any wrong one: first who asks, then what is wrong, in OpenStack's shape.
#[tokio::test]
async fn undecodable_paths_are_answered_after_authentication() {
    let server = Server::new().await;
    for path in ["/v1/keys/%ff", "/v1/keys/%ff/metadata", "/v1/keys/none"] {
        let (status, _) = server.ask::<ErrorDocument>(path, "192.0.2.1", None).await;
        assert_eq!(status, 401, "{path}");
        let (status, document) = server.ask::<ErrorDocument>(path, "192.0.2.1", Some(&server.token())).await;
        assert_eq!((status, document.error.field.as_deref()), (400, Some("key_id")), "{path}");
    }
}

/// What is wrong inside is for those who watch over the server; that something is, for everybody.
#[tokio::test]
async fn readiness_tells_strangers_no_details() {
    let server = Server::new().await;
    // Whoever can write to the folder could put other identities there: the file is not believed any more.
    let identities = server.folder.path().join("data/identities.toml");
    std::fs::write(&identities, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, inside) = server.ask::<ReadinessDocument>("/readyz", "127.0.0.1", None).await;
    assert!(status == 503 && inside.checks.iter().any(|check| check.problem.is_some()), "{inside:?}");
    let (status, outside) = server.ask::<ReadinessDocument>("/readyz", "192.0.2.1", None).await;
    assert!(status == 503 && outside.checks.iter().all(|check| check.problem.is_none()), "{outside:?}");
    let verdicts = |document: &ReadinessDocument| {
        document.checks.iter().map(|check| (check.name.clone(), check.ok)).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&inside), verdicts(&outside));
}

/// T-AUDIT-FULL: neither strangers nor a caller who asks for what is not there fill the trail.
#[tokio::test]
async fn many_refusals_are_few_lines() {
    let server = Server::new().await;
    let path = "/v1/keys/6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
    let token = server.token();
    let before = server.app.trail.head().seq;
    for _ in 0..150 {
        assert_eq!(server.ask::<ErrorDocument>(path, "192.0.2.1", Some(&token)).await.0, 404);
    }
    let caller = server.app.trail.head().seq - before;
    assert!((100..120).contains(&caller), "{caller}");
    for _ in 0..1100 {
        assert_eq!(server.ask::<ErrorDocument>(path, "192.0.2.1", Some("nobody's")).await.0, 401);
    }
    let strangers = server.app.trail.head().seq - before - caller;
    assert!((1000..1050).contains(&strangers), "{strangers}");
    assert_eq!(server.app.refusals.left_out(), 1250 - caller - strangers);
}

//! The routes and their description, and what a sealed agent answers.

use std::collections::BTreeSet;

use axum::body::Body;
use chatelaine_agent::Agent;
use chatelaine_agent::keys::Settings;
use chatelaine_agent::remote::Remote;
use chatelaine_client::TransportOptions;
use chatelaine_client::http::{Authentication, Session};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::config::Config;
use crate::master_key::Keeper;

fn host() -> Arc<Host> {
    let config = Config::default();
    let session =
        Session::new("http://127.0.0.1:1", Authentication::Anonymous, &TransportOptions::default()).unwrap();
    Arc::new(Host {
        agent: Arc::new(Agent::new(Remote::new(session, None), Settings::default())),
        keeper: Arc::new(Keeper::new(&config).unwrap()),
        config,
        metrics: metrics::Metrics::new(),
        rotating: crate::agent::rotation::Rotating::default(),
    })
}

async fn ask(method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let response = service(host()).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    assert!(response.headers().contains_key(REQUEST_ID));
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_described_is_there_and_asks_for_what_it_says() {
    let document: serde_json::Value = serde_json::from_str(&Document::openapi().to_json().unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let (status, _) = ask(&method.to_uppercase(), &path.replace("{id}", "x-1"), "{}").await;
            assert!(
                status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            seen.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

#[tokio::test]
async fn a_sealed_agent_says_so() {
    let (status, body) = ask("GET", "/v1/keys/x", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("sealed"), "{body}");
    let (status, body) = ask("GET", "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("\"name\":\"seal\",\"ok\":false"), "{body}");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_apart() {
    let (status, body) = ask("GET", "/v1/secrets", "").await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("openapi.json"), "{body}");
    let (status, _) = ask("PATCH", "/v1/keys", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let response =
        refused(33, 34).oneshot(Request::get("/readyz").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

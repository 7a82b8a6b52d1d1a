//! What a client gets that must get nothing. That the right host gets the keys, the tests of the seals and of whole servers
//! show, with TPMs.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_seal::hosts::EnrolledHost;
use chatelaine_tpm::attest::Hello;
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::tpm::EndorsementKind;
use chatelaine_tpm::tpm::keys::attestation_template;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::gate::Gate;
use super::super::{App, surrounded};
use crate::config::Config;
use crate::master_key::changes::Book;

const CHALLENGE: &str = "/v1/attestation/challenge";
const RELEASE: &str = "/v1/attestation/release";

struct House {
    app: Arc<App>,
    gate: Gate,
    administrator: String,
    service: String,
    folder: tempfile::TempDir,
}

impl House {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.folder = folder.path().join("data");
        config.store.url = "memory:".to_owned();
        config.limits.concurrent_requests = 0;
        change(&mut config);
        let opened = crate::startup::open_at_once(&config).await.unwrap();
        let tokens = std::fs::read_to_string(opened.first_start.unwrap().clouds_file).unwrap();
        let token = |name: &str| {
            let entry = tokens.split(&format!("  {name}:\n")).nth(1).unwrap();
            entry.split("token: \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        let (administrator, service) = (token("administrator"), token("service"));
        let gate = Gate::new(surrounded(Arc::clone(&opened.app)));
        Self { app: opened.app, gate, administrator, service, folder }
    }

    async fn ask(&self, token: &str, target: &str, body: &Value) -> (StatusCode, String) {
        let request = Request::post(target)
            .header("x-auth-token", token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.gate.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn enrol(&self, hello: &Hello, certificate: bool, key: &str) -> Result<(), String> {
        let host = EnrolledHost {
            name: "joiner".to_owned(),
            endorsement_name: hello.endorsement.name().to_string(),
            certificate,
            keys: vec![key.to_owned()],
            enrolled: String::new(),
            has: None,
        };
        let book = Book::Trail(self.app.manager());
        self.app.keeper.enrol(book, host).await.map_err(|error| error.to_string())
    }

    /// All lines of the trail.
    fn trail(&self) -> String {
        let mut text = String::new();
        for file in std::fs::read_dir(self.folder.path().join("data/audit")).unwrap() {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()));
        }
        text
    }
}

/// Public areas are no secrets: anybody can send them.
fn hello() -> Hello {
    Hello {
        endorsement: EndorsementKind::Rsa2048.template(),
        certificate: Vec::new(),
        chain: Vec::new(),
        attestation: attestation_template(),
        epoch: 0,
        nonce: [0; 32],
    }
}

fn said(hello: &Hello) -> Value {
    json!({"hello": STANDARD.encode(hello.to_bytes())})
}

#[tokio::test]
async fn what_is_no_message_is_refused_by_field() {
    let house = House::new(|_| {}).await;
    let good = STANDARD.encode(hello().to_bytes());
    for (target, body, field) in [
        (CHALLENGE, json!({}), "hello"),
        (CHALLENGE, json!({"hello": "?"}), "hello"),
        (CHALLENGE, json!({"hello": ""}), "hello"),
        (CHALLENGE, json!({"hello": STANDARD.encode([0; 20_001])}), "hello"),
        (CHALLENGE, json!({"hello": good, "key": "swift"}), "key"),
        (CHALLENGE, json!({"hello": good, "more": 1}), "more"),
        (RELEASE, json!({"id": "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7"}), "answer"),
        (
            RELEASE,
            json!({"id": "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7", "answer": STANDARD.encode([0; 4097])}),
            "answer",
        ),
        (RELEASE, json!({"id": "mine", "answer": good}), "id"),
    ] {
        let (status, text) = house.ask(&house.service, target, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{target} {text}");
        // In the native API's shape.
        assert!(text.starts_with("{\"error\":"), "{text}");
        assert!(text.contains(field), "{target} {text}");
    }
    // Bytes that are no hello: the format says what is wrong.
    let (status, text) = house.ask(&house.service, CHALLENGE, &json!({"hello": "AAAA"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("hello"), "{text}");
}

#[tokio::test]
async fn only_enrolled_hosts_are_heard_and_refusals_are_written_down() {
    let house = House::new(|_| {}).await;
    let hello = hello();
    let name = hello.endorsement.name().to_string();
    let (status, text) = house.ask(&house.service, CHALLENGE, &said(&hello)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains(&name) && text.contains("not enrolled"), "{text}");
    let trail = house.trail();
    let line = trail.lines().find(|line| line.contains("allow/master_key")).unwrap();
    assert!(line.contains(&name) && line.contains("failure") && line.contains("host unknown"), "{line}");

    house.enrol(&hello, true, "swift").await.unwrap();
    let (status, text) = house.ask(&house.service, CHALLENGE, &said(&hello)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("not enrolled for the master key `server`"), "{text}");
    assert!(house.enrol(&hello, true, "server").await.unwrap_err().contains("withdraw it first"));
    house.app.keeper.withdraw(Book::Trail(house.app.manager()), "joiner".to_owned()).await.unwrap();
    house.enrol(&hello, true, "server").await.unwrap();

    // No maker is trusted, and the message says what to set.
    let (status, text) = house.ask(&house.administrator, CHALLENGE, &said(&hello)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("seal.tpm.makers"), "{text}");
    let trail = house.trail();
    assert!(trail.lines().any(|line| line.contains("allow/master_key") && line.contains("host joiner")));
    assert_eq!(trail.lines().filter(|line| line.contains("enable/host")).count(), 8, "{trail}");

    // Nobody made this challenge.
    let answer = json!({"id": "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7", "answer": "AAAA"});
    let (status, text) = house.ask(&house.service, RELEASE, &answer).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("no such challenge"), "{text}");
}

#[tokio::test]
async fn a_key_that_is_no_endorsement_key_is_refused_though_enrolled() {
    let house = House::new(|_| {}).await;
    let mut hello = hello();
    hello.endorsement = attestation_template();
    house.enrol(&hello, false, "server").await.unwrap();
    let (status, text) = house.ask(&house.service, CHALLENGE, &said(&hello)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("endorsement key is refused"), "{text}");
}

#[tokio::test]
async fn callers_need_a_token_and_the_rule() {
    let house = House::new(|_| {}).await;
    for target in [CHALLENGE, RELEASE] {
        let (status, _) = house.ask("none", target, &said(&hello())).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, "\"attestation:join\": \"role:nobody\"\n").unwrap();
    let strict = House::new(|config| config.policy.file = file).await;
    for target in [CHALLENGE, RELEASE] {
        for token in [&strict.service, &strict.administrator] {
            let (status, text) = strict.ask(token, target, &said(&hello())).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
            assert!(text.contains("attestation:join"), "{text}");
        }
    }
}

/// A folder of makers that cannot be read is the operator's business, not the client's.
#[tokio::test]
async fn what_is_wrong_here_is_not_told_to_clients() {
    let missing = "/nonexistent/makers";
    let house = House::new(|config| config.seal.tpm.makers = missing.into()).await;
    let (status, text) = house.ask(&house.service, CHALLENGE, &said(&hello())).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text.contains(missing), "{text}");
}

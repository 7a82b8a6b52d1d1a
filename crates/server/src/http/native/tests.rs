//! The native key API as a client sees it: a whole server but for its sockets.

mod encryption_defaults;
mod scope_keys;

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::config::Config;
use crate::http::gate::Gate;
use crate::http::{App, surrounded};
use crate::identity::{self, NewIdentity};

struct House {
    gate: Gate,
    administrator: String,
    service: String,
    app: Arc<App>,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    etag: Option<String>,
    document: Value,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.folder = folder.path().join("data");
        config.store.url = "memory:".to_owned();
        config.limits.concurrent_requests = 0;
        let opened = crate::startup::open_at_once(&config).await.unwrap();
        let tokens = std::fs::read_to_string(opened.first_start.unwrap().clouds_file).unwrap();
        let token = |name: &str| {
            let entry = tokens.split(&format!("  {name}:\n")).nth(1).unwrap();
            entry.split("token: \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        let (administrator, service) = (token("administrator"), token("service"));
        let app = opened.app;
        Self { gate: Gate::new(surrounded(Arc::clone(&app))), administrator, service, app, _folder: folder }
    }

    /// The token of a new user, and the user's id.
    async fn join(&self, user: &str, project: &str, roles: &[&str]) -> (String, String) {
        let file = self.app.keeper.config().data.folder.join("identities.toml");
        let new = NewIdentity {
            user_name: user.to_owned(),
            project: project.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            user_id: Some(format!("{user}-id")),
            project_id: Some(format!("{project}-id")),
            expires_at: None,
        };
        let token = identity::add(&file, &new, self.app.manager.now()).unwrap();
        self.app.identities.reload().await.unwrap();
        (token.expose().to_owned(), format!("{user}-id"))
    }

    async fn ask(
        &self,
        token: &str,
        method: &str,
        target: &str,
        etag: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target).header("x-auth-token", token);
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.gate.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let etag = response.headers().get(header::ETAG).map(|etag| etag.to_str().unwrap().to_owned());
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 10 << 20).await.unwrap();
        let document = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, etag, document }
    }
}

/// Who may not have a key is refused before its request is looked at, or a key is generated for it.
#[tokio::test]
async fn nothing_is_generated_for_who_may_not_have_it() {
    let house = House::new().await;
    let impossible = json!({"generate": true, "algorithm": "aes", "bit_length": 100});
    let refused = house.ask(&house.administrator, "POST", "/v1/keys", None, Some(impossible.clone())).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.document);
    let wrong = house.ask(&house.service, "POST", "/v1/keys", None, Some(impossible)).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(wrong.document["error"]["field"], "bit_length");
}

#[tokio::test]
async fn a_key_string_of_another_length_is_refused() {
    let house = House::new().await;
    let new = json!({"generate": true, "algorithm": "aes", "bit_length": 256});
    let made = house.ask(&house.service, "POST", "/v1/keys", None, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.document);
    let target = format!("/v1/keys/{}", made.document["id"].as_str().unwrap());
    let short = json!({"key_string": "AAAAAAAAAAAAAAAAAAAAAA=="});
    let refused = house.ask(&house.service, "PATCH", &target, made.etag.as_deref(), Some(short)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.document["error"]["field"], "key_string", "{}", refused.document);
}

/// A page that the filter left empty leads on to the next.
#[tokio::test]
async fn an_empty_page_has_a_link_where_more_may_follow() {
    let house = House::new().await;
    let key = json!({"key_string": "AAAAAAAAAAAAAAAAAAAAAA=="});
    for _ in 0..13 {
        let puts = (0..80).map(|_| house.ask(&house.service, "POST", "/v1/keys", None, Some(key.clone())));
        for put in futures_util::future::join_all(puts).await {
            assert_eq!(put.status, StatusCode::CREATED, "{}", put.document);
        }
    }
    let mut target = "/v1/keys?state=pre_active".to_owned();
    let mut pages = 0;
    loop {
        let page = house.ask(&house.service, "GET", &target, None, None).await;
        assert_eq!(page.document["keys"], json!([]));
        pages += 1;
        let Some(next) = page.document["links"]["next"].as_str() else { break };
        assert!(next.contains("state=pre_active"), "{next}");
        target = next.to_owned();
    }
    assert_eq!(pages, 2);
}

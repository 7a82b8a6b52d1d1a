//! A key manager for unit tests: it keeps what it is sent, and can be told to fail. The real one is met in `tests/interop`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chatelaine_client::http::{Authentication, Session};
use chatelaine_client::{SecretText, TransportOptions};
use chatelaine_crypto::{Envelope, KeyMaterial};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::keyring::ServiceKeys;
use crate::keys::Settings;
use crate::remote::Remote;
use crate::{Agent, AgentError};

#[derive(Default)]
pub(crate) struct FakeManager {
    pub(crate) keys: Mutex<BTreeMap<String, Value>>,
    pub(crate) requests: AtomicU64,
    /// Answers every request with this status, if it is not 0.
    pub(crate) fail: AtomicU16,
    pub(crate) hang: std::sync::atomic::AtomicBool,
    pub(crate) address: Mutex<String>,
}

type Shared = State<Arc<FakeManager>>;

impl FakeManager {
    pub(crate) async fn start() -> Arc<Self> {
        let fake = Arc::new(Self::default());
        let routes = Router::new()
            .route("/v1/keys", get(list))
            .route("/v1/keys/{id}", get(read).put(put).patch(patch).delete(delete))
            .route("/v1/keys/{id}/metadata", get(metadata))
            .with_state(Arc::clone(&fake));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        *fake.address.lock() = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        fake
    }

    pub(crate) fn agent(&self, settings: Settings) -> Arc<Agent> {
        let options =
            TransportOptions { request_timeout: Duration::from_secs(2), ..TransportOptions::default() };
        let own = Authentication::StaticToken(SecretText::new("own-token"));
        let session = Session::new(&self.address.lock(), own, &options).unwrap();
        Arc::new(Agent::new(Remote::new(session, None), settings))
    }

    pub(crate) async fn open_agent(&self) -> (Arc<Agent>, KeyMaterial) {
        let agent = self.agent(Settings::default());
        let material = KeyMaterial::random(256).unwrap();
        agent.keyring().open(ServiceKeys::new(("m-1", &material), []).unwrap());
        (agent, material)
    }

    async fn meet(&self) -> Option<Response> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let status = self.fail.load(Ordering::SeqCst);
        (status != 0).then(|| StatusCode::from_u16(status).unwrap().into_response())
    }

    pub(crate) fn envelope(&self, id: &str) -> Envelope {
        let text = self.keys.lock()[id]["key_string"].as_str().unwrap().to_owned();
        Envelope::parse(chatelaine_api::KeyString::from_base64(&text).unwrap().expose()).unwrap()
    }
}

fn master_key(key: &Value) -> Option<String> {
    let bytes = chatelaine_api::KeyString::from_base64(key["key_string"].as_str()?).ok()?;
    Some(Envelope::parse(bytes.expose()).ok()?.master_key_id().to_owned())
}

fn shown(key: &Value) -> Value {
    let mut key = key.clone();
    key["master_key"] = master_key(&key).into();
    key
}

fn without_string(key: &Value) -> Value {
    let mut key = shown(key);
    key.as_object_mut().unwrap().remove("key_string");
    key
}

async fn put(State(fake): Shared, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    if let Some(failure) = fake.meet().await {
        return failure;
    }
    let mut keys = fake.keys.lock();
    if keys.contains_key(&id) {
        return StatusCode::CONFLICT.into_response();
    }
    let mut key = body;
    for (name, value) in [
        ("id", json!(id)),
        ("version", json!(1)),
        ("state", json!("active")),
        ("owner", json!("u")),
        ("project_id", json!("p")),
        ("created_at", json!("2026-01-01T00:00:00Z")),
        ("updated_at", json!("2026-01-01T00:00:00Z")),
    ] {
        key[name] = value;
    }
    let answer = without_string(&key);
    keys.insert(id, key);
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn read(State(fake): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Some(failure) = fake.meet().await {
        return failure;
    }
    if headers["x-auth-token"] == "a-stranger" {
        assert_eq!(headers["x-service-token"], "own-token");
        return StatusCode::FORBIDDEN.into_response();
    }
    match fake.keys.lock().get(&id) {
        Some(key) if key["deleted"] != true => Json(shown(key)).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn metadata(State(fake): Shared, Path(id): Path<String>) -> Response {
    match fake.keys.lock().get(&id) {
        Some(key) => Json(without_string(key)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn patch(
    State(fake): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    if let Some(failure) = fake.meet().await {
        return failure;
    }
    let mut keys = fake.keys.lock();
    let Some(key) = keys.get_mut(&id) else { return StatusCode::NOT_FOUND.into_response() };
    if headers["if-match"] != format!("\"{}\"", key["version"]) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    key["version"] = json!(key["version"].as_u64().unwrap() + 1);
    key["key_string"] = body["key_string"].clone();
    Json(without_string(key)).into_response()
}

async fn delete(State(fake): Shared, Path(id): Path<String>) -> Response {
    if let Some(failure) = fake.meet().await {
        return failure;
    }
    let mut keys = fake.keys.lock();
    match keys.get_mut(&id) {
        Some(key) => key["deleted"] = json!(true),
        None => return StatusCode::NOT_FOUND.into_response(),
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn list(State(fake): Shared, Query(query): Query<BTreeMap<String, String>>) -> Response {
    if let Some(failure) = fake.meet().await {
        return failure;
    }
    let deleted = query.get("deleted").is_some_and(|word| word == "true");
    let limit: usize = query.get("limit").map_or(100, |limit| limit.parse().unwrap());
    let keys = fake.keys.lock();
    let mut found: Vec<_> = keys
        .iter()
        .filter(|(id, _)| query.get("marker").is_none_or(|marker| *id > marker))
        .filter(|(_, key)| (key["deleted"] == true) == deleted)
        .filter(|(_, key)| {
            query.get("master_key").is_none_or(|wanted| master_key(key).as_ref() == Some(wanted))
        })
        .map(|(_, key)| without_string(key))
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(|key| key["id"].as_str().unwrap().to_owned()).unwrap_or_default();
    let links = if more {
        json!({"next": format!("http://h/v1/keys?limit={limit}&marker={last}")})
    } else {
        json!({})
    };
    Json(json!({"keys": found, "links": links})).into_response()
}

pub(crate) fn is_unavailable(error: &AgentError) -> bool {
    matches!(error, AgentError::Unavailable { .. })
}

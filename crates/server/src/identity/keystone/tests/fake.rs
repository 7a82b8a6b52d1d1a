//! A Keystone small enough to see through: it issues tokens to us, answers about tokens of others, and counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use chatelaine_core::Clock as _;
use chatelaine_core::clock::{ManualClock, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// How Keystone behaves.
#[derive(Clone)]
pub(super) enum Mode {
    Up,
    /// It answers 503 to everything.
    Down,
    /// It takes questions and never answers.
    Hung,
    /// It answers each question with one permit from here.
    Gated(Arc<Semaphore>),
    /// It does not notice that tokens expire.
    Timeless,
}

/// A question that reached Keystone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) subject: String,
    pub(super) allow_expired: bool,
}

struct Inside {
    mode: Mode,
    tokens: HashMap<String, Value>,
    own: HashSet<String>,
    logins: Vec<Value>,
    password: String,
    questions: Vec<Question>,
    under_way: usize,
    most_under_way: usize,
}

pub(super) struct Fake {
    pub(super) clock: Arc<ManualClock>,
    pub(super) url: String,
    inside: Arc<Mutex<Inside>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = (Arc<ManualClock>, Arc<Mutex<Inside>>);

impl Fake {
    pub(super) async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::parse("2026-11-24T10:00:00Z").unwrap()));
        let inside = Arc::new(Mutex::new(Inside {
            mode: Mode::Up,
            tokens: HashMap::new(),
            own: HashSet::new(),
            logins: Vec::new(),
            password: "password-canary".to_owned(),
            questions: Vec::new(),
            under_way: 0,
            most_under_way: 0,
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared: Shared = (Arc::clone(&clock), Arc::clone(&inside));
        let router = Router::new()
            .route("/v3", get(version))
            .route("/v3/auth/tokens", get(validate).post(login))
            .with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { clock, url, inside, task }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.inside.lock().mode = mode;
    }

    /// Makes a token good; it ends after `seconds`.
    pub(super) fn issue(&self, token: &str, seconds: u64, change: impl FnOnce(&mut Value)) {
        let now = self.clock.now();
        let expires_at = now.plus(std::time::Duration::from_secs(seconds));
        let mut details = json!({
            "audit_ids": ["a"], "methods": ["password"],
            "issued_at": now.to_string(), "expires_at": expires_at.to_string(),
            "project": {"id": "project", "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "1", "name": "Member"}, {"id": "2", "name": "reader"}],
            "user": {"id": format!("user-of-{token}"), "name": "demo",
                     "domain": {"id": "default", "name": "Default"}}});
        change(&mut details);
        self.inside.lock().tokens.insert(token.to_owned(), details);
    }

    pub(super) fn revoke(&self, token: &str) {
        self.inside.lock().tokens.remove(token);
    }

    /// Lets every token of our own become bad.
    pub(super) fn forget_own_tokens(&self) {
        self.inside.lock().own.clear();
    }

    pub(super) fn change_password(&self, password: &str) {
        self.inside.lock().password = password.to_owned();
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        self.inside.lock().questions.clone()
    }

    pub(super) fn asked(&self) -> usize {
        self.inside.lock().questions.len()
    }

    pub(super) fn logins(&self) -> Vec<Value> {
        self.inside.lock().logins.clone()
    }

    pub(super) fn under_way(&self) -> usize {
        self.inside.lock().under_way
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.inside.lock().most_under_way
    }
}

fn refusal(code: u16, text: &str) -> Response {
    let body = json!({"error": {"code": code, "title": "Error", "message": text}});
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

async fn version(State((_, inside)): State<Shared>) -> Response {
    let mode = inside.lock().mode.clone();
    match mode {
        Mode::Down => refusal(503, "down"),
        Mode::Hung => std::future::pending().await,
        _ => Json(json!({"version": {"id": "v3.14"}})).into_response(),
    }
}

async fn login(State((clock, inside)): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut inside = inside.lock();
    if matches!(inside.mode, Mode::Down) {
        return refusal(503, "down");
    }
    let identity = &body["auth"]["identity"];
    let given = [&identity["password"]["user"]["password"], &identity["application_credential"]["secret"]];
    let right = given.iter().any(|text| **text == inside.password);
    inside.logins.push(body);
    if !right {
        return refusal(401, "no");
    }
    let token = format!("own-{}", inside.logins.len());
    inside.own.insert(token.clone());
    let now = clock.now();
    let details = json!({"token": {
        "issued_at": now.to_string(),
        "expires_at": now.plus(std::time::Duration::from_secs(3600)).to_string(),
        "user": {"id": "us", "name": "chatelaine", "domain": {"id": "default", "name": "Default"}},
        "roles": [{"id": "s", "name": "service"}], "catalog": []}});
    (StatusCode::CREATED, [("x-subject-token", token)], Json(details)).into_response()
}

async fn validate(State((clock, inside)): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let subject = text("x-subject-token");
    let allow_expired = uri.query().unwrap_or("").contains("allow_expired=1");
    let mode = {
        let mut inside = inside.lock();
        if !inside.own.contains(&text("x-auth-token")) {
            return refusal(401, "who are you");
        }
        inside.questions.push(Question { subject: subject.clone(), allow_expired });
        inside.under_way += 1;
        inside.most_under_way = inside.most_under_way.max(inside.under_way);
        inside.mode.clone()
    };
    match &mode {
        Mode::Hung => std::future::pending().await,
        Mode::Gated(gate) => gate.acquire().await.unwrap().forget(),
        _ => {}
    }
    let mut inside = inside.lock();
    inside.under_way -= 1;
    if matches!(mode, Mode::Down) {
        return refusal(503, "down");
    }
    let Some(details) = inside.tokens.get(&subject) else {
        return refusal(404, &format!("no such token: {subject}"));
    };
    let expires_at = Timestamp::parse(details["expires_at"].as_str().unwrap()).unwrap();
    if expires_at <= clock.now() && !allow_expired && !matches!(mode, Mode::Timeless) {
        return refusal(404, "expired");
    }
    Json(json!({"token": details})).into_response()
}

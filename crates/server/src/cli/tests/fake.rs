//! A small key manager and Keystone for tests: real HTTP, keys in memory, and answers that can be planted.

mod scopes;
mod secrets;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use chatelaine_api::{
    Deletion, ErrorBody, ErrorDocument, KeyDocument, KeyPage, KeyString, Links, NewKeyRequest, ReleasedKey,
    Revocation, RevokeRequest, State, UpdateKeyRequest,
};
use serde_json::json;

pub(super) const TOKEN: &str = "good-token-canary";
pub(super) const WEAK_TOKEN: &str = "weak-token-canary";
const PAGE: usize = 3;
const NOW: &str = "2026-11-25T06:00:00.000000Z";

pub(super) struct Planted {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: String,
}

#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) if_match: Option<String>,
    pub(super) body: String,
}

struct Stored {
    document: KeyDocument,
    key_string: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    keys: Vec<Stored>,
    defaults: BTreeMap<String, chatelaine_api::EncryptionDefaultDocument>,
    planted: VecDeque<Planted>,
    seen: Vec<Seen>,
}

#[derive(Clone)]
pub(super) struct Fake {
    inner: Arc<Mutex<Inner>>,
    pub(super) url: String,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { inner: Arc::default(), url };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    /// The next answer, whatever is asked.
    pub(super) fn plant(
        &self,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: impl Into<String>,
    ) {
        let planted = Planted { status, headers: headers.to_vec(), body: body.into() };
        self.inner.lock().unwrap().planted.push_back(planted);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }

    pub(super) fn key_string(&self, id: &str) -> Option<Vec<u8>> {
        let inner = self.inner.lock().unwrap();
        inner.keys.iter().find(|key| key.document.id == id).map(|key| key.key_string.clone())
    }
}

type Answer = Result<(u16, serde_json::Value), (u16, &'static str)>;

async fn answer(
    Shared(fake): Shared<Fake>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut inner = fake.inner.lock().unwrap();
    inner.seen.push(Seen {
        method: method.clone(),
        target: uri.to_string(),
        if_match: header("if-match"),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    if uri.path() == "/identity/v3/auth/tokens" {
        return keystone(&fake.url, &body);
    }
    if let Some(planted) = inner.planted.pop_front() {
        let mut response = Response::builder().status(planted.status);
        for (name, value) in planted.headers {
            response = response.header(name, value);
        }
        return response.body(Body::from(planted.body)).unwrap();
    }
    let result = match header("x-auth-token").as_deref() {
        Some(TOKEN) => inner.answer(&method, &uri, header("if-match"), &body),
        Some(WEAK_TOKEN) => Err((403, "rule key:access does not allow it")),
        _ => Err((401, "the token is not valid")),
    };
    let (status, value) = result.unwrap_or_else(|(code, message)| {
        let title = StatusCode::from_u16(code).unwrap().canonical_reason().unwrap().to_owned();
        let error = ErrorBody { code, title, message: message.to_owned(), field: None, request_id: None };
        (code, serde_json::to_value(ErrorDocument { error }).unwrap())
    });
    let body = if status == 204 { Body::empty() } else { Body::from(value.to_string()) };
    Response::builder().status(status).header("x-openstack-request-id", "req-7").body(body).unwrap()
}

fn keystone(url: &str, body: &[u8]) -> Response<Body> {
    if !String::from_utf8_lossy(body).contains("\"right\"") {
        return Response::builder().status(401).body(Body::from("{}")).unwrap();
    }
    let document = json!({"token": {"issued_at": "2026-11-25T06:00:00Z", "expires_at": "2026-11-25T07:00:00Z",
        "user": {"id": "u", "name": "n", "domain": {"id": "d", "name": "D"}},
        "catalog": [{"type": "key-manager", "endpoints": [
            {"interface": "public", "region_id": "One", "url": format!("{url}/v1/")}]}]}});
    let response = Response::builder().status(201).header("X-Subject-Token", TOKEN);
    response.body(Body::from(document.to_string())).unwrap()
}

fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, (u16, &'static str)> {
    serde_json::from_slice(body).map_err(|_| (400, "the body is not what it should be"))
}

impl Inner {
    fn answer(&mut self, method: &Method, uri: &Uri, if_match: Option<String>, body: &[u8]) -> Answer {
        let query: BTreeMap<String, String> =
            reqwest::Url::parse(&format!("http://h{uri}")).unwrap().query_pairs().into_owned().collect();
        let segments: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
        match (method.as_str(), &segments[..]) {
            ("GET", ["v1", "algorithms"]) => Ok((200, algorithms())),
            ("POST", ["v1", "keys"]) => {
                let id = format!("00000000-0000-4000-8000-{:012}", self.keys.len() + 1);
                self.put(&id, parsed(body)?)
            }
            ("PUT", ["v1", "keys", id]) => self.put(id, parsed(body)?),
            ("GET", ["v1", "keys"]) => Ok((200, self.list(&query))),
            ("GET", ["v1", "keys", id]) => {
                let key = self.find(id, false)?;
                if key.document.state != State::Active && !query.contains_key("allow_inactive") {
                    return Err((409, "the key is deactivated: its key string is not released"));
                }
                let key_string = KeyString::new(key.key_string.clone());
                let released = ReleasedKey { key: key.document.clone(), key_string };
                Ok((200, serde_json::to_value(released).unwrap()))
            }
            ("GET", ["v1", "keys", id, "metadata"]) => document(self.find(id, false)?),
            ("PATCH", ["v1", "keys", id]) => {
                let version = if_match.ok_or((428, "If-Match is missing"))?;
                let key = self.find(id, false)?;
                key.update(&version, parsed(body)?)
            }
            ("DELETE", ["v1", "keys", id]) => {
                let key = self.find(id, false)?;
                key.expect(if_match.as_deref())?;
                key.document.deletion = Some(Deletion { at: NOW.to_owned(), purge_at: NOW.to_owned() });
                Ok((204, json!(null)))
            }
            ("POST", ["v1", "keys", id, "undelete"]) => {
                let key = self.find(id, true)?;
                key.document.deletion = None;
                document(key)
            }
            ("POST", ["v1", "keys", id, "revoke"]) => {
                let RevokeRequest { reason } = parsed(body)?;
                let key = self.find(id, false)?;
                key.document.state = State::Deactivated;
                key.document.revocation = Some(Revocation { reason, at: NOW.to_owned() });
                document(key)
            }
            ("GET", ["v1", "scope-keys"]) => Ok((200, self.list_scope_keys(&query))),
            (_, ["v1", "encryption-defaults", level, id]) => {
                self.encryption_default(method, (level, id), if_match.as_deref(), body)
            }
            (_, ["v1", "operator", "secrets", rest @ ..]) => self.operate(method, rest, &query),
            _ => Err((404, "there is no such route")),
        }
    }

    fn find(&mut self, id: &str, deleted: bool) -> Result<&mut Stored, (u16, &'static str)> {
        let found = self.keys.iter_mut().find(|key| key.document.id == id);
        found.filter(|key| key.document.deletion.is_some() == deleted).ok_or((404, "there is no such key"))
    }

    fn put(&mut self, id: &str, request: NewKeyRequest) -> Answer {
        if self.keys.iter().any(|key| key.document.id == id) {
            return Err((409, "the key exists"));
        }
        if request.generate == request.key_string.is_some() {
            return Err((400, "either key_string or generate"));
        }
        let key_string = request.key_string.map_or_else(|| vec![7; 32], |key| key.expose().to_vec());
        let document = KeyDocument {
            id: id.to_owned(),
            version: 1,
            state: State::Active,
            name: request.name,
            algorithm: request.algorithm,
            bit_length: request.bit_length,
            scope: request.scope,
            scope_id: request.scope_id,
            master_key: request.master_key,
            attributes: request.attributes,
            owner: "u1".to_owned(),
            project_id: "p1".to_owned(),
            created_at: NOW.to_owned(),
            updated_at: NOW.to_owned(),
            activates_at: request.activates_at,
            expires_at: request.expires_at,
            revocation: None,
            deletion: None,
        };
        let answer = (201, serde_json::to_value(&document).unwrap());
        self.keys.push(Stored { document, key_string });
        Ok(answer)
    }

    fn list(&self, query: &BTreeMap<String, String>) -> serde_json::Value {
        let limit = query.get("limit").map_or(PAGE, |limit| limit.parse().unwrap()).min(PAGE);
        let matching: Vec<&KeyDocument> = self
            .keys
            .iter()
            .map(|key| &key.document)
            .filter(|key| key.deletion.is_some() == query.contains_key("deleted"))
            .filter(|key| {
                query.get("master_key").is_none_or(|wanted| key.master_key.as_ref() == Some(wanted))
            })
            .collect();
        let start = query
            .get("marker")
            .map_or(0, |marker| matching.iter().position(|key| key.id == *marker).unwrap() + 1);
        let page: Vec<KeyDocument> = matching[start..].iter().take(limit).map(|key| (*key).clone()).collect();
        // On purpose another host: a client must take the marker only.
        let next = (start + page.len() < matching.len())
            .then(|| format!("http://elsewhere.invalid/v1/keys?marker={}", page.last().unwrap().id));
        serde_json::to_value(KeyPage { keys: page, links: Links { next } }).unwrap()
    }
}

impl Stored {
    fn expect(&self, if_match: Option<&str>) -> Result<(), (u16, &'static str)> {
        match if_match {
            Some(version) if version != format!("\"{}\"", self.document.version) => {
                Err((412, "the key has another version"))
            }
            _ => Ok(()),
        }
    }

    fn update(&mut self, if_match: &str, update: UpdateKeyRequest) -> Answer {
        self.expect(Some(if_match))?;
        let document = &mut self.document;
        if let Some(name) = update.name {
            document.name = name;
        }
        if let Some(master_key) = update.master_key {
            document.master_key = master_key;
        }
        if let Some(attributes) = update.attributes {
            document.attributes = attributes;
        }
        if let Some(expires_at) = update.expires_at {
            document.expires_at = expires_at;
        }
        if let Some(key_string) = update.key_string {
            self.key_string = key_string.expose().to_vec();
        }
        self.document.version += 1;
        self::document(self)
    }
}

fn document(key: &mut Stored) -> Answer {
    Ok((200, serde_json::to_value(&key.document).unwrap()))
}

fn algorithms() -> serde_json::Value {
    json!({
        "algorithms": [
            {"name": "aes", "aliases": [], "kind": "symmetric", "status": "recommended",
             "bit_lengths": [128, 192, 256], "generated_bit_lengths": [128, 192, 256], "default_bit_length": 256,
             "modes": [{"name": "gcm", "bit_lengths": [256]}, {"name": "xts", "bit_lengths": [512]}],
             "accelerated": true},
            {"name": "hmac", "aliases": [], "kind": "mac", "status": "allowed",
             "bit_lengths": {"minimum": 128, "maximum": 4096, "step": 8},
             "generated_bit_lengths": {"minimum": 128, "maximum": 4096, "step": 8}, "default_bit_length": 0,
             "modes": [], "accelerated": false}],
        "data_ciphers": [
            {"name": "aes-256-gcm", "algorithm": "aes", "mode": "gcm", "bit_length": 256, "authenticated": true,
             "length_preserving": false, "random_access": true, "status": "recommended"}],
        "acceleration": {"aes": true, "vector_aes": false, "units": ["aes"]}
    })
}

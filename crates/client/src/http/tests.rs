use std::time::Instant;

use serde_json::json;

use super::*;
use crate::keystone::{Credentials, DomainReference, KeystoneConfig, Scope, UserReference};
use crate::testing::{Reply, Seen, TestServer};

fn options() -> TransportOptions {
    TransportOptions { request_timeout: Duration::from_millis(700), ..TransportOptions::default() }
}

fn session(url: &str) -> Session {
    let token = Authentication::StaticToken(SecretText::new("token-canary"));
    Session::new(url, token, &options()).unwrap()
}

fn get(path: &str) -> Request {
    Request::new(Method::GET, path)
}

async fn answered(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Response, ClientError> {
    let server = TestServer::start(move |_, _| reply()).await;
    session(&server.url).request(get("/v1/keys/a")).await
}

#[tokio::test]
async fn requests_carry_path_query_headers_body_and_token() {
    let server = TestServer::start(|_, _| {
        Reply::Answer(
            201,
            vec![("ETag", "\"3\"".into()), ("x-openstack-request-id", "req-1".into())],
            "{\"id\":\"k\"}".into(),
        )
    })
    .await;
    let session = session(&format!("{}/key-manager/", server.url));
    let request = Request::new(Method::PATCH, "/v1/keys/a%2Fb")
        .query("scope", "a b&c")
        .header("If-Match", "\"2\"")
        .unwrap()
        .json(&json!({"key": "bytes-canary"}))
        .unwrap();
    assert!(!format!("{request:?}").contains("canary"));
    let response = session.request(request).await.unwrap();
    assert_eq!((response.status, response.header("etag")), (201, Some("\"3\"")));
    assert_eq!(response.request_id(), Some("req-1"));
    assert_eq!(response.json::<serde_json::Value>().unwrap(), json!({"id": "k"}));
    let seen = &server.seen()[0];
    assert_eq!(seen.method, "PATCH");
    assert_eq!(seen.target, "/key-manager/v1/keys/a%2Fb?scope=a+b%26c");
    assert_eq!(seen.header("x-auth-token"), Some("token-canary"));
    assert_eq!(seen.header("if-match"), Some("\"2\""));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.body, "{\"key\":\"bytes-canary\"}");
    assert!(!format!("{session:?}").contains("canary"));
}

#[tokio::test]
async fn both_error_shapes_are_read() {
    let native = answered(|| {
        let body = json!({"error": {"code": 409, "title": "Conflict", "message": "the key exists"}});
        Reply::Answer(409, vec![("x-openstack-request-id", "req-7".into())], body.to_string())
    });
    let ClientError::Api { status, title, message, request_id, .. } = native.await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((status, title.as_str(), message.as_str()), (409, "Conflict", "the key exists"));
    assert_eq!(request_id.as_deref(), Some("req-7"));
    let barbican = answered(|| {
        Reply::json(404, &json!({"code": 404, "title": "Not Found", "description": "no such secret"}))
    });
    let text = barbican.await.unwrap_err().to_string();
    assert_eq!(text, "Not Found (status 404): no such secret");
}

#[tokio::test]
async fn other_bodies_are_not_quoted_and_texts_are_cleaned() {
    for body in ["<html>canary</html>", "", "canary", "[\"canary\"]", "{\"error\":\"canary\"}"] {
        let error = answered(move || Reply::Answer(502, vec![], body.into())).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        assert_eq!(error.status(), Some(502));
        assert!(error.to_string().contains("Bad Gateway"));
    }
    let nasty =
        answered(|| Reply::json(400, &json!({"error": {"title": "\u{1b}[2J", "message": "x".repeat(5000)}})));
    let text = nasty.await.unwrap_err().to_string();
    assert!(!text.contains('\u{1b}') && text.len() < 1200, "{text}");
}

#[tokio::test]
async fn malformed_successes_name_the_field_only() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Key {
        version: u64,
    }
    let response = answered(|| Reply::json(200, &json!({"version": "canary"}))).await.unwrap();
    let error = response.json::<Key>().unwrap_err();
    assert!(error.to_string().contains("version") && !format!("{error:?}").contains("canary"));
    assert!(!format!("{response:?}").contains("canary"));
}

#[tokio::test]
async fn redirects_are_refused() {
    let error =
        answered(|| Reply::Answer(307, vec![("Location", "http://127.0.0.1:1/".into())], String::new()));
    assert!(matches!(error.await, Err(ClientError::Redirected { status: 307 })));
    assert_eq!(answered(|| Reply::json(300, &json!({"versions": []}))).await.unwrap().status, 300);
}

fn busy(number: usize, until: usize, retry_after: Option<&'static str>) -> Reply {
    if number >= until {
        return Reply::json(200, &json!({}));
    }
    let headers = retry_after.map(|value| ("Retry-After", value.to_owned())).into_iter().collect();
    Reply::Answer(503, headers, String::new())
}

#[tokio::test]
async fn busy_servers_are_asked_again_only_where_that_is_safe() {
    for (method, until, retry_after, asked, ends) in [
        (Method::GET, 2, Some("0"), 3, 200),
        (Method::HEAD, 1, Some("0"), 2, 200),
        (Method::PUT, 1, Some("0"), 1, 503),
        (Method::DELETE, 1, Some("0"), 1, 503),
        (Method::GET, 9, Some("0"), 4, 503),
        (Method::POST, 1, Some("0"), 1, 503),
        (Method::PATCH, 1, Some("0"), 1, 503),
        (Method::GET, 1, None, 1, 503),
        (Method::GET, 1, Some("3600"), 1, 503),
        (Method::GET, 1, Some("soon"), 1, 503),
    ] {
        let server = TestServer::start(move |number, _| busy(number, until, retry_after)).await;
        let result = session(&server.url).request(Request::new(method.clone(), "/v1/keys")).await;
        let status = result.map_or_else(|error| error.status().unwrap(), |response| response.status);
        assert_eq!((server.seen().len(), status), (asked, ends), "{method} {retry_after:?}");
    }
}

#[tokio::test]
async fn connect_failures_are_retried_for_every_method() {
    let session = session("http://127.0.0.1:1");
    for method in [Method::GET, Method::PUT, Method::POST] {
        let start = Instant::now();
        let error = session.request(Request::new(method.clone(), "/v1/keys")).await.unwrap_err();
        assert!(matches!(error, ClientError::Transport(TransportError::Connect(_))), "{error:?}");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1400), "{method} took {took:?}");
        assert!(took < Duration::from_millis(2400), "{method} took {took:?}");
    }
}

#[tokio::test]
async fn timeouts_are_not_retried() {
    let server = TestServer::start(|_, _| Reply::Hang).await;
    let error = session(&server.url).request(get("/v1/keys")).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport(TransportError::Timeout)));
    assert_eq!(server.seen().len(), 1);
}

fn keystone_session(url: &str) -> Session {
    let keystone = Keystone::new(KeystoneConfig {
        auth_url: format!("{url}/identity"),
        credentials: Credentials::Password {
            user: UserReference::Name { name: "swift".into(), domain: DomainReference::Id("default".into()) },
            password: SecretText::new("pw"),
        },
        scope: Scope::Default,
        transport: options(),
    });
    Session::new(url, Authentication::Keystone(Arc::new(keystone.unwrap())), &options()).unwrap()
}

fn keystone_reply(number: usize) -> Reply {
    let document = json!({"token": {"issued_at": "2026-11-23T19:00:00Z", "expires_at": "2026-11-23T20:00:00Z",
        "user": {"id": "u", "name": "n", "domain": {"id": "d", "name": "D"}}}});
    Reply::Answer(201, vec![("X-Subject-Token", format!("issued-{number}"))], document.to_string())
}

fn is_login(seen: &Seen) -> bool {
    seen.target == "/identity/v3/auth/tokens"
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_any_method() {
    let server = TestServer::start(|number, seen| match seen.header("x-auth-token") {
        _ if is_login(seen) => keystone_reply(number),
        Some("issued-0") => Reply::Answer(401, vec![], String::new()),
        _ => Reply::json(201, &json!({})),
    })
    .await;
    let session = keystone_session(&server.url);
    let request = Request::new(Method::POST, "/v1/keys").json(&json!({"bits": 256})).unwrap();
    assert_eq!(session.request(request).await.unwrap().status, 201);
    let seen = server.seen();
    assert_eq!(seen.iter().filter(|seen| is_login(seen)).count(), 2);
    assert_eq!(seen.last().unwrap().body, "{\"bits\":256}");
}

#[tokio::test]
async fn a_token_refused_twice_is_an_error() {
    let server = TestServer::start(|number, seen| {
        if is_login(seen) { keystone_reply(number) } else { Reply::Answer(401, vec![], String::new()) }
    })
    .await;
    let error = keystone_session(&server.url).request(get("/v1/keys")).await.unwrap_err();
    assert_eq!((error.status(), server.seen().len()), (Some(401), 4));
    let error = answered(|| Reply::Answer(401, vec![], String::new())).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_sent() {
    let server = TestServer::start(|_, _| Reply::json(200, &json!({}))).await;
    let session = session(&server.url);
    for path in [
        "",
        "v1/keys",
        "/v1/keys/../secrets",
        "/v1/keys/%2e%2E",
        "/v1?x=1",
        "/v1#f",
        "/a b",
        "/é",
        "/a\\b",
        "/.",
    ] {
        let error = session.request(get(path)).await.unwrap_err();
        assert!(matches!(error, ClientError::InvalidRequest(_)), "{path:?}: {error:?}");
    }
    assert!(get("/v1").header("X-Name", "a\r\nb").is_err());
    assert!(get("/v1").header("X Name", "a").is_err());
    let broken = Authentication::StaticToken(SecretText::new("a b"));
    let broken = Session::new(&server.url, broken, &options()).unwrap();
    assert!(matches!(broken.request(get("/v1")).await, Err(ClientError::UnusableToken)));
    assert!(server.seen().is_empty());
    assert!(Session::new("not a url", Authentication::Anonymous, &options()).is_err());
}

#[tokio::test]
async fn anonymous_sessions_send_no_token() {
    let server = TestServer::start(|_, _| Reply::json(200, &json!({}))).await;
    let session = Session::new(&server.url, Authentication::Anonymous, &options()).unwrap();
    session.request(get("/readyz")).await.unwrap();
    assert!(server.seen()[0].header("x-auth-token").is_none());
}

#[test]
fn segments() {
    assert_eq!(encode_segment("abc-1._~"), "abc-1._~");
    assert_eq!(encode_segment("a/b ?#%é"), "a%2Fb%20%3F%23%25%C3%A9");
}

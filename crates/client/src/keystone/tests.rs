use std::time::Instant;

use serde_json::json;

use super::*;
use crate::testing::{Reply, Seen, TestServer};

const SUBJECT: &str = "subject-canary";

fn keystone(url: &str) -> Keystone {
    Keystone::new(KeystoneConfig {
        auth_url: url.into(),
        credentials: Credentials::Password {
            user: UserReference::Name {
                name: "chatelaine".into(),
                domain: DomainReference::Name("Default".into()),
            },
            password: SecretText::new("password-canary"),
        },
        scope: Scope::Project(ProjectReference::Id("service".into())),
        transport: TransportOptions {
            connect_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_millis(600),
            ..TransportOptions::default()
        },
    })
    .unwrap()
}

fn document(seconds: u32) -> serde_json::Value {
    json!({"token": {
        "audit_ids": ["a"], "issued_at": "2026-11-23T19:00:00.000000Z",
        "expires_at": format!("2026-11-23T19:{:02}:{:02}.000000Z", seconds / 60, seconds % 60),
        "methods": ["password"], "roles": [{"id": "1", "name": "service"}],
        "user": {"id": "u", "name": "n", "domain": {"id": "default", "name": "Default"}},
        "catalog": [{"type": "key-manager", "endpoints": [{"interface": "public", "url": "http://k:9311"}]}]}})
}

fn issue(number: usize, seconds: u32) -> Reply {
    Reply::Answer(
        201,
        vec![("X-Subject-Token", format!("own-canary-{number}"))],
        document(seconds).to_string(),
    )
}

fn is_login(seen: &Seen) -> bool {
    seen.method == "POST"
}

fn logins(server: &TestServer) -> usize {
    server.seen().iter().filter(|seen| is_login(seen)).count()
}

/// Keystone's own 404, with the subject token inside as it really happens.
fn not_found() -> Reply {
    Reply::json(404, &json!({"error": {"code": 404, "title": "Not Found", "message": SUBJECT}}))
}

#[tokio::test]
async fn asks_as_keystone_wants_to_be_asked() {
    let server = TestServer::start(|number, seen| {
        if is_login(seen) { issue(number, 1800) } else { Reply::json(200, &document(1800)) }
    })
    .await;
    let keystone = keystone(&server.url);
    let token = keystone.validate(SUBJECT, false).await.unwrap();
    assert_eq!(token.roles, ["service"]);
    keystone.validate(SUBJECT, true).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3, "one login, two questions");
    assert_eq!(seen[0].target, "/v3/auth/tokens");
    assert_eq!(seen[1].target, "/v3/auth/tokens?nocatalog");
    assert_eq!(seen[2].target, "/v3/auth/tokens?nocatalog&allow_expired=1");
    assert_eq!(seen[1].header("x-auth-token"), Some("own-canary-0"));
    assert_eq!(seen[1].header("x-subject-token"), Some(SUBJECT));
    assert_eq!(seen[1].header("openstack-identity-access-rules"), Some("1.0"));
    let endpoint = keystone.endpoint("key-manager", Interface::Public, None).await.unwrap();
    assert_eq!(endpoint, "http://k:9311");
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let html = || Reply::Answer(404, vec![], "<html>subject-canary</html>".into());
    type Check = fn(&ValidateError) -> bool;
    let malformed: Check = |e| matches!(e, ValidateError::Unavailable(Unavailable::Malformed(_)));
    let cases: Vec<(fn() -> Reply, Check)> = vec![
        (not_found, |e| matches!(e, ValidateError::NotValid)),
        (html, malformed),
        (|| Reply::Answer(403, vec![], SUBJECT.into()), |e| matches!(e, ValidateError::NotAllowed { .. })),
        (|| Reply::Answer(401, vec![], SUBJECT.into()), |e| matches!(e, ValidateError::OwnCredentials(_))),
        (
            || Reply::Answer(500, vec![], SUBJECT.into()),
            |e| matches!(e, ValidateError::Unavailable(Unavailable::Status(500))),
        ),
        (
            || Reply::Answer(302, vec![("Location", "http://elsewhere/".into())], String::new()),
            |e| matches!(e, ValidateError::Unavailable(Unavailable::Status(302))),
        ),
        (|| Reply::Answer(200, vec![], format!("{{\"token\": \"{SUBJECT}\"}}")), malformed),
        (|| Reply::Answer(200, vec![], String::new()), malformed),
        (
            || Reply::Answer(200, vec![], "x".repeat(300 << 10)),
            |e| {
                let too_large = TransportError::TooLarge { limit: 256 << 10 };
                *e == ValidateError::Unavailable(Unavailable::Transport(too_large))
            },
        ),
        (
            || Reply::Hang,
            |e| *e == ValidateError::Unavailable(Unavailable::Transport(TransportError::Timeout)),
        ),
        (
            || Reply::Close,
            |e| matches!(e, ValidateError::Unavailable(Unavailable::Transport(TransportError::Broken(_)))),
        ),
    ];
    for (index, (reply, check)) in cases.into_iter().enumerate() {
        let server =
            TestServer::start(move |number, seen| if is_login(seen) { issue(number, 1800) } else { reply() })
                .await;
        let error = keystone(&server.url).validate(SUBJECT, false).await.unwrap_err();
        assert!(check(&error), "case {index}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "case {index}: {error:?}");
    }
}

#[tokio::test]
async fn a_refused_own_token_is_renewed_once() {
    let server = TestServer::start(|number, seen| match seen.header("x-auth-token") {
        None => issue(number, 1800),
        Some("own-canary-0") => Reply::Answer(401, vec![], String::new()),
        Some(_) => Reply::json(200, &document(1800)),
    })
    .await;
    let keystone = Arc::new(keystone(&server.url));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let keystone = Arc::clone(&keystone);
            tokio::spawn(async move { keystone.validate(SUBJECT, false).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(logins(&server), 2, "one login and one renewal for all");
}

#[tokio::test]
async fn short_tokens_are_renewed_before_they_end() {
    let server = TestServer::start(|number, _| issue(number, 1)).await;
    let keystone = keystone(&server.url);
    let first = keystone.token().await.unwrap();
    assert!(Arc::ptr_eq(&first, &keystone.token().await.unwrap()));
    tokio::time::sleep(Duration::from_millis(950)).await;
    let second = keystone.token().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(logins(&server), 2);
}

#[tokio::test]
async fn a_token_in_its_margin_serves_on_while_keystone_is_away() {
    let server = TestServer::start(|number, _| {
        if number == 0 { issue(number, 3) } else { Reply::Answer(503, vec![], String::new()) }
    })
    .await;
    let keystone = keystone(&server.url);
    let first = keystone.token().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2750)).await;
    assert!(Arc::ptr_eq(&first, &keystone.token().await.unwrap()));
    tokio::time::sleep(Duration::from_millis(350)).await;
    let error = keystone.token().await.unwrap_err();
    assert_eq!(error, AuthenticateError::Unavailable(Unavailable::Status(503)));
}

#[tokio::test]
async fn a_refusal_is_not_repeated_at_once() {
    let server = TestServer::start(|_, _| Reply::Answer(401, vec![], "password-canary".into())).await;
    let keystone = keystone(&server.url);
    for _ in 0..5 {
        let error = keystone.validate(SUBJECT, false).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, ValidateError::OwnCredentials(_)));
        assert!(text.contains("`chatelaine`") && !text.contains("canary"), "{text}");
    }
    assert_eq!(logins(&server), 1);
}

#[tokio::test]
async fn a_hung_keystone_costs_every_caller_one_timeout() {
    let server = TestServer::start(|_, _| Reply::Hang).await;
    let keystone = Arc::new(keystone(&server.url));
    let start = Instant::now();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let keystone = Arc::clone(&keystone);
            tokio::spawn(async move { keystone.validate(SUBJECT, false).await })
        })
        .collect();
    for one in all {
        assert!(matches!(one.await.unwrap(), Err(ValidateError::Unavailable(_))));
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn authentication_failures_are_told_apart() {
    let receipt = || Reply::Answer(401, vec![("Openstack-Auth-Receipt", "r".into())], String::new());
    let bare = || Reply::Answer(201, vec![], document(60).to_string());
    type Check = fn(&AuthenticateError) -> bool;
    let cases: Vec<(fn() -> Reply, Check)> = vec![
        (receipt, |e| matches!(e, AuthenticateError::MoreMethods { .. })),
        (|| Reply::Answer(403, vec![], String::new()), |e| matches!(e, AuthenticateError::NotAllowed { .. })),
        (|| Reply::Answer(400, vec![], String::new()), |e| matches!(e, AuthenticateError::BadRequest)),
        (not_found, |e| matches!(e, AuthenticateError::NotKeystone)),
        (bare, |e| matches!(e, AuthenticateError::Unavailable(Unavailable::Malformed(_)))),
        (|| Reply::Hang, |e| matches!(e, AuthenticateError::Unavailable(Unavailable::Transport(_)))),
    ];
    for (index, (reply, check)) in cases.into_iter().enumerate() {
        let server = TestServer::start(move |_, _| reply()).await;
        let error = keystone(&server.url).token().await.unwrap_err();
        assert!(check(&error), "case {index}: {error:?}");
    }
}

#[tokio::test]
async fn texts_that_cannot_be_tokens_are_not_sent() {
    let server = TestServer::start(|number, _| issue(number, 60)).await;
    let keystone = keystone(&server.url);
    let long = "x".repeat(TOKEN_LIMIT + 1);
    for bad in ["", "a b", "a\r\nX-Auth-Token: b", "é", long.as_str()] {
        assert_eq!(keystone.validate(bad, false).await, Err(ValidateError::NotValid));
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let server = TestServer::start(|number, _| issue(number, 60)).await;
    let keystone = keystone(&server.url);
    let token = keystone.token().await.unwrap();
    let text = format!("{keystone:?} {token:?}");
    assert!(!text.contains("canary"), "{text}");
    assert!(server.seen()[0].body.contains("password-canary"));
}

#[tokio::test]
async fn reachability_needs_no_token() {
    let server = TestServer::start(|_, _| Reply::json(200, &json!({"version": {}}))).await;
    keystone(&server.url).reachable().await.unwrap();
    assert_eq!(server.seen()[0].target, "/v3");
    assert!(server.seen()[0].header("x-auth-token").is_none());
    assert!(keystone("http://127.0.0.1:1").reachable().await.is_err());
}

#[test]
fn addresses_get_their_version() {
    for (given, expected) in [
        ("http://k:5000", "http://k:5000/v3"),
        ("http://k:5000/", "http://k:5000/v3"),
        ("http://k:5000/v3/", "http://k:5000/v3"),
        ("https://k/identity", "https://k/identity/v3"),
        ("https://k/identity/v3", "https://k/identity/v3"),
    ] {
        assert_eq!(versioned(given).unwrap().as_str(), expected);
    }
    assert!(versioned("http://k:5000/v2.0").unwrap_err().to_string().contains("/v3"));
}

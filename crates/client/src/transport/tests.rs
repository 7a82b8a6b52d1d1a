use std::io::Write;
use std::time::Instant;

use super::*;
use crate::testing::{Reply, TestServer};

fn options() -> TransportOptions {
    TransportOptions {
        connect_timeout: Duration::from_millis(200),
        request_timeout: Duration::from_millis(400),
        body_limit: 1000,
        ..TransportOptions::default()
    }
}

async fn fetch(url: &str) -> Result<Answer, TransportError> {
    let transport = Transport::new(&options()).unwrap();
    transport.send(Outgoing::new(Method::GET, Url::parse(url).unwrap())).await
}

#[tokio::test]
async fn a_hung_server_costs_the_timeout() {
    let server = TestServer::start(|_, _| Reply::Hang).await;
    let start = Instant::now();
    assert_eq!(fetch(&server.url).await.err(), Some(TransportError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn long_bodies_are_refused_not_cut() {
    let server = TestServer::start(|_, seen| {
        let length = if seen.target == "/long" { 1001 } else { 1000 };
        Reply::Answer(200, vec![], "x".repeat(length))
    })
    .await;
    let error = fetch(&format!("{}/long", server.url)).await.err();
    assert_eq!(error, Some(TransportError::TooLarge { limit: 1000 }));
    assert_eq!(fetch(&format!("{}/fits", server.url)).await.unwrap().body.len(), 1000);
}

#[tokio::test]
async fn redirects_are_handed_back() {
    let server = TestServer::start(|_, _| {
        Reply::Answer(302, vec![("Location", "http://127.0.0.1:1/elsewhere".into())], String::new())
    })
    .await;
    assert_eq!(fetch(&server.url).await.unwrap().status, 302);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn refused_and_broken_connections_are_told_apart() {
    let refused = fetch("http://127.0.0.1:1/canary?canary=canary").await.err().unwrap();
    assert!(matches!(refused, TransportError::Connect(_)), "{refused:?}");
    assert!(!refused.to_string().contains("canary"), "{refused}");
    let server = TestServer::start(|_, _| Reply::Close).await;
    let broken = fetch(&server.url).await.err().unwrap();
    assert!(matches!(broken, TransportError::Broken(_)), "{broken:?}");
    let server = TestServer::start(|_, _| Reply::Answer(200, vec![], String::new())).await;
    let no_tls = fetch(&server.url.replace("http:", "https:")).await.err().unwrap();
    // The handshake is part of connecting: here its time runs out.
    assert!(matches!(no_tls, TransportError::ConnectTimeout), "{no_tls:?}");
}

#[test]
fn ca_files_are_checked_when_the_client_is_built() {
    let missing = TransportOptions { ca_file: Some("/no/such/file.pem".into()), ..options() };
    let error = Transport::new(&missing).err().unwrap().to_string();
    assert!(error.contains("/no/such/file.pem"), "{error}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not a certificate").unwrap();
    let empty = TransportOptions { ca_file: Some(file.path().into()), ..options() };
    assert!(matches!(Transport::new(&empty).err(), Some(SetupError::File { .. })));
    let identity = ClientCertificate { certificate: file.path().into(), key: None };
    let bad = TransportOptions { client_certificate: Some(identity), ..options() };
    assert!(matches!(Transport::new(&bad).err(), Some(SetupError::File { .. })));
}

#[test]
fn base_urls() {
    let read = |text| base_url("the endpoint", text);
    assert_eq!(
        join(&read("https://host:1/key/").unwrap(), "/v1/keys").as_str(),
        "https://host:1/key/v1/keys"
    );
    assert_eq!(join(&read("http://host").unwrap(), "/v1").as_str(), "http://host/v1");
    for bad in
        ["", "host:9311", "ftp://host", "https://", "http://u:canary@host", "http://h/?q=1", "http://h/#f"]
    {
        let error = read(bad).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn foreign_text_is_made_printable() {
    assert_eq!(printable("a\x1b[31mb\nc", 100), "a [31mb c");
    assert_eq!(printable("abcdef", 3), "abc…");
    assert_eq!(printable("abc", 3), "abc");
}

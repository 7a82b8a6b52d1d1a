use http::{HeaderValue, header};

use super::*;

async fn read(kind: Option<&'static str>, bytes: &'static [u8]) -> Result<Object, u16> {
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    object(&headers, Body::from(bytes), 40, Duration::from_secs(5), "Test")
        .await
        .map_err(|error| error.status())
}

#[tokio::test]
async fn wrong_bodies_are_told_apart() {
    let json = Some("application/json; charset=latin-1");
    assert!(read(json, b" {} ").await.is_ok());
    for (kind, bytes, status) in [
        (None, &b"{}"[..], 415),
        (Some("text/plain"), b"{}", 415),
        (json, b"", 400),
        (json, b"{", 400),
        (json, b"[]", 400),
        (json, b"null", 400),
        (json, b"{} {}", 400),
        (json, b"{\"a\": NaN}", 400),
        (json, b"{\"a\": \"\xff\"}", 400),
        (json, b"{\"a\": \"0123456789012345678901234567890123\"}", 413),
    ] {
        assert_eq!(read(kind, bytes).await.unwrap_err(), status, "{bytes:?}");
    }
}

#[tokio::test]
async fn payloads_are_read_as_they_are() {
    let headers = HeaderMap::new();
    let read = async |bytes: &'static [u8]| {
        let result = super::bytes(&headers, Body::from(bytes), 4, Duration::from_secs(5)).await;
        result.map(|bytes| bytes.to_vec()).map_err(|error| error.status())
    };
    assert_eq!(read(b" \n\xff ").await, Ok(b" \n\xff ".to_vec()));
    assert_eq!(read(b"12345").await, Err(413));
    assert!(limit(20_000) > 40_000 && limit(usize::MAX) == usize::MAX);
}

#[test]
fn strings_have_no_blanks_around_them() {
    let mut object =
        Object::parse("Test", br#"{"a":"  x y \n","b":["\t1","\u001c2\u00a0"],"c":{"d":" e "},"a ":"kept"}"#)
            .unwrap();
    assert_eq!(object.text("a", 3).unwrap().unwrap().as_str(), "x y");
    assert_eq!(object.take("b").unwrap().shown(), serde_json::json!(["1", "2"]));
    assert_eq!(object.take("c").unwrap().shown(), serde_json::json!({"d": "e"}));
    assert!(object.has("a "));
}

#[test]
fn types_are_checked_and_named() {
    let of = |json: &str| Object::parse("Test", json.as_bytes()).unwrap();
    assert_eq!(of(r#"{"a":256.0}"#).integer("a").unwrap(), Some(256));
    assert_eq!(of(r#"{"a":-1}"#).integer("a").unwrap(), Some(-1));
    assert_eq!(of(r#"{"a":null}"#).text_or_null("a", 9).unwrap(), None);
    assert_eq!(of(r#"{"a":1,"a":2}"#).integer("a").unwrap(), Some(2));
    for json in [r#"{"a":true}"#, r#"{"a":"1"}"#, r#"{"a":1.5}"#, r#"{"a":1e300}"#, r#"{"a":null}"#] {
        assert_eq!(of(json).integer("a").unwrap_err().property(), Some("a"), "{json}");
    }
    assert!(of(r#"{"a":null}"#).text("a", 9).is_err());
    assert!(of(r#"{"a":"äöü"}"#).text("a", 2).is_err());
    assert!(of(r#"{"a":"äöü"}"#).text("a", 3).is_ok());
    assert!(of(r#"{"a":1}"#).boolean("a").is_err());
    assert!(of(r#"{"a":null}"#).list("a").is_err());
    assert!(of(r#"{"a":" "}"#).required("a", 9).is_err());
    let missing = of("{}").required("a", 9).unwrap_err();
    assert_eq!((missing.property(), missing.status()), (None, 400));
    assert_eq!(of(r#"{"b":1}"#).finish().unwrap_err().property(), Some("b"));
}

#[test]
fn expirations_are_in_the_future() {
    let object = Object::parse("Test", b"{}").unwrap();
    let now = time::parsed("2027-01-01").unwrap();
    let future = |text: &str| object.future("expiration", Some(&Text::new(text.to_owned())), now);
    assert_eq!(future("2027-01-02").unwrap(), time::parsed("2027-01-02"));
    assert_eq!(future("").unwrap(), None);
    for text in ["2027-01-01", "2026-12-31T23:59:59", "2027-01-01T01:00:00+02:00", "soon"] {
        assert_eq!(future(text).unwrap_err().property(), Some("expiration"), "{text}");
    }
}

/// T-SECRET-LOGGED: a broken body is not repeated in the refusal.
#[test]
fn refusals_and_debug_output_hold_nothing_of_the_body() {
    for body in
        [r#"{"payload":"SECRET"#, r#"{"payload":SECRET}"#, r#"{"payload":{"SECRET":1}}"#, r#""SECRET""#]
    {
        let said = match Object::parse("Secret", body.as_bytes()) {
            Err(error) => format!("{error:?}"),
            Ok(mut object) => format!("{object:?} {:?}", object.text("payload", 100)),
        };
        assert!(!said.contains("SECRET"), "{said}");
    }
}

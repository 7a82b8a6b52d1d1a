use serde_json::json;

use super::*;

fn now() -> Timestamp {
    time::parsed("2027-01-01").unwrap()
}

fn read(body: &serde_json::Value) -> Result<NewSecret, BarbicanError> {
    NewSecret::read(Object::parse(SCHEMA, body.to_string().as_bytes())?, now(), 20)
}

#[test]
fn nothing_is_required() {
    let secret = read(&json!({"unknown": [1], "creator_id": "me"})).unwrap();
    assert_eq!((secret.name, secret.secret_type), (None, SecretType::Opaque));
    assert!(secret.payload.is_none() && !secret.transport_key_needed);
    assert!(read(&json!({"payload_content_encoding": "base64"})).unwrap().payload.is_none());
}

#[test]
fn everything_is_read() {
    let secret = read(&json!({
        "name": "  n ", "algorithm": "aes", "mode": "cbc", "bit_length": 256.0, "expiration": "2028-01-01T02:00:00+02:00",
        "payload": " QUJD\n", "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64", "secret_type": "symmetric",
        "transport_key_needed": "true", "transport_key_id": "t",
    }))
    .unwrap();
    assert_eq!((secret.name.as_deref(), secret.algorithm.as_deref()), (Some("n"), Some("aes")));
    assert_eq!((secret.mode.as_deref(), secret.bit_length), (Some("cbc"), Some(256)));
    assert_eq!(secret.expiration, time::parsed("2028-01-01"));
    let payload = secret.payload.unwrap();
    assert_eq!(
        (payload.bytes.expose(), payload.content_type.as_str()),
        (&b"ABC"[..], "application/octet-stream")
    );
    assert_eq!(secret.secret_type, SecretType::Symmetric);
    assert!(secret.transport_key_needed && secret.transport_key_id.is_some());
}

#[test]
fn refusals_name_the_property() {
    let long = "x".repeat(256);
    let text = |payload: &str| json!({"payload": payload, "payload_content_type": "text/plain"});
    for (body, property) in [
        (json!({"name": 1}), "name"),
        (json!({"name": long}), "name"),
        (json!({"algorithm": null}), "algorithm"),
        (json!({"mode": long}), "mode"),
        (json!({"bit_length": true}), "bit_length"),
        (json!({"bit_length": null}), "bit_length"),
        (json!({"bit_length": 0}), "bit_length"),
        (json!({"bit_length": 32_768}), "bit_length"),
        (json!({"bit_length": "256"}), "bit_length"),
        (json!({"expiration": null}), "expiration"),
        (json!({"expiration": "x"}), "expiration"),
        (json!({"expiration": "2026-01-01"}), "expiration"),
        (json!({"payload": null}), "payload"),
        (json!({"payload": 1}), "payload"),
        (json!({"payload": "a"}), "payload_content_type"),
        (json!({"payload": "a", "payload_content_type": null}), "payload_content_type"),
        (json!({"payload": "a", "payload_content_type": "text/html"}), "payload_content_type"),
        (json!({"payload_content_type": "text/plain"}), "payload"),
        (json!({"payload_content_type": null}), "payload"),
        (json!({"payload_content_encoding": "BASE64"}), "payload_content_encoding"),
        (json!({"payload_content_encoding": null}), "payload_content_encoding"),
        (text(" \n"), "payload"),
        (json!({"secret_type": "Opaque"}), "secret_type"),
        (json!({"secret_type": null}), "secret_type"),
        (json!({"transport_key_needed": true}), "transport_key_needed"),
        (json!({"transport_key_needed": "yes"}), "transport_key_needed"),
        (json!({"transport_key_id": 1}), "transport_key_id"),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!((error.status(), error.property()), (400, Some(property)), "{body}");
        assert!(error.description().unwrap().contains("'Secret'"), "{error:?}");
    }
    assert!(read(&json!({"name": null})).is_ok());
    assert!(read(&json!({"name": "x".repeat(255)})).is_ok());
    assert!(read(&text(&"x".repeat(20))).is_ok());
    assert_eq!(read(&text(&"x".repeat(21))).unwrap_err().status(), 413);
}

/// The order in which the checks are made: the type is wrong before the payload is too large, and so on.
#[test]
fn the_first_problem_is_told() {
    let body = |content_type, expiration, name: serde_json::Value| {
        json!({"payload": "!".repeat(30), "payload_content_type": content_type,
            "payload_content_encoding": "base64", "expiration": expiration, "name": name})
    };
    let octets = "application/octet-stream";
    for (body, status, property) in [
        (body("x", "x", json!(1)), 400, Some("name")),
        (body("x", "x", json!("n")), 400, Some("expiration")),
        (body("x", "", json!("n")), 400, Some("payload_content_type")),
        (body(octets, "", json!("n")), 413, None),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!((error.status(), error.property()), (status, property), "{body}");
    }
}

fn shown() -> Shown<'static> {
    Shown {
        secret_ref: "http://k/v1/secrets/x".to_owned(),
        created: now(),
        updated: now(),
        name: None,
        secret_type: SecretType::Opaque,
        expiration: None,
        algorithm: None,
        bit_length: None,
        mode: None,
        creator_id: "u",
        content_type: None,
        consumers: None,
    }
}

#[test]
fn unset_values_are_null_and_some_keys_are_absent() {
    assert_eq!(
        serde_json::to_value(SecretDocument::from(shown())).unwrap(),
        json!({
            "created": "2027-01-01T00:00:00", "updated": "2027-01-01T00:00:00", "status": "ACTIVE", "name": null,
            "secret_type": "opaque", "expiration": null, "algorithm": null, "bit_length": null, "mode": null,
            "creator_id": "u", "secret_ref": "http://k/v1/secrets/x",
        })
    );
    let consumers = [SecretConsumer {
        service: "glance".to_owned(),
        resource_type: "image".to_owned(),
        resource_id: "1".to_owned(),
    }];
    let full = Shown { content_type: Some("text/plain"), consumers: Some(&consumers), ..shown() };
    let document = serde_json::to_value(SecretDocument::from(full)).unwrap();
    assert_eq!(document["content_types"], json!({"default": "text/plain"}));
    assert_eq!(
        document["consumers"],
        json!([{"service": "glance", "resource_type": "image", "resource_id": "1"}])
    );
    let empty = SecretDocument::from(Shown { consumers: Some(&[]), ..shown() });
    assert_eq!(serde_json::to_value(empty).unwrap()["consumers"], json!([]));
}

#[test]
fn force_is_yes_or_no() {
    let forced =
        |query| forced(&super::super::super::query::Query::read(query)).map_err(|error| error.status());
    assert_eq!(
        (forced(None), forced(Some("force=1")), forced(Some("force=No"))),
        (Ok(false), Ok(true), Ok(false))
    );
    assert_eq!((forced(Some("force=")), forced(Some("force=2"))), (Err(400), Err(400)));
}

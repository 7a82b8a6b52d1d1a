use serde_json::json;

use super::*;

fn now() -> Timestamp {
    time::parsed("2027-01-01").unwrap()
}

fn read(body: &Value) -> Result<NewOrder, BarbicanError> {
    NewOrder::read(Object::parse(SCHEMA, body.to_string().as_bytes())?, now())
}

fn key(meta: &Value) -> Result<NewOrder, BarbicanError> {
    read(&json!({"type": "key", "meta": meta}))
}

#[test]
fn the_meta_is_shown_with_name_and_expiration() {
    let order =
        key(&json!({"algorithm": " aes ", "bit_length": 256.0, "mode": "cbc", "other": {"a": 1}})).unwrap();
    assert_eq!(
        (order.algorithm.as_str(), order.bit_length, order.mode.as_deref()),
        ("aes", 256, Some("cbc"))
    );
    assert_eq!(
        Value::Object(order.meta),
        json!({"algorithm": "aes", "bit_length": 256, "mode": "cbc", "other": {"a": 1}, "name": null, "expiration": null})
    );
    let order = key(&json!({"algorithm": "aes", "bit_length": 128, "name": "n", "expiration": "2028-01-01",
        "payload_content_type": "application/octet-stream"}))
    .unwrap();
    assert_eq!(order.meta["expiration"], "2028-01-01T00:00:00.000000");
    assert_eq!((order.name.as_deref(), order.expiration), (Some("n"), time::parsed("2028-01-01")));
    assert_eq!(order.payload_content_type.as_deref(), Some("application/octet-stream"));
}

/// T-SECRET-LOGGED: what is stored and shown of an order does not hold the passphrase.
#[test]
fn the_passphrase_is_taken_out() {
    let meta = json!({"algorithm": "rsa", "bit_length": 2048, "passphrase": "SECRET"});
    let order = read(&json!({"type": "asymmetric", "meta": meta})).unwrap();
    assert_eq!(order.kind.as_str(), "asymmetric");
    assert_eq!(order.passphrase.as_ref().unwrap().expose(), b"SECRET");
    assert!(!order.meta.contains_key("passphrase") && !format!("{order:?}").contains("SECRET"));
    let meta = json!({"algorithm": "rsa", "bit_length": 2048, "pass_phrase": "SECRET"});
    let order = read(&json!({"type": "asymmetric", "meta": meta})).unwrap();
    assert_eq!(order.passphrase.as_ref().unwrap().expose(), b"SECRET");
    assert!(!order.meta.contains_key("pass_phrase"));
    let meta =
        json!({"algorithm": "rsa", "bit_length": 2048, "passphrase": "SECRET", "pass_phrase": "OTHER"});
    let order = read(&json!({"type": "asymmetric", "meta": meta})).unwrap();
    assert_eq!(order.passphrase.as_ref().unwrap().expose(), b"SECRET");
    assert!(!order.meta.contains_key("passphrase") && !order.meta.contains_key("pass_phrase"));
    for empty in [json!(""), json!(null)] {
        let meta = json!({"algorithm": "rsa", "bit_length": 2048, "passphrase": empty});
        assert!(read(&json!({"type": "asymmetric", "meta": meta})).unwrap().passphrase.is_none());
    }
}

#[test]
fn wrong_orders_are_refused() {
    let meta = json!({"algorithm": "aes", "bit_length": 256});
    for body in [
        json!({}),
        json!({"type": "key"}),
        json!({"meta": meta}),
        json!({"type": "certificate", "meta": meta}),
        json!({"type": "Key", "meta": meta}),
        json!({"type": null, "meta": meta}),
        json!({"type": "key", "meta": null}),
        json!({"type": "key", "meta": []}),
        json!({"type": "key", "meta": {}}),
    ] {
        assert_eq!(read(&body).unwrap_err().status(), 400, "{body}");
    }
    for (name, value) in [
        ("algorithm", json!("")),
        ("algorithm", json!(" ")),
        ("algorithm", json!(1)),
        ("bit_length", json!(null)),
        ("bit_length", json!("256")),
        ("bit_length", json!(0)),
        ("bit_length", json!(127)),
        ("bit_length", json!(40_000)),
        ("name", json!(1)),
        ("expiration", json!("2026-01-01")),
        ("payload", json!("x")),
        ("payload", json!(null)),
        ("passphrase", json!(1)),
        ("passphrase", json!("x".repeat(1025))),
        ("pass_phrase", json!(1)),
    ] {
        let mut meta = meta.clone();
        meta[name] = value;
        let error = key(&meta).unwrap_err();
        assert_eq!((error.status(), error.property()), (400, Some(name)), "{meta}");
    }
}

#[test]
fn what_is_made() {
    let plan = |kind: &str, algorithm: &str, bits: u32, mode: &str| {
        let meta = json!({"algorithm": algorithm, "bit_length": bits, "mode": mode});
        read(&json!({"type": kind, "meta": meta})).unwrap().plan()
    };
    for (algorithm, bits, mode, right) in [
        ("aes", 256, "", true),
        ("AES", 64, "cbc", true),
        ("des", 192, "cbc", true),
        ("HMACSHA512", 256, "", true),
        ("aes", 512, "XTS", true),
        ("aes", 512, "cbc", false),
        ("aes", 64, "xts", false),
        ("aes", 160, "", false),
        ("3des", 192, "", false),
        ("rot13", 256, "", false),
    ] {
        let found = plan("key", algorithm, bits, mode);
        assert_eq!(found.is_ok(), right, "{algorithm} {bits} {mode} {found:?}");
        assert!(found.is_ok_and(|found| found == Plan::Key { bits }) == right);
    }
    for (algorithm, bits, expected) in [
        ("rsa", 1024, Some(KeyPairKind::Rsa1024)),
        ("RSA", 2048, Some(KeyPairKind::Rsa2048)),
        ("rsa", 3072, Some(KeyPairKind::Rsa3072)),
        ("ec", 384, Some(KeyPairKind::P384)),
        ("ec", 521, Some(KeyPairKind::P521)),
        ("dsa", 2048, None),
        ("rsa", 2056, None),
    ] {
        let found = plan("asymmetric", algorithm, bits, "");
        assert_eq!(found.as_ref().ok(), expected.map(Plan::Pair).as_ref(), "{algorithm} {bits}");
        assert!(found.err().is_none_or(|failure| failure.code == 400 && !failure.reason.is_empty()));
    }
    assert_eq!(container_kind(KeyPairKind::Rsa2048), ContainerKind::Rsa);
    assert_eq!(container_kind(KeyPairKind::P256), ContainerKind::Generic);
}

#[test]
fn orders_are_shown_by_what_became_of_them() {
    let meta = Map::new();
    let shown = |outcome| {
        serde_json::to_value(OrderDocument::from(Shown {
            order_ref: "o".to_owned(),
            created: now(),
            updated: now(),
            kind: OrderKind::Key.as_str(),
            meta: &meta,
            creator_id: "u",
            outcome,
        }))
        .unwrap()
    };
    let base = |status: &str| {
        json!({"created": "2027-01-01T00:00:00", "updated": "2027-01-01T00:00:00", "status": status, "type": "key",
            "meta": {}, "creator_id": "u", "order_ref": "o"})
    };
    let mut done = base("ACTIVE");
    (done["sub_status"], done["sub_status_message"]) = (json!("Unknown"), json!("Unknown"));
    let mut secret = done.clone();
    secret["secret_ref"] = json!("s");
    assert_eq!(shown(Outcome::Secret("s".to_owned())), secret);
    done["container_ref"] = json!("c");
    assert_eq!(shown(Outcome::Container("c".to_owned())), done);
    let mut failed = base("ERROR");
    (failed["error_status_code"], failed["error_reason"]) = (json!("400"), json!("x".repeat(255)));
    assert_eq!(shown(Outcome::Failed(Failure { code: 400, reason: "x".repeat(300) })), failed);
}

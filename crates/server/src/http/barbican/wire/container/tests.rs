use serde_json::json;

use super::*;

const BASE: &str = "http://k:9311";

fn read(body: &serde_json::Value) -> Result<NewContainer, BarbicanError> {
    NewContainer::read(Object::parse(SCHEMA, body.to_string().as_bytes())?, BASE)
}

fn href(id: SecretId) -> String {
    format!("{BASE}/v1/secrets/{id}")
}

fn refs(names: &[&str]) -> serde_json::Value {
    names.iter().map(|name| json!({"name": name, "secret_ref": href(SecretId::random())})).collect()
}

#[test]
fn containers_are_read() {
    let id = SecretId::random();
    let body = json!({"type": "generic", "name": " n ", "x": 1, "secret_refs": [
        {"secret_ref": href(id)}, {"name": "", "secret_ref": href(SecretId::random())},
        {"name": "a", "secret_ref": format!("{}/", href(SecretId::random()))},
        {"name": "b", "secret_ref": format!("{BASE}/v1/secrets/nonsense")}]});
    let container = read(&body).unwrap();
    assert_eq!((container.name.as_deref(), container.kind), (Some("n"), ContainerKind::Generic));
    assert_eq!(container.members[0], Member { name: None, secret: Some(id) });
    let found: Vec<bool> = container.members.iter().map(|member| member.secret.is_some()).collect();
    assert_eq!(found, [true, true, true, false]);
    assert!(container.members[3].not_found().description().unwrap().contains("'b'"));
    for kind in ["generic", "rsa", "certificate"] {
        assert!(read(&json!({"type": kind})).unwrap().members.is_empty());
        assert!(read(&json!({"type": kind, "secret_refs": []})).is_ok());
    }
}

#[test]
fn names_fit_the_type() {
    for (kind, names, right) in [
        ("rsa", &["public_key", "private_key"][..], true),
        ("rsa", &["public_key", "private_key", "private_key_passphrase"], true),
        ("rsa", &["public_key"], false),
        ("rsa", &["public_key", "private_key", "other"], false),
        ("certificate", &["certificate"], true),
        ("certificate", &["certificate", "intermediates", "private_key", "private_key_passphrase"], true),
        ("certificate", &["private_key"], false),
        ("certificate", &["certificate", "public_key"], false),
        ("generic", &["anything", "else"], true),
        ("generic", &["same", "same"], false),
    ] {
        let result = read(&json!({"type": kind, "secret_refs": refs(names)}));
        assert_eq!(result.is_ok(), right, "{kind} {names:?} {result:?}");
    }
    let nameless = json!([{"secret_ref": href(SecretId::random())}]);
    assert!(read(&json!({"type": "certificate", "secret_refs": nameless})).is_err());
}

#[test]
fn wrong_containers_are_refused() {
    let same = href(SecretId::random());
    let one =
        |reference: serde_json::Value| json!({"type": "generic", "secret_refs": [{"secret_ref": reference}]});
    for body in [
        json!({}),
        json!({"type": null}),
        json!({"type": "dsa"}),
        json!({"type": "Generic"}),
        json!({"type": "generic", "name": 1}),
        json!({"type": "generic", "name": "x".repeat(256)}),
        json!({"type": "generic", "secret_refs": null}),
        json!({"type": "generic", "secret_refs": {}}),
        json!({"type": "generic", "secret_refs": ["x"]}),
        json!({"type": "generic", "secret_refs": [{}]}),
        json!({"type": "generic", "secret_refs": [{"name": 1, "secret_ref": same}]}),
        json!({"type": "generic", "secret_refs": [{"name": "a", "secret_ref": same}, {"name": "b", "secret_ref": same}]}),
        json!({"type": "generic", "secret_refs": [{"secret_ref": same}, {"name": null, "secret_ref": href(SecretId::random())}]}),
        one(json!("")),
        one(json!(null)),
        one(json!(SecretId::random().to_string())),
        one(json!(format!("http://other/v1/secrets/{}", SecretId::random()))),
        one(json!(format!("{BASE}x/v1/secrets/{}", SecretId::random()))),
        one(json!(format!("{BASE}/{}", "x".repeat(5000)))),
    ] {
        assert_eq!(read(&body).unwrap_err().status(), 400, "{body}");
    }
}

#[test]
fn members_are_named_by_the_end_of_their_reference() {
    let id = SecretId::random();
    let read = |body: serde_json::Value| {
        Member::read(Object::parse(MEMBER_SCHEMA, body.to_string().as_bytes()).unwrap())
    };
    for reference in [id.to_string(), href(id), format!("http://old/v1/secrets/{id}"), format!("/{id}/")] {
        assert_eq!(read(json!({"secret_ref": reference})).unwrap(), Member { name: None, secret: Some(id) });
    }
    assert_eq!(
        read(json!({"name": "n", "secret_ref": "/x"})).unwrap(),
        Member { name: Some("n".to_owned()), secret: None }
    );
    assert_eq!(read(json!({"name": "n", "secret_ref": "x"})).unwrap_err().property(), Some("secret_ref"));
    assert_eq!(read(json!({"name": "n"})).unwrap_err().status(), 400);
    assert_eq!(read(json!({"secret_ref": " "})).unwrap_err().status(), 400);
}

#[test]
fn containers_are_shown() {
    let moment = time::parsed("2027-01-01").unwrap();
    let consumers = [ContainerConsumer { name: "n".to_owned(), url: "u".to_owned() }];
    let document = ContainerDocument::from(Shown {
        container_ref: "c".to_owned(),
        created: moment,
        updated: moment,
        name: None,
        kind: "rsa",
        creator_id: "u",
        secrets: vec![(Some("private_key"), "s".to_owned()), (None, "t".to_owned())],
        consumers: &consumers,
    });
    assert_eq!(
        serde_json::to_value(document).unwrap(),
        json!({
            "created": "2027-01-01T00:00:00", "updated": "2027-01-01T00:00:00", "status": "ACTIVE", "name": null,
            "type": "rsa", "creator_id": "u", "container_ref": "c", "consumers": [{"name": "n", "URL": "u"}],
            "secret_refs": [{"name": "private_key", "secret_ref": "s"}, {"name": null, "secret_ref": "t"}],
        })
    );
}

//! Keys of users, projects and domains over the wire. Static identities know no trusts: these are the owner's rights.

use super::*;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

fn of(scope: &str, id: &str) -> Value {
    json!({"key_string": KEY, "algorithm": "aes", "scope": scope, "scope_id": id, "master_key": "k-1"})
}

#[tokio::test]
async fn the_identity_service_puts_reads_lists_and_deletes_them() {
    let house = House::new().await;
    let (keystone, _) = house.join("keystone", "identity", &["service", "identity_service"]).await;
    let refused = house.ask(&house.service, "POST", "/v1/keys", None, Some(of("project", "p1"))).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for (body, field) in [
        (json!({"key_string": KEY, "scope": "project"}), "scope_id"),
        (json!({"key_string": KEY, "scope_id": "p1"}), "scope_id"),
        (of("domain", "a/b"), "scope_id"),
    ] {
        let wrong = house.ask(&keystone, "POST", "/v1/keys", None, Some(body)).await;
        assert_eq!(
            (wrong.status, &wrong.document["error"]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field))
        );
    }
    let put = house.ask(&keystone, "POST", "/v1/keys", None, Some(of("project", "p1"))).await;
    assert_eq!((put.status, &put.document["scope_id"]), (StatusCode::CREATED, &json!("p1")));
    let second = house.ask(&keystone, "POST", "/v1/keys", None, Some(of("project", "p1"))).await;
    house.ask(&keystone, "POST", "/v1/keys", None, Some(of("user", "u1"))).await;

    let got = house.ask(&keystone, "GET", "/v1/scope-keys/project/p1", None, None).await;
    assert_eq!((got.status, got.etag.as_deref()), (StatusCode::OK, Some("\"1\"")));
    assert_eq!((&got.document["id"], &got.document["key_string"]), (&second.document["id"], &json!(KEY)));
    for (target, field) in [
        ("/v1/scope-keys/entity/p1", "scope"),
        ("/v1/scope-keys/project/a.b", "scope_id"),
        ("/v1/scope-keys/project/%ff", "scope_id"),
        ("/v1/scope-keys/project/p1?x=1", "x"),
        ("/v1/scope-keys?scope=entity", "scope"),
        ("/v1/scope-keys?scope_id=a.b", "scope_id"),
    ] {
        let wrong = house.ask(&keystone, "GET", target, None, None).await;
        assert_eq!(
            (wrong.status, &wrong.document["error"]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field))
        );
    }
    for (token, target, status) in [
        (&keystone, "/v1/scope-keys/domain/p1", 404),
        (&house.service, "/v1/scope-keys/project/p1", 404),
        (&house.service, "/v1/scope-keys/project/p2", 404),
        (&house.administrator, "/v1/scope-keys/project/p1", 403),
        (&house.administrator, "/v1/scope-keys/project/p2", 403),
        (&house.service, "/v1/scope-keys", 403),
    ] {
        let refused = house.ask(token, "GET", target, None, None).await;
        assert_eq!(refused.status.as_u16(), status, "{target}");
    }

    let list = house.ask(&keystone, "GET", "/v1/scope-keys?scope=project&limit=1", None, None).await;
    assert_eq!(list.document["keys"][0]["id"], put.document["id"]);
    assert!(list.document["keys"][0].get("key_string").is_none());
    let next = list.document["links"]["next"].as_str().unwrap();
    assert!(next.contains("/v1/scope-keys?scope=project&limit=1&marker="), "{next}");
    let list = house.ask(&keystone, "GET", next, None, None).await;
    assert_eq!(list.document["keys"][0]["id"], second.document["id"]);
    assert_eq!(list.document["links"], json!({}));

    let target = format!("/v1/keys/{}", second.document["id"].as_str().unwrap());
    let deleted = house.ask(&keystone, "DELETE", &target, None, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let got = house.ask(&keystone, "GET", "/v1/scope-keys/project/p1", None, None).await;
    assert_eq!(got.document["id"], put.document["id"]);
    let gone = house.ask(&keystone, "GET", "/v1/scope-keys?deleted=true", None, None).await;
    assert!(gone.document["keys"][0]["deletion"]["purge_at"].is_string(), "{}", gone.document);
}

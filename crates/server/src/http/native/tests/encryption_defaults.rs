//! Encryption defaults over the wire: who sets them, what is refused, which is in force.

use super::*;

const PROJECT: &str = "/v1/encryption-defaults/projects/p-id";
const EFFECTIVE: &str = "/v1/encryption-defaults/effective";

fn dual() -> Value {
    json!({"algorithm": "AES-256-GCM", "lock": "dual", "scope": "project"})
}

#[tokio::test]
async fn they_are_set_by_version_and_shown() {
    let house = House::new().await;
    let admin = house.administrator.clone();
    let ask = async |method, etag, body| house.ask(&admin, method, PROJECT, etag, body).await;
    assert_eq!(ask("GET", None, None).await.status, StatusCode::NOT_FOUND);
    let made = ask("PUT", None, Some(dual())).await;
    assert_eq!((made.status, made.etag.as_deref()), (StatusCode::CREATED, Some("\"1\"")));
    assert_eq!(
        (&made.document["algorithm"], &made.document["level"]),
        (&json!("aes-256-gcm"), &json!("project"))
    );
    for (etag, status) in [(None, 428), (Some("\"2\""), 412)] {
        assert_eq!(ask("PUT", etag, Some(dual())).await.status.as_u16(), status);
    }
    let single = json!({"algorithm": "aes-256-xts", "lock": "single"});
    let changed = ask("PUT", made.etag.as_deref(), Some(single)).await;
    assert_eq!((changed.status, changed.etag.as_deref()), (StatusCode::OK, Some("\"2\"")));
    let shown = ask("GET", None, None).await;
    assert_eq!((shown.etag.as_deref(), &shown.document), (Some("\"2\""), &changed.document));
    assert!(shown.document.get("scope").is_none());
    assert_eq!(ask("DELETE", Some("\"1\""), None).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(ask("DELETE", Some("\"2\""), None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask("DELETE", None, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask("PUT", Some("\"2\""), Some(dual())).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_the_registry_does_not_take_is_refused() {
    let house = House::new().await;
    for (body, field, told) in [
        (json!({"algorithm": "rot13", "lock": "single"}), "algorithm", "aes-256-gcm"),
        (json!({"algorithm": "aes", "lock": "single"}), "algorithm", "aes-256-gcm"),
        (json!({"algorithm": "3des-cbc", "lock": "single"}), "algorithm", "aes-256-gcm"),
        (json!({"algorithm": "aes-256-gcm", "lock": "dual"}), "scope", "project"),
        (json!({"algorithm": "aes-256-gcm", "lock": "single", "scope": "user"}), "scope", "single"),
        (json!({"algorithm": "aes-256-gcm", "lock": "triple"}), "lock", "compound"),
        (json!({"algorithm": "aes-256-gcm", "lock": "single", "key_scope": "x"}), "key_scope", ""),
    ] {
        let wrong = house.ask(&house.administrator, "PUT", PROJECT, None, Some(body)).await;
        let error = &wrong.document["error"];
        assert_eq!(
            (wrong.status, &error["field"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{}",
            wrong.document
        );
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
    }
    for cipher in chatelaine_crypto::algorithms::DATA_CIPHERS {
        let Some(reason) = cipher.status.reason() else { continue };
        let body = json!({"algorithm": cipher.name, "lock": "single"});
        let wrong = house.ask(&house.administrator, "PUT", PROJECT, None, Some(body)).await;
        assert!(wrong.document["error"]["message"].as_str().unwrap().contains(reason), "{}", wrong.document);
    }
    for (target, field) in [
        ("/v1/encryption-defaults/planets/p1", "level"),
        ("/v1/encryption-defaults/users/a.b", "id"),
        ("/v1/encryption-defaults/users/%ff", "id"),
        ("/v1/encryption-defaults/effective?user=u1", "user"),
        ("/v1/encryption-defaults/effective?user_id=", "user_id"),
    ] {
        let wrong = house.ask(&house.administrator, "GET", target, None, None).await;
        assert_eq!(
            (wrong.status, &wrong.document["error"]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field))
        );
    }
}

#[tokio::test]
async fn users_set_their_own_and_managers_those_of_their_project() {
    let house = House::new().await;
    let (user, _) = house.join("demo", "p", &["member"]).await;
    let (manager, _) = house.join("boss", "p", &["manager"]).await;
    let of_user = "/v1/encryption-defaults/users/demo-id";
    let elsewhere = "/v1/encryption-defaults/projects/q-id";
    let domain = "/v1/encryption-defaults/domains/d1";
    for (token, target, allowed) in [
        (&user, of_user, true),
        (&user, PROJECT, false),
        (&user, "/v1/encryption-defaults/users/boss-id", false),
        (&user, domain, false),
        (&manager, of_user, false),
        (&manager, PROJECT, true),
        (&manager, elsewhere, false),
        (&manager, domain, false),
        (&house.service, of_user, false),
        (&house.service, PROJECT, false),
        (&house.administrator, domain, true),
        (&house.administrator, elsewhere, true),
    ] {
        for (method, body, good) in [("PUT", Some(dual()), 201), ("GET", None, 200), ("DELETE", None, 204)] {
            let answer = house.ask(token, method, target, None, body).await;
            let expected = if allowed { good } else { 403 };
            assert_eq!(answer.status.as_u16(), expected, "{method} {target}: {}", answer.document);
        }
    }
}

#[tokio::test]
async fn the_narrowest_is_in_force_as_a_whole() {
    let house = House::new().await;
    let (user, _) = house.join("demo", "p", &["member"]).await;
    let all = format!("{EFFECTIVE}?user_id=demo-id&project_id=p-id&domain_id=d1");
    let effective = async |token: &str, target: &str| {
        let answer = house.ask(token, "GET", target, None, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.document);
        answer.document
    };
    let service = json!({"algorithm": "aes-256-gcm", "lock": "single", "source": {"level": "service"}});
    assert_eq!(effective(&house.service, &all).await, service);
    let xts = json!({"algorithm": "aes-256-xts", "lock": "compound", "scope": "domain"});
    let single = json!({"algorithm": "aes-256-ctr", "lock": "single"});
    for (target, body, source) in [
        ("/v1/encryption-defaults/domains/d1", xts, json!({"level": "domain", "id": "d1"})),
        (PROJECT, dual(), json!({"level": "project", "id": "p-id"})),
        ("/v1/encryption-defaults/users/demo-id", single, json!({"level": "user", "id": "demo-id"})),
    ] {
        let set = house.ask(&house.administrator, "PUT", target, None, Some(body.clone())).await;
        assert_eq!(set.status, StatusCode::CREATED);
        let found = effective(&house.service, &all).await;
        assert_eq!((&found["lock"], &found["source"]), (&body["lock"], &source));
        // Nothing of a wider one shows through.
        assert_eq!(found.get("scope"), body.get("scope"));
    }
    assert_eq!(effective(&user, EFFECTIVE).await["source"]["level"], "user");
    assert_eq!(
        effective(&house.service, &format!("{EFFECTIVE}?project_id=p-id")).await["source"]["level"],
        "project"
    );
    assert_eq!(effective(&house.service, &format!("{EFFECTIVE}?project_id=q-id")).await, service);
    // Others see what holds for themselves.
    assert_eq!(effective(&user, &format!("{EFFECTIVE}?project_id=p-id")).await["source"]["level"], "project");
    for target in
        [all.clone(), format!("{EFFECTIVE}?user_id=boss-id"), format!("{EFFECTIVE}?project_id=q-id")]
    {
        assert_eq!(
            house.ask(&user, "GET", &target, None, None).await.status,
            StatusCode::FORBIDDEN,
            "{target}"
        );
    }
}

/// What the registry refuses by now is told, not passed over: data would silently be protected less.
#[tokio::test]
async fn a_default_that_is_refused_by_now_is_not_passed_over() {
    use chatelaine_api::{Lock, WiderScope};
    use chatelaine_core::audit::Action;
    use chatelaine_core::manager::Access;

    use crate::encryption_defaults::{Choice, ENCRYPTION_DEFAULT, SEALED_UNDER};

    let house = House::new().await;
    let identity = chatelaine_core::policy::Identity {
        user_id: "root".to_owned(),
        project_id: Some("admin".to_owned()),
        roles: vec!["admin".to_owned()],
        ..Default::default()
    };
    let request_id = chatelaine_core::id::RequestId::random();
    let caller = chatelaine_core::policy::Caller::authenticated(Arc::new(identity), None, None, request_id);
    let access = Access { rule: "project_quotas:put", action: Action::Update };
    let old = |_: Option<Choice>| {
        let (algorithm, lock) = ("rc4".to_owned(), Lock::Dual);
        Ok(Choice { algorithm, lock, scope: Some(WiderScope::Project) })
    };
    let place = (SEALED_UNDER, "project:p-id");
    house.app.manager.put_document(&caller, ENCRYPTION_DEFAULT, place, access, old).await.unwrap();
    let target = format!("{EFFECTIVE}?project_id=p-id");
    let answer = house.ask(&house.service, "GET", &target, None, None).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.document);
}

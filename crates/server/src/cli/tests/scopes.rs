//! Commands about keys of users, projects and domains, and about encryption defaults.

use serde_json::json;

use super::fake::WEAK_TOKEN;
use super::*;

const PROJECT: &str = "4f1c7a0e3b524a539a540f6c1f5be1a7";

/// With two keys of the project, one of a user and one of an entity.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let path = bench.file("some-key", [0xa5; 32], 0o600);
    for (number, scope, id) in [(1, "project", PROJECT), (2, "project", PROJECT), (3, "user", "u1")] {
        let (key, file) = (numbered(number), path.as_str());
        let whose = ["--scope", scope, "--scope-id", id];
        bench.run(&[&["key", "put", &key, "--key-string-file", file][..], &whose].concat()).await.ends(0);
    }
    bench.put(&numbered(4)).await;
    bench
}

#[tokio::test]
async fn keys_of_customers_are_listed_and_shown() {
    let bench = bench().await;
    let outcome = bench.run(&["scope-key", "list"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/scope-keys");
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].contains(PROJECT) && lines[3].contains("user") && lines[3].contains("u1"), "{lines:?}");
    let more = ["--user", "u1", "--state", "active", "--limit", "5"];
    let outcome = bench.run(&[&["--format", "json", "scope-key", "list"][..], &more].concat()).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/scope-keys?scope=user&scope_id=u1&state=active&limit=5");
    assert_eq!(outcome.json()[0]["id"], numbered(3));

    // The newest is shown, and never its key string asked for.
    let outcome = bench.run(&["scope-key", "show", "--project", PROJECT]).await.ends(0);
    assert!(outcome.text().contains(&numbered(2)) && outcome.text().contains(PROJECT), "{}", outcome.text());
    assert!(outcome.errors.contains("1 other keys"), "{}", outcome.errors);
    bench.run(&["key", "revoke", &numbered(2), "--reason", "superseded"]).await.ends(0);
    let outcome = bench.run(&["--format", "json", "scope-key", "show", "--project", PROJECT]).await.ends(0);
    assert_eq!(outcome.json()["id"], numbered(1));
    let outcome = bench.run(&["scope-key", "show", "--domain", "d1"]).await.ends(5);
    assert!(outcome.errors.contains("domain d1 has no active key"), "{}", outcome.errors);
    let whole = bench.fake.seen();
    assert!(whole.iter().all(|seen| !seen.target.starts_with("/v1/scope-keys/")));
}

#[tokio::test]
async fn destroying_says_until_when_it_can_be_undone() {
    let bench = bench().await;
    let outcome = bench.run(&["scope-key", "destroy", "--project", PROJECT]).await.ends(2);
    assert!(outcome.errors.contains("--yes"), "{}", outcome.errors);
    let outcome = bench.run(&["scope-key", "destroy", "--project", PROJECT, "--yes"]).await.ends(0);
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert_eq!(lines[0].split_whitespace().next(), Some("DELETED"));
    for (line, number) in lines[1..].iter().zip([1, 2]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, [numbered(number).as_str(), "2026-11-25T06:00:00.000000Z"]);
    }
    assert_eq!(lines.len(), 3);
    // Those of others are there.
    bench.run(&["key", "show", &numbered(3)]).await.ends(0);
    let outcome = bench.run(&["scope-key", "destroy", "--project", PROJECT, "--yes"]).await.ends(5);
    assert!(outcome.errors.contains("--deleted"), "{}", outcome.errors);
    bench.run(&["key", "undelete", &numbered(1)]).await.ends(0);
    let json = ["--format", "json", "scope-key", "destroy", "--project", PROJECT, "--yes"];
    let outcome = bench.run(&json).await.ends(0);
    let expected =
        json!([{"id": numbered(1), "result": "deleted", "purge_at": "2026-11-25T06:00:00.000000Z"}]);
    assert_eq!(outcome.json(), expected);
}

#[tokio::test]
async fn destroying_asks_first() {
    let mut bench = bench().await;
    bench.attended = true;
    bench.input = b"no\n".to_vec();
    let outcome = bench.run(&["scope-key", "destroy", "--project", PROJECT]).await.ends(1);
    assert!(
        outcome.errors.contains("(2)") && outcome.errors.contains("nothing was deleted"),
        "{}",
        outcome.errors
    );
    assert!(bench.fake.seen().iter().all(|seen| seen.method != "DELETE"));
    bench.input = b"yes\n".to_vec();
    bench.run(&["scope-key", "destroy", "--project", PROJECT]).await.ends(0);
}

#[tokio::test]
async fn defaults_are_set_shown_and_removed() {
    let bench = Bench::new().await;
    let whose = ["--project", PROJECT];
    let run = async |command: &[&str], more: &[&str]| {
        bench.run(&[&["encryption-defaults"], command, &whose, more].concat()).await
    };
    let outcome = run(&["show"], &[]).await.ends(5);
    assert!(outcome.errors.contains("effective"), "{}", outcome.errors);
    let dual = ["--algorithm", "aes-256-gcm", "--lock", "dual", "--scope", "project"];
    run(&["set"], &dual).await.ends(0);
    let put = bench.fake.last();
    assert_eq!(put.target, format!("/v1/encryption-defaults/projects/{PROJECT}"));
    assert_eq!(
        (put.body.as_str(), put.if_match),
        (r#"{"algorithm":"aes-256-gcm","lock":"dual","scope":"project"}"#, None)
    );
    let outcome = run(&["set"], &["--algorithm", "aes-256-xts", "--lock", "single"]).await.ends(0);
    assert_eq!(bench.fake.last().if_match.as_deref(), Some("\"1\""));
    assert!(
        outcome.text().contains("version     2") && !outcome.text().contains("scope"),
        "{}",
        outcome.text()
    );
    let outcome =
        bench.run(&[&["--format", "json", "encryption-defaults", "show"][..], &whose].concat()).await.ends(0);
    assert_eq!(outcome.json()["algorithm"], "aes-256-xts");
    run(&["unset"], &[]).await.ends(0);
    run(&["unset"], &[]).await.ends(5);
    bench.file("token", format!("{WEAK_TOKEN}\n"), 0o600);
    let outcome = run(&["show"], &[]).await.ends(4);
    assert!(outcome.errors.contains("encryption_default:"), "{}", outcome.errors);
}

#[tokio::test]
async fn the_default_in_force_says_where_it_comes_from() {
    let bench = Bench::new().await;
    let found = json!({"algorithm": "aes-256-gcm", "lock": "dual", "scope": "user", "source": {"level": "domain", "id": "d1"}});
    bench.fake.plant(200, &[], found.to_string());
    let outcome =
        bench.run(&["encryption-defaults", "effective", "--user", "u1", "--domain", "d1"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/encryption-defaults/effective?user_id=u1&domain_id=d1");
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert!(lines.contains(&"from       domain") && lines.contains(&"of         d1"), "{lines:?}");
    let service = json!({"algorithm": "aes-256-gcm", "lock": "single", "source": {"level": "service"}});
    bench.fake.plant(200, &[], service.to_string());
    let outcome = bench.run(&["--format", "json", "encryption-defaults", "effective"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/encryption-defaults/effective");
    assert_eq!(outcome.json(), service);
}

#[tokio::test]
async fn it_must_be_said_whose() {
    for (arguments, told) in [
        (&["scope-key", "show", "--project", "a", "--user", "b"][..], "cannot be used with"),
        (&["scope-key", "show", "--project", "a.b"], "1 to 64 letters"),
        (&["encryption-defaults", "set", "--user", "u", "--algorithm", "x", "--lock", "triple"], "compound"),
        (&["encryption-defaults", "set", "--user", "u", "--lock", "dual"], "--algorithm"),
    ] {
        let error = refused(arguments);
        assert!(error.contains(told), "{error}");
    }
    let bench = Bench::new().await;
    for command in [&["scope-key", "show"][..], &["scope-key", "destroy", "--yes"]] {
        let outcome = bench.run(command).await.ends(2);
        assert!(outcome.errors.contains("--project ID"), "{}", outcome.errors);
    }
    assert!(bench.fake.seen().is_empty());
}

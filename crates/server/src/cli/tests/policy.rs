//! The policy's commands.

use serde_json::json;

use super::*;

const OWN: [&str; 6] = ["--role", "Service", "--user-id", "u1", "--project-id", "p1"];

#[tokio::test]
async fn lists_say_what_is_overridden() {
    let bench = Bench::new().await;
    let outcome = bench.plain(&["policy", "list"]).await.ends(0);
    let first = outcome.text().lines().nth(1).unwrap();
    let words: Vec<_> = first.split_whitespace().take(4).collect();
    assert_eq!(words, ["service_caller", "default", "role:service", "and"], "{first}");
    let file = bench.file(
        "policy.yaml",
        "\"key:create\": \"rule:mine\"\n\"mine\": \"role:boss\"\n\"lost\": \"@\"\n",
        0o644,
    );
    let outcome = bench.plain(&["--format", "json", "policy", "list", "--policy-file", &file]).await.ends(0);
    let listed = outcome.json();
    let rule =
        |name: &str| listed.as_array().unwrap().iter().find(|rule| rule["name"] == name).unwrap().clone();
    assert_eq!(
        rule("key:create"),
        json!({"name": "key:create", "source": "overridden", "rule": "rule:mine", "default": "rule:service_caller",
            "description": "Put a key, or have one generated"})
    );
    assert_eq!(rule("mine")["source"], "added");
    assert_eq!(rule("key:get")["source"], "default");
    let warning: serde_json::Value = serde_json::from_str(&outcome.errors).unwrap();
    assert!(warning["warning"].as_str().unwrap().contains("\"lost\""));
}

#[tokio::test]
async fn checks_answer_and_say_why_not() {
    let bench = Bench::new().await;
    let check = async |arguments: &[&str]| {
        let all = [&["policy", "check"], arguments].concat();
        bench.plain(&all).await
    };
    let outcome = check(&[&["key:create"][..], &OWN].concat()).await.ends(0);
    assert_eq!(
        outcome.text().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        ["key:create", "yes"]
    );
    let own_key = ["--target-owner", "u1", "--target-project", "p1"];
    check(&[&["key:get"][..], &OWN, &own_key].concat()).await.ends(0);
    let other_key = ["--target-owner", "u2", "--target-project", "p1"];
    let outcome = check(&[&["key:get"][..], &OWN, &other_key].concat()).await.ends(4);
    assert!(
        outcome.text().contains("user_id:%(target.key.owner)s (\"user_id\" is 'u1', wanted 'u2')"),
        "{}",
        outcome.text()
    );
    let outcome = check(&[&["key:get"][..], &OWN].concat()).await.ends(4);
    assert!(outcome.text().contains("the target has no \"target.key.owner\""), "{}", outcome.text());
    let outcome = check(&["key:create", "--role", "service", "--explain"]).await.ends(4);
    assert!(
        outcome.text().contains("BECAUSE") && outcome.text().contains("\nkey:create\n- "),
        "{}",
        outcome.text()
    );
    assert!(outcome.text().contains("- not project_id:None"), "{}", outcome.text());
    let outcome = check(&["no:such", "--role", "service"]).await.ends(5);
    assert!(outcome.errors.contains("policy list"));
}

#[tokio::test]
async fn all_rules_are_checked_at_once() {
    let bench = Bench::new().await;
    let arguments = [&["--format", "json", "policy", "check", "--all", "--explain"][..], &OWN].concat();
    let answers = bench.plain(&arguments).await.ends(0).json();
    let allowed: Vec<&str> = answers
        .as_array()
        .unwrap()
        .iter()
        .filter(|answer| answer["allowed"] == true)
        .map(|answer| answer["rule"].as_str().unwrap())
        .collect();
    let expected = [
        "service_caller",
        "key:access",
        "key:create",
        "key:list",
        "scope_key:get",
        "encryption_default:get_effective",
        "attestation:join",
    ];
    assert_eq!(allowed, expected);
    assert_eq!(answers[0]["explanation"]["verdict"], "passed");
}

#[tokio::test]
async fn policies_that_are_wrong_are_invalid() {
    let bench = Bench::new().await;
    let file = bench.file("policy.yaml", "\"key:get\": \"role:a or\"\n", 0o644);
    let outcome = bench.plain(&["policy", "list", "--policy-file", &file]).await.ends(7);
    assert!(
        outcome.errors.contains("rule \"key:get\"") && outcome.errors.contains("character"),
        "{}",
        outcome.errors
    );
    for content in [&b"- a\n- b\n"[..], b"\xff\xfe", b"a: [\n"] {
        let file = bench.file("policy.yaml", content, 0o644);
        let outcome = bench.plain(&["policy", "list", "--policy-file", &file]).await.ends(7);
        assert!(outcome.errors.contains("policy.yaml"), "{}", outcome.errors);
    }
    bench.plain(&["policy", "list", "--policy-file", "/does/not/exist"]).await.ends(2);
}

#[tokio::test]
async fn objects_of_barbican_are_described_too() {
    let bench = Bench::new().await;
    let member = ["--role", "member", "--user-id", "u1", "--project-id", "p1", "--target-project", "p1"];
    let check = async |rule: &str, more: &[&str]| {
        bench.plain(&[&["policy", "check", rule][..], &member, more].concat()).await
    };
    for rule in ["secret:decrypt", "secret_meta:put", "container:get"] {
        check(rule, &["--target-owner", "u2"]).await.ends(0);
        check(rule, &["--target-owner", "u2", "--target-private"]).await.ends(4);
        check(rule, &["--target-owner", "u1", "--target-private"]).await.ends(0);
    }
    check("secret:decrypt", &["--target-owner", "u2", "--target-private", "--target-listed"]).await.ends(0);
    check("secret_acls:put_patch", &["--target-owner", "u2"]).await.ends(0);
    check("secret_acls:put_patch", &["--target-owner", "u2", "--target-private"]).await.ends(4);
    check("order:get", &["--target-owner", "u2"]).await.ends(0);
    check("secrets:post", &["--target-owner", "u2"]).await.ends(0);
}

//! Commands of operators about secrets of all projects.

use serde_json::json;

use super::fake::WEAK_TOKEN;
use super::*;

async fn bench_with(count: usize) -> Bench {
    let bench = Bench::new().await;
    for number in 1..=count {
        bench.put(&numbered(number)).await;
    }
    bench
}

fn targets(bench: &Bench) -> Vec<String> {
    bench.fake.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
}

#[tokio::test]
async fn secrets_are_listed_page_by_page() {
    let bench = bench_with(4).await;
    let outcome = bench.run(&["secret", "list"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/operator/secrets");
    let lines: Vec<&str> = outcome.text().lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["ID", "PROJECT", "OWNER", "ORIGIN", "TYPE", "STATE", "CREATED", "NAME"]);
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        words,
        [numbered(1).as_str(), "p1", "u1", "native", "symmetric", "active", "2026-11-25T06:00:00.000000Z"]
    );
    assert_eq!(lines.len(), 4);
    assert!(outcome.errors.contains("there are more secrets: --all-pages"), "{}", outcome.errors);
    for all in ["--all-pages", "--all"] {
        let outcome =
            bench.run(&["--format", "json", "secret", "list", "--project", "p1", all]).await.ends(0);
        assert_eq!(outcome.json().as_array().unwrap().len(), 4);
        // The address in the link is not followed.
        let expected = format!("/v1/operator/secrets?project=p1&limit=200&marker={}", numbered(3));
        assert_eq!(bench.fake.last().target, expected);
        assert_eq!(outcome.errors, "");
    }
    let outcome = bench.run(&["--format", "json", "secret", "list", "--limit", "2"]).await.ends(0);
    assert_eq!(outcome.json()[1]["id"], json!(numbered(2)));
    let outcome =
        bench.run(&["--format", "json", "secret", "list", "--project", "p2", "--all"]).await.ends(0);
    assert_eq!(outcome.json(), json!([]));
}

#[tokio::test]
async fn deleted_secrets_are_listed_with_their_times_and_taken_back() {
    let bench = bench_with(3).await;
    let (one, two, three) = (numbered(1), numbered(2), numbered(3));
    bench.run(&["key", "delete", &one, &two]).await.ends(0);
    let outcome = bench.run(&["secret", "list", "--deleted"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/operator/secrets?deleted=true");
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert!(lines[0].contains("DELETED") && lines[0].contains("PURGED AT") && lines.len() == 3);
    let outcome = bench.run(&["secret", "show", &two]).await.ends(0);
    let at = "2026-11-25T06:00:00.000000Z";
    let deleted = format!("deleted_at    {at} (purged at {at})");
    assert!(outcome.text().lines().any(|line| line == deleted), "{}", outcome.text());
    assert_eq!(bench.fake.last().target, format!("/v1/operator/secrets/{two}"));
    let outcome = bench.run(&["secret", "undelete", &one, &two, &three, &one]).await.ends(6);
    assert_eq!(outcome.text(), format!("undeleted {one} (active)\nundeleted {two} (active)\n"));
    assert!(
        outcome.errors.starts_with(&format!("error: secret {three}: Conflict (status 409)"))
            && outcome.errors.contains("`chatelaine secret show ID`"),
        "{}",
        outcome.errors
    );
    assert_eq!(bench.fake.last().target, format!("/v1/operator/secrets/{three}/undelete"));
    bench.run(&["key", "delete", &one]).await.ends(0);
    let outcome = bench.run(&["--format", "json", "secret", "undelete", &one]).await.ends(0);
    let results = outcome.json();
    assert_eq!((&results[0]["result"], &results[0]["secret"]["id"]), (&json!("undeleted"), &json!(one)));
}

#[tokio::test]
async fn a_secret_is_shown_without_its_payload() {
    let bench = bench_with(1).await;
    let id = numbered(1);
    let outcome = bench.run(&["--format", "json", "secret", "show", &id]).await.ends(0);
    assert_eq!(outcome.json()["has_payload"], true);
    let access = json!({"project_access": false, "users": 3, "updated_at": "2026-11-25T06:00:00.000000Z"});
    let mut document = outcome.json();
    document["access"] = access;
    document["origin"] = json!("barbican");
    bench.fake.plant(200, &[], document.to_string());
    let outcome = bench.run(&["secret", "show", &id]).await.ends(0);
    assert!(outcome.text().contains("access        not the project, and 3 users of the list"));
    assert!(outcome.text().contains("origin        barbican"));
    bench.fake.plant(200, &[], r#"{"id": "canary"}"#);
    bench.run(&["secret", "show", &id]).await.ends(1);
}

#[tokio::test]
async fn purging_is_confirmed() {
    let mut bench = bench_with(3).await;
    let (one, two, three) = (numbered(1), numbered(2), numbered(3));
    bench.run(&["key", "delete", &one, &two, &three]).await.ends(0);
    let before = targets(&bench);
    // Nobody is there to be asked.
    let outcome = bench.run(&["secret", "purge", &one]).await.ends(2);
    assert!(outcome.errors.contains("give --yes"), "{}", outcome.errors);
    bench.attended = true;
    bench.input = b"yes\n".to_vec();
    bench.run(&["--format", "json", "secret", "purge", &one]).await.ends(2);
    for answer in ["", "\n", "y\n", "no\n", "yes yes\n", "YES\n", &format!("yes{}x\n", " ".repeat(200))] {
        bench.input = answer.as_bytes().to_vec();
        let outcome = bench.run(&["secret", "purge", &one]).await.ends(1);
        assert!(outcome.errors.starts_with(&format!("secret {one} will be destroyed for good")));
        assert!(outcome.errors.contains("nothing was purged"), "{}", outcome.errors);
    }
    assert_eq!(targets(&bench), before, "the server was spoken to");
    for answer in ["yes\n", "  yes\r\n", "yes"] {
        bench.input = answer.as_bytes().to_vec();
        bench.fake.plant(204, &[], "");
        assert_eq!(bench.run(&["secret", "purge", &one]).await.ends(0).text(), format!("purged {one}\n"));
    }
    bench.input = b"yes\n".to_vec();
    let outcome = bench.run(&["secret", "purge", &one, &two, &one]).await.ends(0);
    assert!(outcome.errors.starts_with("2 secrets will be destroyed for good"), "{}", outcome.errors);
    assert_eq!(outcome.text(), format!("purged {one}\npurged {two}\n"));
    assert_eq!(bench.fake.last().target, format!("/v1/operator/secrets/{two}/purge"));
    assert_eq!((bench.fake.key_string(&one), bench.fake.key_string(&two)), (None, None));
    bench.attended = false;
    let outcome = bench.run(&["--format", "json", "secret", "purge", "--yes", &three, &one]).await.ends(5);
    let results = outcome.json();
    assert_eq!((&results[0]["result"], &results[1]["result"]), (&json!("purged"), &json!("failed")));
}

#[tokio::test]
async fn refusals_tell_operators_what_to_do() {
    let bench = bench_with(1).await;
    let outcome = bench.run(&["secret", "purge", "--yes", &numbered(1)]).await.ends(6);
    assert!(outcome.errors.contains("deletion.purge_wait_seconds"), "{}", outcome.errors);
    let outcome = bench.run(&["secret", "show", ID]).await.ends(5);
    assert!(outcome.errors.contains("`chatelaine secret list`"), "{}", outcome.errors);
    bench.fake.plant(503, &[("Retry-After", "60")], "");
    let outcome = bench.run(&["secret", "list"]).await.ends(8);
    assert!(outcome.errors.contains("try again in 60 seconds"), "{}", outcome.errors);
    bench.file("token", WEAK_TOKEN, 0o600);
    for arguments in [&["secret", "list"][..], &["secret", "show", ID], &["secret", "undelete", ID]] {
        let outcome = bench.run(arguments).await.ends(4);
        assert!(outcome.errors.contains("`operator:…`"), "{}", outcome.errors);
        assert!(!outcome.errors.contains("role `service`"), "{}", outcome.errors);
    }
}

#[test]
fn arguments_of_operators_that_make_no_sense_are_refused() {
    for (arguments, said) in [
        (&["secret"][..], "Usage"),
        (&["secret", "show"], "ID"),
        (&["secret", "show", "x"], "an id is a UUID"),
        (&["secret", "undelete"], "ID"),
        (&["secret", "purge", "--yes"], "ID"),
        (&["secret", "list", "--project", ""], "1 to 255 characters"),
        (&["secret", "list", "--limit", "0"], "0 is not in"),
        (&["secret", "list", "--limit", "2", "--all"], "cannot be used with"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

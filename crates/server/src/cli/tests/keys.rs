//! Commands about keys.

use serde_json::json;

use super::*;

#[tokio::test]
async fn create_lets_the_server_generate() {
    let bench = Bench::new().await;
    let outcome = bench
        .run(&[
            "key",
            "create",
            "--algorithm",
            "aes",
            "--bit-length",
            "256",
            "--name",
            "backup",
            "--scope",
            "project",
            "--scope-id",
            "p7",
            "--attribute",
            "rack=7",
            "--attribute",
            "note=a=b",
            "--expires-at",
            "2030-01-01T01:00:00+01:00",
        ])
        .await
        .ends(0);
    let sent: serde_json::Value = serde_json::from_str(&bench.fake.last().body).unwrap();
    assert_eq!(
        sent,
        json!({"generate": true, "algorithm": "aes", "bit_length": 256, "name": "backup", "scope": "project", "scope_id": "p7",
            "attributes": {"rack": "7", "note": "a=b"}, "expires_at": "2030-01-01T00:00:00.000000Z"})
    );
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert_eq!(lines[0], "FIELD           VALUE");
    assert!(lines.contains(&"name            backup") && lines.contains(&"attribute note  a=b"), "{lines:?}");
}

#[tokio::test]
async fn put_reads_each_encoding_from_files_and_from_standard_input() {
    let mut bench = Bench::new().await;
    for (number, encoding, text) in
        [(1, "raw", &b"\x00\x01\xff"[..]), (2, "base64", b"AAH/\n"), (3, "hex", b"0001FF\n")]
    {
        let id = numbered(number);
        let path = bench.file("key", text, 0o600);
        let outcome =
            bench.run(&["key", "put", &id, "--key-string-file", &path, "--encoding", encoding]).await.ends(0);
        assert_eq!(outcome.errors, "");
        assert_eq!(bench.fake.key_string(&id).unwrap(), [0, 1, 255]);
    }
    bench.input = b"0001ff".to_vec();
    let outcome = bench
        .run(&[
            "--format",
            "json",
            "key",
            "put",
            "--key-string-file",
            "-",
            "--encoding",
            "hex",
            "--master-key",
            "m1",
        ])
        .await
        .ends(0);
    let document = outcome.json();
    assert_eq!((&document["version"], &document["master_key"]), (&json!(1), &json!("m1")));
    assert_eq!(bench.fake.last().method, "POST");
    assert_eq!(bench.fake.key_string(document["id"].as_str().unwrap()).unwrap(), [0, 1, 255]);
}

#[tokio::test]
async fn put_warns_of_files_others_can_read_and_of_line_breaks() {
    let bench = Bench::new().await;
    let path = bench.file("key", b"typed by hand\n", 0o644);
    let outcome = bench.run(&["key", "put", "--key-string-file", &path]).await.ends(0);
    let lines: Vec<&str> = outcome.errors.lines().collect();
    assert!(lines[0].starts_with("warning: others can read or change") && lines[0].contains("chmod 600"));
    assert!(lines[1].starts_with("note: the line break at the end"), "{lines:?}");
}

#[tokio::test]
async fn put_refuses_key_strings_that_are_too_long_empty_or_unreadable() {
    let bench = Bench::new().await;
    let longest = bench.file("longest", vec![1; 65_536], 0o600);
    bench.run(&["key", "put", "--key-string-file", &longest]).await.ends(0);
    for (content, encoding, said) in [
        (vec![1; 65_537], "raw", "longer than 65536 bytes"),
        (vec![b'a'; 131_074], "hex", "longer than 65,536 bytes"),
        (vec![b'a'; 1 << 20], "base64", "longer than"),
        (vec![], "raw", "it is empty"),
        (b"not hex canary".to_vec(), "hex", "it is not hexadecimal"),
    ] {
        let path = bench.file("key", content, 0o600);
        let before = bench.fake.seen().len();
        let outcome =
            bench.run(&["key", "put", "--key-string-file", &path, "--encoding", encoding]).await.ends(7);
        assert!(outcome.errors.contains(said), "{}", outcome.errors);
        assert_eq!(bench.fake.seen().len(), before, "nothing is sent");
    }
    let outcome = bench.run(&["key", "put", "--key-string-file", "/does/not/exist"]).await.ends(2);
    assert!(outcome.errors.contains("/does/not/exist"));
    let folder = bench.folder.path().display().to_string();
    bench.run(&["key", "put", "--key-string-file", &folder]).await.ends(2);
}

#[tokio::test]
async fn get_writes_each_encoding_and_refuses_raw_on_a_terminal() {
    let mut bench = Bench::new().await;
    bench.put(ID).await;
    let raw = [0xa5; 32];
    assert_eq!(bench.run(&["key", "get", ID]).await.ends(0).bytes, raw);
    let hex = bench.run(&["key", "get", ID, "--encoding", "hex"]).await.ends(0);
    assert_eq!(hex.text(), format!("{}\n", "a5".repeat(32)));
    let document = bench.run(&["--format", "json", "key", "get", ID]).await.ends(0).json();
    assert_eq!(document["key_string"], "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=");
    assert_eq!(document["id"], ID);
    bench.run(&["--format", "json", "key", "get", ID, "--encoding", "hex"]).await.ends(2);
    bench.output_is_terminal = true;
    let before = bench.fake.seen().len();
    let outcome = bench.run(&["key", "get", ID]).await.ends(2);
    assert!(outcome.errors.contains("--encoding base64") && outcome.errors.contains("--output"));
    assert_eq!((outcome.bytes.len(), bench.fake.seen().len()), (0, before));
    let base64 = bench.run(&["key", "get", ID, "--encoding", "base64"]).await.ends(0);
    assert_eq!(base64.text(), "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=\n");
}

#[tokio::test]
async fn get_writes_new_private_files_only() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let path = bench.path("out");
    let name = path.display().to_string();
    let outcome = bench.run(&["key", "get", ID, "--output", &name]).await.ends(0);
    assert!(outcome.bytes.is_empty() && outcome.errors.contains("32 bytes written"));
    assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (vec![0xa5; 32], 0o600));
    let before = bench.fake.seen().len();
    let outcome = bench.run(&["key", "get", ID, "--output", &name]).await.ends(2);
    assert!(outcome.errors.contains("name a file that does not exist"), "{}", outcome.errors);
    assert_eq!(bench.fake.seen().len(), before, "nothing is asked for that cannot be kept");
    let other = bench.path("other");
    let arguments = ["key", "get", &numbered(9), "--output", other.to_str().unwrap()];
    bench.run(&arguments).await.ends(5);
    assert!(!other.exists(), "no empty file is left behind");
    let arguments =
        ["--format", "json", "key", "get", ID, "--encoding", "hex", "--output", other.to_str().unwrap()];
    let outcome = bench.run(&arguments).await.ends(0);
    assert_eq!(outcome.json()["id"], ID);
    assert!(outcome.json().get("key_string").is_none());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), format!("{}\n", "a5".repeat(32)));
}

#[tokio::test]
async fn inactive_keys_are_released_on_request_only() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let outcome = bench.run(&["key", "revoke", ID, "--reason", "superseded"]).await.ends(0);
    assert_eq!(outcome.text(), format!("revoked {ID} (deactivated)\n"));
    assert_eq!(bench.fake.last().body, r#"{"reason":"superseded"}"#);
    let outcome = bench.run(&["key", "get", ID]).await.ends(6);
    assert!(
        outcome.errors.contains("(status 409)") && outcome.errors.contains("[req-7]"),
        "{}",
        outcome.errors
    );
    bench.run(&["key", "get", ID, "--allow-inactive"]).await.ends(0);
    assert!(bench.fake.last().target.ends_with("?allow_inactive=true"));
    let shown = bench.run(&["key", "show", ID]).await.ends(0);
    assert!(
        shown.text().contains("revoked_at  2026-11-25T06:00:00.000000Z (superseded)"),
        "{}",
        shown.text()
    );
    assert_eq!(bench.fake.last().target, format!("/v1/keys/{ID}/metadata"));
}

#[tokio::test]
async fn lists_follow_markers_and_nothing_else() {
    let bench = Bench::new().await;
    for number in 1..=7 {
        bench.put(&numbered(number)).await;
    }
    let first = bench.run(&["key", "list"]).await.ends(0);
    assert_eq!(first.text().lines().count(), 1 + 3);
    assert!(first.errors.contains("--all-pages"), "{}", first.errors);
    let all = bench.run(&["--format", "json", "key", "list", "--all-pages"]).await.ends(0);
    assert_eq!(all.errors, "");
    let ids: Vec<String> =
        all.json().as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=7).map(numbered).collect::<Vec<_>>());
    let before = bench.fake.seen().len();
    let five = bench.run(&["--format", "json", "key", "list", "--limit", "5"]).await.ends(0);
    assert_eq!(five.json().as_array().unwrap().len(), 5);
    assert_eq!(five.errors.lines().count(), 1, "{}", five.errors);
    let targets: Vec<String> = bench.fake.seen()[before..].iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/v1/keys?limit=5".to_owned(), format!("/v1/keys?limit=2&marker={}", numbered(3))]);
    let seven = bench.run(&["--format", "json", "key", "list", "--limit", "7"]).await.ends(0);
    assert_eq!((seven.json().as_array().unwrap().len(), seven.errors.as_str()), (7, ""));
    bench.run(&["key", "delete", &numbered(2)]).await.ends(0);
    let deleted =
        bench.run(&["key", "list", "--deleted", "--scope", "entity", "--state", "active"]).await.ends(0);
    assert!(deleted.text().contains(&numbered(2)) && deleted.text().lines().count() == 2);
    assert_eq!(bench.fake.last().target, "/v1/keys?scope=entity&state=active&deleted=true");
    bench.run(&["key", "list", "--master-key", "a b"]).await.ends(0);
    assert_eq!(bench.fake.last().target, "/v1/keys?master_key=a+b");
}

#[tokio::test]
async fn a_page_longer_than_asked_for_is_cut() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let document = bench.run(&["--format", "json", "key", "show", ID]).await.json();
    bench.fake.plant(200, &[], json!({"keys": vec![document; 5]}).to_string());
    let outcome = bench.run(&["--format", "json", "key", "list", "--limit", "2"]).await.ends(0);
    assert_eq!(outcome.json().as_array().unwrap().len(), 2);
    assert!(outcome.errors.contains("there are more keys"), "{}", outcome.errors);
}

#[tokio::test]
async fn lists_that_lead_nowhere_are_errors() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let document = bench.run(&["--format", "json", "key", "show", ID]).await.json();
    let page = json!({"keys": [&document], "links": {"next": "/v1/keys?marker=again"}}).to_string();
    bench.fake.plant(200, &[], page.clone());
    bench.fake.plant(200, &[], page);
    let outcome = bench.run(&["key", "list", "--all-pages"]).await.ends(1);
    assert!(outcome.errors.contains("circle") && outcome.bytes.is_empty());
    for next in ["/v1/keys", "http://["] {
        bench.fake.plant(200, &[], json!({"keys": [], "links": {"next": next}}).to_string());
        let outcome = bench.run(&["key", "list"]).await.ends(1);
        assert!(outcome.errors.contains("no marker"), "{}", outcome.errors);
    }
}

/// A filter may leave nothing of what the server looked at for a page.
#[tokio::test]
async fn an_empty_page_may_lead_on() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let document = bench.run(&["--format", "json", "key", "show", ID]).await.json();
    bench.fake.plant(200, &[], json!({"keys": [], "links": {"next": "?marker=a"}}).to_string());
    bench.fake.plant(200, &[], json!({"keys": [document]}).to_string());
    let outcome = bench.run(&["--format", "json", "key", "list", "--all-pages"]).await.ends(0);
    assert_eq!(outcome.json().as_array().unwrap().len(), 1);
    assert_eq!(bench.fake.last().target, "/v1/keys?limit=200&marker=a");
}

#[tokio::test]
async fn update_reads_the_version_first_unless_one_is_named() {
    let bench = Bench::new().await;
    bench.put(ID).await;
    let outcome =
        bench.run(&["--format", "json", "key", "update", ID, "--name", "n", "--attribute", "a=1"]).await;
    let outcome = outcome.ends(0);
    assert_eq!((&outcome.json()["version"], &outcome.json()["name"]), (&json!(2), &json!("n")));
    assert!(outcome.errors.contains("changing version 1"), "{}", outcome.errors);
    assert_eq!(bench.fake.last().if_match.as_deref(), Some("\"1\""));
    assert_eq!(bench.fake.last().body, r#"{"name":"n","attributes":{"a":"1"}}"#);
    let outcome = bench.run(&["key", "update", ID, "--if-match", "1", "--no-name"]).await.ends(6);
    assert!(
        outcome.errors.contains("(status 412)") && outcome.errors.contains("key show"),
        "{}",
        outcome.errors
    );
    let path = bench.file("new", "0b0c", 0o600);
    let arguments = [
        "key",
        "update",
        ID,
        "--if-match",
        "2",
        "--no-name",
        "--no-attributes",
        "--no-expires-at",
        "--no-master-key",
        "--key-string-file",
        &path,
        "--encoding",
        "hex",
    ];
    let outcome = bench.run(&arguments).await.ends(0);
    assert_eq!(outcome.errors, "");
    assert_eq!(
        bench.fake.last().body,
        r#"{"key_string":"Cww=","name":null,"master_key":null,"attributes":{},"expires_at":null}"#
    );
    assert_eq!(bench.fake.key_string(ID).unwrap(), [0x0b, 0x0c]);
    bench.fake.plant(428, &[], json!({"error": {"title": "T", "message": "M"}}).to_string());
    let outcome = bench.run(&["key", "update", ID, "--if-match", "3", "--name", "x"]).await.ends(6);
    assert!(outcome.errors.contains("--if-match VERSION"));
}

#[tokio::test]
async fn several_keys_are_all_tried_and_the_worst_counts() {
    let bench = Bench::new().await;
    for number in [1, 3] {
        bench.put(&numbered(number)).await;
    }
    let (one, two, three) = (numbered(1), numbered(2), numbered(3));
    let outcome = bench.run(&["key", "delete", &one, &two, &three, &one]).await.ends(5);
    assert_eq!(outcome.text(), format!("deleted {one}\ndeleted {three}\n"));
    assert!(
        outcome.errors.starts_with(&format!("error: key {two}: Not Found (status 404)")),
        "{}",
        outcome.errors
    );
    let outcome = bench.run(&["--format", "json", "key", "undelete", &one, &two]).await.ends(5);
    let results = outcome.json();
    assert_eq!((&results[0]["result"], &results[0]["key"]["id"]), (&json!("undeleted"), &json!(one)));
    assert_eq!(
        (&results[1]["result"], &results[1]["error"]["kind"]),
        (&json!("failed"), &json!("not_found"))
    );
    let said: serde_json::Value = serde_json::from_str(&outcome.errors).unwrap();
    assert_eq!(said["error"]["exit_code"], 5);
    bench.fake.plant(500, &[], "");
    bench.run(&["key", "undelete", &one, &three]).await.ends(1);
    bench.run(&["key", "delete", &one, "--if-match", "9"]).await.ends(6);
    bench.run(&["key", "delete", &one, "--if-match", "1"]).await.ends(0);
    assert_eq!(bench.fake.last().if_match.as_deref(), Some("\"1\""));
    bench.run(&["key", "delete", &one, &three, "--if-match", "1"]).await.ends(2);
}

/// Whoever pipes into `head` does not leave half of the keys undeleted.
#[tokio::test]
async fn a_reader_that_went_away_is_no_panic_and_stops_no_work() {
    let mut bench = Bench::new().await;
    for number in 1..=25 {
        bench.put(&numbered(number)).await;
    }
    bench.output_is_gone = true;
    let ids: Vec<String> = (1..=25).map(numbered).collect();
    let arguments: Vec<&str> = ["key", "delete"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(bench.run(&arguments).await.ends(1).errors, "");
    for arguments in [
        &["key", "list"][..],
        &["--format", "json", "key", "list"],
        &["completions", "bash"],
        &["policy", "list"],
    ] {
        assert_eq!(bench.run(arguments).await.ends(1).errors, "");
    }
    bench.output_is_gone = false;
    let left = bench.run(&["--format", "json", "key", "list"]).await.ends(0);
    assert_eq!(left.json(), json!([]));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (arguments, said) in [
        (&["key", "put"][..], "--key-string-file"),
        (&["key", "get", "../secrets"], "an id is a UUID"),
        (&["key", "delete"], "KEY-ID"),
        (&["key", "update", ID], "--name"),
        (&["key", "update", ID, "--name", "x", "--no-name"], "cannot be used with"),
        (&["key", "update", ID, "--name", "x", "--if-match", "0"], "0 is not in"),
        (&["key", "create", "--algorithm", "aes", "--expires-at", "tomorrow"], "RFC 3339"),
        (&["key", "create", "--algorithm", "aes", "--attribute", "x"], "NAME=VALUE"),
        (&["key", "create", "--algorithm", "aes", "--scope", "world"], "possible values: entity"),
        (&["key", "revoke", ID], "--reason"),
        (&["key", "list", "--limit", "2", "--all-pages"], "cannot be used with"),
        (&["key", "list", "--limit", "0"], "0 is not in"),
        (&["--token-file", "x", "--os-cloud", "y", "algorithms"], "cannot be used with"),
        (&["--timeout", "0", "algorithms"], "0 is not in"),
        (&["completions", "tcsh"], "possible values: bash"),
        (&["policy", "check"], "RULE"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn attributes_given_twice_are_refused() {
    let bench = Bench::new().await;
    let arguments = ["key", "create", "--algorithm", "aes", "--attribute", "a=1", "--attribute", "a=2"];
    bench.run(&arguments).await.ends(2);
    assert!(bench.fake.seen().is_empty());
}

//! Tokens, endpoints, servers that fail or misbehave, and the commands beside keys.

use clap::CommandFactory;
use serde_json::json;

use super::fake::WEAK_TOKEN;
use super::*;

#[tokio::test]
async fn refusals_of_the_server_have_their_codes() {
    let bench = Bench::new().await;
    let error =
        |code: u16| json!({"error": {"code": code, "title": "T", "message": "what was wrong"}}).to_string();
    for (status, code) in
        [(400, 7), (409, 6), (412, 6), (413, 7), (415, 7), (422, 7), (428, 6), (500, 1), (503, 8)]
    {
        bench.fake.plant(status, &[], error(status));
        let outcome = bench.run(&["key", "create", "--algorithm", "aes"]).await.ends(code);
        assert!(outcome.errors.starts_with(&format!("error: T (status {status}): what was wrong")));
    }
    bench.fake.plant(429, &[("Retry-After", "30")], error(429));
    let outcome = bench.run(&["--format", "json", "key", "show", ID]).await.ends(9);
    let said: serde_json::Value = serde_json::from_str(&outcome.errors).unwrap();
    assert_eq!(said["error"]["advice"], "try again in 30 seconds");
    assert_eq!(said["error"]["status"], 429);
    bench.file("token", "another-canary", 0o600);
    let outcome = bench.run(&["key", "list"]).await.ends(3);
    assert!(outcome.errors.contains("--token-file"), "{}", outcome.errors);
    bench.file("token", WEAK_TOKEN, 0o600);
    let outcome = bench.run(&["key", "list"]).await.ends(4);
    assert!(outcome.errors.contains("role `service`"), "{}", outcome.errors);
}

#[tokio::test]
async fn answers_that_are_none_are_failures() {
    let bench = Bench::new().await;
    for body in ["", "{", "[]", "<html>canary</html>", r#"{"id": "canary", "version": "canary"}"#] {
        bench.fake.plant(200, &[], body);
        let outcome = bench.run(&["key", "show", ID]).await.ends(1);
        assert!(outcome.errors.contains("is not what was expected"), "{}", outcome.errors);
        assert!(outcome.bytes.is_empty());
    }
    bench.put(ID).await;
    let mut document = bench.run(&["--format", "json", "key", "get", ID]).await.json();
    document["key_string"] = json!("not base64 canary");
    bench.fake.plant(200, &[], document.to_string());
    bench.run(&["key", "get", ID]).await.ends(1);
    bench.fake.plant(302, &[("Location", "http://elsewhere.invalid/")], "");
    bench.run(&["key", "show", ID]).await.ends(1);
}

#[tokio::test]
async fn huge_answers_are_refused() {
    let bench = Bench::new().await;
    bench.fake.plant(200, &[], " ".repeat((64 << 20) + 1));
    let outcome = bench.run(&["key", "list"]).await.ends(1);
    assert!(outcome.errors.contains("longer than 67108864 bytes"), "{}", outcome.errors);
    bench.fake.plant(200, &[], format!("{}{}", " ".repeat((64 << 20) - 11), r#"{"keys":[]}"#));
    bench.run(&["key", "list"]).await.ends(0);
}

#[tokio::test]
async fn servers_that_are_not_there_are_unavailable() {
    let bench = Bench::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let token = bench.path("token").display().to_string();
    let connection = ["--token-file", &token, "--timeout", "1", "--endpoint"];
    let outcome = bench.plain(&[&connection[..], &[&silent, "key", "list"]].concat()).await.ends(8);
    assert!(outcome.errors.contains("--timeout"), "{}", outcome.errors);
    drop(listener);
    let outcome = bench.plain(&[&connection[..], &[&silent, "key", "list"]].concat()).await.ends(8);
    assert!(outcome.errors.contains("is the server running"), "{}", outcome.errors);
    bench.plain(&[&connection[..], &["not a url", "key", "list"]].concat()).await.ends(2);
}

#[tokio::test]
async fn token_files_must_be_private_and_hold_one_token() {
    let mut bench = Bench::new().await;
    bench.file("token", TOKEN, 0o644);
    let outcome = bench.run(&["key", "list"]).await.ends(2);
    assert!(
        outcome.errors.contains("others can read") && outcome.errors.contains("0600"),
        "{}",
        outcome.errors
    );
    for (content, code) in [("", 3), ("two canary words", 3), ("canary\nlines", 3), (&"a".repeat(9000), 2)] {
        bench.file("token", content, 0o600);
        bench.run(&["key", "list"]).await.ends(code);
    }
    let url = bench.fake.url.clone();
    bench.input = format!("{TOKEN}\n").into_bytes();
    bench.plain(&["--endpoint", &url, "--token-file", "-", "key", "list"]).await.ends(0);
    let both = ["--endpoint", &url, "--token-file", "-", "key", "put", "--key-string-file", "-"];
    let outcome = bench.plain(&both).await.ends(2);
    assert!(outcome.errors.contains("both the token and the key string"));
    bench.plain(&["--endpoint", &url, "--token-file", "/does/not/exist", "key", "list"]).await.ends(2);
}

#[tokio::test]
async fn an_address_is_never_guessed() {
    let mut bench = Bench::new().await;
    let token = bench.path("token").display().to_string();
    let outcome = bench.plain(&["--token-file", &token, "key", "list"]).await.ends(2);
    assert!(outcome.errors.contains("http://127.0.0.1:9311"), "{}", outcome.errors);
    let outcome = bench.plain(&["key", "list"]).await.ends(2);
    assert!(
        outcome.errors.contains("OS_CLOUD") && outcome.errors.contains("--token-file"),
        "{}",
        outcome.errors
    );
    bench.environment = vec![("OS_KEY_MANAGER_ENDPOINT_OVERRIDE".to_owned(), bench.fake.url.clone())];
    bench.plain(&["--token-file", &token, "key", "list"]).await.ends(0);
    let outcome = bench
        .plain(&[
            "--token-file",
            &token,
            "--endpoint",
            "http://192.0.2.1:1",
            "--timeout",
            "1",
            "key",
            "create",
            "--algorithm",
            "aes",
        ])
        .await
        .ends(8);
    assert!(outcome.errors.starts_with("warning: the endpoint is http"), "{}", outcome.errors);
}

#[tokio::test]
async fn clouds_authenticate_with_keystone_and_find_the_endpoint() {
    let mut bench = Bench::new().await;
    let auth_url = format!("{}/identity", bench.fake.url);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    bench.environment = vec![
        variable("OS_AUTH_URL", &auth_url),
        variable("OS_USERNAME", "swift"),
        variable("OS_PASSWORD", "right"),
        variable("OS_USER_DOMAIN_NAME", "Default"),
    ];
    let outcome = bench.plain(&["-v", "key", "list"]).await.ends(0);
    assert!(outcome.errors.contains("the credentials of the environment"), "{}", outcome.errors);
    assert_eq!(bench.fake.last().target, "/v1/keys");
    let outcome = bench.plain(&["--os-region-name", "Two", "key", "list"]).await.ends(2);
    assert!(
        outcome.errors.contains("public in One") && outcome.errors.contains("--endpoint"),
        "{}",
        outcome.errors
    );
    bench.environment[2].1 = "wrong-canary".to_owned();
    bench.plain(&["key", "list"]).await.ends(3);
    let yaml = format!(
        "clouds:\n  lab:\n    auth: {{auth_url: \"{auth_url}\", username: swift, password: right, user_domain_name: D}}\n"
    );
    bench.file("clouds.yaml", yaml, 0o600);
    bench.plain(&["--os-cloud", "lab", "key", "list"]).await.ends(0);
    let outcome = bench.plain(&["--os-cloud", "other", "key", "list"]).await.ends(2);
    assert!(outcome.errors.contains("it has: lab"), "{}", outcome.errors);
}

#[tokio::test]
async fn certificate_files_are_read_and_insecure_is_said() {
    let bench = Bench::new().await;
    let outcome = bench.run(&["--os-cacert", "/does/not/exist", "key", "list"]).await.ends(2);
    assert!(outcome.errors.contains("the CA file /does/not/exist"), "{}", outcome.errors);
    let outcome = bench.run(&["--insecure", "key", "list"]).await.ends(0);
    assert!(outcome.errors.starts_with("warning: certificates are not checked"), "{}", outcome.errors);
}

#[tokio::test]
async fn algorithms_are_shown() {
    let bench = Bench::new().await;
    let outcome = bench.run(&["algorithms"]).await.ends(0);
    let aes = outcome.text().lines().find(|line| line.starts_with("aes ")).unwrap();
    let words: Vec<&str> = aes.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["aes", "symmetric", "recommended", "128, 192, 256", "256", "gcm, xts", "yes"]);
    assert!(outcome.text().contains("128 to 4096 by 8") && outcome.text().contains("\naes-256-gcm  "));
    let outcome = bench.run(&["--format", "json", "algorithms"]).await.ends(0);
    assert_eq!(outcome.json()["algorithms"][1]["name"], "hmac");
}

#[tokio::test]
async fn completions_know_the_commands() {
    let bench = Bench::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let outcome = bench.plain(&["completions", shell]).await.ends(0);
        for word in ["undelete", "allow-inactive", "superseded", "policy", "purge", "all-pages"] {
            assert!(outcome.text().contains(word), "{shell}: {word}");
        }
    }
}

/// Every command has a help with an example, and the example is one that the parser takes.
#[test]
fn every_command_has_an_example_that_parses() {
    fn visit(command: &clap::Command, examples: &mut usize) {
        let name = command.get_name().to_owned();
        assert!(command.get_about().is_some(), "{name} says nothing about itself");
        if command.has_subcommands() {
            return command.get_subcommands().filter(|inner| inner.get_name() != "help").for_each(|inner| {
                visit(inner, examples);
            });
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> =
            help.lines().filter_map(|line| line.split_once("chatelaine ")).map(|(_, rest)| rest).collect();
        assert!(!lines.is_empty(), "{name} has no example");
        for line in lines.iter().filter(|line| !line.contains('`')) {
            let words = line.split_whitespace().take_while(|word| !matches!(*word, ">" | "|"));
            if let Err(error) = Cli::try_parse_from(std::iter::once("chatelaine").chain(words)) {
                panic!("{line}: {error}");
            }
            *examples += 1;
        }
    }
    let mut examples = 0;
    visit(&Cli::command(), &mut examples);
    assert!(examples >= 20, "{examples}");
    Cli::command().debug_assert();
}

/// Whatever the documentation shows, the parser takes; and it shows every command and code.
#[test]
fn the_documentation_shows_commands_that_parse() {
    let text = include_str!("../../../../../docs/cli.md");
    let shown: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("$ chatelaine ")).map(|(_, rest)| rest).collect();
    for line in &shown {
        let words = line.split_whitespace().take_while(|word| !matches!(*word, ">" | "|"));
        if let Err(error) = Cli::try_parse_from(std::iter::once("chatelaine").chain(words)) {
            panic!("{line}: {error}");
        }
    }
    for command in [
        "key create",
        "key put",
        "key get",
        "key show",
        "key list",
        "key update",
        "key delete",
        "key undelete",
        "key revoke",
        "secret list",
        "secret show",
        "secret undelete",
        "secret purge",
        "algorithms",
        "policy list",
        "policy check",
        "completions",
    ] {
        assert!(shown.iter().any(|line| line.starts_with(command)), "{command}");
    }
    for code in 0..=9 {
        assert!(text.lines().any(|line| line.starts_with(&format!("| {code} |"))), "{code}");
    }
}

//! `import barbican`: what is refused before anything is read.

use super::*;

const KEK: &str = "S0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0s=";

struct Files {
    bench: Bench,
    kek: String,
    data: String,
}

async fn files() -> Files {
    let bench = Bench::new().await;
    let kek = bench.file("kek", format!("{KEK}\n"), 0o600);
    let data = format!("data.folder=\"{}\"", bench.path("data").display());
    Files { bench, kek, data }
}

impl Files {
    async fn import(&self, arguments: &[&str]) -> Outcome {
        self.bench.plain(&[&["--set", &self.data, "import", "barbican"], arguments].concat()).await
    }
}

#[tokio::test]
async fn passwords_are_not_taken_from_arguments() {
    let files = files().await;
    for url in
        ["mysql://b:hunter2@db/b", "postgresql://b:hunter2@db/b", "mysql+pymysql://b@db/b?password=hunter2"]
    {
        let outcome = files.import(&["--database", url, "--kek-file", &files.kek]).await.ends(2);
        assert!(outcome.errors.contains("--database-file"), "{}", outcome.errors);
        assert!(!outcome.errors.contains("hunter2"), "{}", outcome.errors);
    }
}

#[tokio::test]
async fn files_that_others_can_read_are_refused() {
    let files = files().await;
    let open_kek = files.bench.file("open-kek", KEK, 0o644);
    let outcome = files.import(&["--database", "sqlite:///x.db", "--kek-file", &open_kek]).await.ends(2);
    assert!(outcome.errors.contains("0644"), "{}", outcome.errors);
    let open_url = files.bench.file("open-url", "mysql://b:hunter2@db/b", 0o644);
    let outcome = files.import(&["--database-file", &open_url, "--kek-file", &files.kek]).await.ends(2);
    assert!(outcome.errors.contains("0644") && !outcome.errors.contains("hunter2"), "{}", outcome.errors);
    let open_password = files.bench.file("open-password", "hunter2", 0o604);
    let arguments =
        ["--database", "mysql://b@db/b", "--password-file", &open_password, "--kek-file", &files.kek];
    files.import(&arguments).await.ends(2);
}

#[tokio::test]
async fn keys_must_be_keys() {
    let files = files().await;
    for (name, content, code) in [
        ("short", "c2hvcnQ=", 7),
        ("none", "this is no key at all, is it? 44 characters!", 7),
        ("two-lines", &format!("{KEK}\n{KEK}")[..], 2),
        ("empty", "", 2),
    ] {
        let kek = files.bench.file(name, content, 0o600);
        let outcome = files.import(&["--database", "sqlite:///x.db", "--kek-file", &kek]).await.ends(code);
        assert!(content.is_empty() || !outcome.errors.contains(content), "{}", outcome.errors);
    }
    let missing = files.bench.path("missing").display().to_string();
    files.import(&["--database", "sqlite:///x.db", "--kek-file", &missing]).await.ends(2);
}

#[tokio::test]
async fn an_import_needs_a_store_a_dry_run_does_not() {
    let files = files().await;
    let nothing = format!("sqlite://{}", files.bench.path("nothing.db").display());
    let arguments = ["--database", &nothing, "--kek-file", &files.kek];
    let outcome = files.import(&arguments).await.ends(2);
    assert!(outcome.errors.contains("there is no store"), "{}", outcome.errors);
    let outcome = files.import(&[&arguments[..], &["--dry-run"]].concat()).await.ends(8);
    assert!(outcome.errors.contains("nothing.db is no file"), "{}", outcome.errors);
    let foreign = files.bench.file("foreign.db", "", 0o600);
    let url = format!("sqlite://{foreign}");
    let outcome = files.import(&["--database", &url, "--kek-file", &files.kek, "--dry-run"]).await.ends(1);
    assert!(outcome.errors.contains("has no table projects"), "{}", outcome.errors);
    assert!(!files.bench.path("data").exists(), "nothing was made");
}

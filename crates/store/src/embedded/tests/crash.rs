//! Tests that need a process of their own: this test program runs itself again, with a role in its environment.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::*;

const ROLE: &str = "CHATELAINE_TEST_STORE_FOLDER";

/// This program again, running only the named test.
fn again(program: &Path, test: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, folder);
    command
}

/// In the child: eight writers, each saying what was acknowledged, until the process is killed.
fn write_until_killed(folder: &Path, round: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(&folder.join("store.db")));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, round) = (Arc::clone(&store), round.to_owned());
                tokio::spawn(async move {
                    for number in 0.. {
                        let id = format!("{round}-{writer}-{number}");
                        put(&store, &id, id.repeat(40).into_bytes()).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "stored {id}").unwrap();
                        out.flush().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    const TEST: &str = "embedded::tests::crash::what_was_acknowledged_survives_a_kill";
    if let Ok(folder) = std::env::var(ROLE) {
        let round = std::env::var("CHATELAINE_TEST_ROUND").unwrap();
        return write_until_killed(Path::new(&folder), &round);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut stored = Vec::new();
    for round in 0..3 {
        let program = std::env::current_exe().unwrap();
        let mut child = again(&program, TEST, folder.path())
            .env("CHATELAINE_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = stored.len();
        let mut take = |line: String| stored.extend(line.split_once("stored ").map(|(_, id)| id.to_owned()));
        for line in lines.by_ref().take(100 + 37 * round) {
            take(line.unwrap());
        }
        child.kill().unwrap();
        // The last line may be cut short by the kill: then its record's name would be, too.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        rest.iter().take(rest.len().saturating_sub(1)).cloned().for_each(take);
        assert!(!child.wait().unwrap().success());
        assert!(stored.len() > before + 50, "the child wrote {} records", stored.len() - before);

        assert!(folder.path().join("store.db-wal").exists(), "it was not a clean end");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = open(&path);
            for id in &stored {
                let found = store.read(&KIND, id).await.unwrap();
                assert_eq!(found, Some(record(id, id.repeat(40).into_bytes())), "{id} was acknowledged");
            }
            store.health().await.unwrap();
        });
        assert_eq!(integrity(&path).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_read_only_folder_or_file_is_refused() {
    const TEST: &str = "embedded::tests::crash::a_read_only_folder_or_file_is_refused";
    if let Ok(folder) = std::env::var(ROLE) {
        let folder = Path::new(&folder);
        let error = refusal(&folder.join("new.db"));
        assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("new.db")), "{error}");
        let error = refusal(&folder.join("store.db"));
        assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("writable")), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(folder.path(), 0o755);
    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    drop(open(&locked.join("store.db")));
    set(&locked.join("store.db"), 0o444);
    set(&locked, 0o555);
    // A copy, since another user may not be able to reach where this program was built. Permissions do not stop root,
    // so root runs it as nobody.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set(&program, 0o755);
    let mut command = again(&program, TEST, &locked);
    if std::fs::write(locked.join("probe"), "").is_ok() {
        std::fs::remove_file(locked.join("probe")).unwrap();
        command.uid(65534).gid(65534);
    }
    let output = command.current_dir("/").output().unwrap();
    set(&locked, 0o755);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// In the child: a store that is open, and says so, until its standard input ends.
fn hold(folder: &Path) {
    let store = open(&folder.join("store.db"));
    writeln!(std::io::stdout(), "open").unwrap();
    std::io::stdin().lines().count();
    drop(store);
}

#[test]
fn a_store_in_use_is_not_replaced() {
    const TEST: &str = "embedded::tests::crash::a_store_in_use_is_not_replaced";
    if let Ok(folder) = std::env::var(ROLE) {
        return hold(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    drop(open(&path));
    backup(&path, &copy).unwrap();
    let prepared = Restoring::begin(&copy, &path).unwrap();
    let mut child = again(&std::env::current_exe().unwrap(), TEST, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.contains("open")));
    // Idle, with nothing read or written: the lock is there all the same.
    let error = prepared.finish().unwrap_err();
    assert!(error.to_string().contains(&format!("in use by process {}", child.id())), "{error}");
    let Err(error) = Restoring::begin(&copy, &path) else { panic!("it is in use") };
    assert!(error.to_string().contains("stop the server"), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    drop(lines);
    Restoring::begin(&copy, &path).unwrap().finish().unwrap();
}

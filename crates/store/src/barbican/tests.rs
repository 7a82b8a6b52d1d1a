use std::path::PathBuf;

use chatelaine_core::clock::Timestamp;
use rusqlite::Connection;

use super::*;

/// The columns that are read, as Barbican's migrations make them on SQLite.
const SCHEMA: &str = "
CREATE TABLE projects (id VARCHAR(36) PRIMARY KEY, external_id VARCHAR(255));
CREATE TABLE secrets (id VARCHAR(36) PRIMARY KEY, project_id VARCHAR(36), name VARCHAR(255), secret_type VARCHAR(20),
    expiration DATETIME, algorithm VARCHAR(255), bit_length INTEGER, mode VARCHAR(255), creator_id VARCHAR(255),
    created_at DATETIME, updated_at DATETIME, deleted BOOLEAN, status VARCHAR(20));
CREATE TABLE encrypted_data (id VARCHAR(36) PRIMARY KEY, secret_id VARCHAR(36), kek_id VARCHAR(36), cypher_text TEXT,
    content_type VARCHAR(255), created_at DATETIME, deleted BOOLEAN);
CREATE TABLE kek_data (id VARCHAR(36) PRIMARY KEY, plugin_name VARCHAR(255), plugin_meta TEXT);
CREATE TABLE secret_store_metadata (id VARCHAR(36) PRIMARY KEY, secret_id VARCHAR(36), key VARCHAR(255),
    value VARCHAR(255), deleted BOOLEAN);
CREATE TABLE secret_user_metadata (id VARCHAR(36) PRIMARY KEY, secret_id VARCHAR(36), key VARCHAR(255),
    value VARCHAR(255), deleted BOOLEAN);
CREATE TABLE secret_acls (id VARCHAR(36) PRIMARY KEY, secret_id VARCHAR(36), operation VARCHAR(255),
    project_access BOOLEAN, created_at DATETIME, updated_at DATETIME, deleted BOOLEAN);
CREATE TABLE secret_acl_users (id VARCHAR(36) PRIMARY KEY, acl_id VARCHAR(36), user_id VARCHAR(255), deleted BOOLEAN);
CREATE TABLE secret_consumer_metadata (id VARCHAR(36) PRIMARY KEY, secret_id VARCHAR(36), service VARCHAR(255),
    resource_type VARCHAR(255), resource_id VARCHAR(36), created_at DATETIME, updated_at DATETIME, deleted BOOLEAN);
CREATE TABLE containers (id VARCHAR(36) PRIMARY KEY, project_id VARCHAR(36), name VARCHAR(255), type VARCHAR(20),
    creator_id VARCHAR(255), created_at DATETIME, updated_at DATETIME, deleted BOOLEAN, status VARCHAR(20));
CREATE TABLE container_secret (id VARCHAR(36) PRIMARY KEY, container_id VARCHAR(36), secret_id VARCHAR(36),
    name VARCHAR(255), created_at DATETIME, deleted BOOLEAN);
CREATE TABLE container_acls (id VARCHAR(36) PRIMARY KEY, container_id VARCHAR(36), operation VARCHAR(255),
    project_access BOOLEAN, created_at DATETIME, updated_at DATETIME, deleted BOOLEAN);
CREATE TABLE container_acl_users (id VARCHAR(36) PRIMARY KEY, acl_id VARCHAR(36), user_id VARCHAR(255),
    deleted BOOLEAN);
CREATE TABLE container_consumer_metadata (id VARCHAR(36) PRIMARY KEY, container_id VARCHAR(36), name VARCHAR(36),
    \"URL\" VARCHAR(255), created_at DATETIME, updated_at DATETIME, deleted BOOLEAN);
CREATE TABLE project_quotas (id VARCHAR(36) PRIMARY KEY, project_id VARCHAR(36), secrets INTEGER, orders INTEGER,
    containers INTEGER, consumers INTEGER, cas INTEGER, created_at DATETIME, updated_at DATETIME);
CREATE TABLE orders (id VARCHAR(36) PRIMARY KEY);
INSERT INTO projects VALUES ('p', 'demo');
";

struct Database {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Database {
    fn new(statements: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("barbican.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection.execute_batch(statements).unwrap();
        Self { _folder: folder, path }
    }

    async fn open(&self) -> Result<Source, SourceError> {
        Source::open(&Address::parse(&format!("sqlite://{}", self.path.display()), None).unwrap()).await
    }
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[tokio::test]
async fn a_secret_comes_with_all_that_hangs_on_it() {
    let database = Database::new(
        "INSERT INTO secrets VALUES ('s1', 'p', 'näme', 'symmetric', '2051-02-03 04:05:06', 'aes', 256, 'cbc', 'u',
             '2026-11-23 15:49:36.974210', '2026-11-24 00:00:00', 0, 'ACTIVE');
         INSERT INTO secrets VALUES ('s2', 'gone', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 15:49:36',
             '2026-11-23 15:49:36', 1, 'PENDING');
         -- The software backend writes bytes where text is declared.
         INSERT INTO encrypted_data VALUES ('e1', 's1', 'k', CAST('Z0FB' AS BLOB), 'text/plain', '2026-11-23', 0);
         INSERT INTO encrypted_data VALUES ('e2', 's1', 'k', 'older', 'text/plain', '2026-11-23', 1);
         INSERT INTO kek_data VALUES ('k', 'plugin', CAST('gAAA' AS BLOB)), ('l', 'plugin', NULL);
         INSERT INTO secret_store_metadata VALUES ('m1', 's1', 'plugin_name', 'x', 0), ('m2', 's1', 'old', 'y', 1);
         INSERT INTO secret_user_metadata VALUES ('m3', 's1', 'k', 'v', 0);
         INSERT INTO secret_acls VALUES ('a', 's1', 'read', 0, '2026-11-23 01:00:00', '2026-11-23 02:00:00', 0);
         INSERT INTO secret_acl_users VALUES ('x1', 'a', 'alice', 0), ('x2', 'a', 'bob', 0), ('x3', 'b', 'eve', 0);
         INSERT INTO secret_consumer_metadata VALUES ('c', 's1', 'volume', 'volume', 'v-1', '2026-11-23 01:00:00',
             '2026-11-23 02:00:00', 0);",
    );
    let mut source = database.open().await.unwrap();
    let totals = source.totals().await.unwrap();
    assert_eq!((totals.secrets, totals.containers), (2, 0));
    let keks = source.keks().await.unwrap();
    assert_eq!(keks["k"], KekRow { plugin_name: "plugin".to_owned(), plugin_meta: Some("gAAA".to_owned()) });
    assert_eq!(keks["l"].plugin_meta, None);
    let secrets = source.secrets(None).await.unwrap();
    let [first, second] = secrets.as_slice() else { panic!("{} secrets", secrets.len()) };
    assert_eq!((first.project.as_deref(), first.name.as_deref()), (Some("demo"), Some("näme")));
    assert_eq!(first.created, time("2026-11-23T15:49:36.974210Z"));
    assert_eq!(first.expiration, Some(time("2051-02-03T04:05:06Z")));
    assert_eq!((first.bit_length, first.deleted, first.status.as_str()), (Some(256), false, "ACTIVE"));
    let [payload] = first.payloads.as_slice() else { panic!("{} payloads", first.payloads.len()) };
    assert_eq!((payload.cypher_text.as_deref(), payload.kek_id.as_deref()), (Some("Z0FB"), Some("k")));
    assert_eq!(first.store_metadata.keys().collect::<Vec<_>>(), ["plugin_name"]);
    assert_eq!(first.user_metadata["k"], "v");
    let [acl] = first.acls.as_slice() else { panic!("{} lists", first.acls.len()) };
    assert_eq!((acl.operation.as_str(), acl.project_access), ("read", false));
    assert_eq!(acl.users, ["alice", "bob"]);
    assert_eq!(first.consumers.first().unwrap().resource_id, "v-1");
    assert_eq!((second.project.as_deref(), second.deleted, second.status.as_str()), (None, true, "PENDING"));
    assert!(source.secrets(Some("s2")).await.unwrap().is_empty());
}

#[tokio::test]
async fn containers_and_quotas_are_read() {
    let database = Database::new(
        "INSERT INTO containers VALUES ('c1', 'p', NULL, 'generic', 'u', '2026-11-23 01:00:00', '2026-11-23 01:00:00',
             0, 'ACTIVE');
         INSERT INTO container_secret VALUES ('l2', 'c1', 's2', NULL, '2026-11-23 01:00:00', 0),
             ('l1', 'c1', 's1', 'first', '2026-11-23 01:00:00', 0), ('l3', 'c1', 's3', 'left', '2026-11-23', 1);
         INSERT INTO container_acls VALUES ('a', 'c1', 'read', 1, '2026-11-23 01:00:00', '2026-11-23 02:00:00', 0);
         INSERT INTO container_acl_users VALUES ('x1', 'a', 'alice', 0);
         INSERT INTO container_consumer_metadata VALUES ('m', 'c1', 'lb', 'http://lb', '2026-11-23 01:00:00',
             '2026-11-23 02:00:00', 0);
         INSERT INTO project_quotas VALUES ('q', 'p', 5, NULL, -1, 0, NULL, '2026-11-23 01:00:00',
             '2026-11-23 02:00:00');",
    );
    let mut source = database.open().await.unwrap();
    let containers = source.containers(None).await.unwrap();
    let [container] = containers.as_slice() else { panic!("{} containers", containers.len()) };
    let links: Vec<_> =
        container.secrets.iter().map(|link| (link.name.as_deref(), link.secret_id.as_str())).collect();
    assert_eq!(links, [(Some("first"), "s1"), (None, "s2")]);
    assert_eq!(container.acls.first().unwrap().users, ["alice"]);
    assert_eq!(container.consumers.first().unwrap().url, "http://lb");
    let quotas = source.quotas().await.unwrap();
    let [quota] = quotas.as_slice() else { panic!("{} quotas", quotas.len()) };
    assert_eq!((quota.secrets, quota.orders, quota.containers), (Some(5), None, Some(-1)));
}

/// However many there are, each is read once, with its own.
#[tokio::test]
async fn pages_join_up() {
    let mut statements = "BEGIN;".to_owned();
    for number in 0..450 {
        statements.push_str(&format!(
            "INSERT INTO secrets VALUES ('s{number:05}', 'p', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-23 01:00:00',
                 '2026-11-23 01:00:00', 0, 'ACTIVE');
             INSERT INTO secret_user_metadata VALUES ('m{number}', 's{number:05}', 'number', '{number}', 0);"
        ));
    }
    let database = Database::new(&format!("{statements} COMMIT"));
    let mut source = database.open().await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = source.secrets(after.as_deref()).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        seen.extend(page.into_iter().map(|secret| (secret.id, secret.user_metadata["number"].clone())));
    }
    let expected: Vec<_> = (0..450).map(|number| (format!("s{number:05}"), number.to_string())).collect();
    assert_eq!(seen, expected);
}

/// What is written meanwhile is not seen: all of it is of one moment.
#[tokio::test]
async fn one_moment_is_read() {
    let database = Database::new("PRAGMA journal_mode = WAL");
    let mut source = database.open().await.unwrap();
    assert!(source.quotas().await.unwrap().is_empty());
    Connection::open(&database.path)
        .unwrap()
        .execute_batch(
            "INSERT INTO project_quotas VALUES ('q', 'p', 1, 1, 1, 1, 1, '2026-11-23', '2026-11-23')",
        )
        .unwrap();
    assert!(source.quotas().await.unwrap().is_empty());
    assert_eq!(database.open().await.unwrap().quotas().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_barbican_is_refused() {
    let database = Database::new("DROP TABLE secret_acls; DROP TABLE orders");
    let Err(SourceError::Foreign(problem)) = database.open().await else { panic!("it was taken for one") };
    assert!(problem.contains("secret_acls, orders"), "{problem}");
    let address = Address::parse("sqlite:///does/not/exist.db", None).unwrap();
    assert!(matches!(Source::open(&address).await, Err(SourceError::Unavailable(_))));
    let database = Database::new(
        "INSERT INTO project_quotas VALUES ('q', 'p', 1, 1, 1, 1, 1, 'yesterday', '2026-11-23 01:00:00')",
    );
    let error = database.open().await.unwrap().quotas().await.unwrap_err();
    assert_eq!(error.to_string(), "project_quotas q: its created_at cannot be read");
}

/// A server that takes the connection and says nothing is given up on.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["mysql", "postgresql"] {
        let address = Address::parse(&format!("{scheme}://u@127.0.0.1:{port}/d"), None).unwrap();
        let Err(error) = Source::open(&address).await else { panic!("{scheme}: it was opened") };
        assert!(error.to_string().contains("no answer within 15 s"), "{error}");
    }
}

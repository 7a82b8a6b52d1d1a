//! What needs no database: statements, and what is refused before one is asked. The rest is in `tests/sql`.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;

use super::dialect::{Dialect, Statement};
use super::*;

#[test]
fn rows_are_named_kind_by_kind() {
    let keys: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"a", b"2"), (b"b", b"1")];
    let text = |dialect, keys: &[(&'static [u8], &'static [u8])]| {
        let mut statement = Statement::new(dialect, "");
        statement.rows(keys);
        (statement.text, statement.values.len(), statement.is_kept)
    };
    let (postgres, values, kept) = text(Dialect::Postgres, &keys);
    assert_eq!(postgres, "((kind = $1 AND id IN ($2, $3)) OR (kind = $4 AND id IN ($5)))");
    assert_eq!((values, kept), (5, false));
    let (mysql, values, kept) = text(Dialect::MySql, &keys[..1]);
    assert_eq!(mysql, "((kind = ? AND id IN (?)))");
    assert_eq!((values, kept), (2, true));
}

#[test]
fn what_columns_cannot_hold_is_refused() {
    let record = |kind: &str, version| Record {
        kind: Kind::stored(kind.to_owned()),
        id: "a".to_owned(),
        project: String::new(),
        created: Timestamp::EPOCH,
        version: Version::new(version),
        attributes: chatelaine_core::store::IndexAttributes::default(),
        body: Vec::new(),
    };
    assert!(check_columns(&[Change::Create(record("k", i64::MAX as u64))]).is_ok());
    for wrong in [record("", 1), record(&"k".repeat(65), 1), record("k", u64::MAX)] {
        assert!(matches!(check_columns(&[Change::Create(wrong)]), Err(StoreError::Invalid(_))));
    }
}

#[test]
fn passwords_are_not_shown() {
    let options = Options { password: Some(Password::new("hunter2")), ..Options::default() };
    assert!(!format!("{options:?} {:?}", options.password).contains("hunter2"));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_in_time() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = Address::parse(&format!("mysql://keys@127.0.0.1:{port}/keys")).unwrap();
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let begun = Instant::now();
    let Err(StoreError::Unavailable(text)) = SqlStore::open(&address, &options).await else {
        panic!("there is no database")
    };
    assert!(text.contains(&port.to_string()), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

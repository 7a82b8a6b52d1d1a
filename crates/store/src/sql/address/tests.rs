//! What addresses mean, and which are refused.

use super::*;

#[test]
fn addresses_are_understood() {
    for (url, description, risky) in [
        ("postgres://keys@db.example.org/keys", "PostgreSQL database keys at db.example.org:5432", false),
        (
            "mysql://keys@db1,db2:3307,10.0.0.3/keys?sslrootcert=/ca.pem",
            "MariaDB or MySQL database keys at db1:3306, db2:3307, 10.0.0.3:3306",
            false,
        ),
        ("mariadb://keys@localhost/keys", "MariaDB or MySQL database keys at localhost:3306", false),
        ("postgresql://keys@[::1]:5433/keys", "PostgreSQL database keys at [::1]:5433", false),
        ("postgres://keys@/keys?host=/run/postgresql", "PostgreSQL database keys at /run/postgresql", false),
        ("mysql://keys@/keys?socket=/run/s", "MariaDB or MySQL database keys at /run/s", false),
        ("postgres://keys@db/keys?sslmode=require", "PostgreSQL database keys at db:5432", true),
        ("mysql://keys@db:443/keys?ssl-mode=DISABLED", "MariaDB or MySQL database keys at db:443", true),
        (
            "mysql://keys@db/keys?ssl-mode=VERIFY_IDENTITY&ssl-cert=/c.pem&ssl-key=/k.pem",
            "MariaDB or MySQL database keys at db:3306",
            false,
        ),
    ] {
        let parsed = Address::parse(url).unwrap();
        assert_eq!((parsed.describe(), parsed.risk().is_some()), (description, risky), "{url}");
    }
    let near = Address::parse("postgres://k@127.0.0.1/k").unwrap();
    assert_eq!(near.protection, Protection::Plain);
    assert_eq!(Address::parse("postgres://k@db/k").unwrap().protection, Protection::Verified);
    let files = Address::parse("postgres://k@db/k?sslrootcert=/a&sslcert=/b&sslkey=/c").unwrap();
    assert_eq!(files.files().count(), 3);
}

#[test]
fn other_addresses_are_refused_without_repeating_them() {
    for url in [
        "postgres://user:hunter2@host/db",
        "postgres://user@host/db?password=hunter2",
        "mysql://user:@host/db",
        "mysql://hunter2@host",
        "mysql://host/hunter2",
        "mysql://hunter2@/db",
        "mysql://hunter2@host/",
        "mysql://hunter2@ho st/db",
        "mysql://hunter2@host:70000/db",
        "mysql://hunter2@a,,b/db",
        "mysql://%ff@host/db",
        "mysql://hunter2@host/db?sslmode=prefer",
        "mysql://hunter2@host/db?sslmode=verify-ca",
        "mysql://hunter2@host/db?sslmode=hunter2",
        "mysql://hunter2@host/db?sslrootcert=hunter2",
        "mysql://hunter2@host/db?sslcert=/hunter2",
        "mysql://hunter2@host/db?socket=/hunter2",
        "mysql://hunter2@/db?socket=/s&sslmode=require",
        "mysql://hunter2@host/db?local_infile=hunter2",
        "oracle://hunter2@host/db",
    ] {
        match Address::parse(url) {
            Err(StoreError::Invalid(message)) => {
                assert!(!message.contains("hunter2"), "{url}: {message}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    let many = format!("mysql://u@{}/db", vec!["h"; 17].join(","));
    assert!(Address::parse(&many).is_err());
}

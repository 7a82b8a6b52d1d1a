//! TLS to the database: to the right one, and to no other.

use std::path::Path;
use std::process::Command;

use chatelaine_core::store::{Change, Store, StoreError};
use tempfile::TempDir;

use crate::checker::{KIND, record};
use crate::servers::{MariaDb, Postgres, Server, run, try_open};

/// Authorities and certificates of tests, as files.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for authority in ["authority", "stranger"] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} \
                 -addext keyUsage=critical,keyCertSign -keyout {authority}.key -out {authority}.pem"
            ));
        }
        for (name, host) in [("server", "127.0.0.1"), ("elsewhere", "127.0.0.2")] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
                 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{host} \
                 -CA authority.pem -CAkey authority.key -keyout {name}.key -out {name}.pem"
            ));
        }
        made
    }

    fn openssl(&self, arguments: &str) {
        run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(self.0.path()));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }
}

async fn refused(url: &str) -> String {
    match try_open(url).await {
        Err(StoreError::Unavailable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

async fn speak(server: &mut dyn Server) {
    let certificates = Certificates::new();
    server.make("house");
    let url = server.url("house");
    let trusting = |authority: &str| {
        format!("{url}?sslmode=verify-full&sslrootcert={}", certificates.path().join(authority).display())
    };
    server.speak_tls(&certificates.text("server.pem"), &certificates.text("server.key"));
    let store = try_open(&trusting("authority.pem")).await.unwrap();
    store.apply(vec![Change::Create(record("a", 1, b"x"))]).await.unwrap();
    assert!(store.read(&KIND, "a").await.unwrap().is_some());
    drop(try_open(&format!("{url}?sslmode=require")).await.unwrap());
    let text = refused(&trusting("stranger.pem")).await;
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");
    let text = refused(&format!("{url}?sslmode=verify-full")).await;
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");
    // The server itself takes nothing but TLS now.
    refused(&format!("{url}?sslmode=disable")).await;
    // A good certificate of another host.
    server.speak_tls(&certificates.text("elsewhere.pem"), &certificates.text("elsewhere.key"));
    let text = refused(&trusting("authority.pem")).await;
    assert!(text.contains("certificate") || text.contains("NotValidForName"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_speaks_tls() {
    speak(&mut Postgres::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_speaks_tls() {
    speak(&mut MariaDb::new()).await;
}

//! `doctor`: looks at everything the server stands on and says what to do.
//!
//! Changes nothing and needs no running server. Each check is one row; a failed one says how to mend it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::clock::{Clock, SystemClock, Timestamp};
use chatelaine_core::keyring::Keyring;
use chatelaine_store::Address;
use serde_json::json;

use super::opening::{self, GIVE_IT, Opening};
use super::{control, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::Config;
use crate::http::TlsSettings;
use crate::identity::{Identities, IdentityKind};
use crate::master_key::{Keeper, blocking};
use crate::{audit, checkpoint, platform, startup};

const HELP: &str = "\
Checks the configuration, the data folder and its permissions, the clock, the seal, the store, the audit trail, the
identities and the policy. It ends with code 1 when something has to be mended.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml doctor";

/// No machine that runs this has an earlier clock: 2026-01-01.
const EARLIEST: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Less free space than this is a problem soon, in bytes.
const LITTLE_SPACE: u64 = 256 * 1024 * 1024;

/// Arguments of `doctor`: none.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Warning,
    Bad,
}

impl Health {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "FAILED",
        }
    }
}

struct Row {
    name: &'static str,
    health: Health,
    text: String,
}

fn row(name: &'static str, result: Result<String, String>) -> Row {
    match result {
        Ok(text) => Row { name, health: Health::Good, text },
        Err(text) => Row { name, health: Health::Bad, text },
    }
}

fn warning(name: &'static str, text: impl Into<String>) -> Row {
    Row { name, health: Health::Warning, text: text.into() }
}

/// Runs the command.
pub(crate) async fn run(global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    let mut rows = vec![row("configuration", Ok(source(global)))];
    rows.push(server(&config).await);
    rows.push(clock());
    rows.push(match platform::memory_lock_problem() {
        None => row("memory", Ok("keys in memory are locked against the swap".to_owned())),
        Some(problem) => warning("memory", problem),
    });
    rows.extend(config.seal.cap_consequence().map(|text| warning("cap", text)));
    if config.data.folder.exists() {
        rows.push(row("data folder", data_folder(&config.data.folder)));
        rows.extend(space(&config.data.folder));
        rows.extend(storage(&config, terminal).await?);
        rows.push(identity(&config).await);
    } else {
        rows.push(warning(
            "data folder",
            format!(
                "{} does not exist yet; the first `chatelaine serve` makes it",
                config.data.folder.display()
            ),
        ));
    }
    rows.push(row(
        "policy",
        startup::policy(&config)
            .map(|_| "the rules are good".to_owned())
            .map_err(|error| format!("{error:#}")),
    ));
    if config.has_tls() {
        let opened = TlsSettings::open(&config.server.tls);
        rows.push(row(
            "tls",
            opened.map(|_| "certificate and key fit".to_owned()).map_err(|error| error.to_string()),
        ));
    } else if !config.server.listen.ip().is_loopback() {
        rows.push(warning(
            "tls",
            "off, and the server listens beyond loopback: set server.tls.cert and server.tls.key",
        ));
    }
    print(&rows, terminal)?;
    Ok(if rows.iter().any(|row| row.health == Health::Bad) { Exit::Failed } else { Exit::Done })
}

fn source(global: &Global) -> String {
    match &global.config {
        Some(file) => format!("{} is good", file.display()),
        None => "no file is named: defaults, environment and command line".to_owned(),
    }
}

async fn server(config: &Config) -> Row {
    match control::connect(&config.control_path()).await {
        Ok(Some(_)) => row("server", Ok(format!("runs, on {}", config.server.listen))),
        Ok(None) => match std::net::TcpListener::bind(config.server.listen) {
            Ok(_) => row("server", Ok(format!("does not run; {} is free", config.server.listen))),
            Err(error) => row(
                "server",
                Err(format!(
                    "does not run, and cannot listen on {}: {error}; set server.listen",
                    config.server.listen
                )),
            ),
        },
        Err(failure) => warning("server", failure.message),
    }
}

fn clock() -> Row {
    let now = SystemClock.now();
    if now < EARLIEST {
        return row(
            "clock",
            Err(format!("it is {now} by this machine's clock: set it, and keep it with NTP")),
        );
    }
    row("clock", Ok(now.to_string()))
}

fn data_folder(folder: &Path) -> Result<String, String> {
    startup::prepare_data_folder(folder)
        .map(|()| format!("{} is closed to others", startup::absolute(folder).display()))
        .map_err(|error| format!("{error:#}"))
}

fn space(folder: &Path) -> Option<Row> {
    let facts = rustix::fs::statvfs(folder).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let text = format!("{} MiB are free", free / (1024 * 1024));
    Some(if free < LITTLE_SPACE {
        warning("disk", format!("{text}: without space for the audit trail nothing is released; make room"))
    } else {
        row("disk", Ok(text))
    })
}

/// Seal, store and audit trail, each on the one before it.
async fn storage(config: &Config, terminal: &mut Terminal) -> Result<Vec<Row>, Failure> {
    let keyring = match keyring(config, terminal).await? {
        Ok(keyring) => keyring,
        Err(row) => return Ok(vec![row]),
    };
    let mut rows = vec![row("seal", Ok(format!("opens; master key {}", keyring.master_key_id())))];
    if let Ok(Address::Database(database)) = startup::store_address(config)
        && let Some(risk) = database.risk()
    {
        rows.push(warning("store", risk));
    }
    let (mut head, mut lost) = (None, None);
    let server = config.server_name();
    match startup::store_for_reading(config).await {
        Err(error) => rows.push(row("store", Err(format!("{error:#}")))),
        Ok(None) => {
            rows.push(warning("store", "memory: every key is lost when the server ends"));
            return Ok(rows);
        }
        Ok(Some(store)) => {
            rows.push(match keyring.note(&*store, "master_key").await {
                Ok(Some(_)) => row("store", Ok(format!("{} belongs to the master key", store.describe()))),
                Ok(None) => warning("store", "it has no master key's mark: no server has used it yet"),
                Err(error) => row("store", Err(format!("it belongs to another master key: {error}"))),
            });
            head = checkpoint::read_from(&*store, &keyring, &server).await.ok().flatten();
            lost = checkpoint::lost_from(&*store, &keyring, &server).await.ok().flatten();
        }
    }
    let (folder, key) = (config.audit_path(), Arc::new(keyring.audit_key()));
    if folder.is_dir() {
        let verified = tokio::task::spawn_blocking(move || {
            let expected = audit::Expected::any_beginning(&folder, head)?;
            audit::verify(&folder, &key, &expected, &mut |_| {})
        })
        .await;
        rows.push(row(
            "audit",
            match verified {
                Ok(Ok(report)) if report.is_intact() && lost.is_some() => {
                    Err(lost.map(checkpoint::lost_text).unwrap_or_default())
                }
                Ok(Ok(report)) if report.is_intact() => Ok(format!("{} lines verify", report.lines)),
                Ok(Ok(report)) => Err(format!(
                    "{} things are wrong; `chatelaine audit verify` names them",
                    report.findings.len()
                )),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            },
        ));
    }
    Ok(rows)
}

/// The keyring, or what to say of the seal. That the keys cannot be opened here and now need be no fault.
async fn keyring(config: &Config, terminal: &mut Terminal) -> Result<Result<Keyring, Row>, Failure> {
    let keeper = match Keeper::new(config) {
        Ok(keeper) => keeper,
        Err(error) => return Ok(Err(row("seal", Err(error.to_string())))),
    };
    let rest = "store and audit trail were not looked at";
    Ok(match opening::attempt(&keeper, terminal).await? {
        Opening::Open(unsealed) => {
            startup::keyring(&unsealed).map_err(|error| row("seal", Err(format!("{error:#}"))))
        }
        Opening::NotGiven(_) => {
            Err(warning("seal", format!("nobody gave the passphrase, and {rest}; {GIVE_IT}")))
        }
        Opening::Closed(error) => {
            let tpm = keeper.tpm().map(Arc::clone);
            let capped = match tpm {
                Some(tpm) => blocking(move || tpm.is_capped()).await.unwrap_or(false),
                None => false,
            };
            Err(if capped {
                warning("seal", format!("{error}; {rest}"))
            } else {
                row("seal", Err(error.to_string()))
            })
        }
    })
}

async fn identity(config: &Config) -> Row {
    // The static identities of a first start are for `serve` to make, not for a look at them.
    let file = config.identity.fixed.path(&config.data.folder);
    if config.identity.kind == IdentityKind::Static && !file.exists() {
        return warning(
            "identity",
            format!("{} does not exist yet; the first `chatelaine serve` makes it", file.display()),
        );
    }
    let check = async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opened = Identities::open(&config.identity, &config.data.folder, &config.own_url(), clock).await;
        let (identities, _) = opened.map_err(|error| error.to_string())?;
        identities.health().await?;
        Ok(identities.describe())
    };
    match tokio::time::timeout(Duration::from_secs(15), check).await {
        Ok(result) => row("identity", result),
        Err(_) => row("identity", Err("no answer within 15 s".to_owned())),
    }
}

fn print(rows: &[Row], terminal: &mut Terminal) -> Result<(), Failure> {
    if terminal.format == Format::Json {
        let checks: Vec<_> = rows
            .iter()
            .map(|row| json!({ "check": row.name, "result": row.health.as_str(), "text": row.text }))
            .collect();
        return terminal.json(&json!({ "checks": checks }));
    }
    let rows = rows
        .iter()
        .map(|row| vec![row.name.to_owned(), row.health.as_str().to_owned(), row.text.clone()])
        .collect();
    terminal.table(&["CHECK", "RESULT", ""], rows)
}

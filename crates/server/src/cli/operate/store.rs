//! `store check|backup|restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatelaine_core::check::{CheckReport, Finding, Knowledge, check};
use chatelaine_core::store::Store;
use chatelaine_crypto::MacKey;
use chatelaine_store::Address;
use clap::Subcommand;
use serde_json::json;

use super::reading::{NoTrail, ReadTrail};
use super::{blocking, failed, knowledge, load, opening, restore};
use crate::audit;
use crate::checkpoint;
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::Config;
use crate::startup;

const CHECK_HELP: &str = "\
Opens every record's seal, compares the index with what is sealed and the versions with the audit trail, so that an
edited, swapped, removed or rolled back record is found. The server may run meanwhile. It ends with code 1 when
something is wrong.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml store check";

const BACKUP_HELP: &str = "\
The copy is that of one moment, complete and checked; the server may run meanwhile. It holds ciphertext only: back up
the master key apart from it, and after it the audit trail and the identities. `store restore` puts it back.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml store backup /backup/chatelaine-2027-01-31.db";

/// Arguments of `store`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every record of the store
    #[command(after_help = CHECK_HELP)]
    Check,
    /// Copy the store to a new file
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// The new file; it must not exist
        file: PathBuf,
    },
    /// Put a copy in the place of the store, while the server does not run
    #[command(after_help = restore::HELP)]
    Restore {
        /// A file that `store backup` made; it stays as it is
        file: PathBuf,
    },
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    match arguments.command {
        Command::Check => run_check(&config, terminal).await,
        Command::Restore { file: from } => restore::run(&config, from, terminal).await,
        Command::Backup { file: to } => {
            let file = file_of(&config)?;
            let to = terminal.working_folder.join(to);
            let target = to.clone();
            blocking(move || chatelaine_store::embedded::backup(&file, &target)).await?;
            match terminal.format {
                Format::Json => terminal.json(&json!({ "file": to }))?,
                Format::Table => terminal.write(format!("copied to {}\n", to.display()).as_bytes())?,
            }
            terminal.note("the master key is not in this copy; it needs a backup of its own, kept apart");
            Ok(Exit::Done)
        }
    }
}

/// The address of the configured store, where there can be one for other processes than a server.
pub(super) fn place_of(config: &Config) -> Result<Address, Failure> {
    let address =
        Address::parse(&config.store_url()).map_err(|error| Failure::usage(format!("store.url: {error}")))?;
    match &address {
        Address::Memory => Err(Failure::usage("store.url: a memory: store exists in its server only")),
        Address::Embedded(file) if !file.exists() => {
            Err(Failure::usage(format!("{}: there is no store", file.display()))
                .advise("name the server's configuration with --config FILE"))
        }
        _ => Ok(address),
    }
}

/// The file of the embedded store.
fn file_of(config: &Config) -> Result<PathBuf, Failure> {
    match place_of(config)? {
        Address::Embedded(file) => Ok(file),
        other => Err(not_a_file(&other)),
    }
}

/// What is said of a store that is no file, to whoever wants to copy or replace the file.
pub(super) fn not_a_file(address: &Address) -> Failure {
    let place = match address {
        Address::Database(database) => database.describe().to_owned(),
        _ => "this store".to_owned(),
    };
    Failure::usage(format!("{place} is no embedded store: there is no file to copy or to replace")).advise(
        "use the tools of the database: pg_dump and pg_restore, or mariadb-dump --single-transaction and mariadb; its tables \
         are those whose names begin with chatelaine_",
    )
}

/// Opens the configured store for looking.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    place_of(config)?;
    let store = startup::store_for_reading(config).await.map_err(failed)?;
    store.ok_or_else(|| Failure::usage("store.url: a memory: store exists in its server only"))
}

async fn run_check(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let address = place_of(config)?;
    let keyring = opening::keyring(config, terminal).await?;
    let damage = match &address {
        Address::Embedded(file) => {
            let path = file.clone();
            let found = blocking(move || chatelaine_store::embedded::integrity(&path)).await?;
            found.into_iter().map(|problem| (file.display().to_string(), problem)).collect()
        }
        // A database checks itself, with its own tools.
        _ => Vec::new(),
    };
    let store = open(config).await?;
    let (folder, key) = (config.audit_path(), Arc::new(keyring.audit_key()));
    let head = checkpoint::read_from(&*store, &keyring, &config.server_name()).await.map_err(failed)?;
    let (path, mac, is_shared) = (folder.clone(), Arc::clone(&key), store.is_shared());
    let trail = blocking(move || look_at_trail(&path, &mac, head, is_shared)).await?;
    let mut progress = Progress::new(terminal);
    let mut at = |seen| progress.at(seen);
    let mut report = match &trail {
        Ok(knowledge) => {
            check(&*store, &keyring, &ReadTrail { folder, key }, *knowledge, &mut at).await.map_err(failed)?
        }
        // Seals and structure say much without it.
        Err(problem) => {
            let mut report =
                check(&*store, &keyring, &NoTrail, Knowledge::Recent, &mut at).await.map_err(failed)?;
            report.findings.push(Finding {
                kind: "audit".to_owned(),
                id: folder.display().to_string(),
                problem: problem.clone(),
            });
            report
        }
    };
    drop(progress);
    for (id, problem) in damage {
        report.findings.push(Finding { kind: "file".to_owned(), id, problem });
    }
    print(&report, terminal)?;
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What the trail knows, or why versions cannot be compared with it.
fn look_at_trail(
    folder: &Path,
    key: &MacKey,
    head: Option<audit::Head>,
    is_shared: bool,
) -> Result<Result<Knowledge, String>, audit::TrailError> {
    if !folder.is_dir() {
        return Ok(Err("there is no audit trail, so that versions were not compared with it".to_owned()));
    }
    let expected = audit::Expected::any_beginning(folder, head)?;
    let verified = audit::verify(folder, key, &expected, &mut |_| {})?;
    if !verified.is_intact() {
        return Ok(Err(format!(
            "it does not verify ({} findings), so that versions were not compared with it; `chatelaine audit verify` \
             names them",
            verified.findings.len()
        )));
    }
    Ok(Ok(knowledge(verified.first_seq, audit::is_younger_than_store(folder, key)?, is_shared)))
}

fn print(report: &CheckReport, terminal: &mut Terminal) -> Result<(), Failure> {
    if terminal.format == Format::Json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|found| json!({ "kind": found.kind, "id": found.id, "problem": found.problem }))
            .collect();
        return terminal.json(&json!({
            "ok": report.findings.is_empty(), "records": report.records, "findings": findings,
        }));
    }
    let rows = report.records.iter().map(|(kind, count)| vec![kind.clone(), count.to_string()]).collect();
    terminal.table(&["KIND", "RECORDS"], rows)?;
    if report.findings.is_empty() {
        return terminal.write(b"\nevery record opens and agrees with the audit trail\n");
    }
    terminal.write(b"\n")?;
    let rows = report
        .findings
        .iter()
        .map(|found| vec![found.kind.clone(), found.id.clone(), found.problem.clone()])
        .collect();
    terminal.table(&["KIND", "ID", "PROBLEM"], rows)
}

/// Tells on standard error how far a long check has come.
struct Progress {
    bar: indicatif::ProgressBar,
}

impl Progress {
    fn new(terminal: &Terminal) -> Self {
        let bar = if terminal.errors_is_terminal {
            indicatif::ProgressBar::new_spinner().with_message("records")
        } else {
            indicatif::ProgressBar::hidden()
        };
        Self { bar }
    }

    fn at(&mut self, seen: u64) {
        self.bar.set_position(seen);
        self.bar.set_message(format!("{seen} records"));
        if self.bar.is_hidden() && seen % 100_000 < 1000 && seen >= 100_000 {
            tracing::info!(seen, "records checked");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

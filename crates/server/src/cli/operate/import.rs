//! `import barbican`: what a Barbican holds, read from its database, taken over with all ids.
//!
//! Owns the arguments, the files with passwords and keys, and the telling of progress and result. Invariant: a password or
//! key comes from a file that others cannot read, never from an argument. Refuses to write beside a running server.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chatelaine_client::SecretText;
use chatelaine_core::clock::SystemClock;
use chatelaine_core::keyring::Keyring;
use chatelaine_core::manager::Existing;
use chatelaine_crypto::FernetKey;
use chatelaine_store::barbican::{Address, SourceError, carries_password};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::store::place_of;
use super::{control, during, failed, load, opening};
use crate::barbican::import::{Choices, Import, ImportError, Progress, Reason, Report, Sort, Target};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::Config;
use crate::{identity, startup};

const HELP: &str = "\
Takes over secrets with payload, user metadata, access list and consumers, containers with their consumers, and project
quotas, all with their ids and times. Orders stay out, and so does what was deleted, has expired, failed, or is kept by
another backend than the software one: the report names it. The database is only read.

The server must be stopped, unless --dry-run is given. First every project's key is opened: when a key is missing,
nothing is written. What is here already is compared: the same is passed over, anything else is a conflict and stays as
it is. An import that was interrupted is run again, with --resume to save the comparing.

It ends with code 6 when there are conflicts, 7 when no given key opens a project's key, and 1 when something is damaged.

Examples:
  chatelaine --config /etc/chatelaine/chatelaine.toml import barbican --database-file barbican.url --kek-file kek --dry-run
  chatelaine import barbican --database mysql://barbican@db/barbican --password-file password --kek-file kek --kek-file old";

/// How often lines tell the progress where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take over what is in a Barbican's database
    #[command(after_help = HELP)]
    Barbican(Barbican),
}

#[derive(Debug, clap::Args)]
struct Barbican {
    /// The database, as `connection` in barbican.conf but without password: mysql://USER@HOST/NAME,
    /// postgresql://USER@HOST/NAME or sqlite:///PATH
    #[arg(long, value_name = "URL", required_unless_present = "database_file")]
    database: Option<String>,
    /// A file that holds the database's address, with or without password, and that others cannot read
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
    /// A file that holds the database's password and that others cannot read
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file that holds one `kek` of [simple_crypto_plugin] and that others cannot read; once for each
    #[arg(long, value_name = "FILE", required = true)]
    kek_file: Vec<PathBuf>,
    /// Write nothing; tell what would be imported
    #[arg(long)]
    dry_run: bool,
    /// Go on with an interrupted import: believe what is here already
    #[arg(long)]
    resume: bool,
    /// Leave out secrets of projects whose keys no given key opens, instead of refusing to begin
    #[arg(long)]
    leave_out_unopened: bool,
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let Command::Barbican(arguments) = arguments.command;
    let config = load(global, terminal)?;
    let keys = keks(&arguments.kek_file, terminal)?;
    let address = address(&arguments, terminal)?;
    if !arguments.dry_run && control::connect(&config.control_path()).await?.is_some() {
        return Err(Failure::new(Exit::Conflict, "the server runs, and only one process may write")
            .advise("stop it for the import, or try --dry-run beside it"));
    }
    // All before the long reading of the other side.
    let here = match place_of(&config) {
        Ok(_) => Some(opening::keyring(&config, terminal).await?),
        Err(_) if arguments.dry_run => None,
        Err(failure) => return Err(failure),
    };
    if !address.is_verified() {
        terminal.warn(
            "the database's certificate is not checked: whoever sits on the path can feign it; see ssl_ca, or sslmode and \
             sslrootcert, in the address",
        );
    }
    let choices = Choices {
        max_payload: config.barbican.max_payload_bytes,
        existing: if arguments.resume { Existing::PassOver } else { Existing::Compare },
        leave_out_unopened: arguments.leave_out_unopened,
    };
    let mut shown = Shown::new(terminal);
    let import = Import::prepare(&address, keys, choices, &SystemClock, &mut |at| shown.at(at)).await;
    let result = match (import, here) {
        (Ok(import), Some(keyring)) if !arguments.dry_run => {
            write(import, &config, keyring, &mut shown).await
        }
        (Ok(import), here) => compare(import, &config, here, &mut shown).await,
        (Err(error), _) => Err(told(&error)),
    };
    drop(shown);
    let report = result?;
    print(&report, terminal)?;
    Ok(exit(&report))
}

async fn write(
    import: Import,
    config: &Config,
    keyring: Keyring,
    shown: &mut Shown<'_>,
) -> Result<Report, Failure> {
    let manager = startup::open_for_work(config, keyring).await.map_err(failed)?;
    let work = async { Ok(import.run(Target::Manager(&manager), &mut |at| shown.at(at)).await) };
    during(&manager, "import barbican", work).await?.map_err(|error| told(&error))
}

async fn compare(
    import: Import,
    config: &Config,
    here: Option<Keyring>,
    shown: &mut Shown<'_>,
) -> Result<Report, Failure> {
    let Some(keyring) = here else {
        return import.run(Target::Nothing, &mut |at| shown.at(at)).await.map_err(|error| told(&error));
    };
    let store = super::store::open(config).await?;
    let target = Target::Compared(&*store, &keyring);
    import.run(target, &mut |at| shown.at(at)).await.map_err(|error| told(&error))
}

fn guarded(option: &'static str, path: &Path, terminal: &Terminal) -> Result<SecretText, Failure> {
    let path = terminal.working_folder.join(path);
    identity::read_secret(option, &path).map_err(|error| Failure::usage(error.to_string()))
}

fn keks(files: &[PathBuf], terminal: &Terminal) -> Result<Vec<FernetKey>, Failure> {
    let read = |path: &PathBuf| {
        let text = guarded("--kek-file", path, terminal)?;
        FernetKey::parse(text.expose().as_bytes()).map_err(|error| {
            Failure::new(Exit::Invalid, format!("{}: {error}", path.display())).advise(
                "each file holds one value of `kek` in section [simple_crypto_plugin] of barbican.conf, without quotes",
            )
        })
    };
    files.iter().map(read).collect()
}

fn address(arguments: &Barbican, terminal: &Terminal) -> Result<Address, Failure> {
    let password = arguments
        .password_file
        .as_deref()
        .map(|path| guarded("--password-file", path, terminal))
        .transpose()?;
    let password = password.as_ref().map(SecretText::expose);
    let parsed = match (&arguments.database_file, &arguments.database) {
        (Some(path), _) => Address::parse(guarded("--database-file", path, terminal)?.expose(), password),
        (None, Some(url)) if carries_password(url) => {
            return Err(Failure::usage("--database holds a password, and every user of this machine can read arguments")
                .advise("put the address into a file and name it with --database-file, or the password with --password-file"));
        }
        (None, Some(url)) => Address::parse(url, password),
        (None, None) => return Err(Failure::usage("--database or --database-file is missing")),
    };
    parsed.map_err(|error| Failure::usage(error.to_string()))
}

/// An error as a failure of the command.
fn told(error: &ImportError) -> Failure {
    match error {
        ImportError::Unopened { .. } => Failure::new(Exit::Invalid, error.to_string()).advise(
            "name every `kek` of [simple_crypto_plugin] in barbican.conf, the old ones too, with --kek-file; or leave \
             these projects' secrets out with --leave-out-unopened",
        ),
        ImportError::Source(SourceError::Address(_)) => Failure::usage(error.to_string()),
        ImportError::Source(SourceError::Unavailable(_)) => {
            Failure::new(Exit::Unavailable, error.to_string())
        }
        ImportError::Source(_) => Failure::new(Exit::Failed, error.to_string()),
        ImportError::Store(_) => Failure::new(Exit::Failed, format!("the import was broken off: {error}"))
            .advise("what was imported stays; mend what is wrong, and run the same again with --resume"),
    }
}

const fn sorts(report: &Report) -> [(Sort, &crate::barbican::import::Counts); 3] {
    [
        (Sort::Secret, &report.secrets),
        (Sort::Container, &report.containers),
        (Sort::ProjectQuota, &report.project_quotas),
    ]
}

fn exit(report: &Report) -> Exit {
    if report.has(Reason::Damaged) {
        return Exit::Failed;
    }
    if sorts(report).iter().any(|(_, counts)| counts.conflicts > 0) { Exit::Conflict } else { Exit::Done }
}

fn print(report: &Report, terminal: &mut Terminal) -> Result<(), Failure> {
    if terminal.format == Format::Json {
        return terminal.json(report);
    }
    let done = if report.dry_run { "TO IMPORT" } else { "IMPORTED" };
    let mut rows = Vec::new();
    for (sort, counts) in sorts(report) {
        let numbers = [counts.imported, counts.present, counts.conflicts, counts.all_left_out()];
        rows.push(
            std::iter::once(format!("{}s", sort.as_str())).chain(numbers.map(|n| n.to_string())).collect(),
        );
    }
    let orders = ["0", "0", "0"].map(str::to_owned);
    let left_out = report.orders_left_out.to_string();
    rows.push(std::iter::once("orders".to_owned()).chain(orders).chain([left_out]).collect());
    terminal.table(&["", done, "ALREADY HERE", "CONFLICTS", "LEFT OUT"], rows)?;

    let mut reasons = Vec::new();
    for (sort, counts) in sorts(report) {
        for (reason, count) in &counts.left_out {
            reasons.push(vec![format!("{}s", sort.as_str()), reason.as_str().to_owned(), count.to_string()]);
        }
    }
    if !reasons.is_empty() {
        terminal.write(b"\n")?;
        terminal.table(&["LEFT OUT", "REASON", "COUNT"], reasons)?;
    }
    let mut named: Vec<Vec<String>> = Vec::new();
    let mut name = |kind: &str, id: &str, detail: &str| {
        named.push([kind, id, detail].map(str::to_owned).to_vec());
    };
    report.conflicts.iter().for_each(|found| name(found.kind.as_str(), &found.id, &found.detail));
    // What was deleted or has expired is in the count, and in the JSON report.
    for found in report.left_out.iter().filter(|found| !found.reason.is_expected()) {
        name(found.kind.as_str(), &found.id, &found.detail);
    }
    for id in &report.incomplete_containers {
        name("container", id, "it refers to secrets that stay out");
    }
    if !named.is_empty() {
        terminal.write(b"\n")?;
        terminal.table(&["LOOK AT", "ID", "WHY"], named)?;
    }
    if report.dry_run {
        terminal.note("nothing was written");
    }
    Ok(())
}

/// Tells on standard error how far it has come: a bar on a terminal, a line now and then elsewhere.
struct Shown<'a> {
    terminal: &'a mut Terminal,
    bar: ProgressBar,
    stage: &'static str,
    told: Instant,
}

impl<'a> Shown<'a> {
    fn new(terminal: &'a mut Terminal) -> Self {
        let bar = if terminal.errors_is_terminal && terminal.format == Format::Table {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            match ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        } else {
            ProgressBar::hidden()
        };
        Self { terminal, bar, stage: "", told: Instant::now() }
    }

    fn at(&mut self, progress: Progress) {
        let Progress { stage, done, of } = progress;
        let begins = self.stage != stage;
        if begins {
            self.stage = stage;
            self.bar.set_length(of);
            self.bar.set_message(stage);
            self.bar.reset_eta();
        }
        self.bar.set_position(done);
        if self.bar.is_hidden() && (begins || self.told.elapsed() >= LINES_EVERY) {
            self.told = Instant::now();
            self.terminal.note(&format!("{stage}: {done} of {of}"));
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

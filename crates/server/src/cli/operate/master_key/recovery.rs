//! `master-key recovery` and `master-key recover`: break-glass.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{RecoveryDocument, RecoveryRequest};
use chatelaine_core::audit::{Action, Outcome};
use chatelaine_seal::recovery::{RecoveryKey, RecoveryRecipient, shares};
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use super::access::{self, Access, ask_server, seal_failed};
use super::show;
use crate::cli::operate::{blocking, failed};
use crate::cli::{Exit, Failure, Format, Terminal};
use crate::config::Config;
use crate::master_key::changes::Book;
use crate::master_key::{self, Keeper};

const CREATE_HELP: &str = "\
The key is made here, shown once, and kept nowhere: write it down, or have it shared out with --shares and --threshold,
and keep it away from the server. With --output the key, or each share, is written to a file of its own (mode 0600) in a
new folder, for example on a removable disk. The server keeps the public half alone. A former recovery key is replaced.

Examples:
  chatelaine master-key recovery create
  chatelaine master-key recovery create --shares 5 --threshold 3 --output /media/usb/shares";
const CHECK_HELP: &str = "\
A recovery key that was never tried is a hope. Try it now and then, on the machine of the server.

Example:
  chatelaine master-key recovery check --from /media/usb/share-1 /media/usb/share-4 /media/usb/share-5";
const REMOVE_HELP: &str = "\
What was sealed for it is removed from the document; copies of the document in backups can still be opened with it.

Example:
  chatelaine master-key recovery remove --yes";
pub(super) const RECOVER_HELP: &str = "\
For the day when every seal is lost: the recovery key opens the master keys, and they are sealed by seal.kind and
seal.also anew. The sealed master keys themselves must be there; restore their file from its backup first. A server that
waits sealed opens at once.

Without --from the key, or a share a line, is read from standard input.

Example:
  chatelaine master-key recover --from /media/usb/recovery-key";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a recovery key and seal all master keys for it
    #[command(after_help = CREATE_HELP)]
    Create {
        /// Share the key out, in so many shares
        #[arg(long, requires = "threshold", value_name = "N")]
        shares: Option<u8>,
        /// So many shares open the master keys
        #[arg(long, requires = "shares", value_name = "K")]
        threshold: Option<u8>,
        /// Write to files in this new folder instead of standard output
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Show that a recovery key opens all master keys; nothing is changed
    #[command(after_help = CHECK_HELP)]
    Check(Source),
    /// Seal the master keys for no recovery key any more
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// Do not ask; needed where nobody can be asked
        #[arg(long)]
        yes: bool,
    },
}

/// Where the recovery key, or its shares, are.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Files with the key or with one share each; without any, the lines of standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
}

/// Most bytes of a key or of all shares.
const MAX_INPUT: u64 = 64 * 1024;

pub(super) async fn run(config: &Config, command: Command, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Create { shares, threshold, output } => {
            create(config, shares.zip(threshold), output, terminal).await
        }
        Command::Check(source) => check(config, &source, terminal).await,
        Command::Remove { yes } => {
            access::confirm(yes, "Without a recovery key, lost seals are lost data.", terminal)?;
            let access = Access::open(config, terminal).await?;
            change(config, &access, None, terminal).await
        }
    }
}

async fn create(
    config: &Config,
    shared: Option<(u8, u8)>,
    output: Option<PathBuf>,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let access = Access::open(config, terminal).await?;
    let key = RecoveryKey::random().map_err(seal_failed)?;
    let (count, threshold) = shared.unwrap_or((1, 1));
    let texts = match shared {
        None => vec![key.to_text().map_err(seal_failed)?],
        Some((count, threshold)) => shares::split(&key, threshold, count).map_err(seal_failed)?,
    };
    let recipient = key.recipient(&master_key::now(), threshold, count).map_err(seal_failed)?;
    let fingerprint = recipient.fingerprint();
    // Handed out first: a key that nobody has must not be the one that master keys are sealed for.
    hand_out(&texts, &fingerprint, output.map(|folder| terminal.working_folder.join(folder)), terminal)?;
    change(config, &access, Some(recipient), terminal).await
}

fn hand_out(
    texts: &[Zeroizing<String>],
    fingerprint: &str,
    folder: Option<PathBuf>,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let Some(folder) = folder else {
        if terminal.format == Format::Json {
            let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
            return terminal.json(&json!({ "recovery_key": fingerprint, "secrets": texts }));
        }
        terminal.note(&format!(
            "recovery key {fingerprint}: this is the only time that it is shown; keep it away from the server"
        ));
        for text in texts {
            terminal.write(text.as_bytes())?;
            terminal.write(b"\n")?;
        }
        return Ok(());
    };
    let problem = |error: std::io::Error| Failure::usage(format!("{}: {error}", folder.display()));
    crate::platform::make_new_folder(&folder).map_err(problem)?;
    for (index, text) in texts.iter().enumerate() {
        let name = if texts.len() == 1 { "recovery-key".to_owned() } else { format!("share-{}", index + 1) };
        write_new(&folder.join(name), text).map_err(problem)?;
    }
    terminal.note(&format!("recovery key {fingerprint} is in {}", folder.display()));
    Ok(())
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

async fn change(
    config: &Config,
    access: &Access,
    recipient: Option<RecoveryRecipient>,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let status = match access {
        Access::Server => {
            let recovery = recipient.map(|recipient| RecoveryDocument {
                fingerprint: recipient.fingerprint(),
                public_key: STANDARD.encode(&recipient.public_key),
                created: recipient.created,
                threshold: recipient.threshold,
                shares: recipient.shares,
            });
            ask_server(config, "/master-key/recovery", &RecoveryRequest { recovery }).await?
        }
        Access::Here { keeper, .. } => {
            keeper.set_recovery(Book::Diary, recipient).await.map_err(access::refused)?;
            access.status().await?
        }
    };
    // With JSON, the key itself was the result.
    if terminal.format == Format::Table { show(&status, terminal) } else { Ok(Exit::Done) }
}

/// The key, from its text or from shares.
fn read(source: &Source, terminal: &mut Terminal) -> Result<RecoveryKey, Failure> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::with_capacity(MAX_INPUT as usize));
    if source.from.is_empty() {
        if terminal.input_is_terminal {
            terminal.note("type the recovery key, or one share a line, and end with Ctrl-D");
        }
        let input = (&mut terminal.input).take(MAX_INPUT);
        let read = { input }.read_to_string(&mut text);
        read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    }
    for path in &source.from {
        let problem = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
        let file = std::fs::File::open(terminal.working_folder.join(path)).map_err(problem)?;
        let room = MAX_INPUT.saturating_sub(text.len() as u64);
        file.take(room).read_to_string(&mut text).map_err(problem)?;
        text.push('\n');
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let key = match lines.as_slice() {
        [] => return Err(Failure::usage("there is no recovery key and no share")),
        [line] if !line.to_lowercase().starts_with("chatelaine-share-") => RecoveryKey::parse(line),
        several => shares::join(several.iter().copied()),
    };
    key.map_err(seal_failed)
}

async fn check(config: &Config, source: &Source, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let key = read(source, terminal)?;
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    let custody = keeper.recovering(key).map_err(seal_failed)?;
    let unsealed = blocking(move || custody.unseal()).await?;
    let keys: Vec<_> = unsealed.keys.iter().map(|key| key.id.to_string()).collect();
    match terminal.format {
        Format::Json => terminal.json(&json!({ "opens": keys }))?,
        Format::Table => terminal.write(format!("it opens master key {}\n", keys.join(", ")).as_bytes())?,
    }
    Ok(Exit::Done)
}

/// Opens the keys with the recovery key and seals them by the configured seals.
pub(super) async fn recover(
    config: &Config,
    source: &Source,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let before = access::status(config).await?;
    if before.running && !before.sealed {
        return Err(Failure::new(Exit::Conflict, "the server runs and its master keys are open")
            .advise("`chatelaine master-key recovery check` shows whether a recovery key opens them"));
    }
    let key = read(source, terminal)?;
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    if keeper.asks_for_passphrase() {
        keeper.supply(access::new_passphrase(terminal)?).map_err(seal_failed)?;
    }
    // Where a server waits, it holds the lock itself.
    let _lock =
        if before.running { None } else { Some(crate::audit::lock(&config.audit_path()).map_err(failed)?) };
    let text = format!("all master keys by recovery, then sealed by {}", keeper.describe());
    keeper.diary().note(Action::RecoverMasterKey, Outcome::Pending, &text);
    let custody = keeper.recovering(key).map_err(seal_failed)?;
    let seals = keeper.seals();
    let recovered = blocking(move || {
        let mut unsealed = custody.unseal()?;
        // One that works is enough to start with.
        let (mut works, mut problems) = (false, Vec::new());
        for seal in seals {
            match custody.add_seal(&mut unsealed, seal.as_ref(), &master_key::now()) {
                Ok(()) => works = true,
                Err(error) => problems.push(error),
            }
        }
        match problems.pop() {
            Some(error) if !works => Err(error),
            last => Ok::<_, chatelaine_seal::SealError>(problems.into_iter().chain(last).collect::<Vec<_>>()),
        }
    })
    .await;
    let outcome = if recovered.is_ok() { Outcome::Success } else { Outcome::Failure };
    keeper.diary().note(Action::RecoverMasterKey, outcome, &text);
    for problem in recovered? {
        terminal.warn(&format!("not sealed by one of the seals: {problem}"));
    }
    let keeper = Keeper::new(config).map_err(failed)?;
    terminal.note(&format!("the master keys are sealed by {}", keeper.describe()));
    let status = if before.running && !keeper.asks_for_passphrase() {
        ask_server(config, "/master-key/unseal", &json!({})).await?
    } else {
        keeper.status(before.running).await.map_err(seal_failed)?
    };
    show(&status, terminal)?;
    Ok(Exit::Done)
}

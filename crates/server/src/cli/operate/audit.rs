//! `audit verify|acknowledge`.

use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::{blocking, control, during, failed, load, opening};
use crate::audit::{Expected, Finding, FindingKind, Head, VerifyReport, format, verify};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::Config;
use crate::{checkpoint, startup};

/// Longest wait for a running server.
const PATIENCE: Duration = Duration::from_secs(60);

const VERIFY_HELP: &str = "\
Reads the whole trail and names every line that was changed, removed, inserted or moved. Lines cut off the end show
against the head that the server notes in its store, or against one you kept: give it with --head. The server may run
meanwhile. It ends with code 1 when something is wrong.

Examples:
  chatelaine --config /etc/chatelaine/chatelaine.toml audit verify
  chatelaine audit verify --head 1042:5d41402abc4b2a76b9719d911017c592e1c1d9d1f7a1c0f25c3a6c7a3b1f0e9d";

const ACKNOWLEDGE_HELP: &str = "\
When the server starts and the trail does not hold an event any more that the store knows, it keeps that in mind:
`audit verify` and `doctor` report it, and the reaper destroys nothing, because the missing events may have been those
of keys that were undeleted. Put the right trail back if you have it; otherwise keep what is there for an
investigation and acknowledge. That is written to the trail.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml audit acknowledge 1042";

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify the audit trail
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// A head of the trail that was kept elsewhere, as an earlier run printed it
        #[arg(long, value_name = "NUMBER:MAC")]
        head: Option<String>,
        /// The number the trail begins with, where older files were archived
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        first: u64,
    },
    /// Say that you have looked into events missing from the trail, so that the reaper works again
    #[command(after_help = ACKNOWLEDGE_HELP)]
    Acknowledge {
        /// The number of the missing event, as `audit verify` names it
        number: u64,
    },
}

fn parse_head(text: &str) -> Result<Head, Failure> {
    let wrong = || Failure::usage("--head: give a head as `audit verify` printed it, NUMBER:MAC");
    let (seq, mac) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Head {
        seq: seq.parse().map_err(|_| wrong())?,
        mac: format::parse_mac(mac.as_bytes()).ok_or_else(wrong)?,
    })
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    let (head, first) = match arguments.command {
        Command::Verify { head, first } => (head, first),
        Command::Acknowledge { number } => return acknowledge(&config, number, terminal).await,
    };
    let given = head.as_deref().map(parse_head).transpose()?;
    let folder = config.audit_path();
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{}: there is no audit trail", folder.display()))
            .advise("name the server's configuration with --config FILE"));
    }
    let keyring = opening::keyring(&config, terminal).await?;
    let (noted, lost) = noted_heads(&config, &keyring, terminal).await;
    let key = Arc::new(keyring.audit_key());
    let bar = if terminal.errors_is_terminal {
        indicatif::ProgressBar::no_length()
    } else {
        indicatif::ProgressBar::hidden()
    };
    let shown = bar.clone();
    let expected = given.or(noted);
    let mut report = blocking(move || {
        verify(&folder, &key, &Expected { first_seq: first, head: expected }, &mut |progress| {
            shown.set_length(progress.total_bytes);
            shown.set_position(progress.bytes);
        })
    })
    .await?;
    bar.finish_and_clear();
    report.findings.extend(lost.map(|head| Finding {
        segment: format!("event {}", head.seq),
        line_number: 0,
        seq: Some(head.seq),
        kind: FindingKind::Removed,
        text: checkpoint::lost_text(head),
    }));
    print(&report, expected, terminal)?;
    Ok(if report.is_intact() { Exit::Done } else { Exit::Failed })
}

/// The head that the server noted in its store, and the one it found lost; without a readable store, none.
async fn noted_heads(
    config: &Config,
    keyring: &chatelaine_core::keyring::Keyring,
    terminal: &mut Terminal,
) -> (Option<Head>, Option<Head>) {
    let read = async {
        let Some(store) = startup::store_for_reading(config).await.map_err(failed)? else {
            return Ok((None, None));
        };
        let server = config.server_name();
        let noted = checkpoint::read_from(&*store, keyring, &server).await.map_err(failed)?;
        Ok::<_, Failure>((noted, checkpoint::lost_from(&*store, keyring, &server).await.map_err(failed)?))
    };
    read.await.unwrap_or_else(|failure| {
        terminal.warn(&format!(
            "the head noted in the store cannot be read, so a cut end would not show: {}",
            failure.message
        ));
        (None, None)
    })
}

async fn acknowledge(config: &Config, number: u64, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match control::connect(&config.control_path()).await? {
        Some(stream) => {
            control::post(stream, &format!("/audit/acknowledge/{number}"), PATIENCE).await?;
        }
        None => {
            let keyring = opening::keyring(config, terminal).await?;
            let manager = startup::open_for_work(config, keyring).await.map_err(failed)?;
            during(&manager, "audit acknowledge", checkpoint::acknowledge(&manager, number)).await?;
        }
    }
    match terminal.format {
        Format::Json => terminal.json(&json!({ "acknowledged": number }))?,
        Format::Table => terminal.write(format!("acknowledged: event {number} is missing\n").as_bytes())?,
    }
    Ok(Exit::Done)
}

fn print(report: &VerifyReport, expected: Option<Head>, terminal: &mut Terminal) -> Result<(), Failure> {
    let head =
        report.last_seq.zip(report.last_mac).map(|(seq, mac)| format!("{seq}:{}", format::mac_text(&mac)));
    if terminal.format == Format::Json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(
                |found| json!({ "segment": found.segment, "line": found.line_number, "problem": found.text }),
            )
            .collect();
        return terminal.json(&json!({
            "ok": report.is_intact(), "segments": report.segments, "lines": report.lines,
            "verified": report.verified, "first": report.first_seq, "head": head,
            "compared_with": expected.map(|head| head.seq), "findings": findings,
        }));
    }
    let rows = [
        ("files", report.segments.to_string()),
        ("lines", report.lines.to_string()),
        ("verified", report.verified.to_string()),
        ("first event", report.first_seq.map_or_else(String::new, |seq| seq.to_string())),
        ("head", head.unwrap_or_default()),
        ("compared with head", expected.map_or_else(|| "none".to_owned(), |head| head.seq.to_string())),
    ];
    terminal.table(&[], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())?;
    if report.is_intact() {
        return terminal.write(b"\nthe trail is whole: no line was changed, removed, inserted or moved\n");
    }
    terminal.write(b"\n")?;
    let lines = report
        .findings
        .iter()
        .map(|found| match found.line_number {
            0 => format!("{}: {}\n", found.segment, found.text),
            line => format!("{}, line {line}: {}\n", found.segment, found.text),
        })
        .collect::<String>();
    terminal.write(lines.as_bytes())
}

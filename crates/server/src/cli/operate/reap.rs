//! `reap`: one run of the reaper, in the running server or, where none runs, here.

use std::time::Duration;

use chatelaine_api::ReapDocument;

use super::{control, during, failed, load, opening};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::{reaper, startup};

const EXAMPLE: &str = "\
Destroys the key strings of keys that were deleted longer ago than the grace period and, where
deletion.expired_after_seconds is set, deletes keys that expired longer ago than that. A deletion counts only with its authentic tombstone and its line in the audit trail; anything else is undone.
It ends with code 1 when something was found that should not be.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml reap";

/// A run may take long where the trail is long.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Arguments of `reap`: none.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {}

/// Runs the reaper.
pub(crate) async fn run(global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    let report: ReapDocument = match control::connect(&config.control_path()).await? {
        Some(stream) => {
            let body = control::post(stream, "/reap", PATIENCE).await?;
            serde_json::from_slice(&body).map_err(failed)?
        }
        None => {
            if !config.data.folder.exists() {
                return Err(Failure::usage(format!(
                    "{}: there is no such folder",
                    config.data.folder.display()
                ))
                .advise("name the server's configuration with --config FILE"));
            }
            let keyring = opening::keyring(&config, terminal).await?;
            let manager = startup::open_for_work(&config, keyring).await.map_err(failed)?;
            let report = during(&manager, "reap", reaper::run_once(&manager)).await?;
            reaper::document(report)
        }
    };
    match terminal.format {
        Format::Json => terminal.json(&report)?,
        Format::Table => {
            let rows = [
                ("purged", report.purged),
                ("expired and deleted", report.expired),
                ("waiting for the end of the grace period", report.waiting),
                ("restored: the deletion was forged", report.restored),
                ("tombstones without a key", report.cleared),
                ("deleted without a tombstone", report.remade),
                ("damaged", report.corrupt),
            ];
            terminal.table(
                &["RESULT", "KEYS"],
                rows.into_iter().map(|(what, count)| vec![what.to_owned(), count.to_string()]).collect(),
            )?;
        }
    }
    Ok(if report.restored + report.cleared + report.remade + report.corrupt > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

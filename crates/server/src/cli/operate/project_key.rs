//! `project-key rotate`: a new key-encryption key for one project, in the running server.

use std::time::Duration;

use chatelaine_api::RotatedProjectKey;
use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{control, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};

const ROTATE_HELP: &str = "\
What is written from now on is sealed under the new key; the project's older records are sealed anew while the server
serves, and the older keys are destroyed when nothing is under them any more. Clients notice nothing.
rotation.scope_key_seconds does the same for all projects by age.

Example:
  chatelaine project-key rotate --project 4f1c7a0e3b524a539a540f6c1f5be1a7";

/// A rotation is short: the records follow later.
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `project-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new key for a project
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// The project's id
        #[arg(long, value_name = "ID")]
        project: String,
    },
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let Command::Rotate { project } = arguments.command;
    let config = load(global, terminal)?;
    let path = format!("/project-key/rotate/{}", utf8_percent_encode(&project, NON_ALPHANUMERIC));
    let rotated: RotatedProjectKey = control::ask(&config.control_path(), &path, &(), PATIENCE).await?;
    match terminal.format {
        Format::Json => terminal.json(&rotated)?,
        Format::Table => {
            let row = vec![rotated.project, rotated.version.to_string()];
            terminal.table(&["PROJECT", "KEY"], vec![row])?;
        }
    }
    Ok(Exit::Done)
}

//! `config check|show|reference`.

use clap::Subcommand;
use serde_json::json;

use super::{failed, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::http::TlsSettings;
use crate::{startup, telemetry};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and the files it names, without starting anything
    #[command(after_help = "Example:\n  chatelaine --config /etc/chatelaine/chatelaine.toml config check")]
    Check,
    /// Print the configuration as it is in force: defaults, file, environment and command line together
    #[command(after_help = "Example:\n  chatelaine --set log.format=json config show")]
    Show,
    /// Print every setting with its meaning and default, as a file to start from
    #[command(after_help = "Example:\n  chatelaine config reference > chatelaine.toml")]
    Reference,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Check => check(global, terminal),
        Command::Show => show(global, terminal),
        Command::Reference => {
            let text = crate::config::reference().map_err(failed)?;
            terminal.write(text.as_bytes())?;
            Ok(Exit::Done)
        }
    }
}

fn check(global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    let wrong = |error: anyhow::Error| Failure::usage(format!("{error:#}"));
    telemetry::logging::filter(&config.log.level).map_err(|error| wrong(error.into()))?;
    config.identity.validate().map_err(|error| wrong(error.into()))?;
    startup::policy(&config).map_err(wrong)?;
    startup::store_address(&config).map_err(wrong)?;
    startup::store_options(&config).map_err(wrong)?;
    if config.has_tls() {
        TlsSettings::open(&config.server.tls).map_err(|error| wrong(error.into()))?;
    }
    if let Some(consequence) = config.seal.cap_consequence() {
        terminal.warn(&consequence);
    }
    match terminal.format {
        Format::Json => terminal.json(&json!({ "ok": true }))?,
        Format::Table => terminal.write(b"the configuration is good\n")?,
    }
    Ok(Exit::Done)
}

fn show(global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    match terminal.format {
        Format::Json => terminal.json(&config)?,
        Format::Table => terminal.write(toml::to_string(&config).map_err(failed)?.as_bytes())?,
    }
    Ok(Exit::Done)
}

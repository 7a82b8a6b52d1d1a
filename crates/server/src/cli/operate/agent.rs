//! `agent`: a service's agent on this host.

use std::time::Duration;

use chatelaine_api::{AgentRotationDocument, AgentStatusDocument};
use clap::Subcommand;

use super::master_key::access::seal_failed;
use super::{control, failed, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::config::Config;
use crate::master_key::{Keeper, now};
use crate::{audit, startup};

pub(crate) const AGENT_HELP: &str = "\
An agent opens its service's master key, listens at agent.socket, makes and wraps keys there, and sends the key manager
what is wrapped. Its configuration is a file of its own, with a data folder of its own; the commands `master-key` and
`attest` work on it, too.

Examples:
  chatelaine --config /etc/chatelaine/agent-swift.toml agent init
  chatelaine --config /etc/chatelaine/agent-swift.toml agent";
const INIT_HELP: &str = "\
Makes the service's first master key and seals it by the configured seals. Once for a service: its other hosts get the
key by their TPM (`chatelaine attest hello` and what follows it), or a copy where the seal allows that. What is sealed
under a master key that is lost is lost: make a recovery key with `chatelaine master-key recovery create`.

Example:
  chatelaine --config /etc/chatelaine/agent-swift.toml agent init";
const STATUS_HELP: &str = "\
It ends with code 8 while the agent is sealed.

Example:
  chatelaine --config /etc/chatelaine/agent-swift.toml agent status";
const ROTATE_HELP: &str = "\
The running agent makes a new master key, and wraps every key of the service anew under it while it serves. Data stays as
it is. The former master key is retired; it is destroyed when no key is wrapped under it any more and
rotation.keep_retired_seconds have passed. Other hosts of the service must be given the new key before they meet keys
that are wrapped under it.

Example:
  chatelaine --config /etc/chatelaine/agent-swift.toml agent rotate";

const PATIENCE: Duration = Duration::from_secs(300);
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// Arguments of `agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the service's first master key
    #[command(after_help = INIT_HELP)]
    Init,
    /// Show what the running agent does
    #[command(after_help = STATUS_HELP)]
    Status,
    /// Replace the service's master key
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// Do not wait for the end
        #[arg(long)]
        no_wait: bool,
    },
}

impl Arguments {
    pub(crate) const fn is_the_agent(&self) -> bool {
        self.command.is_none()
    }
}

/// Runs the command.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let config = load(global, terminal)?;
    match arguments.command {
        None => {
            crate::telemetry::logging::start(&config.log)
                .map_err(|error| Failure::usage(error.to_string()))?;
            crate::agent::run(&config, &terminal.environment).await.map_err(failed)?;
            Ok(Exit::Done)
        }
        Some(Command::Init) => init(&config, terminal).await,
        Some(Command::Status) => {
            let status: AgentStatusDocument = ask(&config, "/agent/status").await?;
            show(&status, terminal)
        }
        Some(Command::Rotate { no_wait }) => rotate(&config, no_wait, terminal).await,
    }
}

async fn ask<T: serde::de::DeserializeOwned>(config: &Config, path: &str) -> Result<T, Failure> {
    control::ask(&config.control_path(), path, &(), PATIENCE).await
}

async fn init(config: &Config, terminal: &mut Terminal) -> Result<Exit, Failure> {
    startup::prepare_data_folder(&config.data.folder).map_err(failed)?;
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    if keeper.exists().map_err(seal_failed)? {
        return Err(Failure::new(
            Exit::Conflict,
            format!("{}: the service has its master keys already", config.sealed_keys_path().display()),
        )
        .advise("`chatelaine agent rotate` replaces one"));
    }
    let _lock = audit::lock(&config.audit_path()).map_err(failed)?;
    let passphrase = if keeper.asks_for_passphrase() {
        Some(super::master_key::access::new_passphrase(terminal)?)
    } else {
        None
    };
    keeper.unseal_now(true, passphrase).await.map_err(seal_failed)?;
    let id = keeper.opened().await.as_ref().map(|unsealed| unsealed.keys.active.id.to_string());
    let path = config.sealed_keys_path();
    match terminal.format {
        Format::Json => terminal.json(&serde_json::json!({
            "master_key": id, "document": path, "created": now(), "seals": keeper.describe(),
        }))?,
        Format::Table => {
            let row = vec![id.unwrap_or_default(), path.display().to_string(), keeper.describe()];
            terminal.table(&["MASTER KEY", "DOCUMENT", "SEALED BY"], vec![row])?;
        }
    }
    terminal.note(
        "back up the document and what seals it, or make a recovery key: a lost master key is lost data",
    );
    Ok(Exit::Done)
}

fn show(status: &AgentStatusDocument, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let exit = if status.sealed { Exit::Unavailable } else { Exit::Done };
    if terminal.format == Format::Json {
        terminal.json(status)?;
        return Ok(exit);
    }
    let list = |ids: &[String]| if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    let mut rows = vec![
        vec!["agent".to_owned(), if status.sealed { "sealed" } else { "open" }.to_owned()],
        vec!["key manager".to_owned(), status.endpoint.clone()],
        vec!["master key".to_owned(), status.active_master_key.clone().unwrap_or_else(|| "none".to_owned())],
        vec!["retired".to_owned(), list(&status.retired_master_keys)],
        vec!["keys in memory".to_owned(), status.cached_keys.to_string()],
    ];
    rows.extend(status.other_keyrings.iter().map(|(name, ids)| vec![format!("keyring {name}"), list(ids)]));
    rows.extend(status.rotation.iter().map(|rotation| vec!["rotation".to_owned(), progress(rotation)]));
    rows.extend(status.problem.iter().map(|problem| vec!["problem".to_owned(), problem.clone()]));
    terminal.table(&["WHAT", "VALUE"], rows)?;
    Ok(exit)
}

fn progress(rotation: &AgentRotationDocument) -> String {
    let mut text = format!("{} wrapped anew", rotation.done);
    if rotation.passed_over > 0 {
        text.push_str(&format!(", {} changed by others", rotation.passed_over));
    }
    if rotation.failed > 0 {
        text.push_str(&format!(", {} failed and keep their master key", rotation.failed));
    }
    match (&rotation.problem, rotation.running) {
        (Some(problem), _) => format!("stopped, {text}: {problem}"),
        (None, true) => format!("runs, {text}"),
        (None, false) => format!("ended, {text}"),
    }
}

async fn rotate(config: &Config, no_wait: bool, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let before: AgentStatusDocument = ask(config, "/agent/status").await?;
    let _: AgentRotationDocument = ask(config, "/agent/rotate").await?;
    let bar = if terminal.errors_is_terminal && !no_wait {
        indicatif::ProgressBar::new_spinner()
    } else {
        indicatif::ProgressBar::hidden()
    };
    loop {
        let status: AgentStatusDocument = ask(config, "/agent/status").await?;
        let rotation = status.rotation.clone().filter(|shown| {
            Some(&shown.master_key) == status.active_master_key.as_ref()
                && status.active_master_key != before.active_master_key
        });
        let ended = rotation.as_ref().is_some_and(|shown| !shown.running);
        if let Some(shown) = &rotation {
            bar.set_message(progress(shown));
            bar.tick();
        }
        if no_wait || ended {
            bar.finish_and_clear();
            let failed = rotation.is_some_and(|shown| shown.failed > 0 || shown.problem.is_some());
            show(&status, terminal)?;
            return Ok(if failed { Exit::Failed } else { Exit::Done });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

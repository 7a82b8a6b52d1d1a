//! `scope-key create`: by the identity service's agent, which has the master key that wraps it.

use std::time::Duration;

use chatelaine_api::{AgentKeyDocument, AgentScopeKeyRequest, Scope, WiderScope};

use crate::cli::customer::Customer;
use crate::cli::operate::{control, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};

const EXAMPLE: &str = "\
Run it where the identity service's agent runs, with that agent's configuration: it makes the key, wraps it under the identity
service's master key, and puts it with the identity service's credentials. A customer who has a key already gets a newer one: new
data is locked with it, older data stays with the older one.

Example:
  chatelaine --config /etc/chatelaine/agent-identity.toml scope-key create --project 4f1c7a0e3b524a539a540f6c1f5be1a7";

const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `scope-key create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(flatten)]
    customer: Customer,
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

pub(super) async fn run(
    arguments: &Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let (scope, id) = arguments.customer.one()?;
    let scope = match scope {
        WiderScope::User => Scope::User,
        WiderScope::Project => Scope::Project,
        WiderScope::Domain => Scope::Domain,
    };
    let config = load(global, terminal)?;
    let request = AgentScopeKeyRequest { scope, scope_id: id.to_owned(), name: arguments.name.clone() };
    let made: AgentKeyDocument =
        control::ask(&config.control_path(), "/agent/scope-keys", &request, PATIENCE).await?;
    match terminal.format {
        Format::Json => terminal.json(&made)?,
        Format::Table => {
            terminal.table(&["KEY", "OF", "CREATED"], vec![vec![made.id, id.to_owned(), made.created_at]])?;
        }
    }
    Ok(Exit::Done)
}

//! `scope-key show`.

use chatelaine_api::State;

use super::all_of;
use crate::cli::customer::Customer;
use crate::cli::{Exit, Failure, Global, Terminal, connection, key};

const EXAMPLE: &str = "\
The newest active key is the one for new data; older ones open what was locked with them. `key show KEY-ID` shows any of them.

Example:
  chatelaine scope-key show --project 4f1c7a0e3b524a539a540f6c1f5be1a7";

/// Arguments of `scope-key show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(flatten)]
    customer: Customer,
}

pub(super) async fn run(
    arguments: &Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let customer = arguments.customer.one()?;
    let session = connection::open(global, false, terminal).await?;
    let keys = all_of(&session, customer, false).await?;
    let Some(newest) = keys.iter().rev().find(|key| key.state == State::Active) else {
        let (scope, id) = customer;
        return Err(Failure::new(Exit::NotFound, format!("{} {id} has no active key", scope.as_str()))
            .advise("`chatelaine scope-key list`, also with --deleted, shows what there is"));
    };
    key::print(newest, terminal)?;
    let others = keys.len().saturating_sub(1);
    if others > 0 {
        terminal
            .note(&format!("{others} other keys of it are there; `chatelaine scope-key list` shows them"));
    }
    Ok(Exit::Done)
}

//! `completions`: the script that lets a shell complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Exit, Failure, Terminal};

const EXAMPLE: &str = "\
Example:
  chatelaine completions bash > /etc/bash_completion.d/chatelaine";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Prints the script for the commands of `C`.
pub(crate) fn run<C: CommandFactory>(
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let shell: Shell = arguments
        .shell
        .parse()
        .map_err(|_| Failure::usage(format!("there is no script for {}", arguments.shell)))?;
    // Into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut C::command(), "chatelaine", &mut script);
    terminal.write(&script)?;
    Ok(Exit::Done)
}

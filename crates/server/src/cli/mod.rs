//! The command line: what is typed, which command that is, and with which code the process ends.
//!
//! Owns the options every command has. Invariants: a key string or token is read from a file or standard input, never
//! from an argument; results go to standard output, everything else to standard error; a command never panics because
//! the reader of its output went away. Refuses nothing on its own: commands do.

mod algorithms;
mod completions;
mod connection;
mod customer;
mod encryption_defaults;
mod failure;
mod key;
mod operate;
mod output;
mod pages;
mod policy;
mod scope_key;
mod secret;
mod several;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use output::Terminal;

pub(crate) use connection::{ConnectionOptions, without_version};
pub(crate) use failure::{EXIT_CODES, Exit, Failure};
pub(crate) use output::Format;

/// Chatelaine, the key manager for OpenStack.
#[derive(Debug, Parser)]
#[command(
    name = "chatelaine",
    version,
    color = clap::ColorChoice::Never,
    max_term_width = 110,
    after_help = EXIT_CODES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server's configuration file
    #[arg(long, global = true, value_name = "FILE", env = "CHATELAINE_CONFIG", help_heading = "General")]
    pub(crate) config: Option<PathBuf>,
    /// Override one key of the configuration; may be given several times
    #[arg(long = "set", global = true, value_name = "A.B=C", help_heading = "General")]
    pub(crate) set: Vec<String>,
    /// How results are printed; with json, errors are JSON too, one object a line on standard error
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, help_heading = "General")]
    pub(crate) format: Format,
    /// Say more on standard error; twice: also what the libraries do
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "General")]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the key manager
    #[command(
        after_help = "Without a configuration it makes ./chatelaine-data and listens on 127.0.0.1:9311.\n\nExamples:\n  chatelaine serve\n  chatelaine --config /etc/chatelaine/chatelaine.toml serve"
    )]
    Serve,
    /// Run a service's agent, which wraps its keys on its own host, and work with it
    #[command(after_help = operate::agent::AGENT_HELP)]
    Agent(operate::agent::Arguments),
    /// Create, read, list, change and delete keys
    Key(key::Arguments),
    /// For the identity service: list, show and destroy the keys of users, projects and domains
    ScopeKey(scope_key::Arguments),
    /// Show and set how data of a user, project or domain is encrypted where nobody says otherwise
    EncryptionDefaults(encryption_defaults::Arguments),
    /// For operators: list, show, undelete and purge secrets of all projects
    Secret(secret::Arguments),
    /// Show the algorithms the server knows
    Algorithms(algorithms::Arguments),
    /// Show and try out the rules of the policy
    Policy(policy::Arguments),
    /// Show, unseal, rotate and recover master keys, and change what seals them
    MasterKey(operate::master_key::Arguments),
    /// Enrol hosts that may get the master keys by their TPM, and get them on such a host
    Attest(operate::attest::Arguments),
    /// Replace the key-encryption key of a project, under which the server seals its secrets
    ProjectKey(operate::project_key::Arguments),
    /// Verify the audit trail, or acknowledge a loss in it
    Audit(operate::audit::Arguments),
    /// Run the reaper once
    Reap(operate::reap::Arguments),
    /// Check the store, copy it, or put a copy in its place
    Store(operate::store::Arguments),
    /// Take over what another key manager holds
    Import(operate::import::Arguments),
    /// Check, show or explain the configuration
    Config(operate::config::Arguments),
    /// List, add and remove static identities
    Identity(operate::identity::Arguments),
    /// Look at everything the server needs, and say what to mend
    Doctor(operate::doctor::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// Runs the command and returns the code the process ends with.
pub async fn run(cli: Cli, terminal: &mut Terminal) -> u8 {
    let Cli { global, command } = cli;
    let result = match command {
        Command::Key(arguments) => key::run(arguments, &global, terminal).await,
        Command::Secret(arguments) => secret::run(arguments, &global, terminal).await,
        Command::Algorithms(_) => algorithms::run(&global, terminal).await,
        Command::Policy(arguments) => operate::load(&global, terminal).and_then(|config| {
            policy::run(&arguments, (config.policy_file(), config.policy.rule_defaults()), terminal)
        }),
        Command::Serve => operate::serve(&global, terminal).await,
        Command::Agent(arguments) => operate::agent::run(arguments, &global, terminal).await,
        Command::MasterKey(arguments) => operate::master_key::run(arguments, &global, terminal).await,
        Command::Attest(arguments) => operate::attest::run(arguments, &global, terminal).await,
        Command::ScopeKey(arguments) => scope_key::run(arguments, &global, terminal).await,
        Command::EncryptionDefaults(arguments) => {
            encryption_defaults::run(arguments, &global, terminal).await
        }
        Command::ProjectKey(arguments) => operate::project_key::run(arguments, &global, terminal).await,
        Command::Audit(arguments) => operate::audit::run(arguments, &global, terminal).await,
        Command::Reap(_) => operate::reap::run(&global, terminal).await,
        Command::Store(arguments) => operate::store::run(arguments, &global, terminal).await,
        Command::Import(arguments) => operate::import::run(arguments, &global, terminal).await,
        Command::Config(arguments) => operate::config::run(&arguments, &global, terminal),
        Command::Identity(arguments) => operate::identity::run(arguments, &global, terminal),
        Command::Doctor(_) => operate::doctor::run(&global, terminal).await,
        Command::Completions(arguments) => completions::run::<Cli>(&arguments, terminal),
    };
    let exit = result.unwrap_or_else(|failure| {
        terminal.report(&failure);
        failure.exit
    });
    exit.code()
}

impl Cli {
    /// Whether this is the server or an agent, which work on all cores and have a log of their own.
    pub const fn is_server(&self) -> bool {
        match &self.command {
            Command::Serve => true,
            Command::Agent(arguments) => arguments.is_the_agent(),
            _ => false,
        }
    }
}

/// Sends the log of the client's side to standard error when `--verbose` asks for it.
pub fn start_log(cli: &Cli) {
    let filter = match cli.global.verbose {
        0 => return,
        1 => "chatelaine_client=debug,chatelaine_server=debug",
        _ => "info,chatelaine_client=trace,chatelaine_server=trace,chatelaine_core=debug",
    };
    // Fails only when a log was started before, which is then as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

#[cfg(test)]
mod tests;

//! The runner of the project: `cargo xtask test` checks and tests everything, `cargo xtask interop` tests against real
//! neighbours, `cargo xtask layers` checks the edges between the crates, `cargo xtask fuzz` searches for inputs that
//! break a parser, `cargo xtask deny` checks licences.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks to its terminal")]

mod bench;
mod deny;
mod docs;
mod fuzz;
mod interop;
mod layers;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// The runner of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the tests against real neighbours (Keystone, oslo.policy) in `tests/interop`.
    Interop {
        /// Arguments for pytest in place of the whole folder, for example `tests/interop/test_clouds.py -k issued`.
        #[arg(last = true)]
        pytest: Vec<String>,
    },
    /// Check that the crates depend on each other only along the allowed edges.
    Layers,
    /// Check licences, bans and sources of all dependencies.
    Deny {
        /// Also check for known weaknesses; fetches the RustSec database from GitHub.
        #[arg(long)]
        advisories: bool,
    },
    /// Fuzz everything that reads bytes from outside.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// One target; all of them where none is named.
        target: Option<String>,
    },
    /// Measure the server under load, as ratios to a null route.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        other: Option<OtherBench>,
        /// Rounds, of which the medians count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds for each figure in a round.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Keys to put for the second half; 0 leaves it out.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
    },
    /// Write what is generated under `docs/`, and follow all links.
    Docs {
        /// Write nothing; fail where a page is not what the code says.
        #[arg(long)]
        check: bool,
    },
    /// Build the Python package into `target/wheels`, optimized.
    Wheel {
        /// Build it as the tests use it: in seconds, not optimized, into `target/wheels-development`.
        #[arg(long)]
        development: bool,
    },
    /// Check the Python package: formatting, lints, types and its own tests.
    Python,
    /// Check formatting, lints and layers, and run all tests.
    Test,
}

#[derive(Subcommand)]
enum OtherBench {
    /// Measure Barbican's interface, ours beside that of a real Barbican.
    Barbican {
        /// Rounds, of which the medians count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds for each figure in a round.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Secrets in the large project of our server.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2..))]
        secrets: u64,
        /// Secrets in the large project of Barbican, which takes long to put them.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(2..))]
        barbican_secrets: u64,
    },
    /// Measure the engine for bulk data on one core, as ratios to OpenSSL and to a memory copy.
    Engine {
        /// Rounds, of which the medians count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds for each of our figures in a round.
        #[arg(long, default_value_t = 0.3)]
        seconds: f64,
    },
    /// Measure a service's agent: keys from its memory, fetched ones, new ones.
    Agent {
        /// Rounds, of which the medians count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds for each figure in a round.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Measure master keys: unsealing and joining with software TPMs, rotations over 10,000 projects, and starts of servers.
    MasterKey {
        /// Rounds of each; where none are given, 60, 3 and 20.
        #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
        rounds: Option<usize>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Interop { pytest } => interop::test(&root()?, &pytest),
        Task::Layers => layers::check(&root()?),
        Task::Deny { advisories } => deny::deny(&root()?, advisories),
        Task::Fuzz { seconds, target } => fuzz::fuzz(&root()?, target.as_deref(), seconds),
        Task::Bench { other: None, rounds, seconds, keys } => bench::bench(&root()?, rounds, seconds, keys),
        Task::Bench { other: Some(OtherBench::Engine { rounds, seconds }), .. } => {
            bench::engine(&root()?, rounds, seconds)
        }
        Task::Bench { other: Some(OtherBench::Agent { rounds, seconds }), .. } => {
            bench::agent::bench(&root()?, rounds, seconds)
        }
        Task::Bench { other: Some(OtherBench::MasterKey { rounds }), .. } => {
            bench::master_key(&root()?, rounds)
        }
        Task::Bench {
            other: Some(OtherBench::Barbican { rounds, seconds, secrets, barbican_secrets }),
            ..
        } => {
            let extent = bench::barbican::Extent { rounds, seconds, secrets, barbican_secrets };
            bench::barbican::bench(&root()?, &extent)
        }
        Task::Docs { check } => docs::docs(&root()?, check),
        Task::Wheel { development } => {
            let build = if development { python::Build::Development } else { python::Build::Release };
            python::wheel(&root()?, build).map(drop)
        }
        Task::Python => python::test(&root()?),
        Task::Test => test(&root()?),
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("the folder of xtask has no parent")?.to_owned())
}

fn test(root: &Path) -> Result<()> {
    layers::check(root)?;
    run(root, "cargo", &["fmt", "--all", "--check"])?;
    run(root, "cargo", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    // Tests of crates use neighbours, too: software TPMs, a token.
    interop::install_needs(root)?;
    run(root, "cargo", &["test", "--workspace"])?;
    fuzz::replay(root)?;
    deny::deny(root, false)?;
    docs::docs(root, true)?;
    python::test(root)?;
    interop::test(root, &[])
}

/// Runs a command in the workspace and fails when it does.
fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    println!("xtask: {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {program}: is it installed?"))?;
    if !status.success() {
        bail!("{program} {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

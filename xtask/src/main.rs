//! The runner of the project: `cargo xtask test` checks and tests everything, `cargo xtask layers` checks the edges
//! between the crates.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks to its terminal")]

mod layers;

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
    /// Check that the crates depend on each other only along the allowed edges.
    Layers,
    /// Check formatting, lints and layers, and run all tests.
    Test,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Layers => layers::check(&root()?),
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
    run(root, "cargo", &["test", "--workspace"])?;
    policy_oracle(root)
}

/// Compares the rule language with the real oslo.policy, in a virtual environment of its own.
fn policy_oracle(root: &Path) -> Result<()> {
    let environment = root.join("target/interop-venv");
    let python = environment.join("bin/python").display().to_string();
    if !environment.join("bin/python").exists() {
        run(root, "python3", &["-m", "venv", &environment.display().to_string()])?;
    }
    run(
        root,
        &python,
        &["-m", "pip", "install", "--quiet", "-r", "tests/interop/policy_oracle/requirements.txt"],
    )?;
    run(root, &python, &["-m", "pytest", "-q", "tests/interop/policy_oracle"])
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

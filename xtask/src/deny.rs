//! Licences, bans and sources of everything that comes into the build, as `deny.toml` has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run;

/// The release of cargo-deny that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Checks the workspace; with `advisories` also for known weaknesses, for which the RustSec database is fetched from GitHub.
///
/// `fuzz/` and `bench/` are not checked: they are tools that are never shipped.
pub(crate) fn deny(root: &Path, advisories: bool) -> Result<()> {
    let program = installed(root)?.display().to_string();
    let mut checks = vec!["check", "licenses", "bans", "sources"];
    if advisories {
        checks.push("advisories");
    }
    run(root, &program, &checks)
}

/// cargo-deny in the target folder, built there where it is missing.
fn installed(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    let program = tools.join("bin/cargo-deny");
    let found = Command::new(&program).arg("--version").output();
    if found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim_end().ends_with(VERSION)) {
        return Ok(program);
    }
    let folder = tools.display().to_string();
    run(root, "cargo", &["install", "--locked", "--root", &folder, "--version", VERSION, "cargo-deny"])?;
    Ok(program)
}

//! The Python package in `python/`: its wheel, and its own tests.
//!
//! Owns two builds. The one to ship is optimized and goes to `target/wheels`. The one that tests use is a development build: it shares
//! everything with `cargo build` and so takes seconds, goes to `target/wheels-development`, and is installed where the tests
//! against neighbours run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{interop, run};

const MANIFEST: &str = "python/Cargo.toml";

/// How a wheel is built.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// To be shipped.
    Release,
    /// For the tests.
    Development,
}

impl Build {
    const fn folder(self) -> &'static str {
        match self {
            Self::Release => "target/wheels",
            Self::Development => "target/wheels-development",
        }
    }

    const fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Development => "dev",
        }
    }
}

/// Builds the wheel: one for all versions of Python from 3.9 on.
pub(crate) fn wheel(root: &Path, build: Build) -> Result<PathBuf> {
    let python = interop::environment(root)?;
    let folder = root.join(build.folder());
    // An older version's wheel must not be taken for this one's.
    for old in wheels(&folder)? {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let mut command = vec!["-m", "maturin", "build", "--quiet", "--locked", "--manifest-path", MANIFEST];
    command.extend(["--profile", build.profile(), "--out", build.folder(), "--interpreter", &python]);
    if matches!(build, Build::Development) {
        // It never leaves this machine.
        command.extend(["--compatibility", "linux"]);
    }
    run(root, &python, &command)?;
    match wheels(&folder)?.as_slice() {
        [wheel] => {
            println!("xtask: {}", wheel.display());
            Ok(wheel.clone())
        }
        found => bail!("{} should hold one wheel and holds {}", folder.display(), found.len()),
    }
}

fn wheels(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("chatelaine-") && name.ends_with(".whl") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Puts the package into the environment of the tests, as it is now.
pub(crate) fn install(root: &Path) -> Result<String> {
    let wheel = wheel(root, Build::Development)?.display().to_string();
    let python = interop::environment(root)?;
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", &wheel];
    run(root, &python, &install)?;
    Ok(python)
}

/// Formatting, lints, types and tests of the package itself.
pub(crate) fn test(root: &Path) -> Result<()> {
    let python = install(root)?;
    for arguments in [
        &["-m", "ruff", "format", "--check", "--quiet", "."][..],
        &["-m", "ruff", "check", "--quiet", "."],
        &["-m", "mypy"],
        &["-m", "pytest", "-q"],
    ] {
        println!("xtask: python {}", arguments.join(" "));
        let status = Command::new(&python)
            .args(arguments)
            .current_dir(root.join("python"))
            .status()
            .with_context(|| format!("cannot start {python}"))?;
        if !status.success() {
            bail!("`python {}` in python/ failed ({status})", arguments.join(" "));
        }
    }
    Ok(())
}

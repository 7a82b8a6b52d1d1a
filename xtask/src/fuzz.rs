//! Runs the fuzz targets of `fuzz/`.
//!
//! Works with the pinned stable toolchain: coverage is LLVM's own pass, switched on through `RUSTFLAGS`; what stable lacks
//! is the address sanitizer, which would look for faults that code without `unsafe` cannot have.
//!
//! Inputs that reach new code are kept in `fuzz/corpus/<target>` and findings in `fuzz/artifacts/<target>`, both outside
//! version control; `fuzz/seeds/<target>` is where each search begins.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// A single input that takes longer than this, in seconds, is a finding.
const SLOWEST_INPUT: u32 = 10;
/// Memory beyond this, in MiB, is a finding.
const MOST_MEMORY: u32 = 1024;

/// Runs the named target, or all of them, for `seconds` each. A finding fails the run after all targets had their turn.
pub(crate) fn fuzz(root: &Path, wanted: Option<&str>, seconds: u32) -> Result<()> {
    let targets = targets(root, wanted)?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--features", "engine"])
        .args(["--target", PLATFORM, "--target-dir", "fuzz/target"])
        .env("RUSTFLAGS", INSTRUMENTATION)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build ({status})");
    }
    let mut found = Vec::new();
    for target in targets {
        println!("xtask: fuzzing {target} for {seconds} s");
        if !search(root, &target, seconds)? {
            found.push(target);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!("findings in {}; the inputs are in fuzz/artifacts/", found.join(", "))
}

/// Runs the seeds through their targets once, without the engine and without instrumentation.
pub(crate) fn replay(root: &Path) -> Result<()> {
    // The workspace's own target folder: most of what it needs has been built there already.
    run(root, "cargo", &["test", "--manifest-path", "fuzz/Cargo.toml", "--lib", "--target-dir", "target"])
}

/// The folders of seeds name the targets; a test in `fuzz/` holds them to that.
fn targets(root: &Path, wanted: Option<&str>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("fuzz/seeds")).context("cannot read fuzz/seeds")? {
        let name = entry?.file_name().into_string();
        names.push(name.ok().context("a folder in fuzz/seeds has a name that is not text")?);
    }
    names.sort();
    match wanted {
        None => Ok(names),
        Some(wanted) if names.iter().any(|name| name == wanted) => Ok(vec![wanted.to_owned()]),
        Some(wanted) => bail!("there is no target {wanted:?}; there are: {}", names.join(", ")),
    }
}

/// Whether nothing was found.
fn search(root: &Path, target: &str, seconds: u32) -> Result<bool> {
    let folder = |kind: &str| -> Result<String> {
        let path = format!("fuzz/{kind}/{target}");
        std::fs::create_dir_all(root.join(&path)).with_context(|| format!("cannot make {path}"))?;
        Ok(path)
    };
    let (corpus, artifacts) = (folder("corpus")?, folder("artifacts")?);
    let status = Command::new(root.join(format!("fuzz/target/{PLATFORM}/release/fuzz")))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOWEST_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MEMORY}"))
        .arg(format!("-artifact_prefix={artifacts}/"))
        .args(["-print_final_stats=1", &corpus, &format!("fuzz/seeds/{target}")])
        .env("CHATELAINE_FUZZ_TARGET", target)
        .current_dir(root)
        .status()
        .context("cannot start the fuzz program")?;
    Ok(status.success())
}

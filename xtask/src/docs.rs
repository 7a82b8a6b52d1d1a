//! `cargo xtask docs`: what is generated under `docs/`, and links that lead nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

const CONFIGURATION: &str = "docs/configuration.md";
const HEAD: &str = "\
# Configuration

One TOML file, named by `--config` or `CHATELAINE_CONFIG`; without one, the defaults below are in force. `chatelaine
config check` checks it, `chatelaine config show` prints what is in force. This page is what `chatelaine config
reference` prints; `cargo xtask docs` writes it and `cargo xtask docs --check` compares.

";

/// Writes the generated pages, or with `check` compares them; then follows the links of all pages.
pub(crate) fn docs(root: &Path, check: bool) -> Result<()> {
    run(root, "cargo", &["build", "-p", "chatelaine-server", "--bin", "chatelaine"])?;
    let printed = Command::new(root.join("target/debug/chatelaine"))
        .args(["config", "reference"])
        .output()
        .context("cannot start target/debug/chatelaine")?;
    if !printed.status.success() {
        bail!("`chatelaine config reference` failed ({})", printed.status);
    }
    let reference = String::from_utf8(printed.stdout).context("the reference is not text")?;
    let page = format!("{HEAD}```toml\n{reference}```\n");
    let path = root.join(CONFIGURATION);
    if check {
        if std::fs::read_to_string(&path).unwrap_or_default() != page {
            bail!("{CONFIGURATION} is not what the code says: run `cargo xtask docs`");
        }
    } else {
        std::fs::write(&path, page).with_context(|| format!("cannot write {CONFIGURATION}"))?;
    }
    links(root)
}

fn links(root: &Path) -> Result<()> {
    let mut pages = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"] {
        pages.push(root.join(name));
    }
    collect(&root.join("docs"), &mut pages)?;
    let mut wrong = Vec::new();
    for page in &pages {
        let text =
            std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
        let folder = page.parent().unwrap_or(root);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    if wrong.is_empty() {
        println!("xtask: {} pages, all links lead somewhere", pages.len());
        return Ok(());
    }
    bail!("links that lead nowhere:\n  {}", wrong.join("\n  "))
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

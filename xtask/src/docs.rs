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

const COMMANDS: &str = "docs/commands.md";
const COMMANDS_HEAD: &str = "\
# All commands

What `--help` says of every command; `cargo xtask docs` writes this page and `cargo xtask docs --check` compares.
[cli.md](cli.md) explains the commands for keys with examples, [admin](admin/README.md) those for operators. The options
under *General* and *Connection* are those of every command and stand here once.

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
    let mut commands = String::from(COMMANDS_HEAD);
    describe(root, &mut Vec::new(), &mut commands)?;
    for (name, page) in [(CONFIGURATION, format!("{HEAD}```toml\n{reference}```\n")), (COMMANDS, commands)] {
        let path = root.join(name);
        if !check {
            std::fs::write(&path, page).with_context(|| format!("cannot write {name}"))?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != page {
            bail!("{name} is not what the code says: run `cargo xtask docs`");
        }
    }
    links(root)
}

/// The help of a command and of all below it.
fn describe(root: &Path, command: &mut Vec<String>, page: &mut String) -> Result<()> {
    // No terminal and no environment: neither its width nor what somebody has set may show in the page.
    let printed = Command::new(root.join("target/debug/chatelaine"))
        .args(command.iter())
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "110")
        .output()
        .context("cannot start target/debug/chatelaine")?;
    if !printed.status.success() {
        bail!("`chatelaine {} --help` failed ({})", command.join(" "), printed.status);
    }
    let help = String::from_utf8(printed.stdout).context("the help is not text")?;
    let sections = sections(&help);
    let shown: Vec<&str> = sections
        .iter()
        .filter(|section| {
            command.is_empty() || !(section.starts_with("General:") || section.starts_with("Connection:"))
        })
        .map(|section| section.trim_end())
        .collect();
    let title = std::iter::once("chatelaine").chain(command.iter().map(String::as_str)).collect::<Vec<_>>();
    page.push_str(&format!("## {}\n\n```text\n{}\n```\n\n", title.join(" "), shown.join("\n\n")));
    let below = sections.iter().find_map(|section| section.strip_prefix("Commands:\n"));
    for line in below.unwrap_or_default().lines() {
        // Two spaces before a name, more before the rest of a description.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        let Some(name) = name.and_then(|rest| rest.split(' ').next()).filter(|name| *name != "help") else {
            continue;
        };
        command.push(name.to_owned());
        describe(root, command, page)?;
        command.pop();
    }
    Ok(())
}

/// The parts of a help text: each begins with a line that is not indented, after an empty one.
fn sections(help: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    let mut after_empty = true;
    for line in help.lines() {
        if after_empty && !line.starts_with(' ') && !line.is_empty() || sections.is_empty() {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line.trim_end());
            section.push('\n');
        }
        after_empty = line.is_empty();
    }
    sections
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

//! The allowed edges between the crates of the workspace.
//!
//! A crate that is not named here may depend on no other crate of ours, and an edge that is not named here fails the
//! check, so that a new edge is a decision made in this file.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Each crate with those it may depend on. Edges from test code are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("chatelaine-crypto", &[]),
    ("chatelaine-core", &["chatelaine-crypto"]),
    ("chatelaine-store", &["chatelaine-core"]),
    ("chatelaine-seal", &["chatelaine-crypto"]),
    ("chatelaine-api", &[]),
    ("chatelaine-client", &["chatelaine-api"]),
    (
        "chatelaine-server",
        &[
            "chatelaine-api",
            "chatelaine-client",
            "chatelaine-core",
            "chatelaine-crypto",
            "chatelaine-seal",
            "chatelaine-store",
        ],
    ),
    ("xtask", &[]),
];

/// What states that somebody is authenticated.
const AUTHENTICATED: &str = "Caller::authenticated(";
/// The only place that may.
const IDENTITY: &str = "crates/server/src/identity";

/// Checks every manifest of the workspace, and that no code outside tests makes a `Caller`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).context("cannot read crates/")? {
        let folder = entry?.path();
        let manifest = folder.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let parsed: toml::Table =
            text.parse().with_context(|| format!("{} is not TOML", manifest.display()))?;
        let name = parsed
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(toml::Value::as_str)
            .with_context(|| format!("{} names no package", manifest.display()))?;
        let allowed =
            ALLOWED.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, edges)| *edges);
        for dependency in
            parsed.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys)
        {
            if dependency.starts_with("chatelaine-") && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
        constructs_callers(&folder.join("src"), &mut wrong)?;
    }
    if wrong.is_empty() {
        println!("xtask: layers hold");
        return Ok(());
    }
    bail!("layers are broken:\n  {}", wrong.join("\n  "))
}

fn constructs_callers(folder: &Path, wrong: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.ends_with(IDENTITY) {
            continue;
        }
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() {
            if !is_test {
                constructs_callers(&path, wrong)?;
            }
        } else if !is_test && std::fs::read_to_string(&path).unwrap_or_default().contains(AUTHENTICATED) {
            wrong.push(format!(
                "{} constructs a Caller: only the server's identity module may",
                path.display()
            ));
        }
    }
    Ok(())
}

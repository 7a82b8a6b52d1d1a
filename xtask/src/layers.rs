//! The allowed edges between the crates of the workspace, and to libraries that belong into one of them only.
//!
//! A crate that is not named here may depend on no other crate of ours, and an edge that is not named here fails the
//! check, so that a new edge is a decision made in this file. Looked at are all tables of a manifest but that of test
//! code, whatever name a dependency is given there.

use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// Each crate with those it may depend on. Edges from test code are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("chatelaine-crypto", &[]),
    ("chatelaine-core", &["chatelaine-crypto"]),
    ("chatelaine-store", &["chatelaine-core"]),
    ("chatelaine-tpm", &[]),
    ("chatelaine-seal", &["chatelaine-crypto", "chatelaine-tpm"]),
    ("chatelaine-api", &[]),
    ("chatelaine-client", &["chatelaine-api"]),
    ("chatelaine-agent", &["chatelaine-api", "chatelaine-client", "chatelaine-crypto"]),
    (
        "chatelaine-server",
        &[
            "chatelaine-agent",
            "chatelaine-api",
            "chatelaine-client",
            "chatelaine-core",
            "chatelaine-crypto",
            "chatelaine-seal",
            "chatelaine-store",
            "chatelaine-tpm",
        ],
    ),
    ("chatelaine-python", &["chatelaine-client", "chatelaine-crypto"]),
    ("xtask", &[]),
];

/// Libraries that only some crates may use: what they are, which, and by whom.
const CONFINED: &[(&str, &[&str], &[&str])] = &[
    (
        "an HTTP server",
        &[
            "actix-web",
            "axum",
            "axum-server",
            "hyper",
            "hyper-util",
            "poem",
            "rocket",
            "tonic",
            "tower-http",
            "warp",
        ],
        &["chatelaine-server"],
    ),
    (
        "a database driver",
        &[
            "diesel",
            "heed",
            "libsqlite3-sys",
            "mysql",
            "mysql_async",
            "postgres",
            "redb",
            "rocksdb",
            "rusqlite",
            "sea-orm",
            "sled",
            "sqlx",
            "tokio-postgres",
        ],
        &["chatelaine-store"],
    ),
    ("a PKCS#11 client", &["cryptoki", "cryptoki-sys", "pkcs11"], &["chatelaine-seal"]),
    ("a binding to Python", &["cpython", "pyo3", "pyo3-ffi"], &["chatelaine-python"]),
];

/// What states that somebody is authenticated.
const AUTHENTICATED: &str = "Caller::authenticated(";
/// The only place that may.
const IDENTITY: &str = "crates/server/src/identity";

/// Checks every manifest of the workspace, and that no code outside tests makes a `Caller`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let workspace = manifest(root)?;
    let mut check = |folder: &Path| {
        broken_edges(&manifest(folder)?, &workspace, &mut wrong)
            .with_context(|| format!("{} names no package", folder.join("Cargo.toml").display()))
    };
    check(&root.join("xtask"))?;
    check(&root.join("python"))?;
    let mut folders = vec![root.join("python/native")];
    for entry in std::fs::read_dir(root.join("crates")).context("cannot read crates/")? {
        let folder = entry?.path();
        check(&folder)?;
        folders.push(folder.join("src"));
    }
    for folder in folders {
        constructs_callers(&folder, &mut wrong)?;
    }
    if wrong.is_empty() {
        println!("xtask: layers hold");
        return Ok(());
    }
    bail!("layers are broken:\n  {}", wrong.join("\n  "))
}

fn manifest(folder: &Path) -> Result<Table> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// Adds what a package depends on and must not; `None` when the manifest names no package.
fn broken_edges(package: &Table, workspace: &Table, wrong: &mut Vec<String>) -> Option<()> {
    let name = package.get("package")?.get("name")?.as_str()?;
    let allowed =
        ALLOWED.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, edges)| *edges);
    for dependency in dependencies(package, workspace) {
        if dependency.starts_with("chatelaine-") && !allowed.contains(&dependency) {
            wrong.push(format!("{name} must not depend on {dependency}"));
        }
        for (what, libraries, users) in CONFINED {
            if libraries.contains(&dependency) && !users.contains(&name) {
                wrong.push(format!(
                    "{name} must not depend on {dependency}: {what} belongs into {}",
                    users.join(", ")
                ));
            }
        }
    }
    Some(())
}

/// The packages that code or build script of a package are linked with, by their own names.
fn dependencies<'a>(package: &'a Table, workspace: &'a Table) -> Vec<&'a str> {
    let mut places = vec![package];
    places.extend(table(package, "target").into_iter().flat_map(Table::values).filter_map(Value::as_table));
    let shared = table(workspace, "workspace").and_then(|workspace| table(workspace, "dependencies"));
    let mut found = Vec::new();
    for place in places {
        // Cargo reads the second spelling of one of them, too.
        for kind in ["dependencies", "build-dependencies", "build_dependencies"] {
            for (given, entry) in table(place, kind).into_iter().flatten() {
                let inherited = entry.get("workspace").and_then(Value::as_bool) == Some(true);
                let described =
                    if inherited { shared.and_then(|shared| shared.get(given)) } else { Some(entry) };
                let own = described.and_then(|entry| entry.get("package")).and_then(Value::as_str);
                found.push(own.unwrap_or(given));
            }
        }
    }
    found
}

fn table<'a>(from: &'a Table, key: &str) -> Option<&'a Table> {
    from.get(key).and_then(Value::as_table)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(package: &str) -> Vec<String> {
        let workspace = "[workspace.dependencies]
            disk = { package = \"rusqlite\", version = \"1\" }
            chatelaine-core = { path = \"crates/core\" }
            web = { package = \"chatelaine-server\", path = \"crates/server\" }";
        let mut wrong = Vec::new();
        broken_edges(&package.parse().unwrap(), &workspace.parse().unwrap(), &mut wrong).unwrap();
        wrong
    }

    #[test]
    fn edges_are_found_in_every_table_and_under_every_name() {
        for table in [
            "[dependencies]\nchatelaine-server.workspace = true",
            "[dependencies]\nchatelaine-server = { path = \"../server\" }",
            "[dependencies.chatelaine-server]\npath = \"../server\"",
            "[build-dependencies]\nchatelaine-server.workspace = true",
            "[target.'cfg(unix)'.dependencies]\nchatelaine-server.workspace = true",
            "[target.x86_64-unknown-linux-gnu.build-dependencies]\nchatelaine-server.workspace = true",
            "[dependencies]\nother = { package = \"chatelaine-server\", path = \"../server\" }",
            "[dependencies]\nweb.workspace = true",
            "[dependencies]\naxum = \"0.8\"",
            "[dependencies]\npyo3.workspace = true",
            "[dependencies]\ndisk.workspace = true",
            "[target.'cfg(unix)'.dependencies]\nfast = { package = \"redb\", version = \"3\" }",
        ] {
            let wrong = broken(&format!("[package]\nname = \"chatelaine-core\"\n{table}"));
            assert_eq!(wrong.len(), 1, "{table}: {wrong:?}");
            assert!(wrong[0].starts_with("chatelaine-core must not depend on "), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_allowed_and_what_tests_use_is_left_alone() {
        for package in [
            "[package]\nname = \"chatelaine-store\"\n[dependencies]\nchatelaine-core.workspace = true\ndisk.workspace = true",
            "[package]\nname = \"chatelaine-core\"\n[dev-dependencies]\nweb.workspace = true\nserde = \"1\"",
            "[package]\nname = \"chatelaine-server\"\n[dependencies]\naxum = \"0.8\"",
        ] {
            assert_eq!(broken(package), Vec::<String>::new(), "{package}");
        }
        assert_eq!(
            broken("[package]\nname = \"chatelaine-new\"\n[dependencies]\nchatelaine-core.workspace = true")
                .len(),
            1,
            "a crate nobody decided about"
        );
    }
}

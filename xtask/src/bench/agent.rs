//! `cargo xtask bench agent`: a service's agent under load, each figure as a ratio to a null route of the same socket.
//!
//! Two agents of one key manager: one keeps opened keys, the other keeps none, so that each of its answers is fetched, and
//! opened, anew.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Bench, COLUMNS, Figure, build, load, medians};
use crate::run;

const KEYS: u32 = 1000;
const CONNECTIONS: [u32; 2] = [1, 32];

/// What is measured: its name, the kind of load, and whether by the agent that keeps keys.
const ROWS: [(&str, &str, bool); 4] = [
    ("null", "null", true),
    ("get, from memory", "agent-get", true),
    ("get, fetched and opened", "agent-get", false),
    ("create", "agent-create", true),
];

/// An agent, stopped when this is dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Agent {
    fn start(root: &Path, server: &Bench, name: &str, keep_seconds: u32) -> Result<Self> {
        let folder = server.folder.join(format!("agent-{name}"));
        // Paths of sockets are short.
        let socket = std::env::temp_dir().join(format!("chatelaine-bench-{}-{name}", std::process::id()));
        let token = server.folder.join("token");
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&token)?);
        let settings = [
            format!("data.folder={}", folder.display()),
            format!("agent.socket={}", socket.display()),
            format!("agent.peers=[\"uid:{own}\"]"),
            format!("agent.keep_seconds={keep_seconds}"),
            format!("key_manager.endpoint={}", server.url),
            format!("key_manager.token_file={}", token.display()),
            "log.level=warn".to_owned(),
        ];
        let command = || {
            let mut command = Command::new(root.join("target/release/chatelaine"));
            command.args(settings.iter().flat_map(|setting| ["--set", setting])).arg("agent");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        if !command().arg("init").status()?.success() {
            bail!("the agent has no master key; what is wrong is said above");
        }
        let process = command().spawn().context("cannot start the agent")?;
        let agent = Self { process, socket };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&agent.socket).is_err() {
            if Instant::now() > deadline {
                bail!("the agent does not start; what is wrong is said above");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Its master key opens a moment later.
        std::thread::sleep(Duration::from_millis(500));
        Ok(agent)
    }

    fn load(&self, server: &Bench, kind: &str, connections: u32, until: &str, ids: &str) -> Result<Figure> {
        let url = format!("unix:{}", self.socket.display());
        let token = server.folder.join("token");
        load(&server.load, &url, &token, kind, connections, until, &server.folder.join(ids))
            .with_context(|| format!("{kind}, {connections} connections"))
    }
}

/// Measures and prints a table in Markdown.
pub(crate) fn bench(root: &Path, rounds: usize, seconds: f64) -> Result<()> {
    build(root)?;
    let server = Bench::start(root, "agent")?;
    let keeping = Agent::start(root, &server, "keeping", 3600)?;
    let fetching = Agent::start(root, &server, "fetching", 0)?;
    let of = |keeps: bool| if keeps { (&keeping, "ids-keeping") } else { (&fetching, "ids-fetching") };
    for keeps in [true, false] {
        let (agent, ids) = of(keeps);
        agent.load(&server, "agent-create", 8, &format!("={KEYS}"), ids)?;
    }
    run(root, "sync", &[])?;
    let mut all = Vec::new();
    for connections in CONNECTIONS {
        all.extend(ROWS.map(|row| (row, connections)));
    }
    let mut found: Vec<Vec<Figure>> = all.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for (((_, kind, keeps), connections), found) in all.iter().zip(&mut found) {
            let (agent, ids) = of(*keeps);
            let ids = if *kind == "agent-create" { "ids-made" } else { ids };
            found.push(agent.load(&server, kind, *connections, &seconds.to_string(), ids)?);
        }
    }
    println!("\nWith {KEYS} keys, medians of {rounds} rounds of {seconds} s:\n");
    println!("| request | connections | {COLUMNS}");
    println!("|---|---|---|---|---|---|---|");
    let mut null = f64::NAN;
    for (figure, ((name, kind, _), connections)) in medians(&found).iter().zip(&all) {
        if *kind == "null" {
            null = figure.per_second;
        }
        println!("| {name} | {connections} | {}", figure.cells(null));
    }
    Ok(())
}

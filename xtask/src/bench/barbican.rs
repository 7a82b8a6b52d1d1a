//! `cargo xtask bench barbican`: Barbican's interface under load, ours beside a real Barbican's.
//!
//! Owns the neighbours while it measures: a Python process that starts them and ends them when its input does, however
//! this process ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{COLUMNS, Figure, build, load, medians};
use crate::{interop, run};

/// So many secrets are in the project with few.
const FEW: u64 = 100;
/// So long may the neighbours take to end.
const END: Duration = Duration::from_secs(120);

/// What is measured.
struct Row {
    name: &'static str,
    kind: &'static str,
    project: &'static str,
}

const NULL: Row = Row { name: "null", kind: "null", project: "few" };

/// A deletion takes what the posts before it have made.
const ROWS: [Row; 6] = [
    Row { name: "GET metadata", kind: "secret-metadata", project: "many" },
    Row { name: "GET payload", kind: "secret-payload", project: "many" },
    Row { name: "POST secret", kind: "secret-post", project: "changing" },
    Row { name: "DELETE secret", kind: "secret-delete", project: "changing" },
    Row { name: "list of 10, few secrets", kind: "secret-list", project: "few" },
    Row { name: "list of 10, many secrets", kind: "secret-list", project: "many" },
];

const CONNECTIONS: [u32; 2] = [1, 32];

/// How much is measured, and of how many secrets.
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) secrets: u64,
    pub(crate) barbican_secrets: u64,
}

/// What is measured, over how many connections, of whom.
type Series = (&'static Row, u32, &'static str);

/// Measures and prints a table in Markdown.
pub(crate) fn bench(root: &Path, extent: &Extent) -> Result<()> {
    let python = interop::environment(root)?;
    build(root)?;
    let neighbours = Neighbours::start(root, &python)?;
    for (server, many) in [("chatelaine", extent.secrets), ("barbican", extent.barbican_secrets)] {
        neighbours.fill(server, "few", FEW)?;
        let began = Instant::now();
        neighbours.fill(server, "many", many)?;
        println!("{many} secrets put into {server} in {:.0} s", began.elapsed().as_secs_f64());
    }
    // What the fill left to be written out would be measured with what follows.
    run(root, "sync", &[])?;
    let figures = measure(&neighbours, extent)?;
    figures.print(extent)
}

/// Every series in every round; the medians over the rounds.
fn measure(neighbours: &Neighbours, extent: &Extent) -> Result<Figures> {
    let mut all: Vec<Series> = Vec::new();
    for connections in CONNECTIONS {
        all.push((&NULL, connections, "chatelaine"));
        for row in &ROWS {
            all.extend(["chatelaine", "barbican"].map(|server| (row, connections, server)));
        }
    }
    let mut found: Vec<Vec<Figure>> = all.iter().map(|_| Vec::new()).collect();
    for round in 1..=extent.rounds {
        println!("round {round} of {}", extent.rounds);
        for ((row, connections, server), found) in all.iter().zip(&mut found) {
            let until = extent.seconds.to_string();
            found.push(neighbours.load(server, row.kind, row.project, *connections, &until)?);
        }
    }
    Ok(Figures(all.into_iter().zip(medians(&found)).collect()))
}

struct Figures(Vec<(Series, Figure)>);

impl Figures {
    fn of(&self, name: &str, connections: u32, server: &str) -> Result<&Figure> {
        let wanted = |(row, over, of): &Series| row.name == name && *over == connections && *of == server;
        let found = self.0.iter().find(|(series, _)| wanted(series));
        found.map(|(_, figure)| figure).context("a figure is missing")
    }

    fn print(&self, extent: &Extent) -> Result<()> {
        let Extent { rounds, seconds, secrets, barbican_secrets } = extent;
        println!("\nFew: {FEW} secrets. Many: {secrets} here, {barbican_secrets} in Barbican.");
        println!("Medians of {rounds} rounds of {seconds} s:\n");
        println!("| request | connections | {COLUMNS} Barbican per second | p50 µs | p99 µs | to Barbican |");
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for connections in CONNECTIONS {
            let null = self.of(NULL.name, connections, "chatelaine")?;
            println!("| null | {connections} | {} | | | |", null.cells(null.per_second));
            for row in &ROWS {
                let ours = self.of(row.name, connections, "chatelaine")?;
                let theirs = self.of(row.name, connections, "barbican")?;
                let ratio = ours.per_second / theirs.per_second;
                let cells = ours.cells(null.per_second);
                let Figure { per_second, p50, p99 } = theirs;
                println!(
                    "| {} | {connections} | {cells} {per_second:.0} | {p50:.0} | {p99:.0} | {ratio:.0} |",
                    row.name
                );
            }
        }
        println!();
        for connections in CONNECTIONS {
            let few = self.of("list of 10, few secrets", connections, "chatelaine")?;
            let many = self.of("list of 10, many secrets", connections, "chatelaine")?;
            let ratio = few.per_second / many.per_second;
            println!(
                "the list with few secrets to the list with many, {connections} connections: {ratio:.2}"
            );
        }
        Ok(())
    }
}

/// The process that owns the neighbours, and where they are.
struct Neighbours {
    process: Child,
    folder: PathBuf,
    load: PathBuf,
    addresses: serde_json::Value,
}

impl Neighbours {
    fn start(root: &Path, python: &str) -> Result<Self> {
        let folder = root.join("target/bench/barbican");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let process = Command::new(python)
            .arg(root.join("tests/interop/neighbours.py"))
            .arg(&folder)
            .env("CHATELAINE_BINARY", root.join("target/release/chatelaine"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the neighbours")?;
        let load = root.join("target/release/chatelaine-bench-load");
        let mut neighbours = Self { process, folder, load, addresses: serde_json::Value::Null };
        let output = neighbours.process.stdout.take().context("the neighbours have no output")?;
        // It gives up by itself when one of them does not start in time, which ends its output.
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the neighbours do not start; what is wrong is said above");
        }
        neighbours.addresses = serde_json::from_str(&line)?;
        Ok(neighbours)
    }

    /// Puts so many secrets into a project.
    fn fill(&self, server: &str, project: &str, count: u64) -> Result<()> {
        // The first makes the project's keys: Barbican's processes would each make their own.
        self.load(server, "secret-post", project, 1, "=1")?;
        self.load(server, "secret-post", project, 32, &format!("={}", count.saturating_sub(1)))?;
        Ok(())
    }

    fn load(&self, server: &str, kind: &str, project: &str, connections: u32, until: &str) -> Result<Figure> {
        let url = self.addresses.get(server).and_then(serde_json::Value::as_str).context("no address")?;
        let token = self.folder.join(format!("token-{project}"));
        let ids = self.folder.join(format!("ids-{server}-{project}"));
        load(&self.load, url, &token, kind, connections, until, &ids)
            .with_context(|| format!("{kind} of {server}, {connections} connections"))
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        // The end of its input tells it to stop them.
        drop(self.process.stdin.take());
        let deadline = Instant::now() + END;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        // They end when it does.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

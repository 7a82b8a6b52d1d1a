//! `cargo xtask bench`: the server under load, each figure as a ratio to a null route of the same server.
//!
//! One closed loop on one thread beside the server. What is compared is measured in turn within each round, and medians
//! over the rounds are reported.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{interop, run};

pub(crate) mod agent;
pub(crate) mod barbican;
mod start;

/// What is measured: kind and connections.
const SERIES: [(&str, u32); 8] = [
    ("null", 1),
    ("null", 32),
    ("get", 1),
    ("get", 32),
    ("metadata", 1),
    ("metadata", 32),
    ("put", 1),
    ("put", 32),
];

struct Figure {
    per_second: f64,
    p50: f64,
    p99: f64,
}

/// A server, what is asked of it, over how many connections.
type Series<'a> = (&'a Bench, &'static str, u32);

/// The columns that [`Figure::cells`] fills.
const COLUMNS: &str = "per second | to null | p50 µs | p99 µs | p99/p50 |";

impl Figure {
    fn cells(&self, null: f64) -> String {
        let (rate, tail) = (self.per_second / null, self.p99 / self.p50);
        format!("{:.0} | {rate:.2} | {:.0} | {:.0} | {tail:.1} |", self.per_second, self.p50, self.p99)
    }
}

/// A release server with an empty store, stopped when this is dropped.
struct Bench {
    name: &'static str,
    server: Child,
    folder: PathBuf,
    load: PathBuf,
    url: String,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Measures and prints tables in Markdown.
pub(crate) fn bench(root: &Path, rounds: usize, seconds: f64, keys: u64) -> Result<()> {
    build(root)?;
    let few = Bench::start(root, "few")?;
    few.load("put", 32, "=1000", "ids")?;
    let all: Vec<Series<'_>> = SERIES.iter().map(|&(kind, connections)| (&few, kind, connections)).collect();
    let figures = measure(rounds, seconds, &all)?;
    println!("\nWith 1,000 keys and what the rounds put, medians of {rounds} rounds of {seconds} s:\n");
    let null = |connections| figures.iter().zip(&all).find(|(_, s)| s.1 == "null" && s.2 == connections);
    println!("| request | connections | {COLUMNS}");
    println!("|---|---|---|---|---|---|---|");
    for (figure, (_, kind, connections)) in figures.iter().zip(&all) {
        let null = null(*connections).map_or(f64::NAN, |(null, _)| null.per_second);
        println!("| {kind} | {connections} | {}", figure.cells(null));
    }
    let rate = |kind, connections| {
        let found = figures.iter().zip(&all).find(|(_, s)| s.1 == kind && s.2 == connections);
        found.map_or(f64::NAN, |(figure, _)| figure.per_second)
    };
    println!("\nPUT at 32 connections to PUT at 1: {:.1}", rate("put", 32) / rate("put", 1));
    if keys > 0 { compare_sizes(root, &few, rounds, seconds, keys) } else { Ok(()) }
}

/// Builds the server and the load.
fn build(root: &Path) -> Result<()> {
    run(root, "cargo", &["build", "--release", "-p", "chatelaine-server", "--bin", "chatelaine"])?;
    let manifest = root.join("bench/load/Cargo.toml").display().to_string();
    let target = root.join("target").display().to_string();
    run(root, "cargo", &["build", "--release", "--manifest-path", &manifest, "--target-dir", &target])
}

/// The same requests to a server with few keys and to one with many, in turn.
fn compare_sizes(root: &Path, few: &Bench, rounds: usize, seconds: f64, keys: u64) -> Result<()> {
    println!("\nputting {keys} keys into another server …");
    let many = Bench::start(root, "many")?;
    many.load("put", 32, &format!("={keys}"), "ids")?;
    // What the puts left to be written out would be measured with the reads that follow.
    run(root, "sync", &[])?;
    let mut all = vec![(few, "null", 32)];
    for kind in ["get", "metadata"] {
        all.extend([(few, kind, 32), (&many, kind, 32)]);
    }
    let figures = measure(rounds, seconds, &all)?;
    let null = figures.first().map_or(f64::NAN, |figure| figure.per_second);
    println!("\nWith few keys, and with {keys}, in the same rounds:\n");
    println!("| request | keys | {COLUMNS}");
    println!("|---|---|---|---|---|---|---|");
    for (figure, (server, kind, _)) in figures.iter().zip(&all) {
        println!("| {kind} | {} | {}", server.name, figure.cells(null));
    }
    if let [_, get_few, get_many, metadata_few, metadata_many] = figures.as_slice() {
        println!("\nGET with {keys} keys to GET with few: {:.2}", get_many.per_second / get_few.per_second);
        println!("metadata likewise: {:.2}", metadata_many.per_second / metadata_few.per_second);
    }
    println!("resident memory of the server with {keys} keys: {} MiB", many.resident()? / (1024 * 1024));
    Ok(())
}

/// Every series in every round, so that a noisy machine disturbs all of them alike; the medians over the rounds.
fn measure(rounds: usize, seconds: f64, all: &[Series<'_>]) -> Result<Vec<Figure>> {
    let mut found: Vec<Vec<Figure>> = all.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for ((server, kind, connections), found) in all.iter().zip(&mut found) {
            let ids = if *kind == "put" { "ids-put" } else { "ids" };
            found.push(server.load(kind, *connections, &seconds.to_string(), ids)?);
        }
    }
    Ok(medians(&found))
}

/// Of each series, the medians over its rounds.
fn medians(found: &[Vec<Figure>]) -> Vec<Figure> {
    let middle = |figures: &[Figure], part: fn(&Figure) -> f64| median(figures.iter().map(part).collect());
    let medians = found.iter().map(|figures| Figure {
        per_second: middle(figures, |figure| figure.per_second),
        p50: middle(figures, |figure| figure.p50),
        p99: middle(figures, |figure| figure.p99),
    });
    medians.collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench {
    fn start(root: &Path, name: &'static str) -> Result<Self> {
        let folder = root.join("target/bench").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(folder.join("server.log"))?;
        let server = Command::new(root.join("target/release/chatelaine"))
            .args(["--set", &format!("server.listen=127.0.0.1:{port}")])
            .args(["--set", "limits.requests_per_second=0", "--set", "log.level=warn", "serve"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start target/release/chatelaine")?;
        let url = format!("http://127.0.0.1:{port}");
        let bench =
            Self { name, server, folder, load: root.join("target/release/chatelaine-bench-load"), url };
        let clouds = bench.folder.join("chatelaine-data/clouds.yaml");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() || !clouds.exists() {
            if Instant::now() > deadline {
                bail!("the server does not start; see {}/server.log", bench.folder.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = std::fs::read_to_string(&clouds)?;
        let token = text
            .split("service:")
            .nth(1)
            .and_then(|rest| rest.split("token: \"").nth(1)?.split('"').next())
            .context("no token of the service in clouds.yaml")?;
        std::fs::write(bench.folder.join("token"), token)?;
        Ok(bench)
    }

    fn load(&self, kind: &str, connections: u32, until: &str, ids: &str) -> Result<Figure> {
        let token = self.folder.join("token");
        load(&self.load, &self.url, &token, kind, connections, until, &self.folder.join(ids))
    }

    fn resident(&self) -> Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/status", self.server.id()))?;
        let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

/// Rounds of starts where none are given.
const STARTS: usize = 20;

/// Measures master keys. The examples print Markdown, each with as many rounds as suit it where none are given.
pub(crate) fn master_key(root: &Path, rounds: Option<usize>) -> Result<()> {
    interop::install_needs(root)?;
    let given = rounds.map(|rounds| rounds.to_string());
    for (package, example) in [("chatelaine-tpm", "latency"), ("chatelaine-server", "rotation_speed")] {
        let mut arguments = vec!["run", "--release", "--quiet", "-p", package, "--example", example, "--"];
        arguments.extend(given.as_deref());
        run(root, "cargo", &arguments)?;
        println!();
    }
    start::bench(root, rounds.unwrap_or(STARTS))
}

/// Measures the engine for bulk data. The example prints Markdown.
pub(crate) fn engine(root: &Path, rounds: usize, seconds: f64) -> Result<()> {
    interop::install_needs(root)?;
    let (rounds, seconds) = (rounds.to_string(), seconds.to_string());
    let program = ["--release", "--quiet", "-p", "chatelaine-crypto", "--example", "engine_speed"];
    let arguments = [&["run"], program.as_slice(), &["--", &rounds, &seconds]].concat();
    run(root, "cargo", &arguments)
}

/// Runs the load to its end.
fn load(
    program: &Path,
    url: &str,
    token: &Path,
    kind: &str,
    connections: u32,
    until: &str,
    ids: &Path,
) -> Result<Figure> {
    let output = Command::new(program)
        .arg(url)
        .arg(token)
        .args([kind, &connections.to_string(), until])
        .arg(ids)
        .output()
        .context("cannot start the load")?;
    if !output.status.success() {
        bail!("the load failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| line.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    Ok(Figure { per_second: number("per_second"), p50: number("p50_us"), p99: number("p99_us") })
}

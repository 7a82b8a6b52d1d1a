//! `cargo xtask bench`: the server under load, each figure as a ratio to a null route of the same server.
//!
//! One closed loop on one thread beside the server; kinds alternate within each round, and medians over the rounds are
//! reported, so that a noisy machine disturbs all of them alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

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

/// A release server with an empty store, stopped when this is dropped.
struct Bench {
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

/// Measures and prints a table in Markdown.
pub(crate) fn bench(root: &Path, rounds: usize, seconds: f64, keys: u64) -> Result<()> {
    run(root, "cargo", &["build", "--release", "-p", "chatelaine-server", "--bin", "chatelaine"])?;
    let manifest = root.join("bench/load/Cargo.toml").display().to_string();
    let target = root.join("target").display().to_string();
    run(root, "cargo", &["build", "--release", "--manifest-path", &manifest, "--target-dir", &target])?;
    let bench = Bench::start(root)?;
    bench.load("put", 32, "=1000", "ids-few")?;
    let few = bench.rounds(rounds, seconds, &SERIES, "ids-few")?;
    println!("\nWith 1,000 keys and what the rounds put, medians of {rounds} rounds of {seconds} s:\n");
    print(&few);
    if keys > 0 {
        println!("\nputting {keys} keys …");
        bench.load("put", 32, &format!("={keys}"), "ids-many")?;
        let series = [("null", 32), ("get", 32), ("metadata", 32)];
        let many = bench.rounds(rounds, seconds, &series, "ids-many")?;
        println!("\nWith {keys} keys more:\n");
        print(&many);
        let of = |figures: &BTreeMap<(&str, u32), Figure>| {
            Some(figures.get(&("get", 32))?.per_second / figures.get(&("null", 32))?.per_second)
        };
        if let (Some(few), Some(many)) = (of(&few), of(&many)) {
            println!(
                "\nGET with {keys} keys more, to GET with 1,000 (both to their null): {:.2}",
                many / few
            );
        }
        println!("resident memory of the server: {} MiB", bench.resident()? / (1024 * 1024));
    }
    Ok(())
}

fn print(figures: &BTreeMap<(&str, u32), Figure>) {
    println!("| request | connections | per second | to null | p50 µs | p99 µs | p99/p50 |");
    println!("|---|---|---|---|---|---|---|");
    for ((kind, connections), figure) in figures {
        let null = figures.get(&("null", *connections)).map_or(f64::NAN, |null| null.per_second);
        println!(
            "| {kind} | {connections} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} |",
            figure.per_second,
            figure.per_second / null,
            figure.p50,
            figure.p99,
            figure.p99 / figure.p50
        );
    }
    if let (Some(one), Some(many)) = (figures.get(&("put", 1)), figures.get(&("put", 32))) {
        println!("\nPUT at 32 connections to PUT at 1: {:.1}", many.per_second / one.per_second);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Bench {
    fn start(root: &Path) -> Result<Self> {
        let folder = root.join("target/bench");
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
        let bench = Self { server, folder, load: root.join("target/release/chatelaine-bench-load"), url };
        let clouds = bench.folder.join("chatelaine-data/clouds.yaml");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() || !clouds.exists() {
            if Instant::now() > deadline {
                bail!("the server does not start; see target/bench/server.log");
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
        let output = Command::new(&self.load)
            .arg(&self.url)
            .arg(self.folder.join("token"))
            .args([kind, &connections.to_string(), until])
            .arg(self.folder.join(ids))
            .output()
            .context("cannot start the load")?;
        if !output.status.success() {
            bail!("the load failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| line.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        Ok(Figure { per_second: number("per_second"), p50: number("p50_us"), p99: number("p99_us") })
    }

    fn rounds<'a>(
        &self,
        rounds: usize,
        seconds: f64,
        series: &[(&'a str, u32)],
        ids: &str,
    ) -> Result<BTreeMap<(&'a str, u32), Figure>> {
        let mut found: BTreeMap<(&str, u32), Vec<Figure>> = BTreeMap::new();
        for round in 1..=rounds {
            println!("round {round} of {rounds}");
            for (kind, connections) in series {
                let ids = if *kind == "put" { "ids-put" } else { ids };
                let figure = self.load(kind, *connections, &seconds.to_string(), ids)?;
                found.entry((kind, *connections)).or_default().push(figure);
            }
        }
        let middle =
            |figures: &[Figure], part: fn(&Figure) -> f64| median(figures.iter().map(part).collect());
        Ok(found
            .into_iter()
            .map(|(key, figures)| {
                let figure = Figure {
                    per_second: middle(&figures, |figure| figure.per_second),
                    p50: middle(&figures, |figure| figure.p50),
                    p99: middle(&figures, |figure| figure.p99),
                };
                (key, figure)
            })
            .collect())
    }

    fn resident(&self) -> Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/status", self.server.id()))?;
        let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

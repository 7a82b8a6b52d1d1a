//! A closed loop: so many connections, each with one request at a time, for so long or so many; prints one JSON line.
//!
//! `load URL TOKEN_FILE KIND CONNECTIONS SECONDS|=COUNT IDS_FILE`, KIND one of null, get, metadata, put. A put writes the
//! ids it has put to IDS_FILE, the others read them from there. The token comes from a file, never from an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Null,
    Get,
    Metadata,
    Put,
}

#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Count(u64),
}

impl Until {
    /// One connection's part: the first ones do what is left over.
    fn of_connection(self, number: u64, connections: u64) -> Self {
        match self {
            Self::Time(end) => Self::Time(end),
            Self::Count(count) => Self::Count(count / connections + u64::from(number < count % connections)),
        }
    }
}

struct Load {
    address: String,
    token: String,
    kind: Kind,
    until: Until,
    ids: Vec<String>,
}

struct Done {
    latencies: Histogram<u64>,
    put: Vec<String>,
}

impl Load {
    async fn connection(&self, number: usize, connections: usize) -> Result<Done> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut done = Done { latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?, put: Vec::new() };
        let body = "{\"key_string\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"algorithm\":\"aes\"}";
        let mut sent = 0_u64;
        // Every connection goes its own way through the ids: a step that shares no factor with most counts.
        let mut place = number.wrapping_mul(7919);
        let until = self.until.of_connection(number as u64, connections as u64);
        loop {
            match until {
                Until::Time(end) if Instant::now() >= end => return Ok(done),
                Until::Count(count) if sent >= count => return Ok(done),
                _ => {}
            }
            let id = match self.kind {
                Kind::Null => String::new(),
                Kind::Put => uuid::Uuid::new_v4().to_string(),
                Kind::Get | Kind::Metadata => {
                    place = place.wrapping_add(104_729);
                    self.ids[place % self.ids.len()].clone()
                }
            };
            let (method, path, payload) = match self.kind {
                Kind::Null => ("GET", "/healthcheck".to_owned(), ""),
                Kind::Get => ("GET", format!("/v1/keys/{id}"), ""),
                Kind::Metadata => ("GET", format!("/v1/keys/{id}/metadata"), ""),
                Kind::Put => ("PUT", format!("/v1/keys/{id}"), body),
            };
            let request = hyper::Request::builder()
                .method(method)
                .uri(path)
                .header("host", &self.address)
                .header("x-auth-token", &self.token)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(payload.as_bytes())))?;
            let began = Instant::now();
            let response = sender.send_request(request).await?;
            let status = response.status();
            let answer = response.into_body().collect().await?.to_bytes();
            done.latencies.record(u64::try_from(began.elapsed().as_nanos() / 1000)?.max(1))?;
            ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&answer));
            if self.kind == Kind::Put {
                done.put.push(id);
            }
            sent += 1;
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token_file, kind, connections, until, ids_file] = arguments.as_slice() else {
        bail!("usage: load URL TOKEN_FILE null|get|metadata|put CONNECTIONS SECONDS|=COUNT IDS_FILE");
    };
    let kind = match kind.as_str() {
        "null" => Kind::Null,
        "get" => Kind::Get,
        "metadata" => Kind::Metadata,
        "put" => Kind::Put,
        other => bail!("{other}: null, get, metadata or put"),
    };
    let connections: usize = connections.parse().context("CONNECTIONS")?;
    ensure!(connections > 0, "CONNECTIONS: at least 1");
    let ids = match kind {
        Kind::Get | Kind::Metadata => {
            std::fs::read_to_string(ids_file)?.lines().map(str::to_owned).collect::<Vec<_>>()
        }
        Kind::Null | Kind::Put => Vec::new(),
    };
    let until = match until.strip_prefix('=') {
        Some(count) => Until::Count(count.parse().context("COUNT")?),
        None => Until::Time(Instant::now() + Duration::from_secs_f64(until.parse().context("SECONDS")?)),
    };
    let load = Load {
        address: url.trim_start_matches("http://").to_owned(),
        token: std::fs::read_to_string(token_file).context("TOKEN_FILE")?.trim().to_owned(),
        kind,
        until,
        ids,
    };
    let began = Instant::now();
    // One thread: the other core is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = runtime.block_on(async {
        let load = std::sync::Arc::new(load);
        let mut tasks: VecDeque<_> = (0..connections)
            .map(|number| {
                let load = std::sync::Arc::clone(&load);
                tokio::spawn(async move { load.connection(number, connections).await })
            })
            .collect();
        let mut latencies: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let mut put = Vec::new();
        while let Some(task) = tasks.pop_front() {
            let done = task.await??;
            latencies.add(&done.latencies)?;
            put.extend(done.put);
        }
        anyhow::Ok(Done { latencies, put })
    })?;
    let seconds = began.elapsed().as_secs_f64();
    if !all.put.is_empty() {
        std::fs::write(ids_file, all.put.join("\n"))?;
    }
    let line = serde_json::json!({
        "requests": all.latencies.len(),
        "per_second": all.latencies.len() as f64 / seconds,
        "p50_us": all.latencies.value_at_quantile(0.5),
        "p99_us": all.latencies.value_at_quantile(0.99),
    });
    println!("{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_do_all_together() {
        for (count, connections) in [(1000, 32), (5, 8), (64, 8)] {
            let parts = (0..connections).map(|number| Until::Count(count).of_connection(number, connections));
            let sum: u64 = parts.map(|part| if let Until::Count(count) = part { count } else { 0 }).sum();
            assert_eq!(sum, count);
        }
    }
}

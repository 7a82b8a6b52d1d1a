//! A closed loop: so many connections, each with one request at a time, for so long or so many; prints one JSON line.
//!
//! `load URL|unix:PATH TOKEN_FILE KIND CONNECTIONS SECONDS|=COUNT IDS_FILE`, KIND one of those in [`kind`]. What makes something
//! writes the ids of what it has made to IDS_FILE, the others read them from there. What takes something away ends when
//! no id is left. The token comes from a file, never from an argument.

mod kind;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use kind::Kind;

/// A request that is not answered within this time has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

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
    made: Vec<String>,
}

type Sender = http1::SendRequest<Full<Bytes>>;

impl Load {
    async fn connect(&self) -> Result<Sender> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let (sender, connection) =
                http1::handshake(TokioIo::new(UnixStream::connect(path).await?)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connection(&self, number: usize, connections: usize) -> Result<Done> {
        let mut sender = self.connect().await?;
        let mut done = Done { latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?, made: Vec::new() };
        let until = self.until.of_connection(number as u64, connections as u64);
        for sent in 0_u64.. {
            match until {
                Until::Time(end) if Instant::now() >= end => break,
                Until::Count(count) if sent >= count => break,
                _ => {}
            }
            let Some(id) = self.id(number, connections, sent) else { break };
            let began = Instant::now();
            // A server may want a connection for each request; making it is a part of the request.
            if sender.ready().await.is_err() {
                sender = self.connect().await?;
            }
            let answer = tokio::time::timeout(TIMEOUT, self.ask(&mut sender, &id)).await??;
            done.latencies.record(u64::try_from(began.elapsed().as_nanos() / 1000)?.max(1))?;
            done.made.extend(self.kind.made(&id, &answer)?);
        }
        Ok(done)
    }

    /// The id for a request of a connection; nothing when they are used up.
    fn id(&self, number: usize, connections: usize, sent: u64) -> Option<String> {
        let sent = usize::try_from(sent).ok()?;
        if self.kind.uses_up_ids() {
            return self.ids.get(sent.checked_mul(connections)?.checked_add(number)?).cloned();
        }
        if self.kind.needs_ids() {
            // Every connection goes its own way through the ids: a step that shares no factor with most counts.
            let place = number.wrapping_mul(7919).wrapping_add(sent.wrapping_add(1).wrapping_mul(104_729));
            return self.ids.get(place % self.ids.len()).cloned();
        }
        Some(if self.kind == Kind::Put { uuid::Uuid::new_v4().to_string() } else { String::new() })
    }

    async fn ask(&self, sender: &mut Sender, id: &str) -> Result<Bytes> {
        let asked = self.kind.request(id);
        let mut request = hyper::Request::builder()
            .method(asked.method)
            .uri(asked.path)
            .header("host", if self.address.starts_with("unix:") { "agent" } else { &self.address })
            .header("accept", asked.accept)
            .header("content-type", "application/json");
        if self.kind.has_token() {
            request = request.header("x-auth-token", &self.token);
        }
        if let Some(version) = self.kind.version() {
            request = request.header("openstack-api-version", version);
        }
        let request = request.body(Full::new(Bytes::from_static(asked.body.as_bytes())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, token_file, kind, connections, until, ids_file] = arguments.as_slice() else {
        bail!("usage: load URL TOKEN_FILE KIND CONNECTIONS SECONDS|=COUNT IDS_FILE");
    };
    let kind = Kind::of(kind)?;
    let connections: usize = connections.parse().context("CONNECTIONS")?;
    ensure!(connections > 0, "CONNECTIONS: at least 1");
    let ids: Vec<String> = if kind.needs_ids() {
        std::fs::read_to_string(ids_file)?.lines().map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    ensure!(!kind.needs_ids() || !ids.is_empty(), "IDS_FILE: no id in it");
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
        let mut made = Vec::new();
        while let Some(task) = tasks.pop_front() {
            let done = task.await??;
            latencies.add(&done.latencies)?;
            made.extend(done.made);
        }
        anyhow::Ok(Done { latencies, made })
    })?;
    let seconds = began.elapsed().as_secs_f64();
    if !all.made.is_empty() {
        std::fs::write(ids_file, all.made.join("\n"))?;
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

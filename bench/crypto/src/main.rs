//! Measures cryptographic libraries against each other, for `docs/adr/0001-cryptographic-library.md`.
//!
//!     cargo run --release --manifest-path bench/crypto/Cargo.toml
//!
//! All candidates of a row are measured in turn, round after round, so that other work on the machine falls on each of
//! them; the median of the rounds counts. `openssl speed` runs in the same turn, as a process of its own.
//! A figure is the throughput of one thread, its context (key schedule) made before.

mod candidates;
mod openssl;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chatelaine_crypto::{KeyMaterial, RecordCipher, acceleration};

use candidates::Candidate;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(120);
const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 1024 * 1024];
/// A record of the store: metadata in JSON and a key of 256 bits.
const RECORD: usize = 400;

fn main() -> Result<()> {
    println!("processor: {}", acceleration().names.join(" "));
    println!("openssl: {}", openssl::version()?);
    for (title, candidates, cipher) in [
        ("AES-256-GCM, seal in place", candidates::gcm()?, "aes-256-gcm"),
        ("AES-256-CTR, encrypt in place", candidates::ctr()?, "aes-256-ctr"),
    ] {
        println!("\n{title}: GB/s (ratio to aws-lc-rs)");
        table(candidates, cipher)?;
    }
    println!("\nXAES-256-GCM, records of {RECORD} bytes");
    records()
}

fn table(mut candidates: Vec<Candidate>, cipher: &str) -> Result<()> {
    for size in SIZES {
        let mut buffer = vec![0_u8; size];
        let mut rounds = vec![Vec::with_capacity(ROUNDS); candidates.len() + 1];
        for _ in 0..ROUNDS {
            for (candidate, results) in candidates.iter_mut().zip(&mut rounds) {
                let seconds = seconds_each(|| (candidate.run)(black_box(&mut buffer)))?;
                results.push(size as f64 / seconds / 1e9);
            }
            rounds.last_mut().context("no row")?.push(openssl::speed(cipher, size)? / 1e9);
        }
        let medians: Vec<f64> = rounds.iter_mut().map(|results| median(results)).collect();
        let yardstick = medians[0];
        let names = candidates.iter().map(|candidate| candidate.name).chain(["openssl speed"]);
        let cells: Vec<String> = names
            .zip(&medians)
            .map(|(name, speed)| format!("{name} {speed:.3} ({:.2})", speed / yardstick))
            .collect();
        println!("{size:>8} B: {}", cells.join("  "));
    }
    Ok(())
}

/// The record cipher as the server uses it, beside the two steps that it cannot do without.
fn records() -> Result<()> {
    let cipher = RecordCipher::new(&KeyMaterial::random(256)?)?;
    let (aad, plain) = ([7_u8; 120], [9_u8; RECORD]);
    let sealed = cipher.seal(&aad, &plain)?;
    let mut names_and_rounds = [("seal", Vec::new()), ("open", Vec::new()), ("seal and open", Vec::new())];
    for _ in 0..ROUNDS {
        names_and_rounds[0].1.push(seconds_each(|| {
            black_box(cipher.seal(black_box(&aad), black_box(&plain))?);
            Ok(())
        })?);
        names_and_rounds[1].1.push(seconds_each(|| {
            black_box(cipher.open(black_box(&aad), black_box(&sealed))?);
            Ok(())
        })?);
        names_and_rounds[2].1.push(seconds_each(|| {
            let sealed = cipher.seal(black_box(&aad), black_box(&plain))?;
            black_box(cipher.open(&aad, &sealed)?);
            Ok(())
        })?);
    }
    for (name, rounds) in &mut names_and_rounds {
        let seconds = median(rounds);
        println!("{name:>14}: {:.2} µs, {:.0} per second", seconds * 1e6, 1.0 / seconds);
    }
    Ok(())
}

/// How long one call takes, on average over a round.
fn seconds_each(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut batch = 1_u32;
    loop {
        let start = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        let elapsed = start.elapsed();
        if elapsed >= ROUND {
            return Ok(elapsed.as_secs_f64() / f64::from(batch));
        }
        let missing = ROUND.as_secs_f64() / elapsed.as_secs_f64().max(1e-7);
        batch = (f64::from(batch) * missing.clamp(1.1, 100.0)).ceil() as u32;
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

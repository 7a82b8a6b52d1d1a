//! How fast the engine for bulk data is on one core: `cargo run --release -p chatelaine-crypto --example engine_speed`.
//!
//! Prints Markdown. Within each round, every row measures our encryption and decryption, `openssl speed` and a memory copy in
//! turn, so that other work on the machine falls on all of them; medians of the rounds count. Ours is the whole stream as a
//! service uses it: one object, fed in pieces of the size, keys made before. Arguments: rounds, seconds for each figure.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use chatelaine_crypto::object::{Cipher, ObjectKey, Parameters};
use chatelaine_crypto::{KeyMaterial, acceleration};

const SIZES: [usize; 3] = [4096, 64 * 1024, 1024 * 1024];
/// What is measured, and the least ratio to OpenSSL that is asked for.
const ROWS: [(Cipher, Option<f64>); 5] = [
    (Cipher::Aes256Gcm, Some(1.5)),
    (Cipher::ChaCha20Poly1305, None),
    (Cipher::Aes256Xts, Some(1.0)),
    (Cipher::Aes256Ctr, Some(0.95)),
    (Cipher::Aes256Cbc, None),
];
/// A stream is begun anew after so many bytes, as one object would otherwise become longer than an object may be.
const OBJECT: usize = 1 << 30;

/// Bytes per second, in each round.
#[derive(Default)]
struct Row {
    encrypt: Vec<f64>,
    decrypt: Vec<f64>,
    openssl_encrypt: Vec<f64>,
    openssl_decrypt: Vec<f64>,
    copy: Vec<f64>,
    object: Vec<f64>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(5, |text| text.parse().expect("rounds: a number"));
    let seconds: f64 = arguments.next().map_or(0.3, |text| text.parse().expect("seconds: a number"));
    let time = Duration::from_secs_f64(seconds);
    println!("Units: {}. {}.", acceleration().names.join(" "), openssl(&["version"]).trim());
    println!("Medians of {rounds} rounds of {seconds} s; `openssl speed` has 1 s, its least.\n");
    let mut found: Vec<(Cipher, Option<f64>, usize, Row)> = ROWS
        .iter()
        .flat_map(|&(cipher, goal)| SIZES.map(|size| (cipher, goal, size, Row::default())))
        .collect();
    for round in 1..=rounds {
        eprintln_progress(round, rounds);
        for (cipher, _, size, row) in &mut found {
            row.measure(*cipher, *size, time);
        }
    }
    println!(
        "| cipher | bytes at a time | encrypt GB/s | to OpenSSL | goal | decrypt GB/s | to OpenSSL | encrypt to copy | whole objects GB/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (cipher, goal, size, row) in &mut found {
        let encrypt = median(&mut row.encrypt);
        let decrypt = median(&mut row.decrypt);
        println!(
            "| {} | {size} | {:.2} | {:.2} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            cipher.name(),
            encrypt / 1e9,
            encrypt / median(&mut row.openssl_encrypt),
            goal.map_or_else(String::new, |goal| goal.to_string()),
            decrypt / 1e9,
            decrypt / median(&mut row.openssl_decrypt),
            encrypt / median(&mut row.copy),
            median(&mut row.object) / 1e9,
        );
    }
}

impl Row {
    fn measure(&mut self, cipher: Cipher, size: usize, time: Duration) {
        let key = KeyMaterial::random(cipher.key_length() * 8).unwrap();
        let parameters = Parameters::new(cipher);
        let plain = vec![0x5a_u8; size];
        let mut output = vec![0_u8; 3 * (size + (1 << 17))];

        let stream = || ObjectKey::create(&parameters, &key, b"").unwrap().1;
        let mut encryptor = stream();
        self.encrypt.push(per_second(time, size, || {
            if encryptor.plain_length() as usize >= OBJECT {
                encryptor = stream();
            }
            encryptor.update(black_box(&plain), &mut output).unwrap();
        }));

        self.openssl_encrypt.push(openssl_speed(cipher, size, false));

        // Encrypted beforehand: as many whole pieces as make a few MiB, decrypted over and over.
        let pieces = (8_usize << 20).div_ceil(size);
        let (header, mut encryptor) = ObjectKey::create(&parameters, &key, b"").unwrap();
        let mut encrypted = Vec::new();
        for _ in 0..pieces {
            let length = encryptor.update(&plain, &mut output).unwrap();
            encrypted.extend_from_slice(&output[..length]);
        }
        let object = ObjectKey::open(&header, &key, b"").unwrap();
        let mut decryptor = object.decryptor();
        let mut at = encrypted.chunks_exact(size);
        self.decrypt.push(per_second(time, size, || {
            let piece = match at.next() {
                Some(piece) => piece,
                None => {
                    decryptor = object.decryptor();
                    at = encrypted.chunks_exact(size);
                    at.next().unwrap()
                }
            };
            decryptor.update(black_box(piece), &mut output).unwrap();
        }));

        self.openssl_decrypt.push(openssl_speed(cipher, size, true));

        self.copy.push(per_second(time, size, || {
            output[..size].copy_from_slice(black_box(&plain));
            black_box(&mut output);
        }));

        self.object.push(per_second(time, size, || {
            let (header, mut encryptor) = ObjectKey::create(&parameters, &key, b"").unwrap();
            let length = encryptor.update(black_box(&plain), &mut output).unwrap();
            encryptor.finish(&mut output[length..]).unwrap();
            black_box((header, &mut output));
        }));
    }
}

/// Bytes per second of `work`, which handles `size` bytes each time.
fn per_second(time: Duration, size: usize, mut work: impl FnMut()) -> f64 {
    let some = (256 * 1024 / size).max(1);
    work();
    let (began, mut count) = (Instant::now(), 0_usize);
    while began.elapsed() < time {
        for _ in 0..some {
            work();
        }
        count += some;
    }
    (count * size) as f64 / began.elapsed().as_secs_f64()
}

fn openssl_speed(cipher: Cipher, size: usize, decrypt: bool) -> f64 {
    let size = size.to_string();
    let mut arguments = vec!["speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", &size];
    if decrypt {
        arguments.push("-decrypt");
    }
    arguments.extend(["-evp", cipher.name()]);
    let text = openssl(&arguments);
    let line = text.lines().rfind(|line| line.starts_with("+F:")).expect("a result of openssl speed");
    line.rsplit(':').next().unwrap().parse().expect("a figure of openssl speed")
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl can be started");
    assert!(output.status.success(), "openssl {} failed", arguments.join(" "));
    String::from_utf8(output.stdout).expect("openssl prints text")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::print_stderr, reason = "progress, apart from the tables")]
fn eprintln_progress(round: usize, rounds: usize) {
    eprintln!("round {round} of {rounds}");
}

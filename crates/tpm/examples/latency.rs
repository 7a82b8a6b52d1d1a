//! How long unsealing and joining take on software TPMs: `cargo run --release -p chatelaine-tpm --example latency`.
//!
//! An argument says how many rounds. Prints Markdown. The yardstick is one bare command on the same TPM in the same round; on other TPMs the number of commands
//! is what carries over.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement"
)]

#[path = "../tests/swtpm/machine.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
mod machine;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chatelaine_tpm::attest::{Enrolment, Joiner, challenge, check_answer};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::software::certificate::Makers;
use chatelaine_tpm::tpm::{EndorsementKind, Lock};
use chatelaine_tpm::{Approval, ReleaseAuthority, Tpm};
use machine::{Maker, boot, registers};

const SECRET: [u8; 64] = [7; 64];
const REFERENCE: &[u8] = b"chatelaine/6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7/mk/1";
const ROUNDS: usize = 60;

struct Series {
    name: &'static str,
    times: Vec<Duration>,
    commands: u64,
}

impl Series {
    fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new(), commands: 0 }
    }

    fn measure<T>(&mut self, tpm: &Tpm, work: impl FnOnce() -> T) -> T {
        let (before, began) = (tpm.commands_sent(), Instant::now());
        let result = work();
        self.times.push(began.elapsed());
        self.commands = tpm.commands_sent() - before;
        result
    }

    fn quantile(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
    }
}

fn join(
    tpm: &Tpm,
    kind: EndorsementKind,
    makers: &Makers,
    signer: &ReleaseAuthority,
    approvals: &[Approval],
    holder: &mut Series,
) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (joiner, hello) = Joiner::hello(tpm, kind, 1).unwrap();
    let began = Instant::now();
    let enrolled = |_: &_| Some(Enrolment::WithCertificate);
    let (question, pending) = challenge(&hello.to_bytes(), enrolled, makers, now, registers(), b"").unwrap();
    let mut share = began.elapsed();
    let (answered, answer) = joiner.answer(tpm, &question.to_bytes(), b"").unwrap();
    let began = Instant::now();
    let admitted =
        check_answer(pending, &answer.to_bytes(), &signer.authority(), REFERENCE, approvals).unwrap();
    let grant = admitted.grant(&SECRET).unwrap();
    share += began.elapsed();
    holder.times.push(share);
    let received =
        answered.receive(tpm, &grant.to_bytes(), &signer.authority(), |reference| reference == REFERENCE);
    assert_eq!(received.unwrap().secret.as_slice(), SECRET);
}

fn main() {
    let rounds: usize =
        std::env::args().nth(1).map_or(ROUNDS, |given| given.parse().expect("a number of rounds"));
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = machine.tpm();
    boot(&tpm, "firmware");
    let (root, issuer) = maker.certificates();
    let makers = Makers::new([root], [issuer]).unwrap();
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [signer.approve(&tpm.pcr_read(&registers()).unwrap(), REFERENCE).unwrap()];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let from_template = tpm.seal(&SECRET, &lock, None).unwrap();
    tpm.provision_storage_root().unwrap();
    let persistent = tpm.seal(&SECRET, &lock, None).unwrap();

    let mut bare = Series::new("one bare command (the yardstick)");
    let mut unseal = Series::new("unseal, persistent storage root");
    let mut template = Series::new("unseal, storage root made from its template");
    let mut rsa = Series::new("join, RSA-2048 endorsement key, both sides");
    let mut rsa_holder = Series::new("of this the holder's share");
    let mut ecc = Series::new("join, P-384 endorsement key, both sides");
    let mut ecc_holder = Series::new("of this the holder's share");
    for _ in 0..rounds {
        bare.measure(&tpm, || tpm.random(16).unwrap());
        unseal.measure(&tpm, || tpm.unseal(&persistent, &approvals, None).unwrap());
        template.measure(&tpm, || tpm.unseal(&from_template, &approvals, None).unwrap());
        rsa.measure(&tpm, || {
            join(&tpm, EndorsementKind::Rsa2048, &makers, &signer, &approvals, &mut rsa_holder);
        });
        ecc.measure(&tpm, || {
            join(&tpm, EndorsementKind::EccP384, &makers, &signer, &approvals, &mut ecc_holder);
        });
    }
    let yardstick = bare.quantile(50);
    println!("| {rounds} rounds on swtpm | TPM commands | p50 ms | p95 ms | p50 to the yardstick |");
    println!("|---|---|---|---|---|");
    for series in [&bare, &unseal, &template, &rsa, &rsa_holder, &ecc, &ecc_holder] {
        let (p50, p95) = (series.quantile(50), series.quantile(95));
        println!("| {} | {} | {p50:.2} | {p95:.2} | {:.0} |", series.name, series.commands, p50 / yardstick);
    }
}

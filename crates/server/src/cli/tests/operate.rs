//! The operators' commands on a data folder that a server made.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::audit::Action;
use chatelaine_core::manager::Irregularities;

use serde_json::Value;

use super::{Bench, Outcome, keyring};
use crate::audit::segment;
use crate::config::Config;
use crate::{checkpoint, reaper, startup};

struct House {
    bench: Bench,
    config: Config,
}

impl House {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let mut config = Config::default();
        config.data.folder = bench.path("data");
        let house = Self { bench, config };
        house.serve_a_moment().await;
        house
    }

    /// Starts as `serve` does, writes some events, notes the head and stops.
    async fn serve_a_moment(&self) {
        let opened = startup::open_at_once(&self.config).await.unwrap();
        for _ in 0..3 {
            opened.app.manager().note_own(Action::StopServer, None).await.unwrap();
        }
        checkpoint::write(&opened.app, &mut None).await;
    }

    async fn run(&self, arguments: &[&str]) -> Outcome {
        let folder = format!("data.folder={}", self.config.data.folder.display());
        self.bench.plain(&[&["--format", "json", "--set", &folder], arguments].concat()).await
    }

    /// Cuts the last lines off the trail.
    fn cut(&self, lines: usize) {
        let path = segment::list(&self.config.audit_path()).unwrap().pop().unwrap().path;
        let text = std::fs::read_to_string(&path).unwrap();
        let kept: Vec<&str> = text.split_inclusive('\n').collect();
        std::fs::write(&path, kept[..kept.len() - lines].concat()).unwrap();
    }

    fn lines(&self) -> Vec<Value> {
        let segments = segment::list(&self.config.audit_path()).unwrap();
        let text: String = segments.iter().map(|one| std::fs::read_to_string(&one.path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A record that the trail knows nothing of, and whose seal holds while its body is none of a secret.
    async fn put_a_key(&self) {
        let store = startup::store(&self.config).await.unwrap();
        let keyring = keyring(&self.config);
        let clock = chatelaine_core::clock::SystemClock;
        let key = keyring.current(&*store, &clock, "p").await.unwrap();
        let mut record = chatelaine_core::store::Record {
            kind: chatelaine_core::store::Kind::SECRET,
            id: super::ID.to_owned(),
            project: "p".to_owned(),
            created: chatelaine_core::Clock::now(&clock),
            version: chatelaine_core::id::Version::FIRST,
            attributes: chatelaine_core::store::IndexAttributes::default(),
            body: Vec::new(),
        };
        let under = chatelaine_core::record::SealedUnder::ScopeKey(key.version);
        chatelaine_core::record::seal(&mut record, &under, &key.cipher, b"no secret's body").unwrap();
        store.apply(vec![chatelaine_core::store::Change::Create(record)]).await.unwrap();
    }
}

/// T-AUDIT-CUT: a trail that was cut while no server ran is remembered through restarts until somebody looked into it.
#[tokio::test]
async fn a_cut_trail_is_remembered_until_it_is_acknowledged() {
    let house = House::new().await;
    let last = house.lines().len();
    house.run(&["audit", "verify"]).await.ends(0);
    house.cut(2);
    house.run(&["audit", "verify"]).await.ends(1);
    // Two starts write over the noted head, and the trail grows beyond what was lost.
    house.serve_a_moment().await;
    house.serve_a_moment().await;
    assert!(house.lines().len() > last);

    let report = house.run(&["audit", "verify"]).await.ends(1).json();
    let problem = report["findings"][0]["problem"].as_str().unwrap();
    assert!(problem.contains(&format!("event {last}")), "{problem}");
    let checks = house.run(&["doctor"]).await.ends(1).json();
    let audit = checks["checks"].as_array().unwrap().iter().find(|row| row["check"] == "audit").unwrap();
    assert_eq!(audit["result"], "FAILED");
    assert!(house.run(&["reap"]).await.ends(1).errors.contains("audit acknowledge"));
    let opened = startup::open_at_once(&house.config).await.unwrap();
    assert!(reaper::run(&opened.app).await.is_err());
    drop(opened);

    assert!(house.run(&["audit", "acknowledge", "1"]).await.ends(1).errors.contains(&last.to_string()));
    house.run(&["audit", "acknowledge", &last.to_string()]).await.ends(0);
    house.run(&["audit", "acknowledge", &last.to_string()]).await.ends(1);
    house.run(&["audit", "verify"]).await.ends(0);
    house.run(&["reap"]).await.ends(0);
    house.serve_a_moment().await;
    house.run(&["audit", "verify"]).await.ends(0);
}

/// A trail put back from an older copy and written on is found although it is as long as it was.
#[tokio::test]
async fn an_older_trail_that_was_written_on_is_found() {
    let house = House::new().await;
    let opened = startup::open_at_once(&house.config).await.unwrap();
    let head = opened.app.trail.head();
    drop(opened);
    let key = keyring(&house.config).audit_key();
    let folder = house.config.audit_path();
    assert!(crate::audit::holds(&folder, &key, head).unwrap());
    let other = crate::audit::Head { mac: [1; 32], ..head };
    assert!(!crate::audit::holds(&folder, &key, other).unwrap());
    assert!(!crate::audit::holds(&folder, &key, crate::audit::Head { seq: head.seq + 1, ..head }).unwrap());
}

/// `reap` without a server writes its beginning and its end down and makes nothing where nothing is.
#[tokio::test]
async fn the_reaper_works_without_a_server() {
    let house = House::new().await;
    let before = house.lines().len();
    house.run(&["reap"]).await.ends(0);
    let actions: Vec<_> = house.lines()[before..].iter().map(|line| line["action"].clone()).collect();
    assert_eq!(actions, ["start", "stop"]);

    std::fs::create_dir(house.bench.path("empty")).unwrap();
    std::fs::set_permissions(house.bench.path("empty"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let folder = format!("data.folder={}", house.bench.path("empty").display());
    house.bench.plain(&["--set", &folder, "reap"]).await.ends(1);
    assert_eq!(std::fs::read_dir(house.bench.path("empty")).unwrap().count(), 0);
}

/// The store is looked at even where the trail cannot be believed, and archived beginnings are no damage.
#[tokio::test]
async fn the_store_is_checked_whatever_the_trail_is() {
    let house = House::new().await;
    house.put_a_key().await;
    let problems = |outcome: Outcome| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let report = outcome.json();
        let found = report["findings"].as_array().unwrap().iter();
        found.map(|one| (text(&one["kind"]), text(&one["problem"]))).collect()
    };
    // A body that is none of a secret's is found either way; a trail with a hole is one finding more.
    let whole = problems(house.run(&["store", "check"]).await.ends(1));
    assert!(whole.iter().all(|(kind, _)| kind == "secret") && !whole.is_empty(), "{whole:?}");

    let path = segment::list(&house.config.audit_path()).unwrap().pop().unwrap().path;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("stop", "stpo", 1)).unwrap();
    let broken = problems(house.run(&["store", "check"]).await.ends(1));
    assert!(broken.iter().any(|(kind, _)| kind == "secret"), "{broken:?}");
    assert!(broken.iter().any(|(kind, text)| kind == "audit" && text.contains("does not verify")));
}

/// A new trail beside an old store says so: what only the old one tells of is no finding.
#[tokio::test]
async fn a_new_trail_knows_that_the_store_is_older() {
    let house = House::new().await;
    house.put_a_key().await;
    std::fs::rename(house.config.audit_path(), house.bench.path("kept")).unwrap();
    house.serve_a_moment().await;
    assert_eq!(house.lines()[0]["action"], "begin");
    // The loss of the old one is remembered as every loss is.
    house.run(&["audit", "verify"]).await.ends(1);
    let report = house.run(&["store", "check"]).await.ends(1).json();
    let text = report.to_string();
    assert!(!text.contains("knows nothing of it"), "{text}");
}

/// Segments that were archived are no damage to `doctor`; a hole between two is.
#[tokio::test]
async fn doctor_tells_archived_segments_from_lost_ones() {
    let mut house = House::new().await;
    house.config.audit.segment_mib = 0;
    for _ in 0..3 {
        house.serve_a_moment().await;
    }
    let audit = |outcome: Outcome| {
        let checks = outcome.json();
        checks["checks"].as_array().unwrap().iter().find(|row| row["check"] == "audit").unwrap().clone()
    };
    let segments = segment::list(&house.config.audit_path()).unwrap();
    assert!(segments.len() > 4);
    std::fs::remove_file(&segments[0].path).unwrap();
    assert_eq!(audit(house.run(&["doctor"]).await)["result"], "ok");
    std::fs::remove_file(&segments[2].path).unwrap();
    assert_eq!(audit(house.run(&["doctor"]).await)["result"], "FAILED");
}

/// A run of the reaper that a client asked for takes as long as it takes, and goes on when the client goes away.
#[tokio::test]
async fn a_run_of_the_reaper_is_not_cut_off() {
    let mut house = House::new().await;
    house.config.server.request_timeout_seconds = 1;
    let opened = startup::open_at_once(&house.config).await.unwrap();
    let app = &opened.app;
    let socket = crate::http::control::ControlSocket::bind(&house.config.control_path()).unwrap();
    let routes = crate::http::gate::Gate::new(crate::http::control::routes(Arc::clone(app)));
    let serving = tokio::spawn(socket.serve(routes));
    let busy = app.reaping.lock().await;
    let release = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(busy);
    };
    let (outcome, ()) = tokio::join!(house.run(&["reap"]), release);
    outcome.ends(0);

    let busy = app.reaping.lock().await;
    let gone = tokio::time::timeout(Duration::from_millis(50), reaper::run(app)).await;
    assert!(gone.is_err());
    drop(busy);
    reaper::finished(app).await;
    let runs = app.metrics().encode(&crate::identity::Counters::default(), Irregularities::default(), 0, 0);
    assert!(runs.contains("chatelaine_reaper_runs_total{result=\"success\"} 2"), "{runs}");
    serving.abort();
}

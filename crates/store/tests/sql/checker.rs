//! A closed loop of writers, and what must be true of the store afterwards, whatever happened meanwhile.
//!
//! Each writer has records of its own, so that it knows what each may be: the state that was acknowledged last, or, if a
//! change was not answered, that or the state after it. One counter belongs to all of them, so that compare-and-set is
//! tried as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::store::{
    Change, ConflictReason, IndexAttributes, Kind, Query, Record, Store, StoreError,
};

pub(crate) const KIND: Kind = Kind::new("thing");
const COUNTER: &str = "counter";

/// What a record may be: there with this version and body, or not there.
type State = Option<(u64, Vec<u8>)>;

pub(crate) fn record(id: &str, version: u64, body: &[u8]) -> Record {
    Record {
        kind: KIND,
        id: id.to_owned(),
        project: "project".to_owned(),
        created: Timestamp::from_micros(1),
        version: Version::new(version),
        attributes: IndexAttributes::default(),
        body: body.to_vec(),
    }
}

#[derive(Default)]
struct Seen {
    states: Mutex<HashMap<String, Vec<State>>>,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    counted: AtomicU64,
    maybe_counted: AtomicU64,
    /// The longest that a call took, in milliseconds.
    longest: AtomicU64,
    stop: AtomicBool,
}

/// The loop while it runs.
pub(crate) struct Load {
    seen: Arc<Seen>,
    writers: Vec<tokio::task::JoinHandle<()>>,
}

/// Tells what became of a change; `None`: nobody knows.
fn outcome(result: Result<(), StoreError>) -> Option<Result<(), ConflictReason>> {
    match result {
        Ok(()) => Some(Ok(())),
        Err(StoreError::Conflict { reason, .. }) => Some(Err(reason)),
        Err(StoreError::Unavailable(_)) => None,
        Err(other) => panic!("{other}"),
    }
}

impl Seen {
    async fn apply(&self, store: &dyn Store, batch: Vec<Change>) -> Option<Result<(), ConflictReason>> {
        let begun = Instant::now();
        let result = outcome(store.apply(batch).await);
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
        self.longest.fetch_max(took, Ordering::SeqCst);
        let count = if result.is_some() { &self.acknowledged } else { &self.unanswered };
        count.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// One record's life; whatever is not answered ends it.
    async fn live(&self, store: &dyn Store, id: &str) {
        let mut now: State = None;
        let note = |states: Vec<State>| drop(self.states.lock().unwrap().insert(id.to_owned(), states));
        for step in 1..=4_u64 {
            let body = format!("{id} as of step {step}").into_bytes();
            let (change, next) = match step {
                1 => (Change::Create(record(id, 1, &body)), Some((1, body))),
                4 if id.len().is_multiple_of(2) => {
                    let expected = Version::new(3);
                    (Change::Remove { kind: KIND, id: id.to_owned(), expected }, None)
                }
                _ => {
                    let expected = Version::new(step - 1);
                    (Change::Replace { expected, record: record(id, step, &body) }, Some((step, body)))
                }
            };
            note(vec![now.clone(), next.clone()]);
            match self.apply(store, vec![change]).await {
                Some(Ok(())) => note(vec![next.clone()]),
                Some(Err(reason)) => panic!("{id}, step {step}: {reason}"),
                None => return,
            }
            now = next;
        }
    }

    /// One more, if nobody is faster.
    async fn count(&self, store: &dyn Store, by: &str) {
        let Ok(before) = store.read(&KIND, COUNTER).await else { return };
        let before = before.expect("the counter is gone");
        let number = before.version.number();
        let after = record(COUNTER, number + 1, format!("{number} by {by}").as_bytes());
        let change = Change::Replace { expected: before.version, record: after };
        match self.apply(store, vec![change]).await {
            Some(Ok(())) => drop(self.counted.fetch_add(1, Ordering::SeqCst)),
            Some(Err(ConflictReason::Changed(_))) => {}
            Some(Err(reason)) => panic!("the counter: {reason}"),
            None => drop(self.maybe_counted.fetch_add(1, Ordering::SeqCst)),
        }
    }
}

impl Load {
    /// Starts writers, each at one of the stores.
    pub(crate) async fn start(stores: &[Arc<dyn Store>], writers: usize) -> Self {
        stores[0].apply(vec![Change::Create(record(COUNTER, 1, b"0"))]).await.unwrap();
        let seen = Arc::new(Seen::default());
        let writers = (0..writers)
            .map(|writer| {
                let (seen, store) = (Arc::clone(&seen), Arc::clone(&stores[writer % stores.len()]));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !seen.stop.load(Ordering::SeqCst) {
                        let id = format!("w{writer}-{number}");
                        seen.live(&*store, &id).await;
                        seen.count(&*store, &id).await;
                        number += 1;
                    }
                })
            })
            .collect();
        Self { seen, writers }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.seen.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more changes were acknowledged.
    pub(crate) async fn progress(&self, changes: u64) {
        let (from, begun) = (self.acknowledged(), Instant::now());
        while self.acknowledged() < from + changes {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing goes on");
            for writer in &self.writers {
                assert!(!writer.is_finished(), "a writer has ended");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the writers, and compares the store, as each of `stores` has it, with what was seen. Tells how many
    /// changes were acknowledged, how many were not answered, and how long a call took at most.
    pub(crate) async fn check(self, stores: &[Arc<dyn Store>]) -> (u64, u64, Duration) {
        self.seen.stop.store(true, Ordering::SeqCst);
        for writer in self.writers {
            writer.await.unwrap();
        }
        for store in stores {
            let mut found = HashMap::new();
            let mut query = Query::of(KIND);
            loop {
                let page = store.list(&query).await.unwrap();
                let Some(last) = page.last() else { break };
                query.after = Some(last.position());
                found.extend(page.into_iter().map(|one| (one.id, (one.version.number(), one.body))));
            }
            let counter = found.remove(COUNTER).expect("the counter is gone").0 - 1;
            let states = self.seen.states.lock().unwrap().clone();
            for (id, possible) in &states {
                let now = found.remove(id);
                assert!(possible.contains(&now), "{id} is {now:?}, and can only be {possible:?}");
            }
            assert!(found.is_empty(), "nobody wrote these: {:?}", found.keys());
            let counted = self.seen.counted.load(Ordering::SeqCst);
            let most = counted + self.seen.maybe_counted.load(Ordering::SeqCst);
            assert!(
                (counted..=most).contains(&counter),
                "{counter} counted, acknowledged {counted} to {most}"
            );
        }
        (
            self.seen.acknowledged.load(Ordering::SeqCst),
            self.seen.unanswered.load(Ordering::SeqCst),
            Duration::from_millis(self.seen.longest.load(Ordering::SeqCst)),
        )
    }
}

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Instant;

use super::*;

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_time().build().unwrap()
}

/// Holds the next sync of the newest segment: the first channel tells that it began, a word on the second lets it go on.
fn hold_sync(trail: &FileTrail) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    trail.shared.state.lock().file.faults.lock().hold_sync = Some((began, may_go_on));
    (has_begun, go_on)
}

const SHORT: Duration = Duration::from_secs(20);

/// Eight threads, 32 writers: each append stays in one piece, each writer's order is kept, the chain holds, and whoever
/// verifies meanwhile finds nothing wrong.
#[test]
fn appends_of_many_threads_stay_whole_and_in_order() {
    let (_parent, folder) = folder();
    let (trail, _) = open_with(&folder, &segments_of(20_000)).unwrap();
    let trail = Arc::new(trail);
    let runtime = runtime(8);
    let writers: Vec<_> = (0..32_u64)
        .map(|writer| {
            let trail = Arc::clone(&trail);
            runtime.spawn(async move {
                for round in 0..25 {
                    let events: Vec<Event> =
                        (0..=round % 4).map(|part| read(writer, round * 10 + part)).collect();
                    let durability = if round % 8 == 0 { Durability::Synced } else { Durability::Written };
                    trail.append(&events, durability).await.unwrap();
                }
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let report = verify(&folder, &key(), &Expected::default(), &mut |_| {}).unwrap();
        assert!(report.is_intact(), "{report:#?}");
    }
    runtime.block_on(async {
        for writer in writers {
            writer.await.unwrap();
        }
        trail.append(&[read(99, 0)], Durability::Synced).await.unwrap();
    });
    assert_eq!(trail.synced_head(), trail.head());
    assert_intact(&folder, trail.head());
    assert!(lines(&folder).len() > 10);

    let mut next: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut open_batch: Option<String> = None;
    for line in parsed(&folder) {
        let writer = line["requestid"].as_str().unwrap().to_owned();
        if writer == "req-99" {
            break;
        }
        let number: u64 =
            line["target"]["id"].as_str().unwrap().strip_prefix("secret-").unwrap().parse().unwrap();
        let (round, part) = next.entry(writer.clone()).or_default();
        assert_eq!(number, *round * 10 + *part, "{writer}");
        assert!(open_batch.as_ref().is_none_or(|open| *open == writer), "an append was split");
        if *part == *round % 4 {
            (*round, *part, open_batch) = (*round + 1, 0, None);
        } else {
            (*part, open_batch) = (*part + 1, Some(writer));
        }
    }
    assert_eq!(next.len(), 32);
    assert!(next.values().all(|at| *at == (25, 0)));
}

/// Whoever waits while a sync is under way shares the next one; who does not ask for it does not wait.
#[test]
fn waiters_share_one_sync() {
    let (_parent, folder) = folder();
    let trail = Arc::new(open(&folder));
    let runtime = runtime(2);
    let spawn = |number| {
        let trail = Arc::clone(&trail);
        runtime.spawn(async move { trail.append(&[read(0, number)], Durability::Synced).await })
    };
    let before = trail.shared.state.lock().file.faults.lock().syncs;
    let (has_begun, go_on) = hold_sync(&trail);
    let mut waiting = vec![spawn(0)];
    has_begun.recv_timeout(SHORT).unwrap();
    waiting.extend((1..32).map(spawn));
    let deadline = Instant::now() + SHORT;
    while trail.head().seq < 32 {
        assert!(Instant::now() < deadline, "writers are held up by the sync");
        std::thread::yield_now();
    }
    runtime.block_on(trail.append(&[read(0, 32)], Durability::Written)).unwrap();
    assert_eq!(trail.synced_head(), Head::EMPTY);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    go_on.send(()).unwrap();
    runtime.block_on(async {
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
    });
    assert!(trail.synced_head().seq >= 32);
    let syncs = trail.shared.state.lock().file.faults.lock().syncs - before;
    // The one held, the shared one, perhaps one for the line nobody waited for.
    assert!((2..=3).contains(&syncs), "{syncs} syncs");
}

/// While the disk is slow in ending a segment, appends wait without holding up the runtime's only thread.
#[test]
fn a_new_segment_holds_up_no_thread() {
    let (_parent, folder) = folder();
    let (trail, _) = open_with(&folder, &segments_of(1)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        trail.append(&[read(0, 1)], Durability::Synced).await.unwrap();
        let (has_begun, go_on) = hold_sync(&trail);
        let events = [read(0, 2), read(0, 3)];
        let first = trail.append(&events[..1], Durability::Written);
        let second = trail.append(&events[1..], Durability::Written);
        let meanwhile = async {
            let deadline = Instant::now() + SHORT;
            while has_begun.try_recv().is_err() {
                assert!(Instant::now() < deadline);
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(trail.head().seq, 1);
            go_on.send(()).unwrap();
        };
        let (first, second, ()) = futures_util::join!(first, second, meanwhile);
        first.unwrap();
        second.unwrap();
    });
    assert_intact(&folder, trail.head());
    assert_eq!(lines(&folder).len(), 3);
}

/// Lines nobody waits for get to the disk soon, and all do when the trail is closed.
#[test]
fn lines_nobody_waits_for_are_synced_soon() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    append(&trail, &[read(0, 1)], Durability::Written).unwrap();
    let mut synced = trail.shared.synced.subscribe();
    let runtime = runtime(1);
    runtime.block_on(async {
        tokio::time::timeout(SHORT, synced.wait_for(|synced| synced.head.seq == 1)).await.unwrap().unwrap();
    });
    let mut synced = trail.shared.synced.subscribe();
    append(&trail, &[read(0, 2)], Durability::Written).unwrap();
    drop(trail);
    assert_eq!(synced.borrow_and_update().head.seq, 2);
}

/// A disk that does not answer is an error in time. The event was written; whether it is durable is not claimed.
#[test]
fn patience_ends() {
    let (_parent, folder) = folder();
    let options = Options { segment_size: 1, patience: Duration::from_millis(50) };
    let (trail, _) = open_with(&folder, &options).unwrap();
    let (has_begun, go_on) = hold_sync(&trail);
    let why = unwritable(append(&trail, &[read(0, 1)], Durability::Synced));
    assert!(why.contains("did not answer within 0.05 s"), "{why}");
    has_begun.recv_timeout(SHORT).unwrap();
    assert_eq!((trail.head().seq, trail.synced_head()), (1, Head::EMPTY));
    // The segment is full, and the syncer that should begin the next one is held.
    let why = unwritable(append(&trail, &[read(0, 2)], Durability::Written));
    assert!(why.contains("did not answer"), "{why}");
    assert_eq!(trail.head().seq, 1);
    go_on.send(()).unwrap();
    // The disk under the test may be slow as well.
    let deadline = Instant::now() + SHORT;
    while let Err(error) = append(&trail, &[read(0, 3)], Durability::Synced) {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert!(trail.synced_head().seq >= 2);
    assert_intact(&folder, trail.head());
}

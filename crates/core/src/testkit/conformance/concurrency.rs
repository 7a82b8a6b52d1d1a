//! What holds when many tasks change the store at once.

use super::*;
use crate::store::Query;

pub(super) async fn increments_are_never_lost(store: Arc<dyn Store>) {
    const TASKS: u64 = 12;
    const EACH: u64 = 15;
    let counter = Record { body: b"0".to_vec(), ..record("counter", 1) };
    create(&*store, &counter).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let before = found(&*store, "counter").await.unwrap();
                    let number: u64 = std::str::from_utf8(&before.body).unwrap().parse().unwrap();
                    tokio::task::yield_now().await;
                    match store.apply(vec![changed(&before, &(number + 1).to_string())]).await {
                        Ok(()) => done += 1,
                        Err(StoreError::Conflict { reason: ConflictReason::Changed(now), .. }) => {
                            assert!(now > before.version);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let end = found(&*store, "counter").await.unwrap();
    assert_eq!(end.body, (TASKS * EACH).to_string().as_bytes());
    assert_eq!(end.version.number(), TASKS * EACH + 1);
}

/// A rewrap reads, seals anew and writes, without being in anybody's way: the updates all get through, and the rewraps
/// lose whenever something came between.
pub(super) async fn resealing_loses_no_update(store: Arc<dyn Store>) {
    const UPDATES: u64 = 40;
    create(&*store, &Record { body: b"0 a".to_vec(), ..record("busy", 1) }).await;
    let updater = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 1..=UPDATES {
                let before = found(&*store, "busy").await.unwrap();
                tokio::task::yield_now().await;
                // The version is what an update is bound to: that the record was sealed anew does not refuse it.
                store.apply(vec![changed(&before, &format!("{number} a"))]).await.unwrap();
            }
        })
    };
    let resealers: Vec<_> = (0..4)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut round = 0;
                while round < 40 {
                    let before = found(&*store, "busy").await.unwrap();
                    let text = std::str::from_utf8(&before.body).unwrap();
                    let number = text.split(' ').next().unwrap();
                    let after = format!("{number} {task}.{round}");
                    tokio::task::yield_now().await;
                    match store.apply(vec![resealed(&before, &after)]).await {
                        Ok(()) => round += 1,
                        Err(StoreError::Conflict { reason: ConflictReason::Changed(now), .. }) => {
                            assert!(now > before.version);
                        }
                        Err(StoreError::Conflict { reason: ConflictReason::Resealed, .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    updater.await.unwrap();
    for task in resealers {
        task.await.unwrap();
    }
    let end = found(&*store, "busy").await.unwrap();
    assert_eq!(end.version.number(), UPDATES + 1);
    assert!(end.body.starts_with(format!("{UPDATES} ").as_bytes()), "{:?}", String::from_utf8(end.body));
}

/// What requires a door to be open is not done once the door is closed: whoever closes it and looks then has seen all
/// that ever went through.
pub(super) async fn a_closed_door_lets_nothing_through(store: Arc<dyn Store>) {
    for round in 0..5_i64 {
        let door = record(&format!("door-{round}"), round);
        create(&*store, &door).await;
        let query = || Query { project: Some(format!("room-{round}")), ..Query::of(KIND) };
        let guests: Vec<_> = (0..8)
            .map(|guest| {
                let (store, door) = (Arc::clone(&store), door.clone());
                tokio::spawn(async move {
                    for number in 0..200 {
                        let mut entry = record(&format!("guest-{round}-{guest}-{number}"), 10);
                        entry.project = format!("room-{round}");
                        let batch = vec![Change::Create(entry), required(&door.id, Some(door.version))];
                        match store.apply(batch).await {
                            Ok(()) => {}
                            Err(StoreError::Conflict { reason: ConflictReason::Changed(_), .. }) => return,
                            Err(other) => panic!("{other}"),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..=round * 3 {
            tokio::task::yield_now().await;
        }
        store.apply(vec![changed(&door, "closed")]).await.unwrap();
        let seen = store.count(&query()).await.unwrap();
        for guest in guests {
            guest.await.unwrap();
        }
        assert_eq!(store.count(&query()).await.unwrap(), seen, "round {round}");
    }
}

pub(super) async fn one_of_many_creators_wins(store: Arc<dyn Store>) {
    for round in 0..5 {
        let id = format!("wanted-{round}");
        let tasks: Vec<_> = (0..16_u8)
            .map(|task| {
                let (store, id) = (Arc::clone(&store), id.clone());
                tokio::spawn(async move {
                    // The second record shows that a loser leaves nothing behind.
                    let wanted = Record { body: vec![task], ..record(&id, 1) };
                    let beside = record(&format!("{id}-beside-{task}"), 1);
                    match store.apply(vec![Change::Create(beside), Change::Create(wanted)]).await {
                        Ok(()) => Some(task),
                        Err(StoreError::Conflict { reason: ConflictReason::Exists, .. }) => None,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            winners.extend(task.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(found(&*store, &id).await.unwrap().body, winners);
        assert!(found(&*store, &format!("{id}-beside-{}", winners[0])).await.is_some());
    }
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 10);
}

pub(super) async fn many_writers_all_succeed(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..5 {
                    let own = record(&format!("{task}-{number}"), number);
                    create(&*store, &own).await;
                    assert_eq!(found(&*store, &own.id).await, Some(own), "written, so readable");
                }
                store.apply(vec![removed(&record(&format!("{task}-0"), 0))]).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 64 * 4);
}

pub(super) async fn a_batch_is_seen_whole_once_acknowledged(store: Arc<dyn Store>) {
    let pair = [record("left", 1), record("right", 1)];
    store.apply(pair.iter().cloned().map(Change::Create).collect()).await.unwrap();
    let other = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        let mut pair = pair;
        for _ in 0..50 {
            other.apply(pair.iter().map(|one| changed(one, "next")).collect()).await.unwrap();
            for one in &mut pair {
                *one = found(&*other, &one.id).await.unwrap();
            }
            assert_eq!(pair[0].version, pair[1].version);
            tokio::task::yield_now().await;
        }
    });
    // Read one after the other: the second can only be as new as the first, or newer.
    while !writer.is_finished() {
        let left = found(&*store, "left").await.unwrap();
        let right = found(&*store, "right").await.unwrap();
        assert!(right.version >= left.version, "half a batch was seen");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

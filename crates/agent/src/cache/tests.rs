use std::sync::atomic::AtomicUsize;

use super::*;

type Numbers = Arc<Cache<u32, u32>>;

fn cache(capacity: usize) -> Numbers {
    Arc::new(Cache::new(capacity))
}

fn until(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn get(cache: &Numbers, key: u32, value: u32, seconds: u64) -> u32 {
    *cache.get(key, || async move { Ok(Bounded { value, until: until(seconds) }) }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_given_out_until_its_end_and_not_after_it() {
    let cache = cache(10);
    assert_eq!(get(&cache, 1, 10, 5).await, 10);
    tokio::time::advance(Duration::from_millis(4999)).await;
    assert_eq!(get(&cache, 1, 11, 5).await, 10);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(get(&cache, 1, 12, 5).await, 12);
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.entries), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_wiped_though_nobody_asks() {
    let cache = cache(10);
    let value = cache.get(1, || async { Ok(Bounded { value: 1, until: until(5) }) }).await.unwrap();
    let weak = Arc::downgrade(&value);
    drop(value);
    assert!(weak.upgrade().is_some());
    tokio::time::advance(Duration::from_secs(5)).await;
    cache.sweep();
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_fetch_and_its_failure() {
    let cache = cache(10);
    let fetches = Arc::new(AtomicUsize::new(0));
    for (round, (outcome, expected)) in [(1, (Ok(7), Some(7))), (2, (Err(AgentError::Changed), None))] {
        cache.evict(|_| true);
        fetches.store(0, Ordering::SeqCst);
        let (open, gate) = tokio::sync::watch::channel(false);
        let requests: Vec<_> = (0..20)
            .map(|_| {
                let (cache, fetches, outcome) = (Arc::clone(&cache), Arc::clone(&fetches), outcome.clone());
                let mut gate = gate.clone();
                tokio::spawn(async move {
                    let fetch = move || async move {
                        fetches.fetch_add(1, Ordering::SeqCst);
                        gate.wait_for(|open| *open).await.unwrap();
                        outcome.map(|value| Bounded { value, until: until(60) })
                    };
                    cache.get(1, fetch).await.ok().map(|value| *value)
                })
            })
            .collect();
        while cache.counts().joined < 19 * round || fetches.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        open.send(true).unwrap();
        for request in requests {
            assert_eq!(request.await.unwrap(), expected);
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn what_is_evicted_while_it_is_fetched_is_not_put_in() {
    let cache = cache(10);
    let (open, mut gate) = tokio::sync::watch::channel(false);
    let fetching = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let fetch = move || async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok(Bounded { value: 1, until: until(60) })
            };
            cache.get(1, fetch).await
        })
    };
    while cache.counts().misses == 0 {
        tokio::task::yield_now().await;
    }
    cache.evict(|key| *key == 1);
    open.send(true).unwrap();
    assert_eq!(*fetching.await.unwrap().unwrap(), 1);
    assert_eq!(cache.counts().entries, 0);
}

#[tokio::test]
async fn a_fetch_goes_on_when_who_asked_goes_away() {
    let cache = cache(10);
    let (open, mut gate) = tokio::sync::watch::channel(false);
    {
        let fetch = move || async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(Bounded { value: 1, until: until(60) })
        };
        let asking = cache.get(1, fetch);
        assert!(tokio::time::timeout(Duration::from_millis(5), asking).await.is_err());
    }
    open.send(true).unwrap();
    while cache.counts().entries == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&cache, 1, 2, 60).await, 1);
}

#[tokio::test]
async fn room_is_made_of_what_was_not_used_for_longest() {
    let cache = cache(32);
    for key in 0..32 {
        get(&cache, key, key, 60).await;
    }
    get(&cache, 0, 99, 60).await;
    get(&cache, 100, 100, 60).await;
    assert!(cache.counts().entries <= 32);
    assert!(cache.peek(&0).is_some() && cache.peek(&100).is_some());
    assert!(cache.peek(&1).is_none());
}

#[tokio::test]
async fn nothing_is_kept_without_capacity_or_after_its_end() {
    let empty = cache(0);
    get(&empty, 1, 1, 60).await;
    assert_eq!(empty.counts().entries, 0);
    let cache = cache(10);
    get(&cache, 1, 1, 0).await;
    assert_eq!(cache.counts().entries, 0);
}

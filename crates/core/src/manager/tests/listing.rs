//! Listings: complete, page by page, bounded, and not stopped by damage.

use super::*;

async fn keys(house: &House, count: usize, key: impl Fn(usize) -> NewKey) -> Vec<SecretId> {
    let swift = caller("swift", &["service"]);
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(house.manager.put(&swift, None, key(number)).await.unwrap().id);
        house.clock.advance(Duration::from_micros(1));
    }
    ids
}

/// All pages: what they show, and how many there were.
async fn all_pages(house: &House, mut filter: KeyFilter) -> (Vec<SecretId>, usize) {
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let list = house.manager.list(&caller("swift", &["service"]), &filter).await.unwrap();
        assert!(filter.limit.is_none_or(|limit| list.keys.len() <= limit.get()));
        seen.extend(list.keys.iter().map(|key| key.id));
        pages += 1;
        filter.marker = list.next;
        if list.next.is_none() {
            return (seen, pages);
        }
    }
}

#[tokio::test]
async fn pages_show_each_key_once() {
    let house = house().await;
    let ids = keys(&house, 25, |_| new_key(b"k")).await;
    for (limit, expected) in [(1, 25), (10, 3), (24, 2), (25, 1), (26, 1)] {
        let filter = KeyFilter { limit: NonZeroUsize::new(limit), ..KeyFilter::default() };
        assert_eq!(all_pages(&house, filter).await, (ids.clone(), expected), "limit {limit}");
    }
}

/// T-FLOOD: a filter that leaves next to nothing does not make one request look at everything.
#[tokio::test]
async fn a_request_looks_at_a_bounded_number_of_records() {
    let house = house().await;
    let later = house.clock.now().plus(Duration::from_secs(3600));
    let ids = keys(&house, 2300, |number| NewKey {
        activates_at: (number == 1100 || number == 2299).then_some(later),
        ..new_key(b"k")
    })
    .await;
    let filter = KeyFilter { state: Some(State::PreActive), ..KeyFilter::default() };
    let first = house.manager.list(&caller("swift", &["service"]), &filter).await.unwrap();
    assert_eq!((first.keys.len(), first.next), (0, Some(ids[999])));
    assert_eq!(all_pages(&house, filter).await, (vec![ids[1100], ids[2299]], 3));
}

/// One damaged record is left out, and the log, the metrics and the trail say so.
#[tokio::test]
async fn damage_does_not_hide_the_other_keys() {
    let house = house().await;
    let ids = keys(&house, 5, |_| new_key(b"k")).await;
    let mut edited = house.store.read(&Kind::SECRET, &ids[1].to_string()).await.unwrap().unwrap();
    edited.body[30] ^= 1;
    let expected = edited.version;
    house.store.apply(vec![Change::Replace { expected, record: edited }]).await.unwrap();
    house.store.damage(&ids[3].to_string());
    assert_eq!(all_pages(&house, KeyFilter::default()).await, (vec![ids[0], ids[2], ids[4]], 1));
    let reason = house.trail.events.lock().last().unwrap().reason.clone();
    assert_eq!(reason.as_deref(), Some("damaged records left out: 2"));
    assert_eq!(house.manager.irregularities().damaged_records, 2);
}

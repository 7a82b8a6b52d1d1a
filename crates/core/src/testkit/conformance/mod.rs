//! The properties that every [`Store`] has, as a suite that each backend's tests run.
//!
//! [`run`] calls its argument once per property for a fresh, empty store, and panics with the property's name
//! when one does not hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite of assertions")]

mod changes;
mod concurrency;
mod listing;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::Version;
use crate::store::{Change, ConflictReason, IndexAttributes, Kind, Record, Store, StoreError};

macro_rules! properties {
    ($make:ident: $($group:ident { $($name:ident),* $(,)? })*) => {
        $($(
            let property = concat!(stringify!($group), "::", stringify!($name));
            hold(property, $group::$name($make().await)).await;
        )*)*
    };
}

/// Runs the whole suite; `make` gives a fresh, empty store each time.
///
/// # Panics
/// When a property does not hold; the message names it.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Store>) {
    properties!(make:
        changes {
            a_record_comes_back_as_it_was_put,
            a_record_is_replaced_and_removed,
            the_creation_time_never_changes,
            creating_what_exists_is_refused,
            changing_what_is_missing_is_refused,
            changing_another_version_is_refused,
            a_late_conflict_undoes_the_whole_batch,
            requirements_guard_a_batch,
            resealing_keeps_version_and_creation,
            resealing_never_overwrites_what_changed,
            one_batch_may_do_everything_at_once,
            kinds_are_separate_and_listed,
            an_id_can_be_used_again,
            limits_are_kept,
            the_largest_sizes_are_stored,
            texts_and_bodies_are_kept_exactly,
            the_store_is_healthy_and_described,
        }
        listing {
            equal_creation_times_are_ordered_by_id,
            replacing_keeps_the_place,
            pages_meet_without_gap_or_overlap,
            a_page_is_never_longer_than_allowed,
            every_filter_alone_and_combined,
            due_records_are_found,
            counting_ignores_page_and_limit,
            a_marker_may_name_a_removed_record,
            paging_visits_each_once_while_others_come_and_go,
        }
        concurrency {
            increments_are_never_lost,
            resealing_loses_no_update,
            a_closed_door_lets_nothing_through,
            one_of_many_creators_wins,
            many_writers_all_succeed,
            a_batch_is_seen_whole_once_acknowledged,
        }
    );
}

async fn hold(property: &str, check: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = tokio::spawn(check).await {
        panic!("the store does not conform: {property}: {error}");
    }
}

const KIND: Kind = Kind::new("thing");

fn record(id: &str, created: i64) -> Record {
    Record {
        kind: KIND,
        id: id.to_owned(),
        project: "project".to_owned(),
        created: Timestamp::from_micros(created),
        version: Version::FIRST,
        attributes: IndexAttributes::default(),
        body: format!("body of {id}").into_bytes(),
    }
}

fn changed(before: &Record, body: &str) -> Change {
    let record = Record { version: before.version.next(), body: body.as_bytes().to_vec(), ..before.clone() };
    Change::Replace { expected: before.version, record }
}

fn removed(record: &Record) -> Change {
    Change::Remove { kind: record.kind.clone(), id: record.id.clone(), expected: record.version }
}

fn resealed(before: &Record, body: &str) -> Change {
    let record = Record { body: body.as_bytes().to_vec(), ..before.clone() };
    Change::Reseal { before: before.body.clone(), record }
}

fn required(id: &str, expected: Option<Version>) -> Change {
    Change::Require { kind: KIND, id: id.to_owned(), expected }
}

async fn create(store: &dyn Store, record: &Record) {
    store.apply(vec![Change::Create(record.clone())]).await.unwrap();
}

async fn found(store: &dyn Store, id: &str) -> Option<Record> {
    store.read(&KIND, id).await.unwrap()
}

/// Applies a batch that must be refused because of `id`.
async fn refused(store: &dyn Store, batch: Vec<Change>, on: &str, why: ConflictReason) {
    match store.apply(batch).await {
        Err(StoreError::Conflict { kind, id, reason }) => {
            assert_eq!((kind, id.as_str(), reason), (KIND, on, why));
        }
        other => panic!("expected a conflict on {on}: {why}; got {other:?}"),
    }
}

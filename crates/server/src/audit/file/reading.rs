//! Reading the trail of a running server back, for what it says of the changes of records.
//!
//! A thread reads and verifies; what it finds goes over a short channel, so that memory grows only with the records
//! that are asked for. When nobody waits any more, the thread stops at the next line.

use std::sync::Arc;

use chatelaine_core::audit::AuditError;
use tokio::sync::mpsc;

use super::Shared;
use crate::audit::format::{self, ChangeOf};
use crate::audit::scan::{self, Chain, Histories, Until};
use crate::audit::{Head, TrailError};

/// Changes handed over at once by the reading thread.
const BATCH: usize = 1024;

pub(super) async fn histories(
    shared: &Arc<Shared>,
    wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
) -> Result<Histories, AuditError> {
    let shared = Arc::clone(shared);
    let (until, head) = {
        let state = shared.state.lock();
        (Until { segment: state.segment.clone(), length: state.length }, state.head)
    };
    let (send, mut receive) = mpsc::channel(4);
    // `wanted` is borrowed and stays here.
    let reading = tokio::task::spawn_blocking(move || read(&shared, &until, head, &send));
    let mut histories = Histories::default();
    while let Some(batch) = receive.recv().await {
        batch.into_iter().for_each(|change| scan::absorb(&mut histories, wanted, change));
    }
    reading.await.map_err(|_| AuditError::Unreadable("the reading thread failed".to_owned()))??;
    Ok(histories)
}

/// Reads all segments, up to the given end, verified, and sends the changes they tell of.
pub(super) fn read(
    shared: &Shared,
    until: &Until,
    head: Head,
    send: &mpsc::Sender<Vec<ChangeOf>>,
) -> Result<(), AuditError> {
    let closed = || "nobody waits for the answer".to_owned();
    let mut batch = Vec::with_capacity(BATCH);
    let mut chain = Chain { key: &shared.key, key_id: Some(&shared.key_id), head: None };
    scan::follow_all(&shared.folder, &mut chain, Some(until), &mut |line| {
        if send.is_closed() {
            return Err(closed());
        }
        if let Some(change) = format::parse_change(line)? {
            batch.push(change);
        }
        if batch.len() >= BATCH {
            send.blocking_send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))
                .map_err(|_| closed())?;
        }
        Ok(())
    })
    .map_err(|error| match error {
        TrailError::Broken { .. } | TrailError::OtherKey { .. } => AuditError::Broken(error.to_string()),
        other => AuditError::Unreadable(other.to_string()),
    })?;
    if chain.head.unwrap_or(Head::EMPTY) != head {
        return Err(AuditError::Broken(format!(
            "the segments do not end with number {}, which this server wrote last; run `chatelaine audit verify`",
            head.seq
        )));
    }
    send.blocking_send(batch).map_err(|_| AuditError::Unreadable(closed()))
}

//! Turns: one creation at a time in a project, where its quota has to be counted first.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Projects whose turn nobody waits for are dropped when there are more than this.
const MANY: usize = 1024;

/// The turns of all projects.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The turn of a project, to be waited for.
    pub(crate) fn of(&self, project: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(project).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() > MANY {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(project.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

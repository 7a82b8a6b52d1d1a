//! Turns: one creation at a time in a project, where its quota has to be counted first; few key pairs at a time.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Projects whose turn nobody waits for are dropped when there are more than this.
const MANY: usize = 1024;

/// The turns of all projects.
pub(crate) struct Turns {
    projects: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Places for the making of key pairs, one for each processor.
    pub(crate) pairs: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { projects: Mutex::default(), pairs: Semaphore::new(processors) }
    }
}

impl Turns {
    /// The turn of a project, to be waited for.
    pub(crate) fn of(&self, project: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.projects.lock();
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

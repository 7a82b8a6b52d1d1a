//! The memory of projects: what is known of each secret but its payload, in the order of listings.
//!
//! A project is read from the store when it is first listed, and follows every change made through this server from then
//! on. Invariant: what it says is what the store holds, for every change that was acknowledged. Changes of one secret
//! may be reported late and out of order; the one with the later creation and the higher version counts. A change whose
//! end is not known makes its project be forgotten, and never remembered again by this process. Of a store that other
//! servers change as well nothing is remembered at all.

mod project;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::{SecretId, Version};
use crate::secret::{Metadata, SecretView};
use crate::turns::Turns;

pub(crate) use project::Project;

/// What became of a secret.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// It is this now.
    Is(Arc<SecretView>),
    /// It is gone, material and all.
    Gone(Arc<SecretView>),
}

impl News {
    /// A secret is this now.
    pub(crate) fn is(id: SecretId, version: Version, metadata: &Metadata, has_payload: bool) -> Self {
        Self::Is(Arc::new(SecretView { id, version, metadata: metadata.clone(), has_payload }))
    }
}

#[derive(Default)]
struct State {
    projects: HashMap<String, Remembered>,
    /// News of projects that are being read from the store.
    arriving: HashMap<String, Vec<News>>,
    /// Projects that are not to be remembered.
    doubtful: HashSet<String>,
    /// Set when there are too many of those.
    switched_off: bool,
    entries: usize,
    uses: u64,
}

struct Remembered {
    project: Project,
    used: u64,
}

/// All remembered projects.
pub(crate) struct Directory {
    state: Mutex<State>,
    most_entries: usize,
    /// Held while a project is read, so that it is read once.
    reading: Turns,
}

/// More projects in doubt than this, and nothing is remembered any more.
const MOST_DOUBTFUL: usize = 10_000;

impl Directory {
    /// A memory of at most so many secrets; a large one counts as many.
    pub(crate) fn new(most_entries: usize) -> Self {
        Self { state: Mutex::default(), most_entries, reading: Turns::default() }
    }

    /// One that remembers nothing, for a store that others change as well.
    pub(crate) fn off() -> Self {
        let state = State { switched_off: true, ..State::default() };
        Self { state: Mutex::new(state), most_entries: 0, reading: Turns::default() }
    }

    /// Asks a project, if it is remembered.
    pub(crate) fn ask<T>(&self, name: &str, question: impl FnOnce(&mut Project) -> T) -> Option<T> {
        let mut state = self.state.lock();
        state.uses = state.uses.saturating_add(1);
        let uses = state.uses;
        let remembered = state.projects.get_mut(name)?;
        remembered.used = uses;
        Some(question(&mut remembered.project))
    }

    /// The turn to read a project, to be waited for.
    pub(crate) fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.reading.of(name)
    }

    /// From here on, news of this project are kept for [`Self::remember`].
    pub(crate) fn begin(&self, name: &str) {
        self.state.lock().arriving.insert(name.to_owned(), Vec::new());
    }

    /// Gives up what was begun.
    pub(crate) fn give_up(&self, name: &str) {
        self.state.lock().arriving.remove(name);
    }

    /// A project has been read since [`Self::begin`]: takes in the news, remembers it if it may, and asks it.
    pub(crate) fn remember<T>(
        &self,
        name: &str,
        mut project: Project,
        question: impl FnOnce(&mut Project) -> T,
    ) -> T {
        let mut state = self.state.lock();
        for news in state.arriving.remove(name).unwrap_or_default() {
            project.hear(&news);
        }
        let answer = question(&mut project);
        let size = project.size();
        if state.switched_off || state.doubtful.contains(name) || size > self.most_entries {
            return answer;
        }
        while state.entries.saturating_add(size) > self.most_entries {
            let oldest =
                state.projects.iter().min_by_key(|(_, project)| project.used).map(|(name, _)| name.clone());
            match oldest {
                Some(oldest) => state.forget(&oldest),
                None => break,
            }
        }
        state.uses = state.uses.saturating_add(1);
        let used = state.uses;
        state.entries = state.entries.saturating_add(size);
        state.projects.insert(name.to_owned(), Remembered { project, used });
        answer
    }

    /// A change was made and is in the store.
    pub(crate) fn hear(&self, news: &News) {
        let (News::Is(view) | News::Gone(view)) = news;
        let name = view.metadata.project.as_str();
        let mut state = self.state.lock();
        if let Some(arriving) = state.arriving.get_mut(name) {
            arriving.push(news.clone());
        }
        let Some(remembered) = state.projects.get_mut(name) else { return };
        let before = remembered.project.size();
        remembered.project.hear(news);
        let after = remembered.project.size();
        state.entries = state.entries.saturating_sub(before).saturating_add(after);
        if state.entries > self.most_entries {
            state.forget(name);
        }
    }

    /// Whether a change of this project was made is not known.
    pub(crate) fn doubt(&self, name: &str) {
        let mut state = self.state.lock();
        state.forget(name);
        state.doubtful.insert(name.to_owned());
        if state.doubtful.len() > MOST_DOUBTFUL {
            state.switched_off = true;
            state.doubtful.clear();
            state.projects.clear();
            state.entries = 0;
        }
    }

    /// Lets a project be remembered again, from the store.
    #[cfg(test)]
    pub(crate) fn forgive(&self, name: &str) {
        self.state.lock().doubtful.remove(name);
    }

    /// What is known of one secret, if its project is remembered.
    pub(crate) fn secret(&self, project: &str, id: SecretId) -> Option<Arc<SecretView>> {
        self.ask(project, |project| project.secret(id))?
    }
}

impl State {
    fn forget(&mut self, name: &str) {
        if let Some(gone) = self.projects.remove(name) {
            self.entries = self.entries.saturating_sub(gone.project.size());
        }
    }
}

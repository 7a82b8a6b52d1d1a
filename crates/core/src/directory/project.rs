//! One project: its secrets by id, and those that can be listed, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::News;
use crate::clock::Timestamp;
use crate::id::{SecretId, Version};
use crate::secret::{Origin, SecretView};

type Place = (Timestamp, SecretId);

/// What is remembered of a project.
#[derive(Default)]
pub(crate) struct Project {
    /// Every secret, deleted and expired ones too.
    all: HashMap<SecretId, Arc<SecretView>>,
    /// Those to be listed that came by Barbican's interface.
    shared: BTreeMap<Place, Arc<SecretView>>,
    /// Those to be listed that services put, by their owners.
    owned: HashMap<String, BTreeMap<Place, Arc<SecretView>>>,
    /// Of those to be listed, when they expire.
    expiring: BTreeSet<(Timestamp, SecretId)>,
    size: usize,
    /// Secrets that are gone: a late word of an older version must not bring them back.
    gone: HashMap<SecretId, (Timestamp, Version)>,
}

fn units(view: &SecretView) -> usize {
    view.weight().div_ceil(1024)
}

/// So many of those that are gone are remembered.
const MOST_GONE: usize = 10_000;

impl Project {
    /// How many secrets it remembers; a large one counts once more for each KiB.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// One of them.
    pub(crate) fn secret(&self, id: SecretId) -> Option<Arc<SecretView>> {
        self.all.get(&id).map(Arc::clone)
    }

    /// Takes in what became of a secret, unless something later is known.
    pub(crate) fn hear(&mut self, news: &News) {
        let (News::Is(view) | News::Gone(view)) = news;
        let age = (view.metadata.created, view.version);
        let known = self.all.get(&view.id).map(|known| (known.metadata.created, known.version));
        let gone = self.gone.get(&view.id).copied();
        match news {
            News::Is(_)
                if known.is_some_and(|known| known >= age) || gone.is_some_and(|gone| gone >= age) => {}
            News::Is(_) => {
                self.take_out(view.id);
                self.gone.remove(&view.id);
                self.size = self.size.saturating_add(units(view));
                if let Some(before) = self.all.insert(view.id, Arc::clone(view)) {
                    self.size = self.size.saturating_sub(units(&before));
                }
                if view.metadata.deletion.is_none() {
                    self.listed(view).insert((view.metadata.created, view.id), Arc::clone(view));
                    if let Some(end) = view.metadata.expires_at {
                        self.expiring.insert((end, view.id));
                    }
                }
            }
            News::Gone(_) if known.is_some_and(|known| known > age) => {}
            News::Gone(_) => {
                self.take_out(view.id);
                if let Some(before) = self.all.remove(&view.id) {
                    self.size = self.size.saturating_sub(units(&before));
                }
                if self.gone.len() >= MOST_GONE {
                    self.gone.clear();
                }
                self.gone.insert(view.id, age);
            }
        }
    }

    /// The secrets that a user may know of, in order; those that have expired are no longer among them.
    pub(crate) fn visible(
        &mut self,
        user: &str,
        now: Timestamp,
    ) -> (usize, impl Iterator<Item = &Arc<SecretView>>) {
        while let Some((end, id)) = self.expiring.first().copied()
            && end <= now
        {
            self.take_out(id);
        }
        let own = self.owned.get(user);
        let total = self.shared.len().saturating_add(own.map_or(0, BTreeMap::len));
        (total, merged(&self.shared, own))
    }

    /// No longer to be listed.
    fn take_out(&mut self, id: SecretId) {
        let Some(known) = self.all.get(&id).map(Arc::clone) else { return };
        self.listed(&known).remove(&(known.metadata.created, id));
        if let Some(end) = known.metadata.expires_at {
            self.expiring.remove(&(end, id));
        }
    }

    fn listed(&mut self, view: &SecretView) -> &mut BTreeMap<Place, Arc<SecretView>> {
        match view.metadata.origin {
            Origin::Barbican => &mut self.shared,
            Origin::Native => self.owned.entry(view.metadata.owner.clone()).or_default(),
        }
    }
}

/// Two lists as one, in order.
fn merged<'a>(
    one: &'a BTreeMap<Place, Arc<SecretView>>,
    other: Option<&'a BTreeMap<Place, Arc<SecretView>>>,
) -> impl Iterator<Item = &'a Arc<SecretView>> {
    let mut one = one.iter().peekable();
    let mut other = other.into_iter().flatten().peekable();
    std::iter::from_fn(move || {
        let first = match (one.peek(), other.peek()) {
            (Some((a, _)), Some((b, _))) => a <= b,
            (a, _) => a.is_some(),
        };
        if first { one.next() } else { other.next() }.map(|(_, view)| view)
    })
}

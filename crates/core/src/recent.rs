//! The memory of single records: what was opened lately and will be asked for again, but never a payload.
//!
//! Clients of Barbican ask for the metadata of one secret many times over. Invariant, as for the memory of projects: what
//! it says is what the store holds, for every change that was acknowledged. Whoever reads the store notes the place's
//! count of changes first; what was read is kept only if nothing of that place was changed meanwhile.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::secret::SecretView;
use crate::store::{Change, Kind, Record};

/// Places; records of one place are forgotten together with the note of what is being read.
const PLACES: usize = 64;
/// Most records kept in one place.
const MOST: usize = 256;
/// What is larger is not kept, in bytes.
const LARGEST: usize = 4096;
/// So many records of one place whose state is in doubt, and nothing of the place is kept any more.
const MOST_DOUBTFUL: usize = 1024;

type Key = (Kind, String);

/// What is kept of a record.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// A secret, without its payload.
    Secret(Arc<SecretView>),
    /// A document: its record without the sealed body, and the opened body; or that there is none.
    Document(Option<Arc<(Record, Vec<u8>)>>),
}

#[derive(Default)]
struct Place {
    changes: u64,
    kept: HashMap<Key, Kept>,
    order: VecDeque<Key>,
    doubtful: HashSet<Key>,
    switched_off: bool,
}

/// The count of changes that a place had before the store was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen(u64);

/// All places.
pub(crate) struct Recent {
    places: Vec<Mutex<Place>>,
    hash: RandomState,
}

impl Default for Recent {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hash: RandomState::new() }
    }
}

impl Recent {
    /// One that keeps nothing, for a store that others change as well.
    pub(crate) fn off() -> Self {
        let recent = Self::default();
        recent.places.iter().for_each(|place| place.lock().switched_off = true);
        recent
    }

    fn at<T>(&self, key: &Key, question: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let number = usize::try_from(self.hash.hash_one(key)).unwrap_or_default() % PLACES;
        self.places.get(number).map(|place| question(&mut place.lock()))
    }

    /// What is kept of a record; otherwise what to show when it has been read.
    pub(crate) fn find(&self, kind: &Kind, id: &str) -> Result<Kept, Seen> {
        let key = (kind.clone(), id.to_owned());
        let found = self.at(&key, |place| place.kept.get(&key).cloned().ok_or(Seen(place.changes)));
        found.unwrap_or(Err(Seen(u64::MAX)))
    }

    /// Keeps what was read, unless something was changed since it was `seen`.
    pub(crate) fn keep(&self, kind: &Kind, id: &str, seen: Seen, kept: Kept) {
        let size = match &kept {
            Kept::Secret(view) => view.weight(),
            Kept::Document(document) => document.as_ref().map_or(0, |document| document.1.len()),
        };
        if size > LARGEST {
            return;
        }
        let key = (kind.clone(), id.to_owned());
        self.at(&key, |place| {
            if place.changes != seen.0 || place.switched_off || place.doubtful.contains(&key) {
                return;
            }
            if place.kept.len() >= MOST
                && let Some(oldest) = place.order.pop_front()
            {
                place.kept.remove(&oldest);
            }
            if place.kept.insert(key.clone(), kept).is_none() {
                place.order.push_back(key.clone());
            }
        });
    }

    /// The records that a batch is about.
    pub(crate) fn keys(batch: &[Change]) -> Vec<Key> {
        batch.iter().map(Change::target).map(|(kind, id)| (kind.clone(), id.to_owned())).collect()
    }

    /// These may have been changed: what was kept of them is forgotten. `known` is whether it is known how it ended; if
    /// not, they are never kept again by this process, since the change may still come.
    pub(crate) fn forget(&self, keys: &[Key], known: bool) {
        for key in keys {
            self.at(key, |place| {
                place.changes = place.changes.wrapping_add(1);
                if place.kept.remove(key).is_some() {
                    place.order.retain(|kept| kept != key);
                }
                if !known {
                    place.doubtful.insert(key.clone());
                    if place.doubtful.len() > MOST_DOUBTFUL {
                        place.switched_off = true;
                        place.doubtful.clear();
                        place.kept.clear();
                        place.order.clear();
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::new("thing");

    fn keys(id: &str) -> Vec<Key> {
        vec![(KIND, id.to_owned())]
    }

    #[test]
    fn what_was_changed_while_it_was_read_is_not_kept() {
        let recent = Recent::default();
        let seen = recent.find(&KIND, "a").unwrap_err();
        recent.keep(&KIND, "a", seen, Kept::Document(None));
        assert!(recent.find(&KIND, "a").is_ok());
        recent.forget(&keys("a"), true);
        let seen = recent.find(&KIND, "a").unwrap_err();
        recent.forget(&keys("a"), true);
        recent.keep(&KIND, "a", seen, Kept::Document(None));
        assert!(recent.find(&KIND, "a").is_err());
    }

    #[test]
    fn what_is_in_doubt_is_never_kept() {
        let recent = Recent::default();
        recent.forget(&keys("a"), false);
        let seen = recent.find(&KIND, "a").unwrap_err();
        recent.keep(&KIND, "a", seen, Kept::Document(None));
        assert!(recent.find(&KIND, "a").is_err());
    }

    #[test]
    fn switched_off_nothing_is_kept() {
        let recent = Recent::off();
        let seen = recent.find(&KIND, "a").unwrap_err();
        recent.keep(&KIND, "a", seen, Kept::Document(None));
        assert!(recent.find(&KIND, "a").is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        for number in 0..100_000 {
            let id = number.to_string();
            let seen = recent.find(&KIND, &id).unwrap_err();
            recent.keep(&KIND, &id, seen, Kept::Document(None));
        }
        for place in &recent.places {
            let place = place.lock();
            assert!(place.kept.len() <= MOST && place.order.len() == place.kept.len());
        }
        assert!(recent.find(&KIND, "99999").is_ok());
    }
}

//! The server's own notes in the store, sealed under a master key, and the one that says which.
//!
//! The note `master_key` is the store's mark: the master key it is sealed under is the one that everything new is sealed
//! under, by every server. Whatever a server seals under a master key, it writes on the condition that the mark is still
//! as it was read. So a mark that was moved to another master key ([`Keyring::claim`]) is a line in time: after it,
//! nothing is written under the former key, not even by a server that has not heard of it. What is sealed under that key
//! only gets less, and whoever looks through all once and finds nothing has shown that nothing is left.
//!
//! The note `tombstone_key` holds the key of the store's own that authenticates tombstones. It never changes; a rotation
//! of the master key seals it anew like any other note. If it is lost, another one is made, and under that no tombstone
//! is authentic that was made before: nothing becomes destroyable by it.

use std::sync::Arc;

use chatelaine_crypto::{KeyMaterial, MacKey};
use parking_lot::RwLock;

use super::{ATTEMPTS, Keyring, Master, internal};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::Version;
use crate::record::{self, SealedUnder};
use crate::store::{Change, IndexAttributes, Kind, Query, Record, Store, StoreError};

/// What the mark of the master key holds.
const MARK_PLAINTEXT: &[u8] = b"chatelaine store";
/// Id of the mark of the master key.
const MASTER_KEY_MARK: &str = "master_key";
/// Name of the note with the key of tombstones.
const TOMBSTONE_KEY: &str = "tombstone_key";
/// Its length, in bytes.
const TOMBSTONE_KEY_LENGTH: usize = 32;

/// The master key to seal under, and the version of the mark that says so.
#[derive(Clone)]
pub(crate) struct Sealing {
    master: Arc<Master>,
    mark: Version,
}

impl Sealing {
    /// The id of the master key.
    pub(crate) fn id(&self) -> &str {
        &self.master.id
    }

    /// That the mark still says so when a batch is applied.
    pub(crate) fn condition(&self) -> Change {
        Change::Require { kind: Kind::MARK, id: MASTER_KEY_MARK.to_owned(), expected: Some(self.mark) }
    }

    /// Whether a record is the mark itself. It is moved, never rewrapped.
    pub(crate) fn is_mark(record: &Record) -> bool {
        record.kind == Kind::MARK && record.id == MASTER_KEY_MARK
    }

    /// Whether a batch was refused since the mark has moved.
    pub(crate) fn is_over(error: &StoreError) -> bool {
        matches!(error, StoreError::Conflict { kind, id, .. } if *kind == Kind::MARK && id == MASTER_KEY_MARK)
    }
}

/// What is known of the store's notes.
#[derive(Default)]
pub(super) struct Known {
    sealing: RwLock<Option<Sealing>>,
    tombstones: RwLock<Option<Arc<MacKey>>>,
}

impl Known {
    pub(super) fn forget(&self) {
        *self.sealing.write() = None;
    }
}

fn seal_record(record: &mut Record, master: &Master, plaintext: &[u8]) -> Result<()> {
    record.attributes.reference = Some(master.id.clone());
    record::seal(record, &SealedUnder::MasterKey(master.id.clone()), &master.cipher, plaintext)
}

fn new_record(
    master: &Master,
    (kind, id, project): (Kind, &str, &str),
    created: Timestamp,
    plaintext: &[u8],
) -> Result<Record> {
    let mut record = Record {
        kind,
        id: id.to_owned(),
        project: project.to_owned(),
        created,
        version: Version::FIRST,
        attributes: IndexAttributes::default(),
        body: Vec::new(),
    };
    seal_record(&mut record, master, plaintext)?;
    Ok(record)
}

impl Keyring {
    /// Whether the store is marked as belonging to a master key of this keyring; an empty store is not.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the store belongs to another master key or holds records of unknown origin.
    pub async fn recognises(&self, store: &dyn Store) -> Result<bool> {
        let foreign = || Error::WrongState {
            reason: format!(
                "{} was made under another master key than {}: give the server the master key that belongs to this store \
                 (`chatelaine attest update` gets it from a server that has it), or another store",
                store.describe(),
                self.master_key_id()
            ),
        };
        // Another server may mark the empty store between the two looks, so that what is there is its mark.
        for _ in 0..2 {
            if let Some(mark) = store.read(&Kind::MARK, MASTER_KEY_MARK).await? {
                let plain = self.open_under_master(&mark).map_err(|_| foreign())?;
                return if plain.ct_eq(MARK_PLAINTEXT) { Ok(true) } else { Err(foreign()) };
            }
            if store.kinds().await?.is_empty() {
                return Ok(false);
            }
        }
        Err(foreign())
    }

    /// Makes sure that the store belongs to a master key of this keyring, and marks an empty store as its own. Whether an
    /// empty one may be believed to be new is for the caller to know.
    ///
    /// # Errors
    /// As for [`Self::recognises`]; [`Error::Corrupt`] when the store's key of tombstones does not open.
    pub async fn adopt(&self, store: &dyn Store, clock: &dyn Clock) -> Result<()> {
        if !self.recognises(store).await? {
            let active = Arc::clone(&self.masters.load().active);
            let note = |name, plaintext: &[u8]| {
                new_record(&active, (Kind::MARK, name, ""), clock.now(), plaintext).map(Change::Create)
            };
            let key = KeyMaterial::random(TOMBSTONE_KEY_LENGTH * 8).map_err(internal)?;
            let batch = vec![note(MASTER_KEY_MARK, MARK_PLAINTEXT)?, note(TOMBSTONE_KEY, key.expose())?];
            match store.apply(batch).await.map_err(Error::from) {
                // Another server was faster: its mark and its key are the store's.
                Ok(()) | Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
            if !self.recognises(store).await? {
                return Err(Error::Unavailable(format!("{}: its mark came and went", store.describe())));
            }
        }
        if self.note(store, TOMBSTONE_KEY).await?.is_none() {
            if store.count(&Query::of(Kind::TOMBSTONE)).await? > 0 {
                tracing::error!(
                    store = store.describe(),
                    "the store's key of tombstones is missing and is made anew: deletions that wait for their end are not \
                     authentic any more, and will be taken back. If that is not wanted, restore the store from its backup"
                );
            }
            let key = KeyMaterial::random(TOMBSTONE_KEY_LENGTH * 8).map_err(internal)?;
            let made = self
                .write_sealed(store, |sealed| {
                    let place = (Kind::MARK, TOMBSTONE_KEY, "");
                    Ok(vec![Change::Create(sealed.create(place, clock.now(), key.expose())?)])
                })
                .await;
            match made {
                // Another server was faster: its key is the store's, and is never replaced.
                Ok(()) | Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.tombstone_key(store).await.map(drop)
    }

    /// The key that authenticates tombstones of this store.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none or it does not open; those of the store.
    pub async fn tombstone_key(&self, store: &dyn Store) -> Result<Arc<MacKey>> {
        if let Some(key) = self.marks.tombstones.read().as_ref() {
            return Ok(Arc::clone(key));
        }
        let damaged = |how| Error::Corrupt(format!("the store's key of tombstones {how}"));
        let key = self.note(store, TOMBSTONE_KEY).await?.ok_or_else(|| damaged("is missing"))?;
        if key.len() != TOMBSTONE_KEY_LENGTH {
            return Err(damaged("has a wrong length"));
        }
        let key = Arc::new(MacKey::new(&key));
        *self.marks.tombstones.write() = Some(Arc::clone(&key));
        Ok(key)
    }

    /// The master key that the store's mark names.
    pub(crate) async fn sealing(&self, store: &dyn Store) -> Result<Sealing> {
        if let Some(sealing) = self.marks.sealing.read().as_ref() {
            return Ok(sealing.clone());
        }
        let mark = self.mark(store).await?;
        let sealing = self.sealing_by(&mark)?;
        *self.marks.sealing.write() = Some(sealing.clone());
        Ok(sealing)
    }

    async fn mark(&self, store: &dyn Store) -> Result<Record> {
        store.read(&Kind::MARK, MASTER_KEY_MARK).await?.ok_or_else(|| {
            Error::Corrupt(
                "the store's mark of its master key is missing: restore it from its backup".to_owned(),
            )
        })
    }

    fn sealing_by(&self, mark: &Record) -> Result<Sealing> {
        let SealedUnder::MasterKey(id) = record::sealed_under(mark)? else {
            return Err(Error::Corrupt("the store's mark is not sealed under a master key".to_owned()));
        };
        let master = self.masters.load().find(&id).cloned().ok_or_else(|| {
            self.miss(&id);
            Error::WrongState {
                reason: format!(
                    "the store belongs to master key {id} now, which this server does not hold: get it from a server that \
                     does (`chatelaine attest update`)"
                ),
            }
        })?;
        if !record::open(mark, &master.cipher)?.ct_eq(MARK_PLAINTEXT) {
            return Err(Error::Corrupt("the store's mark is not what it should be".to_owned()));
        }
        Ok(Sealing { master, mark: mark.version })
    }

    /// The id of the master key that the store's mark names, and that it opens under; the mark is read anew.
    ///
    /// # Errors
    /// [`Error::WrongState`] when that key is not held; [`Error::Corrupt`] when the mark is damaged; those of the store.
    pub async fn store_master_key(&self, store: &dyn Store) -> Result<String> {
        Ok(self.sealing_by(&self.mark(store).await?)?.master.id.clone())
    }

    /// The id of the master key that a store's mark names, if it is none of this keyring. Nothing shows that it is right.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn lacks(&self, store: &dyn Store) -> Result<Option<String>> {
        let Some(mark) = store.read(&Kind::MARK, MASTER_KEY_MARK).await? else { return Ok(None) };
        match record::sealed_under(&mark) {
            Ok(SealedUnder::MasterKey(id)) if self.masters.load().find(&id).is_none() => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    /// Moves the store's mark to the active master key: from then on nothing is sealed under another one.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the mark belongs to a master key that is not held, or to one that is newer than the
    /// active one; those of the store.
    pub(crate) async fn claim(&self, store: &dyn Store) -> Result<Sealing> {
        for _ in 0..ATTEMPTS {
            let before = self.mark(store).await?;
            let sealing = self.sealing_by(&before)?;
            let active = Arc::clone(&self.masters.load().active);
            if sealing.master.id == active.id {
                *self.marks.sealing.write() = Some(sealing.clone());
                return Ok(sealing);
            }
            if self.masters.load().staged.iter().any(|staged| staged.id == sealing.master.id) {
                return Err(Error::WrongState {
                    reason: format!("another server has made master key {} the store's", sealing.master.id),
                });
            }
            let mut record = Record { version: before.version.next(), ..before.clone() };
            seal_record(&mut record, &active, MARK_PLAINTEXT)?;
            match store.apply(vec![Change::Replace { expected: before.version, record }]).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Unavailable("the store's mark is changed by too many at once".to_owned()))
    }

    /// Writes what `batch` makes of the master key to seal under, while that is the store's.
    pub(super) async fn write_sealed(
        &self,
        store: &dyn Store,
        batch: impl Fn(&Sealed<'_>) -> Result<Vec<Change>>,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let sealing = self.sealing(store).await?;
            let mut changes = batch(&Sealed(&sealing.master))?;
            changes.push(sealing.condition());
            match store.apply(changes).await {
                Err(error) if Sealing::is_over(&error) => self.marks.forget(),
                other => return Ok(other?),
            }
        }
        Err(Error::Unavailable("the store's master key is changed by too many at once".to_owned()))
    }

    /// What the server itself has noted under a name, sealed under the master key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the note is not the server's own; those of the store.
    pub async fn note(&self, store: &dyn Store, name: &str) -> Result<Option<KeyMaterial>> {
        let Some(record) = store.read(&Kind::MARK, name).await? else { return Ok(None) };
        match self.open_current(store, &record).await {
            Ok((_, plain)) => Ok(Some(plain)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes something under a name, in place of what was noted before.
    ///
    /// # Errors
    /// [`Error::VersionMismatch`] or [`Error::Exists`] when another server was faster; those of the store.
    pub async fn set_note(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        name: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let before = store.read(&Kind::MARK, name).await?;
        self.write_sealed(store, |sealed| {
            Ok(vec![match &before {
                None => Change::Create(sealed.create((Kind::MARK, name, ""), clock.now(), bytes)?),
                Some(before) => sealed.replace(before, bytes)?,
            }])
        })
        .await
    }

    /// Seals a record anew under a master key, if it opens; version and fingerprint stay.
    pub(crate) fn reseal_under(&self, record: &Record, sealing: &Sealing) -> Result<Record> {
        let SealedUnder::MasterKey(id) = record::sealed_under(record)? else {
            return Err(Error::Corrupt(format!(
                "{}/{} is not sealed under a master key",
                record.kind, record.id
            )));
        };
        let from = self.masters.load().find(&id).cloned().ok_or_else(|| {
            self.miss(&id);
            Error::Corrupt(format!(
                "{}/{} is sealed under master key {id}, which is not held",
                record.kind, record.id
            ))
        })?;
        let under = SealedUnder::MasterKey(sealing.master.id.clone());
        let mut resealed = record::reseal(record, &from.cipher, &under, &sealing.master.cipher)?;
        resealed.attributes.reference = Some(sealing.master.id.clone());
        Ok(resealed)
    }

    /// Wraps and unwraps a value under the active master key, to show that the server could.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot.
    pub fn canary(&self, clock: &dyn Clock) -> Result<()> {
        let active = Arc::clone(&self.masters.load().active);
        let record = new_record(&active, (Kind::MARK, "canary", ""), clock.now(), MARK_PLAINTEXT)?;
        if record::open(&record, &active.cipher)?.ct_eq(MARK_PLAINTEXT) {
            Ok(())
        } else {
            Err(Error::Internal("the canary came back changed".to_owned()))
        }
    }
}

/// Seals records under the store's master key.
pub(super) struct Sealed<'a>(&'a Master);

impl Sealed<'_> {
    /// A new record of this kind, id and project.
    pub(super) fn create(
        &self,
        place: (Kind, &str, &str),
        created: Timestamp,
        plaintext: &[u8],
    ) -> Result<Record> {
        new_record(self.0, place, created, plaintext)
    }

    /// The next version of a record.
    pub(super) fn replace(&self, before: &Record, plaintext: &[u8]) -> Result<Change> {
        let mut record = Record { version: before.version.next(), ..before.clone() };
        seal_record(&mut record, self.0, plaintext)?;
        Ok(Change::Replace { expected: before.version, record })
    }
}

//! Keys over keys: master keys, the scopes' key-encryption keys they wrap, and what else the server keeps under them.
//!
//! Every project has key-encryption keys of its own, versioned, sealed under a master key in records of kind
//! `scope_key` (module `scopes`). Opened ones stay in locked memory. A master key itself seals nothing else but the
//! server's own notes, of kind `mark` (module `marks`); one of them is the key that authenticates tombstones. The key of
//! the audit trail is given from outside: it outlives every master key.
//!
//! Master keys change while the server runs: [`Keyring::activate`] makes another one the active one, in memory alone.
//! What the store's records are sealed under follows later, one record at a time (`manager::rotation`), and until
//! [`Keyring::forget_retired`] both keys open what is theirs. Readers see one set of keys or the next, never none.
//!
//! With several servers, a new master key is *held* by each before one of them makes it the store's. A key that is held for
//! that is newer than the active one: it opens and seals what the store's mark says, and no server takes the mark away
//! from it.
//!
//! Refuses: two different master keys of one id; to forget the active one.

mod marks;
mod scopes;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use chatelaine_crypto::{CryptoError, KeyMaterial, MacKey, RecordCipher, derive};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::record::{self, SealedUnder};
use crate::store::{Record, Store};

pub(crate) use marks::Sealing;
pub use scopes::ScopeKey;
pub(crate) use scopes::{CLOSED, OPEN, kinds_in_scopes, newest_of, reseal, scope_keys};

/// Most master keys held at once; each rotation adds one, until the retired one is forgotten.
const MAX_MASTER_KEYS: usize = 64;
/// Longest id of a master key, in bytes.
const MAX_MASTER_KEY_ID: usize = 255;
/// Most ids of master keys that are remembered because they were missing. Ids come from the store, which may be edited.
const MAX_MISSING: usize = 16;
/// How often something is tried again when somebody else was faster.
const ATTEMPTS: usize = 8;

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn internal(error: CryptoError) -> Error {
    Error::Internal(error.to_string())
}

struct Master {
    id: String,
    cipher: RecordCipher,
    /// Tells two keys of one id apart; it is derived, and opens nothing.
    likeness: KeyMaterial,
}

impl Master {
    fn new(id: &str, material: &KeyMaterial) -> Result<Self> {
        if id.is_empty() || id.len() > MAX_MASTER_KEY_ID {
            let reason = format!("it has {} bytes, 1 to {MAX_MASTER_KEY_ID} are allowed", id.len());
            return Err(Error::invalid("id of the master key", reason));
        }
        let part = |label| derive(material, label, &[], 32).map_err(internal);
        Ok(Self {
            id: id.to_owned(),
            cipher: RecordCipher::new(&part("chatelaine master record")?).map_err(internal)?,
            likeness: part("chatelaine master likeness")?,
        })
    }
}

/// The master keys of one moment.
struct Masters {
    active: Arc<Master>,
    retired: Vec<Arc<Master>>,
    /// Newer than the active one, and not yet to be used.
    staged: Vec<Arc<Master>>,
}

/// What a master key is held for beside the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Older records may be sealed under it.
    Retired,
    /// It is to become the active one.
    Staged,
}

impl Masters {
    fn all(&self) -> impl Iterator<Item = &Arc<Master>> {
        std::iter::once(&self.active).chain(&self.retired).chain(&self.staged)
    }

    fn find(&self, id: &str) -> Option<&Arc<Master>> {
        self.all().find(|master| master.id == id)
    }

    /// Refuses another key of an id that is held.
    fn refuse_another(&self, master: &Master) -> Result<()> {
        let known = self.find(&master.id);
        if known.is_some_and(|known| !known.likeness.ct_eq(master.likeness.expose())) {
            let reason = format!("{} is the id of another one that is held", master.id);
            return Err(Error::invalid("master key", reason));
        }
        Ok(())
    }

    /// Refuses what no set of master keys is.
    fn check(&self) -> Result<()> {
        let mut known: HashMap<&str, &Master> = HashMap::new();
        for master in self.all() {
            if known.insert(&master.id, master).is_some() {
                return Err(Error::invalid("master key", format!("there are two of the id {}", master.id)));
            }
        }
        if known.len() > MAX_MASTER_KEYS {
            let reason = format!("more than {MAX_MASTER_KEYS} of them: forget retired ones first");
            return Err(Error::invalid("master keys", reason));
        }
        Ok(())
    }
}

/// The keys of an unsealed server, for one store.
pub struct Keyring {
    masters: ArcSwap<Masters>,
    /// Held while the set of master keys is changed.
    changing: Mutex<()>,
    audit: (String, KeyMaterial),
    /// Ids under which something was found sealed, and which were not held then.
    missing: Mutex<BTreeSet<String>>,
    marks: marks::Known,
    scopes: scopes::Opened,
}

impl Keyring {
    /// A keyring over an active master key, retired ones and the key of the audit trail, each an id and 256 bits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id that is too long or there twice; [`Error::Internal`] when the cryptographic library
    /// refuses the material.
    pub fn new(
        active: (&str, &KeyMaterial),
        retired: &[(&str, &KeyMaterial)],
        audit: (&str, &KeyMaterial),
    ) -> Result<Self> {
        let master = |(id, material): &(&str, &KeyMaterial)| Master::new(id, material).map(Arc::new);
        let retired = retired.iter().map(master).collect::<Result<_>>()?;
        let masters = Masters { active: master(&active)?, retired, staged: Vec::new() };
        masters.check()?;
        Ok(Self {
            masters: ArcSwap::from_pointee(masters),
            changing: Mutex::default(),
            audit: (audit.0.to_owned(), KeyMaterial::copy_from(audit.1.expose())),
            missing: Mutex::default(),
            marks: marks::Known::default(),
            scopes: scopes::Opened::default(),
        })
    }

    /// The id of the active master key.
    pub fn master_key_id(&self) -> String {
        self.masters.load().active.id.clone()
    }

    /// The ids of the retired master keys.
    pub fn retired_ids(&self) -> Vec<String> {
        self.masters.load().retired.iter().map(|master| master.id.clone()).collect()
    }

    /// The ids of the master keys that are to become active ones.
    pub fn staged_ids(&self) -> Vec<String> {
        self.masters.load().staged.iter().map(|master| master.id.clone()).collect()
    }

    /// Ids of master keys under which something was found sealed, and which are not held. They are what the store says, and
    /// nobody has shown that such keys exist.
    pub fn missing_ids(&self) -> Vec<String> {
        let masters = self.masters.load();
        let mut missing = self.missing.lock();
        missing.retain(|id| masters.find(id).is_none());
        missing.iter().cloned().collect()
    }

    /// Remembers that a master key is needed; the log hears of each once.
    fn miss(&self, id: &str) {
        let mut missing = self.missing.lock();
        if missing.len() < MAX_MISSING && missing.insert(id.to_owned()) {
            tracing::error!(
                master_key = id,
                "something in the store is sealed under a master key that this server does not hold: get it from a server that \
                 does (`chatelaine attest update`)"
            );
        }
    }

    /// Holds one more master key beside the active one. One that is held already stays what it is, but for one that was
    /// staged and is retired now.
    ///
    /// # Errors
    /// [`Error::Invalid`] when another key of this id is held, or too many are.
    pub fn hold(&self, id: &str, material: &KeyMaterial, held: Held) -> Result<()> {
        let master = Arc::new(Master::new(id, material)?);
        let _changing = self.changing.lock();
        let before = self.masters.load();
        before.refuse_another(&master)?;
        if before.active.id == id || (held == Held::Staged && before.find(id).is_some()) {
            return Ok(());
        }
        let others = |list: &[Arc<Master>]| list.iter().filter(|own| own.id != id).cloned().collect();
        let (mut retired, mut staged): (Vec<_>, Vec<_>) = (others(&before.retired), others(&before.staged));
        match held {
            Held::Retired => retired.push(master),
            Held::Staged => staged.push(master),
        }
        let after = Masters { active: Arc::clone(&before.active), retired, staged };
        after.check()?;
        self.masters.store(Arc::new(after));
        Ok(())
    }

    /// Makes a master key the active one, new, staged or retired; the former active one is retired. Nothing is written: what is
    /// sealed from now on still follows the store's mark, until that is moved (`manager::rotation`). Every server of a
    /// store is given the new key before one of them moves the mark.
    ///
    /// # Errors
    /// [`Error::Invalid`] when another key of this id is held, or too many are.
    pub fn activate(&self, id: &str, material: &KeyMaterial) -> Result<()> {
        let active = Arc::new(Master::new(id, material)?);
        let _changing = self.changing.lock();
        let before = self.masters.load();
        before.refuse_another(&active)?;
        let older = std::iter::once(&before.active).chain(&before.retired);
        let retired = older.filter(|master| master.id != id).cloned().collect();
        let staged = before.staged.iter().filter(|master| master.id != id).cloned().collect();
        let after = Masters { active, retired, staged };
        after.check()?;
        self.masters.store(Arc::new(after));
        Ok(())
    }

    /// Forgets a retired master key. What is still sealed under it cannot be opened any more: it is for the caller to know
    /// that nothing is (`Manager::forget_master_key`).
    ///
    /// # Errors
    /// [`Error::WrongState`] for the active one, [`Error::NotFound`] for one that is not held.
    pub fn forget_retired(&self, id: &str) -> Result<()> {
        let _changing = self.changing.lock();
        let before = self.masters.load();
        if before.active.id == id {
            return Err(Error::WrongState {
                reason: format!("master key {id} is the active one: make another one active first"),
            });
        }
        if before.find(id).is_none() {
            return Err(Error::not_found(format!("master key {id}")));
        }
        let retired = before.retired.iter().filter(|master| master.id != id).cloned().collect();
        let (active, staged) = (Arc::clone(&before.active), before.staged.clone());
        self.masters.store(Arc::new(Masters { active, retired, staged }));
        self.marks.forget();
        Ok(())
    }

    /// The key that authenticates the audit trail.
    pub fn audit_key(&self) -> MacKey {
        MacKey::new(&self.audit.1)
    }

    /// The id of that key.
    pub fn audit_key_id(&self) -> &str {
        &self.audit.0
    }

    fn open_under_master(&self, record: &Record) -> Result<KeyMaterial> {
        let SealedUnder::MasterKey(id) = record::sealed_under(record)? else {
            return Err(Error::Corrupt(format!(
                "{}/{} is not sealed under a master key",
                record.kind, record.id
            )));
        };
        let masters = self.masters.load();
        let master = masters.find(&id).ok_or_else(|| {
            self.miss(&id);
            Error::Corrupt(format!(
                "{}/{} is sealed under master key {id}, which this server does not hold",
                record.kind, record.id
            ))
        })?;
        record::open(record, &master.cipher)
    }

    /// Opens any record, whatever it is sealed under. One that was sealed anew since it was read may not open any more:
    /// [`Self::open_current`] looks again.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of the store, where a scope key must be read first.
    pub async fn open(&self, store: &dyn Store, record: &Record) -> Result<KeyMaterial> {
        match record::sealed_under(record)? {
            SealedUnder::MasterKey(_) => self.open_under_master(record),
            SealedUnder::ScopeKey(version) => {
                let key = self.version(store, &record.project, version).await?;
                record::open(record, &key.cipher)
            }
        }
    }

    /// Opens a record as it was read or, where its key is gone since, as it is in the store now.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is in the store as it was read, and does not open; [`Error::NotFound`] when it is there no
    /// more; those of the store.
    pub async fn open_current<'a>(
        &self,
        store: &dyn Store,
        record: &'a Record,
    ) -> Result<(Cow<'a, Record>, KeyMaterial)> {
        let mut record = Cow::Borrowed(record);
        for _ in 0..ATTEMPTS {
            let damage = match self.open(store, &record).await {
                Ok(body) => return Ok((record, body)),
                Err(damage @ Error::Corrupt(_)) => damage,
                Err(error) => return Err(error),
            };
            match store.read(&record.kind, &record.id).await? {
                None => return Err(Error::not_found(format!("{} {}", record.kind, record.id))),
                Some(now) if now == *record => return Err(damage),
                Some(now) => record = Cow::Owned(now),
            }
        }
        Err(Error::Unavailable(format!("{}/{} is changed by too many at once", record.kind, record.id)))
    }
}

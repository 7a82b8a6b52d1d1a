//! The passphrase seal: master keys wrapped under a key that Argon2id (RFC 9106) makes of a passphrase.
//!
//! Owns the passphrase for as long as the process runs: rotation needs it again. It comes from a file (such as a systemd
//! credential) or from a person by [`PassphraseSeal::supply`], never from arguments or the environment.
//!
//! Refuses: passphrases shorter than 12 bytes for new keys, costs outside of what a machine can reasonably pay, and to pay more
//! for a document than was allowed: what it asks for cannot be authenticated before the price is paid.

use std::path::PathBuf;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chatelaine_crypto::{KeyMaterial, RecordCipher};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::{Zeroize as _, Zeroizing};

use crate::files::PrivateFile;
use crate::{KeyIdentity, Seal, SealError, base64_bytes, parse_sealed};

/// The shortest passphrase for a new key, in bytes.
pub const MIN_PASSPHRASE: usize = 12;
/// The longest passphrase, in bytes.
pub const MAX_PASSPHRASE: usize = 4096;
const SALT_LENGTH: usize = 16;
const KIND: &str = "passphrase";

/// What Argon2id shall cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory in KiB, 8192 to 4194304.
    pub memory_kib: u32,
    /// Passes over it, 1 to 64.
    pub passes: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
}

impl Default for Cost {
    /// RFC 9106 section 4, second recommended option, with one lane less to wait for.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Cost {
    /// Whether all numbers are in their ranges.
    ///
    /// # Errors
    /// [`SealError::Invalid`] with the field and its range.
    pub fn check(&self) -> Result<(), SealError> {
        let ranges = [
            ("memory_kib", self.memory_kib, 8 * 1024..=4 * 1024 * 1024),
            ("passes", self.passes, 1..=64),
            ("lanes", self.lanes, 1..=16),
        ];
        for (what, value, range) in ranges {
            if !range.contains(&value) {
                let problem = format!("is {value}, allowed are {} to {}", range.start(), range.end());
                return Err(SealError::Invalid { what, problem });
            }
        }
        Ok(())
    }
}

/// Master keys wrapped under a passphrase. Clones share the passphrase.
#[derive(Clone)]
pub struct PassphraseSeal {
    file: Option<PrivateFile>,
    cost: Cost,
    /// The most memory and passes that a document may ask for.
    limit: (u32, u32),
    supplied: Arc<Mutex<Option<Arc<KeyMaterial>>>>,
}

/// What the document holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// Always `argon2id`, version 1.3.
    function: String,
    cost: Cost,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    /// Nonce, ciphertext and tag of the record cipher.
    #[serde(with = "base64_bytes")]
    wrapped: Vec<u8>,
}

impl PassphraseSeal {
    /// The seal whose passphrase is in the first line of a file, or comes from a person. Documents that ask for more than
    /// `cost` are refused; see [`PassphraseSeal::allowing`].
    ///
    /// # Errors
    /// [`SealError::Invalid`] for a cost out of range.
    pub fn new(file: Option<PathBuf>, cost: Cost) -> Result<Self, SealError> {
        cost.check()?;
        let file = file.map(|path| PrivateFile::new(path, "passphrase", MAX_PASSPHRASE + 2));
        Ok(Self { file, cost, limit: (cost.memory_kib, cost.passes), supplied: Arc::default() })
    }

    /// The same seal, which opens what asks for this much memory (in KiB) and this many passes.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for less than new keys cost.
    pub fn allowing(mut self, memory_kib: u32, passes: u32) -> Result<Self, SealError> {
        for (what, most, own) in
            [("max_memory_mib", memory_kib, self.cost.memory_kib), ("max_passes", passes, self.cost.passes)]
        {
            if most < own {
                let problem = "is less than what new keys cost, so that they would not open again".to_owned();
                return Err(SealError::Invalid { what, problem });
            }
        }
        self.limit = (memory_kib, passes);
        Ok(self)
    }

    /// Whether the passphrase comes from a person.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.file.is_none()
    }

    /// Takes a passphrase from a person, in place of a former one.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for one that is empty or too long.
    pub fn supply(&self, passphrase: KeyMaterial) -> Result<(), SealError> {
        if passphrase.is_empty() || passphrase.len() > MAX_PASSPHRASE {
            return Err(SealError::Invalid {
                what: "passphrase",
                problem: format!("has {} bytes, allowed are 1 to {MAX_PASSPHRASE}", passphrase.len()),
            });
        }
        *self.supplied.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(passphrase));
        Ok(())
    }

    /// Forgets the passphrase that a person gave, where it was not the right one.
    fn forget(&self) {
        *self.supplied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn passphrase(&self) -> Result<Arc<KeyMaterial>, SealError> {
        let Some(file) = &self.file else {
            let supplied = self.supplied.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return supplied.ok_or_else(|| SealError::Unavailable {
                place: self.describe(),
                problem: "nobody has given it yet; run `chatelaine master-key unseal`".to_owned(),
            });
        };
        Ok(Arc::new(KeyMaterial::copy_from(&file.read_line()?)))
    }

    fn cipher(&self, passphrase: &KeyMaterial, salt: &[u8], cost: Cost) -> Result<RecordCipher, SealError> {
        let failed =
            |error: argon2::Error| SealError::Invalid { what: "passphrase", problem: error.to_string() };
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
        let function = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut memory = Vec::new();
        let blocks = function.params().block_count();
        memory.try_reserve_exact(blocks).map_err(|_| SealError::Unavailable {
            place: self.describe(),
            problem: format!("there are no {} KiB of free memory", cost.memory_kib),
        })?;
        memory.resize(blocks, Block::default());
        let mut key = KeyMaterial::zeroed(32);
        let outcome = function.hash_password_into_with_memory(
            passphrase.expose(),
            salt,
            key.expose_mut(),
            memory.as_mut_slice(),
        );
        memory.iter_mut().for_each(Block::zeroize);
        outcome.map_err(failed)?;
        Ok(RecordCipher::new(&key)?)
    }
}

/// The first line that comes from a descriptor which this process was started with. Waits until it comes.
///
/// # Errors
/// [`SealError::Io`] where there is no such descriptor; [`SealError::Invalid`] for an empty line or one that is too long.
pub fn from_descriptor(number: u32) -> Result<KeyMaterial, SealError> {
    use std::io::Read as _;
    let path = PathBuf::from(format!("/dev/fd/{number}"));
    let file = std::fs::File::open(&path).map_err(SealError::io("cannot open", &path))?;
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 3));
    let mut byte = Zeroizing::new([0]);
    // Byte by byte: who gives it may keep the other end open.
    while content.len() < MAX_PASSPHRASE + 2 {
        match (&file).read(byte.as_mut_slice()) {
            Ok(0) => break,
            Ok(_) if *byte == *b"\n" => break,
            Ok(_) => content.extend_from_slice(byte.as_slice()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SealError::io("cannot read", &path)(error)),
        }
    }
    let line = content.strip_suffix(b"\r").unwrap_or(&content);
    if line.is_empty() || line.len() > MAX_PASSPHRASE {
        return Err(SealError::Invalid {
            what: "passphrase",
            problem: format!("{} gives no line of 1 to {MAX_PASSPHRASE} bytes", path.display()),
        });
    }
    Ok(KeyMaterial::copy_from(line))
}

impl Seal for PassphraseSeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn describe(&self) -> String {
        match &self.file {
            Some(file) => format!("passphrase in {}", file.path().display()),
            None => "passphrase".to_owned(),
        }
    }

    fn prepare(&self) -> Result<(), SealError> {
        let length = self.passphrase()?.len();
        if length < MIN_PASSPHRASE {
            self.forget();
            return Err(SealError::Invalid {
                what: "passphrase",
                problem: format!("has {length} bytes, at least {MIN_PASSPHRASE} are required"),
            });
        }
        Ok(())
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        self.prepare()?;
        let salt = KeyMaterial::random(SALT_LENGTH * 8)?;
        let cipher = self.cipher(&*self.passphrase()?, salt.expose(), self.cost)?;
        let wrapped = cipher.seal(&identity.associated_data(KIND), key.expose())?;
        let (function, cost, salt) = ("argon2id".to_owned(), self.cost, salt.expose().to_vec());
        Ok(serde_json::json!(Wrapped { function, cost, salt, wrapped }))
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        let sealed: Wrapped = parse_sealed(self, sealed)?;
        sealed.cost.check()?;
        let refused = |problem: &str, remedy: &str| SealError::Refused {
            place: self.describe(),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        };
        if sealed.function != "argon2id" || sealed.salt.len() != SALT_LENGTH {
            return Err(refused("the document names another function", "use the release that wrote it"));
        }
        let (memory_kib, passes) = self.limit;
        if sealed.cost.memory_kib > memory_kib || sealed.cost.passes > passes {
            return Err(refused(
                &format!(
                    "the document asks for {} KiB of memory and {} passes of Argon2id, at most {memory_kib} and {passes} are \
                     allowed",
                    sealed.cost.memory_kib, sealed.cost.passes
                ),
                "if it was sealed at that cost, raise seal.passphrase.max_memory_mib and seal.passphrase.max_passes; \
                 otherwise somebody has edited it: restore it from its backup",
            ));
        }
        let cipher = self.cipher(&*self.passphrase()?, &sealed.salt, sealed.cost)?;
        cipher.open(&identity.associated_data(KIND), &sealed.wrapped).map_err(|_| {
            self.forget();
            refused("the passphrase does not open the master key", "give the right one")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{conformance, private_folder};
    use crate::{KeyId, MasterKey};

    const CHEAP: Cost = Cost { memory_kib: 8192, passes: 1, lanes: 1 };

    fn asked(passphrase: &str) -> PassphraseSeal {
        let seal = PassphraseSeal::new(None, CHEAP).unwrap();
        seal.supply(KeyMaterial::copy_from(passphrase.as_bytes())).unwrap();
        seal
    }

    #[test]
    fn conforms() {
        let folder = private_folder();
        let path = folder.path().join("passphrase");
        PrivateFile::new(&path, "passphrase", 100).create(b"correct horse battery").unwrap();
        conformance(&|| Box::new(PassphraseSeal::new(Some(path.clone()), CHEAP).unwrap())).unwrap();
    }

    #[test]
    fn a_passphrase_in_a_file_is_its_one_line() {
        let folder = private_folder();
        let path = folder.path().join("passphrase");
        PrivateFile::new(&path, "passphrase", 100).create(b"correct horse battery\n").unwrap();
        let cluster = KeyId::random().unwrap();
        let key = MasterKey::random(1).unwrap();
        let sealed = asked("correct horse battery").seal(&key.material, &key.identity(&cluster)).unwrap();
        let from_file = PassphraseSeal::new(Some(path.clone()), CHEAP).unwrap();
        assert!(!from_file.is_asked_for());
        assert!(from_file.open(&sealed, &key.identity(&cluster)).unwrap().ct_eq(key.material.expose()));
        for content in [&b""[..], b"\n", b"two\nlines\n"] {
            PrivateFile::new(&path, "passphrase", 100).replace(content).unwrap();
            let error = from_file.open(&sealed, &key.identity(&cluster)).unwrap_err();
            assert!(matches!(error, SealError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn a_wrong_passphrase_is_refused_and_forgotten() {
        let (cluster, key) = (KeyId::random().unwrap(), MasterKey::random(1).unwrap());
        let sealed = asked("correct horse battery").seal(&key.material, &key.identity(&cluster)).unwrap();
        let wrong = asked("incorrect horse battery");
        let error = wrong.open(&sealed, &key.identity(&cluster)).unwrap_err();
        assert!(matches!(error, SealError::Refused { .. }), "{error}");
        let error = wrong.open(&sealed, &key.identity(&cluster)).unwrap_err();
        assert!(matches!(error, SealError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("master-key unseal"), "{error}");
    }

    #[test]
    fn short_passphrases_and_wild_costs_are_refused() {
        let error = asked("short").prepare().unwrap_err();
        assert!(error.to_string().contains("at least 12"), "{error}");
        let seal = PassphraseSeal::new(None, CHEAP).unwrap();
        assert!(seal.supply(KeyMaterial::zeroed(0)).is_err());
        assert!(seal.supply(KeyMaterial::zeroed(MAX_PASSPHRASE + 1)).is_err());
        for (cost, field) in [
            (Cost { memory_kib: 8191, ..CHEAP }, "memory_kib"),
            (Cost { memory_kib: 4_194_305, ..CHEAP }, "memory_kib"),
            (Cost { passes: 0, ..CHEAP }, "passes"),
            (Cost { passes: 65, ..CHEAP }, "passes"),
            (Cost { lanes: 17, ..CHEAP }, "lanes"),
        ] {
            assert!(matches!(cost.check(), Err(SealError::Invalid { what, .. }) if what == field));
            // A document that somebody edited must not make the server swallow all memory.
            let (cluster, key) = (KeyId::random().unwrap(), MasterKey::random(1).unwrap());
            let seal = asked("correct horse battery");
            let mut sealed = seal.seal(&key.material, &key.identity(&cluster)).unwrap();
            sealed["cost"] = serde_json::json!(cost);
            assert!(matches!(seal.open(&sealed, &key.identity(&cluster)), Err(SealError::Invalid { .. })));
        }
    }

    /// The price is refused before it is paid: neither the memory is taken nor the passphrase tried, and forgotten.
    #[test]
    fn a_document_costs_no_more_than_is_allowed() {
        let (cluster, key) = (KeyId::random().unwrap(), MasterKey::random(1).unwrap());
        let identity = key.identity(&cluster);
        let sealed = asked("correct horse battery").seal(&key.material, &identity).unwrap();
        for (field, value, words) in [
            ("memory_kib", 4_194_304, "4194304 KiB"),
            ("memory_kib", 8193, "8193 KiB"),
            ("passes", 2, "2 passes"),
        ] {
            let mut dear = sealed.clone();
            dear["cost"][field] = serde_json::json!(value);
            let seal = asked("correct horse battery");
            let error = seal.open(&dear, &identity).unwrap_err();
            assert!(matches!(error, SealError::Refused { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(words) && text.contains("seal.passphrase.max_memory_mib"), "{text}");
            assert!(seal.open(&sealed, &identity).unwrap().ct_eq(key.material.expose()));
        }
        // Keys that were sealed at a higher cost open where that is allowed.
        let dear = Cost { memory_kib: 16 * 1024, passes: 2, lanes: 2 };
        let seal = PassphraseSeal::new(None, dear).unwrap();
        seal.supply(KeyMaterial::copy_from(b"correct horse battery")).unwrap();
        let sealed = seal.seal(&key.material, &identity).unwrap();
        assert!(matches!(
            asked("correct horse battery").open(&sealed, &identity),
            Err(SealError::Refused { .. })
        ));
        let allowing = asked("correct horse battery").allowing(16 * 1024, 2).unwrap();
        assert!(allowing.open(&sealed, &identity).unwrap().ct_eq(key.material.expose()));
        for (memory_kib, passes, field) in [(8191, 1, "max_memory_mib"), (8192, 0, "max_passes")] {
            let refused =
                PassphraseSeal::new(None, CHEAP).unwrap().allowing(memory_kib, passes).err().unwrap();
            assert!(matches!(refused, SealError::Invalid { what, .. } if what == field));
        }
    }
}

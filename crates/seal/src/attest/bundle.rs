//! What a holder hands to a host that joined: every master key, each sealed to its TPM and its boot.
//!
//! Invariant: one encoding, with a limit on every part; the holder vouches for all of it, so that nobody on the way can
//! leave a key out, and each key authenticates the list: a grant that was recorded earlier does not let anybody put keys of
//! his own beside it, and a host that has one of the keys knows by it that the others belong to it. Refuses: other versions,
//! and lists that no document of sealed keys could hold.

use chatelaine_crypto::{KeyMaterial, MacKey, derive};
use chatelaine_tpm::attest::Grant;
use chatelaine_tpm::attest::messages::DIGEST;
use chatelaine_tpm::codec::{Malformed, Reader, Wire, Writer};

use crate::document::{KeyState, MAX_KEYS};
use crate::{KeyId, MasterKeys, SealError};

/// The last byte is the version.
const MAGIC: [u8; 4] = *b"CHB\x01";
const ID: usize = 36;
const MAX_TIME: usize = 64;
/// The length of a key's check, in bytes.
pub(super) const CHECK: usize = 32;

/// Every master key of a cluster, for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The servers that share the keys.
    pub cluster: KeyId,
    /// The keys, the active one first.
    pub keys: Vec<GrantedKey>,
    /// The holder's word for all of it.
    pub proof: [u8; DIGEST],
}

/// One master key, for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedKey {
    /// Its id.
    pub id: KeyId,
    /// Its number.
    pub epoch: u32,
    /// What it is used for.
    pub state: KeyState,
    /// When it was made.
    pub created: String,
    /// When it became active, where that was later.
    pub activated: Option<String>,
    /// By which it is told from another.
    pub check: [u8; CHECK],
    /// That somebody who has this key made the list.
    pub authenticator: [u8; DIGEST],
    /// The grant, as [`Grant`] encodes it.
    pub grant: Vec<u8>,
}

/// What authenticates a list.
fn list_key(material: &KeyMaterial) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(material, "chatelaine granted master keys", &[], 32)?))
}

/// What a host says that has kept the newest key of a bundle: nobody can say it who has not opened that key.
pub(super) fn confirmation(newest: &KeyMaterial, proof: &[u8; DIGEST]) -> Result<[u8; DIGEST], SealError> {
    Ok(MacKey::new(&derive(newest, "chatelaine kept master keys", &[], 32)?).sign(&[proof]))
}

impl Bundle {
    /// The list: everything but authenticators and grants.
    fn list(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.sized(self.cluster.as_str().as_bytes());
        for key in &self.keys {
            key.describe(&mut writer);
        }
        writer.into_vec()
    }

    /// Authenticates the list with each key in it.
    pub(super) fn authenticate(&mut self, keys: &MasterKeys) -> Result<(), SealError> {
        let list = self.list();
        for granted in &mut self.keys {
            let key = keys.find(&granted.id).ok_or(SealError::InvalidId)?;
            granted.authenticator = list_key(&key.material)?.sign(&[&list]);
        }
        Ok(())
    }

    /// Whether somebody who has this key made the list. Not, where the key is not in it.
    pub(super) fn is_by(&self, id: &KeyId, material: &KeyMaterial) -> Result<bool, SealError> {
        match self.keys.iter().find(|key| key.id == *id) {
            Some(key) => Ok(list_key(material)?.verify(&[&self.list()], &key.authenticator)),
            None => Ok(false),
        }
    }

    /// The key with the highest epoch: the staged one, or else the active one.
    pub(super) fn newest(&self) -> Option<&GrantedKey> {
        self.keys.iter().max_by_key(|key| key.epoch)
    }

    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 128 + MAX_KEYS * (Grant::MAX_SIZE + 320);

    /// What the holder vouches for.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&MAGIC).sized(self.cluster.as_str().as_bytes());
        writer.u8(u8::try_from(self.keys.len()).unwrap_or(u8::MAX));
        for key in &self.keys {
            key.describe(&mut writer);
            writer.raw(&key.authenticator).sized(&key.grant);
        }
        writer.into_vec()
    }

    /// Reads one of at most [`Bundle::MAX_SIZE`] bytes.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(Malformed { what: Self::WHAT, problem: "it is too long" });
        }
        Self::from_bytes(bytes)
    }

    fn check(&self, reader: &Reader<'_>) -> Result<(), Malformed> {
        let active = self.keys.first().filter(|key| key.state == KeyState::Active);
        let active = active.ok_or_else(|| reader.malformed("its first key is not active"))?;
        for (index, key) in self.keys.iter().enumerate().skip(1) {
            let fits = match key.state {
                KeyState::Active => false,
                KeyState::Staged => index == 1 && key.epoch > active.epoch,
                KeyState::Retired => key.epoch < active.epoch,
            };
            if !fits {
                return Err(
                    reader.malformed("its first key is not the newest, or its second not the staged one")
                );
            }
            let earlier = self.keys.iter().take(index);
            if earlier.clone().any(|other| other.id == key.id || other.epoch == key.epoch) {
                return Err(reader.malformed("a key occurs twice"));
            }
        }
        Ok(())
    }
}

impl GrantedKey {
    fn describe(&self, writer: &mut Writer) {
        writer.sized(self.id.as_str().as_bytes()).u32(self.epoch);
        writer.u8(match self.state {
            KeyState::Active => 0,
            KeyState::Retired => 1,
            KeyState::Staged => 2,
        });
        writer.sized(self.created.as_bytes()).sized(self.activated.as_deref().unwrap_or_default().as_bytes());
        writer.raw(&self.check);
    }
}

fn text(reader: &mut Reader<'_>, limit: usize) -> Result<String, Malformed> {
    String::from_utf8(reader.sized(limit)?.to_vec()).map_err(|_| reader.malformed("a text is not UTF-8"))
}

fn id(reader: &mut Reader<'_>) -> Result<KeyId, Malformed> {
    KeyId::parse(&text(reader, ID)?).map_err(|_| reader.malformed("an id is no UUID"))
}

impl Wire for Bundle {
    const WHAT: &'static str = "bundle of granted keys";

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.body()).raw(&self.proof);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.array()? != MAGIC {
            return Err(reader.malformed("it is not one of version 1"));
        }
        let cluster = id(reader)?;
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_KEYS {
            return Err(reader.malformed("the number of its keys is not in 1 to 64"));
        }
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(GrantedKey {
                id: id(reader)?,
                epoch: reader.u32()?,
                state: match reader.u8()? {
                    0 => KeyState::Active,
                    1 => KeyState::Retired,
                    2 => KeyState::Staged,
                    _ => return Err(reader.malformed("the state of a key is unknown")),
                },
                created: text(reader, MAX_TIME)?,
                activated: Some(text(reader, MAX_TIME)?).filter(|time| !time.is_empty()),
                check: reader.array()?,
                authenticator: reader.array()?,
                grant: reader.sized(Grant::MAX_SIZE)?.to_vec(),
            });
        }
        let bundle = Self { cluster, keys, proof: reader.array()? };
        bundle.check(reader)?;
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    fn bundle(keys: &[(u32, KeyState)]) -> Bundle {
        let key = |&(epoch, state): &(u32, KeyState)| GrantedKey {
            id: KeyId::random().unwrap(),
            epoch,
            state,
            created: "2026-01-01T00:00:00Z".to_owned(),
            activated: (epoch == 3).then(|| "2026-01-02T00:00:00Z".to_owned()),
            check: [7; CHECK],
            authenticator: [4; DIGEST],
            grant: vec![9; 1000],
        };
        let keys = keys.iter().map(key).collect();
        Bundle { cluster: KeyId::random().unwrap(), keys, proof: [3; DIGEST] }
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written_and_not_otherwise() {
        use KeyState::{Active, Retired};
        let written = bundle(&[(3, Active), (1, Retired), (2, Retired)]);
        let bytes = written.to_bytes();
        assert_eq!(Bundle::parse(&bytes).unwrap(), written);
        for length in 0..bytes.len() {
            assert!(Bundle::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Bundle::parse(&[bytes, vec![0]].concat()).is_err());
        let longest: Vec<_> =
            (0..64).map(|index| (100 - index, if index == 0 { Active } else { Retired })).collect();
        assert!(bundle(&longest).to_bytes().len() <= Bundle::MAX_SIZE);
        assert!(Bundle::parse(&bundle(&longest).to_bytes()).is_ok());
    }

    #[test]
    fn a_staged_key_is_the_second() {
        use KeyState::{Active, Retired, Staged};
        let good = bundle(&[(2, Active), (3, Staged), (1, Retired)]);
        assert_eq!(Bundle::parse(&good.to_bytes()).unwrap().newest().unwrap().epoch, 3);
        for keys in [
            &[(2, Active), (1, Retired), (3, Staged)][..],
            &[(2, Active), (1, Staged)],
            &[(2, Active), (3, Retired)],
            &[(2, Active), (3, Staged), (4, Staged)],
            &[(3, Staged), (2, Active)],
            &[(2, Active), (2, Retired)],
        ] {
            assert!(Bundle::parse(&bundle(keys).to_bytes()).is_err(), "{keys:?}");
        }
    }

    #[test]
    fn only_who_has_a_key_makes_a_list_by_it() {
        use KeyState::{Active, Retired};
        let mut made = bundle(&[(2, Active), (1, Retired)]);
        let key = |place: usize| MasterKey {
            id: made.keys[place].id.clone(),
            epoch: made.keys[place].epoch,
            material: KeyMaterial::random(256).unwrap(),
        };
        let keys = MasterKeys { active: key(0), staged: None, retired: vec![key(1)] };
        let other = KeyMaterial::random(256).unwrap();
        let by = |bundle: &Bundle, key: &MasterKey| bundle.is_by(&key.id, &key.material).unwrap();
        assert!(!by(&made, &keys.active));
        made.authenticate(&keys).unwrap();
        let read = Bundle::parse(&made.to_bytes()).unwrap();
        assert!(by(&read, &keys.active) && by(&read, &keys.retired[0]));
        assert!(!read.is_by(&keys.active.id, &other).unwrap());
        assert!(!read.is_by(&keys.retired[0].id, &keys.active.material).unwrap(), "each by its own");
        assert!(!read.is_by(&KeyId::random().unwrap(), &keys.active.material).unwrap());
        // Sealed anew for another host it is the same list; with another retired key it is not.
        let mut again = made.clone();
        again.keys[1].grant = vec![8; 900];
        assert!(by(&again, &keys.active));
        let changes: [fn(&mut Bundle); 7] = [
            |bundle| bundle.keys[1].check = [8; CHECK],
            |bundle| bundle.keys[1].id = KeyId::random().unwrap(),
            |bundle| bundle.keys[1].epoch = 0,
            |bundle| bundle.keys[1].state = KeyState::Staged,
            |bundle| bundle.keys[0].activated = Some("2026-01-05T00:00:00Z".to_owned()),
            |bundle| bundle.cluster = KeyId::random().unwrap(),
            |bundle| drop(bundle.keys.pop()),
        ];
        for change in changes {
            let mut altered = made.clone();
            change(&mut altered);
            assert!(!by(&altered, &keys.active));
        }
    }

    #[test]
    fn a_confirmation_is_by_one_key_for_one_exchange() {
        let (key, other) = (KeyMaterial::random(256).unwrap(), KeyMaterial::random(256).unwrap());
        let said = confirmation(&key, &[1; DIGEST]).unwrap();
        assert_eq!(said, confirmation(&key, &[1; DIGEST]).unwrap());
        assert_ne!(said, confirmation(&key, &[2; DIGEST]).unwrap());
        assert_ne!(said, confirmation(&other, &[1; DIGEST]).unwrap());
    }
}

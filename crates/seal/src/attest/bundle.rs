//! What a holder hands to a host that joined: every master key, each sealed to its TPM and its boot.
//!
//! Invariant: one encoding, with a limit on every part; the holder vouches for all of it, so that nobody on the way can
//! leave a key out, and the active key authenticates the list: a grant of it that was recorded earlier does not let anybody
//! put keys of his own beside it. Refuses: other versions, and lists that no document of sealed keys could hold.

use chatelaine_crypto::{KeyMaterial, MacKey, derive};
use chatelaine_tpm::attest::Grant;
use chatelaine_tpm::attest::messages::DIGEST;
use chatelaine_tpm::codec::{Malformed, Reader, Wire, Writer};

use crate::document::{KeyState, MAX_KEYS};
use crate::{KeyId, SealError};

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
    /// That somebody who has the active key made the list.
    pub authenticator: [u8; DIGEST],
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
    /// By which it is told from another.
    pub check: [u8; CHECK],
    /// The grant, as [`Grant`] encodes it.
    pub grant: Vec<u8>,
}

/// Which key authenticates a list.
fn list_key(active: &KeyMaterial) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(active, "chatelaine granted master keys", &[], 32)?))
}

impl Bundle {
    /// The list: everything but the grants.
    fn list(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.sized(self.cluster.as_str().as_bytes());
        for key in &self.keys {
            key.describe(&mut writer);
        }
        writer.into_vec()
    }

    /// Authenticates the list with the active key.
    pub(super) fn authenticate(&mut self, active: &KeyMaterial) -> Result<(), SealError> {
        self.authenticator = list_key(active)?.sign(&[&self.list()]);
        Ok(())
    }

    /// Whether somebody who has this key made the list.
    pub(super) fn is_by(&self, active: &KeyMaterial) -> Result<bool, SealError> {
        Ok(list_key(active)?.verify(&[&self.list()], &self.authenticator))
    }

    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 128 + MAX_KEYS * (Grant::MAX_SIZE + 256);

    /// What the holder vouches for.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&MAGIC).sized(self.cluster.as_str().as_bytes());
        writer.u8(u8::try_from(self.keys.len()).unwrap_or(u8::MAX));
        for key in &self.keys {
            key.describe(&mut writer);
            writer.sized(&key.grant);
        }
        writer.raw(&self.authenticator);
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
            if key.state == KeyState::Active || key.epoch >= active.epoch {
                return Err(reader.malformed("its first key is not the newest"));
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
        writer.u8(u8::from(self.state == KeyState::Retired)).sized(self.created.as_bytes());
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
                    _ => return Err(reader.malformed("the state of a key is unknown")),
                },
                created: text(reader, MAX_TIME)?,
                check: reader.array()?,
                grant: reader.sized(Grant::MAX_SIZE)?.to_vec(),
            });
        }
        let bundle = Self { cluster, keys, authenticator: reader.array()?, proof: reader.array()? };
        bundle.check(reader)?;
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(keys: &[(u32, KeyState)]) -> Bundle {
        let key = |&(epoch, state): &(u32, KeyState)| GrantedKey {
            id: KeyId::random().unwrap(),
            epoch,
            state,
            created: "2026-01-01T00:00:00Z".to_owned(),
            check: [7; CHECK],
            grant: vec![9; 1000],
        };
        let keys = keys.iter().map(key).collect();
        Bundle { cluster: KeyId::random().unwrap(), keys, authenticator: [4; DIGEST], proof: [3; DIGEST] }
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
    fn only_who_has_the_active_key_makes_a_list() {
        use KeyState::{Active, Retired};
        let (active, other) = (KeyMaterial::random(256).unwrap(), KeyMaterial::random(256).unwrap());
        let mut made = bundle(&[(2, Active), (1, Retired)]);
        assert!(!made.is_by(&active).unwrap());
        made.authenticate(&active).unwrap();
        let read = Bundle::parse(&made.to_bytes()).unwrap();
        assert!(read.is_by(&active).unwrap() && !read.is_by(&other).unwrap());
        // Sealed anew for another host it is the same list; with another retired key it is not.
        let mut again = made.clone();
        again.keys[1].grant = vec![8; 900];
        assert!(again.is_by(&active).unwrap());
        let changes: [fn(&mut Bundle); 5] = [
            |bundle| bundle.keys[1].check = [8; CHECK],
            |bundle| bundle.keys[1].id = KeyId::random().unwrap(),
            |bundle| bundle.keys[1].epoch = 0,
            |bundle| bundle.cluster = KeyId::random().unwrap(),
            |bundle| drop(bundle.keys.pop()),
        ];
        for change in changes {
            let mut altered = made.clone();
            change(&mut altered);
            assert!(!altered.is_by(&active).unwrap());
        }
    }

    #[test]
    fn lists_that_no_document_could_hold_are_refused() {
        use KeyState::{Active, Retired};
        let problem = |keys: &[_]| Bundle::parse(&bundle(keys).to_bytes()).unwrap_err().problem;
        assert!(problem(&[]).contains("1 to 64"));
        assert!(problem(&[(1, Retired)]).contains("not active"));
        assert!(problem(&[(1, Active), (2, Retired)]).contains("newest"));
        assert!(problem(&[(2, Active), (1, Active)]).contains("newest"));
        assert!(problem(&[(3, Active), (1, Retired), (1, Retired)]).contains("twice"));
        let mut other = bundle(&[(1, Active)]).to_bytes();
        other[3] = 2;
        assert!(Bundle::parse(&other).unwrap_err().problem.contains("version 1"));
    }
}

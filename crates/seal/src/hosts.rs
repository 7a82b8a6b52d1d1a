//! Hosts that may get master keys from here, by what is in their TPM.
//!
//! Owns the list in the document of sealed keys, which the active master key authenticates: whoever can write the file
//! cannot add a host.
//!
//! Invariants of a list that was read: names and endorsement keys differ; every host may get at least one key.
//!
//! Refuses: to enrol a host over another one.

use serde::{Deserialize, Serialize};

use crate::{Custody, SealError, Unsealed};

/// The servers' own master keys, among what hosts may get.
pub const SERVER: &str = "server";
/// Most hosts.
pub const MAX_HOSTS: usize = 256;
/// Most keys of a host.
pub const MAX_KEYS: usize = 16;
/// Most bytes of a host's name.
const MAX_NAME: usize = 120;
/// Most bytes of a key's name.
const MAX_KEY_NAME: usize = 64;
/// Most hexadecimal digits of an endorsement key's name.
const MAX_ENDORSEMENT_NAME: usize = 132;

/// A host that may get master keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledHost {
    /// What people call it.
    pub name: String,
    /// The name of its TPM's endorsement key (TPM 2.0 Library, Part 1, 16) in hex.
    pub endorsement_name: String,
    /// Whether it has to show a certificate of that key by a trusted maker, too.
    pub certificate: bool,
    /// Which master keys it may get: [`SERVER`].
    pub keys: Vec<String>,
    /// When it was enrolled (RFC 3339).
    pub enrolled: String,
    /// What it has got from here; nothing where it never got a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has: Option<Has>,
}

/// What a host has got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Has {
    /// The epoch of the newest master key that was granted to it.
    pub granted: u32,
    /// The epoch of the newest one that it has confirmed to have kept; 0 where it has not.
    pub kept: u32,
    /// When that was last heard of (RFC 3339).
    pub changed: String,
}

impl EnrolledHost {
    /// Whether it may get this key.
    #[must_use]
    pub fn may_get(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own == key)
    }

    fn check(&self) -> Result<(), &'static str> {
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.name.is_empty() || self.name.len() > MAX_NAME || !printable(&self.name) {
            return Err("name of a host: must have 1 to 120 letters, digits and signs of ASCII");
        }
        let digits = self.endorsement_name.as_bytes();
        if !matches!(digits.len(), 68 | 100 | MAX_ENDORSEMENT_NAME)
            || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(
                "name of an endorsement key: must have 68, 100 or 132 hexadecimal digits in lower case",
            );
        }
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            return Err("keys of a host: must be 1 to 16");
        }
        let word = |key: &String| {
            (1..=MAX_KEY_NAME).contains(&key.len())
                && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if !self.keys.iter().all(word) {
            return Err("keys of a host: each must have 1 to 64 lower-case letters, digits and hyphens");
        }
        if self.has.as_ref().is_some_and(|has| has.changed.len() > 64) {
            return Err("time of a grant: has more than 64 bytes");
        }
        if self.enrolled.len() > 64 {
            return Err("time of an enrolment: has more than 64 bytes");
        }
        Ok(())
    }
}

/// Whether a list can stand in a document.
pub(crate) fn check(hosts: &[EnrolledHost]) -> Result<(), &'static str> {
    if hosts.len() > MAX_HOSTS {
        return Err("hosts: more than 256");
    }
    for (index, host) in hosts.iter().enumerate() {
        host.check()?;
        let mut later = hosts.iter().skip(index.saturating_add(1));
        if later.any(|other| other.name == host.name || other.endorsement_name == host.endorsement_name) {
            return Err("hosts: a name or an endorsement key occurs twice");
        }
    }
    Ok(())
}

fn invalid(problem: impl Into<String>) -> SealError {
    SealError::Invalid { what: "host", problem: problem.into() }
}

impl Custody {
    /// Lets a host get master keys.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for a host that is enrolled already, and what cannot be one; those of the file.
    pub fn enrol(&self, unsealed: &mut Unsealed, host: EnrolledHost) -> Result<(), SealError> {
        host.check().map_err(invalid)?;
        let mut document = unsealed.document.clone();
        if let Some(known) = document
            .hosts
            .iter()
            .find(|known| known.name == host.name || known.endorsement_name == host.endorsement_name)
        {
            return Err(invalid(format!(
                "{} is enrolled already, with endorsement key {}; withdraw it first",
                known.name, known.endorsement_name
            )));
        }
        document.hosts.push(host);
        check(&document.hosts).map_err(invalid)?;
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// Keeps in mind that a host was granted keys up to this epoch.
    ///
    /// # Errors
    /// Those of the file; nothing has changed then.
    pub fn note_granted(
        &self,
        unsealed: &mut Unsealed,
        endorsement_name: &str,
        epoch: u32,
        now: &str,
    ) -> Result<(), SealError> {
        self.note(unsealed, endorsement_name, now, |has| has.granted = has.granted.max(epoch))
    }

    /// Keeps in mind that a host has kept keys up to this epoch.
    ///
    /// # Errors
    /// Those of the file; nothing has changed then.
    pub fn note_kept(
        &self,
        unsealed: &mut Unsealed,
        endorsement_name: &str,
        epoch: u32,
        now: &str,
    ) -> Result<(), SealError> {
        self.note(unsealed, endorsement_name, now, |has| has.kept = has.kept.max(epoch))
    }

    fn note(
        &self,
        unsealed: &mut Unsealed,
        endorsement_name: &str,
        now: &str,
        change: impl FnOnce(&mut Has),
    ) -> Result<(), SealError> {
        let mut document = unsealed.document.clone();
        let host = document.hosts.iter_mut().find(|host| host.endorsement_name == endorsement_name);
        // One that was withdrawn meanwhile is nobody's concern.
        let Some(host) = host else { return Ok(()) };
        let before = host.has.clone().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if host.has.is_some() && after == before {
            return Ok(());
        }
        after.changed = now.to_owned();
        host.has = Some(after);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// No longer lets a host get master keys. What it got it has: only a rotation helps against that.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for a host that is not enrolled; those of the file.
    pub fn withdraw(&self, unsealed: &mut Unsealed, name: &str) -> Result<EnrolledHost, SealError> {
        let mut document = unsealed.document.clone();
        let place = document.hosts.iter().position(|host| host.name == name);
        let place =
            place.ok_or_else(|| invalid("no host of that name is enrolled; `attest list` shows them"))?;
        let host = document.hosts.remove(place);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, digit: char) -> EnrolledHost {
        EnrolledHost {
            name: name.to_owned(),
            endorsement_name: std::iter::repeat_n(digit, 68).collect(),
            certificate: true,
            keys: vec![SERVER.to_owned()],
            enrolled: "2026-01-01T00:00:00Z".to_owned(),
            has: None,
        }
    }

    fn custody(folder: &std::path::Path) -> Custody {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let seal = crate::file::FileSeal::new(folder.join("sealing-key"));
        Custody::new(folder.join("keys.json"), vec![std::sync::Arc::new(seal)])
    }

    #[test]
    fn enrolments_are_kept_and_authenticated() {
        let folder = tempfile::tempdir().unwrap();
        let custody = custody(folder.path());
        let mut unsealed = custody.create("2026-01-01T00:00:00Z").unwrap();
        custody.enrol(&mut unsealed, host("a", '1')).unwrap();
        custody.enrol(&mut unsealed, host("b", '2')).unwrap();
        assert_eq!(custody.unseal().unwrap().document().hosts, [host("a", '1'), host("b", '2')]);
        for twice in [host("a", '3'), host("c", '2')] {
            let error = custody.enrol(&mut unsealed, twice).unwrap_err();
            assert!(error.to_string().contains("withdraw it first"), "{error}");
        }
        assert_eq!(custody.withdraw(&mut unsealed, "a").unwrap(), host("a", '1'));
        assert!(matches!(custody.withdraw(&mut unsealed, "a"), Err(SealError::Invalid { .. })));
        assert_eq!(custody.unseal().unwrap().document().hosts, [host("b", '2')]);
        // They outlive a rotation.
        custody.rotate(&mut unsealed, "2026-01-02T00:00:00Z").unwrap();
        assert_eq!(custody.unseal().unwrap().document().hosts, [host("b", '2')]);

        let text = std::fs::read_to_string(custody.path()).unwrap();
        let forged = text.replace(&"2".repeat(68), &"4".repeat(68));
        assert_ne!(text, forged);
        std::fs::write(custody.path(), forged).unwrap();
        assert!(matches!(custody.unseal(), Err(SealError::Damaged { .. })));
    }

    #[test]
    fn what_is_no_host_is_refused_by_field() {
        let wrong = |change: &dyn Fn(&mut EnrolledHost), field: &str| {
            let mut host = host("a", '1');
            change(&mut host);
            assert!(host.check().unwrap_err().starts_with(field), "{host:?}");
        };
        wrong(&|host| host.name.clear(), "name of a host");
        wrong(&|host| host.name = "two words".to_owned(), "name of a host");
        wrong(&|host| host.name = "n".repeat(121), "name of a host");
        wrong(&|host| host.endorsement_name.truncate(67), "name of an endorsement key");
        wrong(&|host| host.endorsement_name = "A".repeat(68), "name of an endorsement key");
        wrong(&|host| host.keys.clear(), "keys of a host");
        wrong(&|host| host.keys = vec!["Nova".to_owned()], "keys of a host");
        wrong(&|host| host.keys = vec![SERVER.to_owned(); 17], "keys of a host");
        wrong(&|host| host.enrolled = "x".repeat(65), "time of an enrolment");
        let many: Vec<_> = (0..257).map(|index| host(&format!("h{index}"), '1')).collect();
        assert_eq!(check(&many), Err("hosts: more than 256"));
    }
}

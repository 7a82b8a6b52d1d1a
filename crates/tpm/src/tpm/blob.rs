//! What a sealed secret looks like in a file: nothing in it is secret.
//!
//! Owns: [`Lock`] (what opens it) and [`SealedBlob`] (all that opening needs but the approvals).
//!
//! Invariant: a blob's policy is that of its lock.

use std::fmt;

use super::keys::{EndorsementKind, LoadedKey, storage_template};
use crate::approval::Authority;
use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::command::{ENDORSEMENT, MAX_PRIVATE, OWNER};
use crate::error::TpmError;
use crate::software::policy::{self, MAX_REFERENCE};
use crate::types::{HashAlgorithm, Name, PcrSelection, PcrValues, Public};

const MAGIC: [u8; 4] = *b"CHTP";
const VERSION: u8 = 1;
/// What opens a sealed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Registers with exactly these values. An update of firmware or boot loader needs a new seal.
    Registers {
        /// Which.
        selection: PcrSelection,
        /// [`PcrValues::digest`] of the values.
        digest: Vec<u8>,
    },
    /// Any boot state that the authority approved for the reference. An update needs a new approval.
    Approved {
        /// Who approves.
        authority: Authority,
        /// For what, by convention `chatelaine/<cluster id>/mk/<epoch>`.
        reference: Vec<u8>,
    },
}

impl Lock {
    /// A lock on registers as they are.
    ///
    /// # Errors
    /// [`TpmError::Unmeasured`] when nothing was measured into one.
    pub fn registers(values: &PcrValues) -> Result<Self, TpmError> {
        values.require_measured()?;
        Ok(Self::Registers { selection: values.selection(), digest: values.digest() })
    }

    /// A lock on approvals.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when the reference is empty or longer than 64 bytes.
    pub fn approved(authority: &Authority, reference: &[u8]) -> Result<Self, TpmError> {
        if reference.is_empty() || reference.len() > MAX_REFERENCE {
            return Err(TpmError::invalid(
                "reference of a sealed secret",
                "its length is not in 1 to 64 bytes",
            ));
        }
        Ok(Self::Approved { authority: authority.clone(), reference: reference.to_vec() })
    }

    /// The digest of the policy, with the object's own value or without.
    #[must_use]
    pub fn policy(&self, with_auth_value: bool) -> Vec<u8> {
        let digest = match self {
            Self::Registers { selection, digest } => policy::pcr(selection, digest),
            Self::Approved { authority, reference } => authority.policy(reference),
        };
        if with_auth_value { policy::auth_value(&digest) } else { digest }
    }
}

impl Wire for Lock {
    const WHAT: &'static str = "lock of a sealed secret";

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Registers { selection, digest } => writer.u8(0).structure(selection).sized(digest),
            Self::Approved { authority, reference } => writer.u8(1).structure(authority).sized(reference),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            0 => Ok(Self::Registers {
                selection: PcrSelection::read(reader)?,
                digest: reader.sized(HashAlgorithm::Sha256.size())?.to_vec(),
            }),
            1 => {
                let authority = Authority::read(reader)?;
                let reference = reader.sized(MAX_REFERENCE)?.to_vec();
                Self::approved(&authority, &reference).map_err(|_| reader.malformed("the reference is empty"))
            }
            _ => Err(reader.malformed("its kind is unknown")),
        }
    }
}

/// The key a secret is sealed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParentKind {
    Storage,
    Endorsement(EndorsementKind),
}

impl ParentKind {
    fn id(self) -> u8 {
        match self {
            Self::Storage => 0,
            Self::Endorsement(EndorsementKind::Rsa2048) => 1,
            Self::Endorsement(EndorsementKind::EccP256) => 2,
            Self::Endorsement(EndorsementKind::EccP384) => 3,
        }
    }

    fn from_id(id: u8) -> Option<Self> {
        [Self::Storage]
            .into_iter()
            .chain(EndorsementKind::ALL.map(Self::Endorsement))
            .find(|known| known.id() == id)
    }

    /// Hierarchy and template of the key.
    pub(super) fn template(self) -> (u32, Public) {
        match self {
            Self::Storage => (OWNER, storage_template()),
            Self::Endorsement(kind) => (ENDORSEMENT, kind.template()),
        }
    }
}

/// A sealed secret: opens in one TPM only, and there only when its lock does.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBlob {
    pub(super) kind: ParentKind,
    /// Where the parent is persistent; 0 when it is made from the template each time.
    pub(super) parent_handle: u32,
    pub(super) parent: Public,
    pub(super) public: Public,
    pub(super) private: Vec<u8>,
    pub(super) lock: Lock,
    pub(super) with_auth_value: bool,
}

impl fmt::Debug for SealedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBlob")
            .field("parent", &self.parent.name())
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

impl SealedBlob {
    /// The longest encoding, in bytes.
    pub const MAX_SIZE: usize = 4096;

    /// A blob under `parent`, whose parts are known to fit.
    pub(super) fn new(
        kind: ParentKind,
        parent: &LoadedKey,
        (public, private): (Public, Vec<u8>),
        lock: Lock,
        with_auth_value: bool,
    ) -> Self {
        let parent_handle = if parent.is_persistent() { parent.handle } else { 0 };
        Self { kind, parent_handle, parent: parent.public.clone(), public, private, lock, with_auth_value }
    }

    /// The name of the key it is sealed under.
    #[must_use]
    pub fn parent_name(&self) -> Name {
        self.parent.name()
    }

    /// Whether it came from a sibling and lies under the endorsement key.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.kind != ParentKind::Storage
    }

    /// What opens it.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Whether it also needs the value that was given when it was sealed.
    #[must_use]
    pub fn needs_auth_value(&self) -> bool {
        self.with_auth_value
    }
}

impl Wire for SealedBlob {
    const WHAT: &'static str = "sealed secret";

    fn write(&self, writer: &mut Writer) {
        writer.raw(&MAGIC).u8(VERSION).u8(self.kind.id()).u32(self.parent_handle);
        writer.sized_structure(&self.parent).sized_structure(&self.public).sized(&self.private);
        writer.u8(self.with_auth_value.into()).structure(&self.lock);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.array()? != MAGIC {
            return Err(reader.malformed("it does not begin with CHTP"));
        }
        if reader.u8()? != VERSION {
            return Err(reader.malformed("its version is not 1"));
        }
        let kind = ParentKind::from_id(reader.u8()?)
            .ok_or_else(|| reader.malformed("the kind of its parent is unknown"))?;
        let parent_handle = reader.u32()?;
        if parent_handle != 0 && parent_handle >> 24 != 0x81 {
            return Err(reader.malformed("its parent's handle is not persistent"));
        }
        let parent = reader.sized_structure(Public::MAX_SIZE)?;
        let public: Public = reader.sized_structure(Public::MAX_SIZE)?;
        let private = reader.sized(MAX_PRIVATE)?.to_vec();
        let with_auth_value = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(reader.malformed("a yes-or-no is neither")),
        };
        let lock = Lock::read(reader)?;
        if public.auth_policy != lock.policy(with_auth_value) {
            return Err(reader.malformed("its policy is not that of its lock"));
        }
        Ok(Self { kind, parent_handle, parent, public, private, lock, with_auth_value })
    }
}

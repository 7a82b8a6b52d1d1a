//! The joiner's side: its steps, each of which may happen in another process, and the document that they end in.
//!
//! Invariant: nothing is written before every key that came is what it is said to be, somebody other than the sender has
//! said which one is right, and this host's TPM opens all of them in this boot state.

use std::path::PathBuf;

use chatelaine_crypto::KeyMaterial;
use chatelaine_tpm::attest::{Answered, Joiner, Refusal};
use chatelaine_tpm::codec::{Malformed, Reader, Wire as _, Writer};
use chatelaine_tpm::tpm::EndorsementKind;
use chatelaine_tpm::{Approval, Authority, Tpm};
use zeroize::Zeroizing;

use super::Endorsement;
use super::bundle::{Bundle, GrantedKey, confirmation};
use crate::custody::arriving::Arriving;
use crate::custody::key_check;
use crate::document::{KeyState, fingerprint, parse_fingerprint};
use crate::files::PrivateFile;
use crate::hosts::SERVER;
use crate::tpm::approvals::ApprovalFile;
use crate::tpm::{TpmSeal, opened, wrapped};
use crate::{Custody, KeyId, KeyIdentity, MasterKey, MasterKeys, Seal as _, SealError, Unsealed};

const MAGIC: [u8; 4] = *b"CHS\x01";
/// Largest state of a joiner, in bytes.
pub const MAX_STATE: usize = 24 * 1024;

/// Why a host does not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// One of the checks of the exchange.
    #[error(transparent)]
    Exchange(#[from] Refusal),
    /// The list of keys was changed on its way.
    #[error("the bundle is not from the host that made the challenge, or was altered")]
    NotVouched,
    /// A key is not what it is said to be.
    #[error("master key {0} is not the one it is said to be; nothing was kept")]
    OtherKey(KeyId),
    /// The keys are not those that are known here.
    #[error(
        "these are not the expected master keys: {0}; nothing was kept. Whoever sent them wants this host to use keys of \
         theirs, or the expectation is wrong"
    )]
    Unexpected(String),
    /// The keys are another cluster's.
    #[error("these are master keys of cluster {found}, and this host belongs to {own}; nothing was kept")]
    OtherCluster {
        /// Theirs.
        found: KeyId,
        /// This host's.
        own: KeyId,
    },
    /// Two keys cannot both be right.
    #[error(
        "master key {id} of epoch {epoch} is not the one that this host has of that id or epoch; nothing was kept. Was the \
         master key rotated on two servers at once?"
    )]
    Conflict {
        /// The key that came.
        id: KeyId,
        /// Its number.
        epoch: u32,
    },
    /// The sender knows less than this host.
    #[error(
        "the active master key there is of epoch {found}, and here of epoch {own}: keys are not taken back; nothing was kept"
    )]
    Older {
        /// Theirs.
        found: u32,
        /// This host's.
        own: u32,
    },
    /// Files, settings, the TPM of this host.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<Malformed> for JoinError {
    fn from(error: Malformed) -> Self {
        Self::Exchange(error.into())
    }
}

/// A host that has said hello.
#[derive(Debug)]
pub struct Said {
    kind: EndorsementKind,
    hello: Vec<u8>,
    joiner: Joiner,
}

impl Said {
    /// The first step.
    ///
    /// # Errors
    /// [`JoinError`]
    pub fn hello(tpm: &Tpm, Endorsement(kind): Endorsement) -> Result<Self, JoinError> {
        let (joiner, hello) = Joiner::hello(tpm, kind, 0)?;
        Ok(Self { kind, hello: hello.to_bytes(), joiner })
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.hello
    }

    /// What has to be kept until the challenge comes.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::secret();
        writer.raw(&MAGIC).u8(1).u32(self.kind.persistent()).sized(&self.hello);
        writer.into_secret()
    }

    /// Reads that.
    ///
    /// # Errors
    /// [`JoinError`] for anything else.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, JoinError> {
        let mut reader = begin(bytes, 1)?;
        let handle = reader.u32()?;
        let kind = EndorsementKind::ALL.into_iter().find(|kind| kind.persistent() == handle);
        let kind = kind.ok_or_else(|| reader.malformed("its kind of endorsement key is unknown"))?;
        let hello = reader.sized(MAX_STATE)?.to_vec();
        reader.end()?;
        Ok(Self { kind, joiner: Joiner::resume(kind, &hello)?, hello })
    }

    /// The second step; the message is for the holder.
    ///
    /// # Errors
    /// [`JoinError`]
    pub fn answer(self, tpm: &Tpm, challenge: &[u8]) -> Result<(Proven, Vec<u8>), JoinError> {
        let (answered, answer) = self.joiner.answer(tpm, challenge, &super::channel(SERVER))?;
        Ok((Proven { answered }, answer.to_bytes()))
    }
}

fn begin(bytes: &[u8], step: u8) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(bytes, "state of a joiner");
    if reader.array()? != MAGIC {
        return Err(reader.malformed("it is not one of version 1"));
    }
    if reader.u8()? != step {
        return Err(reader.malformed(if step == 1 {
            "it is of another step; the challenge was answered already"
        } else {
            "it is of another step; answer the challenge first"
        }));
    }
    Ok(reader)
}

/// A host that has answered and waits for the keys.
#[derive(Debug)]
pub struct Proven {
    pub(super) answered: Answered,
}

/// Who says which master keys are the right ones.
pub enum Known<'a> {
    /// A person: the active key's fingerprint, as `master-key status` of the holder shows it.
    Fingerprint(&'a str),
    /// Something that only the right keys fit, such as the store. It says what does not fit.
    By(&'a dyn Fn(&KeyId, &MasterKeys) -> Result<(), String>),
}

/// The master keys, checked.
#[derive(Debug)]
pub struct Joined {
    /// The servers that share them.
    pub cluster: KeyId,
    /// The keys.
    pub keys: MasterKeys,
    /// What to tell the sender when they are kept.
    pub confirmation: Vec<u8>,
    arrived: Vec<Arrived>,
}

/// What a key brings along.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) created: String,
    pub(crate) activated: Option<String>,
    pub(crate) state: KeyState,
    pub(crate) sealed: serde_json::Value,
    pub(crate) approval: Approval,
}

impl Proven {
    /// What has to be kept, secretly, until the keys come.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::secret();
        writer.raw(&MAGIC).u8(2).sized(&self.answered.to_secret_bytes());
        writer.into_secret()
    }

    /// Reads that.
    ///
    /// # Errors
    /// [`JoinError`] for anything else.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, JoinError> {
        let mut reader = begin(bytes, 2)?;
        let answered = Answered::from_secret_bytes(reader.sized(MAX_STATE)?)?;
        reader.end()?;
        Ok(Self { answered })
    }

    /// The last step: opens the keys in the TPM, and checks that they are the right ones. Nothing is written yet.
    ///
    /// # Errors
    /// [`JoinError`]
    pub fn receive(&self, seal: &TpmSeal, bundle: &[u8], known: &Known<'_>) -> Result<Joined, JoinError> {
        let bundle = Bundle::parse(bundle)?;
        if !self.answered.is_vouched(&bundle.body(), &bundle.proof) {
            return Err(JoinError::NotVouched);
        }
        // Before the TPM works for it.
        if let (Known::Fingerprint(expected), Some(active)) = (known, bundle.keys.first()) {
            let expected = parse_fingerprint(expected)?;
            let found = fingerprint(&active.check);
            if expected != found {
                return Err(JoinError::Unexpected(format!(
                    "the active one has the fingerprint {found}, not {expected}"
                )));
            }
        }
        let authority = seal.authority()?;
        let (mut keys, mut arrived) = (Vec::new(), Vec::new());
        for granted in &bundle.keys {
            let (key, one) = self.open(seal.tpm(), &bundle.cluster, granted, &authority)?;
            keys.push(key);
            arrived.push(one);
        }
        let mut keys = keys.into_iter();
        let active = keys.next().ok_or(JoinError::NotVouched)?;
        if !bundle.is_by(&active.id, &active.material)? {
            return Err(JoinError::OtherKey(active.id));
        }
        let has_staged = bundle.keys.get(1).is_some_and(|key| key.state == KeyState::Staged);
        let staged = if has_staged { keys.next() } else { None };
        let keys = MasterKeys { active, staged, retired: keys.collect() };
        let newest = keys.staged.as_ref().unwrap_or(&keys.active);
        let confirmation = confirmation(&newest.material, &bundle.proof)?.to_vec();
        if let Known::By(check) = known {
            check(&bundle.cluster, &keys).map_err(JoinError::Unexpected)?;
        }
        Ok(Joined { cluster: bundle.cluster, keys, confirmation, arrived })
    }

    pub(super) fn open(
        &self,
        tpm: &Tpm,
        cluster: &KeyId,
        granted: &GrantedKey,
        authority: &Authority,
    ) -> Result<(MasterKey, Arrived), JoinError> {
        let identity = KeyIdentity { cluster, id: &granted.id, epoch: granted.epoch };
        let reference = identity.policy_reference();
        let is_ours = |found: &[u8]| found == reference.as_bytes();
        let received = self.answered.receive(tpm, &granted.grant, authority, is_ours)?;
        let payload = KeyMaterial::copy_from(&received.secret);
        let material = opened(&payload, &identity).map_err(|_| JoinError::OtherKey(granted.id.clone()))?;
        if !key_check(&material, &identity, &granted.check)? {
            return Err(JoinError::OtherKey(granted.id.clone()));
        }
        let key = MasterKey { id: granted.id.clone(), epoch: granted.epoch, material };
        let arrived = Arrived {
            created: granted.created.clone(),
            activated: granted.activated.clone(),
            state: granted.state,
            sealed: wrapped(&received.sealed),
            approval: received.approval,
        };
        Ok((key, arrived))
    }
}

/// Where a joiner keeps what it has to remember between its steps: a private file.
#[derive(Debug, Clone)]
pub struct StateFile(PrivateFile);

impl StateFile {
    /// At this path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(PrivateFile::new(path, "state of a joining host", MAX_STATE))
    }

    /// Keeps a state in place of a former one.
    ///
    /// # Errors
    /// Those of private files.
    pub fn keep(&self, state: &[u8]) -> Result<(), SealError> {
        self.0.replace(state)
    }

    /// What was kept.
    ///
    /// # Errors
    /// [`SealError::Missing`] where nothing was; those of private files.
    pub fn kept(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.0.read()
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`SealError::Io`].
    pub fn forget(&self) -> Result<(), SealError> {
        std::fs::remove_file(self.0.path()).map_err(SealError::io("cannot remove", self.0.path()))
    }
}

/// Installs the approval that came along with a key.
pub(super) fn install(
    approval: &Approval,
    identity: &KeyIdentity<'_>,
    seal: &TpmSeal,
    now: &str,
) -> Result<(), SealError> {
    let state = seal.boot_state(identity)?;
    let shown = approval.selection().to_string();
    if state.registers != shown {
        return Err(SealError::Invalid {
            what: "seal.tpm.registers",
            problem: format!(
                "this host is set to {}, the server that has the keys to {shown}; set both to the same",
                state.registers
            ),
        });
    }
    let note = "came with the master key".to_owned();
    let file = ApprovalFile { state, note, approved: now.to_owned(), approval: approval.to_bytes() };
    file.check(&seal.authority()?)?;
    seal.approvals().install(&file).map(drop)
}

/// What came, for the document. Where the TPM seal has a file besides, it is sealed anew.
pub(super) fn arriving(arrived: Arrived, seal: &TpmSeal) -> Arriving {
    let as_it_came = !seal.has_file();
    Arriving {
        created: arrived.created,
        activated: arrived.activated,
        state: arrived.state,
        sealed: as_it_came.then(|| (seal.kind(), seal.name(), arrived.sealed)),
    }
}

impl Custody {
    /// Begins a document with the keys of a sibling, sealed as they came by this host's TPM, and by the other configured
    /// seals. Installs the approvals that came along. Where the TPM seal has a file besides, the keys are sealed anew with it.
    ///
    /// # Errors
    /// [`SealError::Exists`] where there is a document already; [`SealError::Invalid`] where the TPM seal is not among the
    /// configured ones; those of the seals.
    pub fn take_over(&self, joined: Joined, seal: &TpmSeal, now: &str) -> Result<Unsealed, SealError> {
        self.refuse_existing()?;
        for (key, arrived) in joined.keys.iter().zip(&joined.arrived) {
            install(&arrived.approval, &key.identity(&joined.cluster), seal, now)?;
        }
        let arriving = joined.arrived.into_iter().map(|arrived| arriving(arrived, seal)).collect();
        self.establish_all(joined.cluster, joined.keys, arriving, seal, now)
    }
}

//! Sealing a secret to this TPM and its boot, and opening it again.
//!
//! Invariants: the secret crosses the bus only encrypted under a session whose salt only the pinned parent can read; what
//! opens it is the TPM's own comparison of its registers. Refuses: approvals that the blob's authority did not sign.

use zeroize::Zeroizing;

use super::Tpm;
use super::blob::{Lock, ParentKind, SealedBlob};
use super::connection::{Connection, missing_handle};
use super::keys::LoadedKey;
use crate::approval::{Approval, Authority};
use crate::command::{self, Handle, SessionKind};
use crate::error::TpmError;
use crate::session::{Authorization, Session, Use};
use crate::software::policy;
use crate::types::{
    Attributes, AuthValue, HashAlgorithm, KeyParameters, Name, PcrSelection, PcrValues, Public, Sensitive,
};

/// What data that this TPM sealed looks like: it opens by its policy alone and never leaves.
const SEALED: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::ADMIN_WITH_POLICY)
    .with(Attributes::NO_DICTIONARY_ATTACK);

impl Tpm {
    /// Seals a secret of 1 to 128 bytes. With `auth_value`, opening needs that value, too.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when the secret's length is wrong; those of [`Connection::run`].
    pub fn seal(
        &self,
        secret: &[u8],
        lock: &Lock,
        auth_value: Option<&AuthValue>,
    ) -> Result<SealedBlob, TpmError> {
        if secret.is_empty() || secret.len() > Sensitive::MAX_DATA {
            return Err(TpmError::invalid("secret to be sealed", "its length is not in 1 to 128 bytes"));
        }
        if auth_value.is_some_and(AuthValue::is_empty) {
            return Err(TpmError::invalid("authorization value", "it is empty or zeros only"));
        }
        self.operation(|connection| {
            let parent = connection.storage_root()?;
            let template = Public {
                name_algorithm: HashAlgorithm::Sha256,
                attributes: SEALED,
                auth_policy: lock.policy(auth_value.is_some()),
                parameters: KeyParameters::KeyedHash { unique: Vec::new() },
            };
            let none = AuthValue::default();
            let own = auth_value.unwrap_or(&none);
            let mut session = connection.start_session(SessionKind::Hmac, Some(parent.salt()))?;
            let command = command::create_sealed(&parent.handle(), own, secret, &template);
            let usage = Use::LAST.decrypting().encrypting();
            let answer =
                connection.run(&command, &mut [Authorization::Session(&mut session, &none, usage)])?;
            let created = command::created(&answer.parameters)?;
            if !created.public.same_template(&template) {
                return Err(TpmError::Tampered {
                    command: command.name,
                    problem: "it is about another object",
                });
            }
            let parts = (created.public, created.private);
            Ok(SealedBlob::new(ParentKind::Storage, &parent, parts, lock.clone(), auth_value.is_some()))
        })
    }

    /// Opens a sealed secret. With one approval for the blob's authority and reference, that one is tried; with several,
    /// the registers are read to find the one that fits.
    ///
    /// # Errors
    /// [`TpmError::BootNotApproved`] carries the boot state that nobody approved; [`TpmError::NoApproval`] when none was
    /// given for this blob; [`TpmError::WrongParent`] when this is not the TPM, or it was cleared; those of
    /// [`Connection::run`].
    pub fn unseal(
        &self,
        blob: &SealedBlob,
        approvals: &[Approval],
        auth_value: Option<&AuthValue>,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let none = AuthValue::default();
        let auth = match (blob.with_auth_value, auth_value) {
            (true, None) => {
                return Err(TpmError::invalid(
                    "authorization value",
                    "this secret was sealed with one: give it",
                ));
            }
            (true, Some(auth)) => auth,
            (false, _) => &none,
        };
        self.operation(|connection| {
            let approval = connection.choose_approval(&blob.lock, approvals)?;
            let (object, mut session) = connection.load_blob(blob)?;
            let secret = connection.open_sealed(
                &object,
                &mut session,
                &blob.lock,
                approval,
                blob.with_auth_value.then_some(auth),
            )?;
            connection.flush(object.value)?;
            Ok(secret)
        })
    }
}

impl Connection<'_> {
    /// The approval to open with; none where the lock needs none.
    fn choose_approval<'a>(
        &mut self,
        lock: &Lock,
        approvals: &'a [Approval],
    ) -> Result<Option<&'a Approval>, TpmError> {
        let Lock::Approved { authority, reference } = lock else { return Ok(None) };
        let fitting: Vec<&Approval> = approvals
            .iter()
            .filter(|approval| approval.reference() == reference && approval.is_signed_by(authority))
            .collect();
        let first = *fitting.first().ok_or(TpmError::NoApproval { given: approvals.len() })?;
        if fitting.len() == 1 {
            return Ok(Some(first));
        }
        let mut read: Vec<PcrValues> = Vec::new();
        for approval in fitting {
            let known = read.iter().position(|values| values.selection() == approval.selection());
            let place = match known {
                Some(place) => place,
                None => {
                    read.push(self.pcr_read(&approval.selection())?);
                    read.len() - 1
                }
            };
            if read.get(place).is_some_and(|values| values.policy_digest() == approval.digest()) {
                return Ok(Some(approval));
            }
        }
        let state = self.pcr_read(&first.selection())?;
        Err(TpmError::BootNotApproved(Box::new(state)))
    }

    /// Loads the object and starts the session that will open it.
    fn load_blob(&mut self, blob: &SealedBlob) -> Result<(Handle, Session), TpmError> {
        if blob.parent_handle == 0 {
            return self.load_under_template(blob, None);
        }
        let parent = LoadedKey { handle: blob.parent_handle, public: blob.parent.clone() };
        let refused = match self.load_under(blob, &parent) {
            Err(error @ (TpmError::Response { .. } | TpmError::Tampered { .. })) => error,
            other => return other,
        };
        // The reason may be that something else is at the parent's place.
        match self.persistent(blob.parent_handle)? {
            Some(found) if found.name() == blob.parent.name() => Err(refused),
            found => self.load_under_template(blob, found.map(|key| key.name())),
        }
    }

    fn load_under_template(
        &mut self,
        blob: &SealedBlob,
        instead: Option<Name>,
    ) -> Result<(Handle, Session), TpmError> {
        let (hierarchy, template) = blob.kind.template();
        let parent = self.create_primary(hierarchy, &template, None)?;
        if parent.public != blob.parent {
            let found = instead.unwrap_or_else(|| parent.name());
            return Err(TpmError::WrongParent { expected: blob.parent.name(), found });
        }
        let loaded = self.load_under(blob, &parent)?;
        self.flush(parent.handle)?;
        Ok(loaded)
    }

    fn load_under(&mut self, blob: &SealedBlob, parent: &LoadedKey) -> Result<(Handle, Session), TpmError> {
        let mut session = self.start_session(SessionKind::Policy, Some(parent.salt()))?;
        let command = command::load(&parent.handle(), &blob.private, &blob.public);
        let object = self.run_with_parent(&command, parent, &mut session, &blob.public)?;
        Ok((object, session))
    }

    /// Loads an object under a parent, whatever opens that one.
    pub(super) fn run_with_parent(
        &mut self,
        command: &command::Command,
        parent: &LoadedKey,
        session: &mut Session,
        public: &Public,
    ) -> Result<Handle, TpmError> {
        let answer = self.run_as_endorsement_key(command, parent, session)?;
        let name = public.name();
        if command::name_answer(&answer.parameters)? != name.as_bytes() {
            return Err(TpmError::Tampered { command: command.name, problem: "it is about another object" });
        }
        Ok(Handle::object(answer.handle.ok_or_else(|| missing_handle(command.name))?, name))
    }

    /// Satisfies the lock and unseals. The session ends with it.
    pub(super) fn open_sealed(
        &mut self,
        object: &Handle,
        session: &mut Session,
        lock: &Lock,
        approval: Option<&Approval>,
        auth_value: Option<&AuthValue>,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let selection = match (lock, approval) {
            (Lock::Registers { selection, .. }, _) => *selection,
            (Lock::Approved { authority, reference }, Some(approval)) => {
                self.satisfy_approval(session, authority, reference, approval)?;
                approval.selection()
            }
            (Lock::Approved { .. }, None) => return Err(TpmError::NoApproval { given: 0 }),
        };
        if let Lock::Registers { .. } = lock {
            self.run(&command::policy_pcr(session.handle(), &selection), &mut [])?;
        }
        if auth_value.is_some() {
            self.run(&command::policy_auth_value(session.handle()), &mut [])?;
            session.prove_auth_value();
        }
        let none = AuthValue::default();
        let usage = Use::LAST.encrypting();
        let command = command::unseal(object);
        let authorization = Authorization::Session(session, auth_value.unwrap_or(&none), usage);
        match self.run(&command, &mut [authorization]) {
            Ok(answer) => Ok(command::sized_answer(&answer.parameters)?),
            Err(error) if error.code().is_some_and(|code| code.is_policy_failure()) => {
                self.not_approved(lock, &selection, error)
            }
            Err(error) => Err(error),
        }
    }

    /// `PolicyPCR` and `PolicyAuthorize` with a ticket for the approval.
    fn satisfy_approval(
        &mut self,
        session: &Session,
        authority: &Authority,
        reference: &[u8],
        approval: &Approval,
    ) -> Result<(), TpmError> {
        let command = command::load_external(authority.public());
        let answer = self.run(&command, &mut [])?;
        let key =
            Handle::object(answer.handle.ok_or_else(|| missing_handle(command.name))?, authority.name());
        let digest = policy::approval_digest(approval.digest(), reference);
        let answer = self.run(&command::verify_signature(&key, &digest, approval.signature()), &mut [])?;
        let ticket = command::ticket(&answer.parameters)?;
        self.flush(key.value)?;
        self.run(&command::policy_pcr(session.handle(), &approval.selection()), &mut [])?;
        let command = command::policy_authorize(
            session.handle(),
            approval.digest(),
            reference,
            &authority.name(),
            &ticket,
        );
        match self.run(&command, &mut []) {
            Err(error) if error.code().is_some_and(|code| code.is_value()) => {
                let state = self.pcr_read(&approval.selection())?;
                Err(TpmError::BootNotApproved(Box::new(state)))
            }
            other => other.map(drop),
        }
    }

    /// The boot state, if that is why the policy failed.
    fn not_approved<T>(
        &mut self,
        lock: &Lock,
        selection: &PcrSelection,
        error: TpmError,
    ) -> Result<T, TpmError> {
        let state = self.pcr_read(selection)?;
        match lock {
            Lock::Registers { digest, .. } if state.digest() != *digest => {
                Err(TpmError::BootNotApproved(Box::new(state)))
            }
            _ => Err(error),
        }
    }
}

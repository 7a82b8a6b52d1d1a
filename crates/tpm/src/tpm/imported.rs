//! Objects that a sibling made for this TPM's endorsement key.

use zeroize::Zeroizing;

use super::blob::{Lock, ParentKind, SealedBlob};
use super::connection::Connection;
use super::keys::LoadedKey;
use super::{EndorsementKind, Tpm};
use crate::approval::Approval;
use crate::command::{self, Command, ENDORSEMENT, Handle, SessionKind};
use crate::error::TpmError;
use crate::session::{Answer, Authorization, Session, Use};
use crate::software::import::ImportBlob;
use crate::types::{Attributes, AuthValue};

impl Connection<'_> {
    /// Runs a command that a storage key authorizes. Keys whose value opens them have none; the others are endorsement keys
    /// of the low range, whose policy is the endorsement hierarchy's value (TCG EK Credential Profile, B.6.2). The session
    /// goes on, ready for the next policy.
    pub(super) fn run_as_endorsement_key(
        &mut self,
        command: &Command,
        key: &LoadedKey,
        session: &mut Session,
    ) -> Result<Answer, TpmError> {
        let none = AuthValue::default();
        if key.public.attributes.has(Attributes::USER_WITH_AUTH) {
            return self.run(command, &mut [Authorization::Password(&none)]);
        }
        self.authorize_endorsement(key, session)?;
        self.run(command, &mut [Authorization::Session(session, &none, Use::CONTINUE)])
    }

    /// `TPM2_PolicySecret` of the endorsement hierarchy for a session.
    pub(super) fn authorize_endorsement(
        &mut self,
        key: &LoadedKey,
        session: &Session,
    ) -> Result<(), TpmError> {
        let command = command::policy_secret(&Handle::permanent(ENDORSEMENT), session.handle());
        self.run_with_hierarchy(&command, ENDORSEMENT, Some(key), &mut []).map(drop)
    }
}

impl Tpm {
    /// Imports what a sibling made for this TPM's endorsement key and opens it; also what later starts open without that
    /// sibling.
    ///
    /// # Errors
    /// [`TpmError::BootNotApproved`] when the approval is for another boot state; [`TpmError::Response`] when the object was
    /// made for another TPM or altered; [`TpmError::NoApproval`], [`TpmError::Invalid`] when the parts do not fit.
    pub fn import(
        &self,
        kind: EndorsementKind,
        blob: &ImportBlob,
        lock: &Lock,
        approval: Option<&Approval>,
    ) -> Result<(Zeroizing<Vec<u8>>, SealedBlob), TpmError> {
        if blob.public.auth_policy != lock.policy(false) {
            return Err(TpmError::invalid("object from a sibling", "its policy is not that of its lock"));
        }
        if let (Lock::Approved { authority, reference }, Some(approval)) = (lock, approval)
            && !(approval.reference() == reference && approval.is_signed_by(authority))
        {
            return Err(TpmError::NoApproval { given: 1 });
        }
        self.operation(|connection| {
            let parent = connection.endorsement_key(kind)?;
            let mut session = connection.start_session(SessionKind::Policy, Some(parent.salt()))?;
            let command = command::import(&parent.handle(), blob);
            let answer = connection.run_as_endorsement_key(&command, &parent, &mut session)?;
            let private = command::sized_answer(&answer.parameters)?.to_vec();
            let command = command::load(&parent.handle(), &private, &blob.public);
            let object = connection.run_with_parent(&command, &parent, &mut session, &blob.public)?;
            let stored = {
                let kind = ParentKind::Endorsement(kind);
                SealedBlob::new(kind, &parent, (blob.public.clone(), private), lock.clone(), false)
            };
            connection.release(&parent)?;
            let secret = connection.open_sealed(&object, &mut session, lock, approval, None)?;
            connection.flush(object.value)?;
            Ok((secret, stored))
        })
    }
}

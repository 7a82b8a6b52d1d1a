//! What a TPM proves: its registers, and that two keys live in it.

use zeroize::Zeroizing;

use super::connection::Connection;
use super::keys::LoadedKey;
use crate::command::{self, QuoteAnswer, SessionKind};
use crate::error::TpmError;
use crate::session::{Authorization, Use};
use crate::software::credential::Credential;
use crate::types::{Attributes, AuthValue, PcrSelection};

impl Connection<'_> {
    /// A quote of the registers with `extra_data`, of at most 64 bytes, signed along.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn quote(
        &mut self,
        key: &LoadedKey,
        extra_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<QuoteAnswer, TpmError> {
        let none = AuthValue::default();
        let command = command::quote_registers(&key.handle(), extra_data, selection);
        let answer = self.run(&command, &mut [Authorization::Password(&none)])?;
        Ok(command::quote(&answer.parameters)?)
    }

    /// The secret in a credential for these two keys. It crosses the bus encrypted.
    ///
    /// # Errors
    /// [`TpmError::Response`] when the credential is for other keys: `TPM_RC_INTEGRITY`, and of older software TPMs
    /// `TPM_RC_FAILURE`; others of [`Connection::run`].
    pub fn activate_credential(
        &mut self,
        attestation: &LoadedKey,
        endorsement: &LoadedKey,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let none = AuthValue::default();
        let by_value = endorsement.public.attributes.has(Attributes::USER_WITH_AUTH);
        let kind = if by_value { SessionKind::Hmac } else { SessionKind::Policy };
        let mut session = self.start_session(kind, Some(endorsement.salt()))?;
        if !by_value {
            self.authorize_endorsement(endorsement, &session)?;
        }
        let command = command::activate_credential(&attestation.handle(), &endorsement.handle(), credential);
        let mut authorizations = [
            Authorization::Password(&none),
            Authorization::Session(&mut session, &none, Use::LAST.encrypting()),
        ];
        let answer = self.run(&command, &mut authorizations)?;
        Ok(command::sized_answer(&answer.parameters)?)
    }
}

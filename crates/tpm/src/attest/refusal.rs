//! Every reason not to hand out, or not to accept, a master key.

use crate::codec::Malformed;
use crate::error::TpmError;
use crate::software::certificate::CertificateRefusal;
use crate::software::verify::UnfitKey;
use crate::types::{Name, hex};

use super::holder::BootState;

/// Why an exchange ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A message does not follow the format, or is too long.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nobody enrolled the host.
    #[error("the endorsement key {0} is not enrolled; enrol it if this host is yours")]
    NotEnrolled(Name),
    /// The host is enrolled with a certificate and has none.
    #[error(
        "the host presented no endorsement certificate; enrol it by its key's name alone if its TPM has none"
    )]
    CertificateMissing,
    /// The certificate does not vouch for the endorsement key.
    #[error("the endorsement certificate is refused: {0}")]
    Certificate(#[from] CertificateRefusal),
    /// The endorsement key is none.
    #[error("the endorsement key is refused: {0}")]
    EndorsementKey(UnfitKey),
    /// The attestation key is none.
    #[error("the attestation key is refused: {0}")]
    AttestationKey(UnfitKey),
    /// The joiner does not know the credential's secret.
    #[error(
        "the proof is wrong: endorsement and attestation key are not in one TPM, or the answer was altered"
    )]
    Proof,
    /// The attestation key did not sign the quote.
    #[error("the attestation key did not sign the quote")]
    Signature,
    /// The quote is of another exchange.
    #[error("the quote is of another exchange: replayed, or the messages were altered")]
    OtherExchange,
    /// The quote is of other registers than asked for.
    #[error("the quote is of other registers than asked for")]
    OtherRegisters,
    /// The values are not those that were quoted.
    #[error("the values of the registers are not those that the TPM signed")]
    ValuesDiffer,
    /// Nothing measured the boot.
    #[error("the boot was not measured: {0}")]
    Unmeasured(TpmError),
    /// Nobody approved the boot state.
    #[error("the boot state is not approved: {} (policy digest {})", .0.values, hex(&.0.values.policy_digest()))]
    BootNotApproved(Box<BootState>),
    /// The grant was not made by who made the challenge, or altered.
    #[error("the grant is not from the host that made the challenge, or was altered")]
    GrantProof,
    /// The grant names another release authority than this host trusts.
    #[error("the grant's release authority {0} is not the one this host trusts")]
    OtherAuthority(Name),
    /// The grant is for another cluster or epoch.
    #[error("the grant is for another cluster or epoch")]
    OtherReference,
    /// The grant's approval is not the authority's, or not for its reference.
    #[error("the grant's approval is not by the release authority, or is for another cluster or epoch")]
    Approval,
    /// What was granted is not sealed as it says.
    #[error("what was granted does not open by the policy it names")]
    Policy,
    /// The TPM of this host failed or refused.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

//! The one error type of this crate. Invariant: no variant carries secret bytes.

use crate::codec::Malformed;
use crate::response_code::ResponseCode;
use crate::transport::TransportError;
use crate::types::{Name, PcrValues};

/// Why something with a TPM was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Bytes that should follow the TPM's format do not.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No TPM could be reached, or it did not answer in time, or what it sent is no answer.
    #[error("the TPM at {address}: {source}")]
    Transport {
        /// Where the TPM was sought.
        address: String,
        /// What went wrong.
        source: TransportError,
    },
    /// The TPM refused a command.
    #[error("the TPM refused {command}: {code}")]
    Response {
        /// The command's name in the standard, for example `TPM2_Load`.
        command: &'static str,
        /// The TPM's answer.
        code: ResponseCode,
    },
    /// An answer is not what this TPM can have said: somebody changed it on its way, or another TPM answers.
    #[error("the answer to {command} cannot be believed: {problem}")]
    Tampered {
        /// The command's name in the standard.
        command: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key that the sealed object rests under is not in this TPM.
    #[error(
        "sealed under the key {expected}, but this TPM has {found}: another TPM, or one that was cleared; \
         receive the master key from a sibling or use the recovery key"
    )]
    WrongParent {
        /// The parent's name as sealed.
        expected: Name,
        /// What the TPM has in its place.
        found: Name,
    },
    /// Nobody approved the state this host has booted into.
    #[error("the boot state {} is not approved (policy digest {})", .0, crate::types::hex(&.0.policy_digest()))]
    BootNotApproved(Box<PcrValues>),
    /// No approval that was given is for what is to be opened.
    #[error(
        "none of {given} approvals is for this sealed secret: its reference (cluster and epoch) is another, or its \
         release authority did not sign them"
    )]
    NoApproval {
        /// How many were given.
        given: usize,
    },
    /// A selected register is all zeros or all ones: nothing measured the boot into it.
    #[error(
        "PCR {register} of the {bank} bank is all {value}: no measured boot; choose other registers or another bank"
    )]
    Unmeasured {
        /// The bank's name.
        bank: &'static str,
        /// The register.
        register: u8,
        /// `zeros` or `ones`.
        value: &'static str,
    },
    /// The TPM keeps no registers of that bank.
    #[error(
        "the TPM has no allocated {bank} bank; choose a bank that it has, or allocate this one in the firmware setup"
    )]
    BankMissing {
        /// The bank's name.
        bank: &'static str,
    },
    /// What the caller gave cannot be used.
    #[error("{what}: {problem}")]
    Invalid {
        /// Which input.
        what: &'static str,
        /// What is wrong and what is allowed.
        problem: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl TpmError {
    pub(crate) fn invalid(what: &'static str, problem: &'static str) -> Self {
        Self::Invalid { what, problem }
    }

    /// The TPM's code, where the TPM refused.
    #[must_use]
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Response { code, .. } => Some(*code),
            _ => None,
        }
    }
}

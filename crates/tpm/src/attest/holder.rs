//! The holder's side: whether a host is one of ours, in one TPM, and booted as approved; then the grant. Needs no TPM.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::messages::{Answer, Challenge, DIGEST, Grant, Hello, transcript, vouch};
use super::refusal::Refusal;
use crate::approval::{Approval, Authority};
use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::random;
use crate::software::certificate::Makers;
use crate::software::credential::make_credential;
use crate::software::import::seal_for;
use crate::software::verify::{check_attestation_key, check_endorsement_key, is_signed_by};
use crate::types::{Name, PcrSelection, PcrValues, Public, Quote};

/// How a host was enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// Its endorsement key's certificate is checked each time.
    WithCertificate,
    /// By its endorsement key's name alone: for TPMs without a certificate, or with one that breaks the rules.
    ByNameOnly,
}

/// What the holder remembers between challenge and answer. It is secret, for one use, and to be forgotten after a minute.
pub struct Pending {
    secret: Zeroizing<Vec<u8>>,
    transcript: Vec<u8>,
    selection: PcrSelection,
    endorsement: Public,
    attestation: Public,
    epoch: u32,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("host", &self.host())
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// The host, by its endorsement key's name.
    #[must_use]
    pub fn host(&self) -> Name {
        self.endorsement.name()
    }

    /// The epoch that is wanted; 0 is the active one.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Vouches for bytes that go along with grants, to the host that answers.
    #[must_use]
    pub fn vouch(&self, bytes: &[u8]) -> [u8; DIGEST] {
        vouch(&self.secret, &self.transcript, bytes)
    }

    /// The encoding, which is as secret as the state: to be kept encrypted, if outside of this process.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::secret();
        writer.sized(&self.secret).sized(&self.transcript).structure(&self.selection);
        writer.sized_structure(&self.endorsement).sized_structure(&self.attestation).u32(self.epoch);
        writer.into_secret()
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "pending challenge");
        let pending = Self {
            secret: Zeroizing::new(reader.sized(DIGEST)?.to_vec()),
            transcript: reader.sized(DIGEST)?.to_vec(),
            selection: PcrSelection::read(&mut reader)?,
            endorsement: reader.sized_structure(Public::MAX_SIZE)?,
            attestation: reader.sized_structure(Public::MAX_SIZE)?,
            epoch: reader.u32()?,
        };
        reader.end()?;
        if pending.secret.len() != DIGEST || pending.transcript.len() != DIGEST {
            return Err(reader.malformed("secret or transcript is missing"));
        }
        Ok(pending)
    }
}

/// Checks a hello and makes the challenge. `enrolled` tells how a key's name is enrolled, if it is; `now` is in seconds since
/// 1970; `channel` is what both sides know of the channel (a TLS exporter value), or empty.
///
/// # Errors
/// [`Refusal`], one for each check.
pub fn challenge(
    hello: &[u8],
    enrolled: impl FnOnce(&Name) -> Option<Enrolment>,
    makers: &Makers,
    now: u64,
    selection: PcrSelection,
    channel: &[u8],
) -> Result<(Challenge, Pending), Refusal> {
    if hello.len() > Hello::MAX_SIZE {
        return Err(Malformed { what: Hello::WHAT, problem: "it is longer than 20000 bytes" }.into());
    }
    let parsed = Hello::from_bytes(hello)?;
    let name = parsed.endorsement.name();
    let enrolment = enrolled(&name).ok_or(Refusal::NotEnrolled(name))?;
    if enrolment == Enrolment::WithCertificate {
        if parsed.certificate.is_empty() {
            return Err(Refusal::CertificateMissing);
        }
        makers.check(&parsed.certificate, &parsed.chain, &parsed.endorsement, now)?;
    }
    check_endorsement_key(&parsed.endorsement).map_err(Refusal::EndorsementKey)?;
    check_attestation_key(&parsed.attestation).map_err(Refusal::AttestationKey)?;

    let secret = random::bytes(DIGEST)?;
    let credential = make_credential(&parsed.endorsement, &parsed.attestation.name(), &secret)?;
    let mut nonce = [0; DIGEST];
    nonce.copy_from_slice(&random::bytes(DIGEST)?);
    let challenge = Challenge { credential, nonce, selection };
    let pending = Pending {
        secret,
        transcript: transcript(hello, &challenge.to_bytes(), channel),
        selection,
        endorsement: parsed.endorsement,
        attestation: parsed.attestation,
        epoch: parsed.epoch,
    };
    Ok((challenge, pending))
}

/// How a host was booted, by its TPM's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    /// The registers.
    pub values: PcrValues,
    /// Starts of the TPM after loss of power.
    pub reset_count: u32,
    /// Resumptions since.
    pub restart_count: u32,
    /// The TPM's firmware.
    pub firmware_version: u64,
    /// Milliseconds the TPM has been powered.
    pub clock: u64,
    /// Whether that clock cannot have been set back by loss of power.
    pub clock_safe: bool,
}

/// A host that may have the master key. Only [`check_answer`] makes one, and it is for one grant.
#[derive(Debug)]
pub struct Admitted {
    pending: Pending,
    boot: BootState,
    authority: Authority,
    reference: Vec<u8>,
    approval: Approval,
}

/// Checks the answer to a challenge: that both keys are in one TPM, that this TPM signed the registers for this exchange, and
/// that the authority approved them for the reference.
///
/// # Errors
/// [`Refusal`], one for each check; [`Refusal::BootNotApproved`] carries all that an administrator needs to approve.
pub fn check_answer(
    pending: Pending,
    answer: &[u8],
    authority: &Authority,
    reference: &[u8],
    approvals: &[Approval],
) -> Result<Admitted, Refusal> {
    if answer.len() > Answer::MAX_SIZE {
        return Err(Malformed { what: Answer::WHAT, problem: "it is longer than 4096 bytes" }.into());
    }
    let answer = Answer::from_bytes(answer)?;
    let expected = answer.expected_proof(&pending.secret, &pending.transcript);
    if !bool::from(expected.ct_eq(&answer.proof)) {
        return Err(Refusal::Proof);
    }
    if !is_signed_by(&answer.quote, &answer.signature, &pending.attestation) {
        return Err(Refusal::Signature);
    }
    let quote = Quote::from_bytes(&answer.quote)?;
    if !bool::from(quote.extra_data.ct_eq(&pending.transcript)) {
        return Err(Refusal::OtherExchange);
    }
    if quote.selection != pending.selection || answer.values.selection() != pending.selection {
        return Err(Refusal::OtherRegisters);
    }
    if quote.digest != answer.values.digest() {
        return Err(Refusal::ValuesDiffer);
    }
    answer.values.require_measured().map_err(Refusal::Unmeasured)?;
    let boot = BootState {
        values: answer.values,
        reset_count: quote.reset_count,
        restart_count: quote.restart_count,
        firmware_version: quote.firmware_version,
        clock: quote.clock,
        clock_safe: quote.safe,
    };
    match approvals.iter().find(|approval| approval.allows(&boot.values, authority, reference)) {
        Some(approval) => Ok(Admitted {
            pending,
            boot,
            authority: authority.clone(),
            reference: reference.to_vec(),
            approval: approval.clone(),
        }),
        None => Err(Refusal::BootNotApproved(Box::new(boot))),
    }
}

impl Admitted {
    /// The host, by its endorsement key's name.
    #[must_use]
    pub fn host(&self) -> Name {
        self.pending.host()
    }

    /// The epoch that is wanted; 0 is the active one.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.pending.epoch
    }

    /// How it was booted.
    #[must_use]
    pub fn boot(&self) -> &BootState {
        &self.boot
    }

    /// The approval that let it in.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Seals the master key to the host's TPM and to boot states that the authority approves.
    ///
    /// # Errors
    /// [`Refusal::Tpm`] when the secret is not of 1 to 128 bytes, or there are no random bytes.
    pub fn grant(self, secret: &[u8]) -> Result<Grant, Refusal> {
        let policy = self.authority.policy(&self.reference);
        let object = seal_for(&self.pending.endorsement, &policy, secret)?;
        let mut grant = Grant {
            object,
            authority: self.authority,
            reference: self.reference,
            approval: self.approval,
            proof: [0; DIGEST],
        };
        grant.proof = grant.expected_proof(&self.pending.secret, &self.pending.transcript);
        Ok(grant)
    }
}

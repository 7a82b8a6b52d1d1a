//! The joiner's side: three steps, each with the TPM for as long as it takes.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::messages::{Answer, Challenge, DIGEST, Grant, Hello, transcript, vouch};
use super::refusal::Refusal;
use crate::approval::Authority;
use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::error::TpmError;
use crate::random;
use crate::tpm::{Connection, EndorsementKind, LoadedKey, Lock, SealedBlob, Tpm};
use crate::types::{EcdsaSignature, Name, PcrSelection, PcrValues, Quote};

/// How often registers are quoted when they change between quote and reading.
const MAX_ROUNDS: u32 = 4;

/// A host that has said hello.
#[derive(Debug)]
pub struct Joiner {
    kind: EndorsementKind,
    endorsement: LoadedKey,
    attestation: Name,
    hello: Vec<u8>,
}

impl Joiner {
    /// The first step: gathers keys and certificates. `epoch` is the wanted one; 0 is the active one.
    ///
    /// # Errors
    /// [`Refusal::Tpm`]
    pub fn hello(tpm: &Tpm, kind: EndorsementKind, epoch: u32) -> Result<(Self, Hello), Refusal> {
        let mut nonce = [0; DIGEST];
        nonce.copy_from_slice(&random::bytes(DIGEST)?);
        let (endorsement, hello) = tpm.operation(|connection| {
            let endorsement = connection.endorsement_key(kind)?;
            let attestation = connection.attestation_key(Some(&endorsement))?;
            connection.release(&attestation)?;
            connection.release(&endorsement)?;
            let certificate = connection.endorsement_certificate(kind)?.unwrap_or_default();
            let chain = if certificate.is_empty() { Vec::new() } else { connection.endorsement_chain()? };
            let hello = Hello {
                endorsement: endorsement.public.clone(),
                certificate,
                chain,
                attestation: attestation.public,
                epoch,
                nonce,
            };
            Ok((endorsement, hello))
        })?;
        let joiner =
            Self { kind, endorsement, attestation: hello.attestation.name(), hello: hello.to_bytes() };
        Ok((joiner, hello))
    }

    /// The same host later, from what it said: for exchanges that outlive a process. The endorsement key is sought anew.
    ///
    /// # Errors
    /// [`Malformed`] for anything but a hello.
    pub fn resume(kind: EndorsementKind, hello: &[u8]) -> Result<Self, Malformed> {
        if hello.len() > Hello::MAX_SIZE {
            return Err(Malformed { what: Hello::WHAT, problem: "it is longer than 20000 bytes" });
        }
        let parsed = Hello::from_bytes(hello)?;
        let endorsement = LoadedKey { handle: 0, public: parsed.endorsement };
        Ok(Self { kind, endorsement, attestation: parsed.attestation.name(), hello: hello.to_vec() })
    }

    /// The second step: proves both keys and the boot. `channel` is as the holder has it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]; [`Refusal::Tpm`] when the challenge was not made for this TPM.
    pub fn answer(self, tpm: &Tpm, challenge: &[u8], channel: &[u8]) -> Result<(Answered, Answer), Refusal> {
        if challenge.len() > Challenge::MAX_SIZE {
            return Err(Malformed { what: Challenge::WHAT, problem: "it is longer than 1024 bytes" }.into());
        }
        let parsed = Challenge::from_bytes(challenge)?;
        let transcript = transcript(&self.hello, challenge, channel);
        let (secret, quote, signature, values) = tpm.operation(|connection| {
            let endorsement = self.endorsement_key(connection)?;
            let attestation = connection.attestation_key(Some(&endorsement))?;
            if attestation.name() != self.attestation {
                return Err(TpmError::Tampered {
                    command: "TPM2_CreatePrimary",
                    problem: "the attestation key is not the one of the hello; was the TPM cleared?",
                });
            }
            let secret = connection.activate_credential(&attestation, &endorsement, &parsed.credential)?;
            connection.release(&endorsement)?;
            let (quote, signature, values) = quote(connection, &attestation, &transcript, &parsed.selection)?;
            connection.release(&attestation)?;
            Ok((secret, quote, signature, values))
        })?;
        let mut answer = Answer { quote, signature, values, proof: [0; DIGEST] };
        answer.proof = answer.expected_proof(&secret, &transcript);
        Ok((Answered { kind: self.kind, secret, transcript }, answer))
    }

    /// The endorsement key of the hello; sessions salted to it fail if the TPM has another one now.
    fn endorsement_key(&self, connection: &mut Connection<'_>) -> Result<LoadedKey, TpmError> {
        if self.endorsement.is_persistent() {
            Ok(self.endorsement.clone())
        } else {
            connection.endorsement_key(self.kind)
        }
    }
}

/// A quote with the very values it is of.
fn quote(
    connection: &mut Connection<'_>,
    key: &LoadedKey,
    transcript: &[u8],
    selection: &PcrSelection,
) -> Result<(Vec<u8>, EcdsaSignature, PcrValues), TpmError> {
    for _ in 0..MAX_ROUNDS {
        let quoted = connection.quote(key, transcript, selection)?;
        let values = connection.pcr_read(selection)?;
        if Quote::from_bytes(&quoted.attest)?.digest == values.digest() {
            return Ok((quoted.attest, quoted.signature, values));
        }
    }
    Err(Malformed { what: "quote", problem: "the registers changed each time they were quoted" }.into())
}

/// A host that waits for the grant.
pub struct Answered {
    kind: EndorsementKind,
    secret: Zeroizing<Vec<u8>>,
    transcript: Vec<u8>,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a joiner gets. The key is to be compared with a known check value before its first use.
pub struct Received {
    /// The master key.
    pub secret: Zeroizing<Vec<u8>>,
    /// Opens the same key at later starts.
    pub sealed: SealedBlob,
    /// The approval of this host's boot state, needed for that.
    pub approval: crate::approval::Approval,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl Answered {
    /// The encoding, which is as secret as the state.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::secret();
        writer.u32(self.kind.persistent()).sized(&self.secret).sized(&self.transcript);
        writer.into_secret()
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "state of a joiner");
        let handle = reader.u32()?;
        let kind = EndorsementKind::ALL.into_iter().find(|kind| kind.persistent() == handle);
        let kind = kind.ok_or_else(|| reader.malformed("its kind of endorsement key is unknown"))?;
        let secret = Zeroizing::new(reader.sized(DIGEST)?.to_vec());
        let transcript = reader.sized(DIGEST)?.to_vec();
        reader.end()?;
        if secret.len() != DIGEST || transcript.len() != DIGEST {
            return Err(reader.malformed("secret or transcript is missing"));
        }
        Ok(Self { kind, secret, transcript })
    }

    /// Whether whoever made the challenge vouches for these bytes ([`super::Pending::vouch`]).
    #[must_use]
    pub fn is_vouched(&self, bytes: &[u8], proof: &[u8; DIGEST]) -> bool {
        vouch(&self.secret, &self.transcript, bytes).ct_eq(proof).into()
    }

    /// The last step: opens the grant in the TPM. `authority` is the release authority this host trusts; `is_ours` tells
    /// whether a reference (`chatelaine/<cluster id>/mk/<epoch>`) is the one that is wanted.
    ///
    /// # Errors
    /// [`Refusal`], one for each check; [`Refusal::Tpm`] when the TPM refuses, for example because the boot state is not the
    /// approved one any more.
    pub fn receive(
        &self,
        tpm: &Tpm,
        grant: &[u8],
        authority: &Authority,
        is_ours: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Received, Refusal> {
        if grant.len() > Grant::MAX_SIZE {
            return Err(Malformed { what: Grant::WHAT, problem: "it is longer than 4096 bytes" }.into());
        }
        let grant = Grant::from_bytes(grant)?;
        let expected = grant.expected_proof(&self.secret, &self.transcript);
        if !bool::from(expected.ct_eq(&grant.proof)) {
            return Err(Refusal::GrantProof);
        }
        if grant.authority != *authority {
            return Err(Refusal::OtherAuthority(grant.authority.name()));
        }
        if !is_ours(&grant.reference) {
            return Err(Refusal::OtherReference);
        }
        if grant.approval.reference() != grant.reference || !grant.approval.is_signed_by(authority) {
            return Err(Refusal::Approval);
        }
        let lock = Lock::approved(authority, &grant.reference)?;
        if grant.object.public.auth_policy != lock.policy(false) {
            return Err(Refusal::Policy);
        }
        let (secret, sealed) = tpm.import(self.kind, &grant.object, &lock, Some(&grant.approval))?;
        Ok(Received { secret, sealed, approval: grant.approval })
    }
}

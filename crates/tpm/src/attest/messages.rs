//! The four messages, and the transcript that ties them together.
//!
//! Invariant: each message has one encoding and a limit on every part. Refuses: messages of another version.

use crate::approval::{Approval, Authority};
use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::software::certificate::{MAX_CERTIFICATE, MAX_INTERMEDIATES};
use crate::software::credential::{Credential, MAX_BLOB};
use crate::software::exchange::MAX_ENCRYPTED;
use crate::software::import::{ImportBlob, MAX_DUPLICATE};
use crate::software::policy::MAX_REFERENCE;
use crate::types::{EcdsaSignature, HashAlgorithm, PcrSelection, PcrValues, Public, Quote};

/// What every message begins with; the last byte is the version.
const MAGIC: [u8; 4] = *b"CHJ\x01";
const HASH: HashAlgorithm = HashAlgorithm::Sha256;
/// Length of nonces and proofs.
pub const DIGEST: usize = 32;
const TRANSCRIPT: &[u8] = b"chatelaine-join-v1";

fn begin(writer: &mut Writer, kind: u8) -> &mut Writer {
    writer.raw(&MAGIC).u8(kind)
}

fn check_begin(reader: &mut Reader<'_>, kind: u8) -> Result<(), Malformed> {
    if reader.array()? != MAGIC {
        return Err(reader.malformed("it is not a message of version 1"));
    }
    if reader.u8()? != kind {
        return Err(reader.malformed("it is another message"));
    }
    Ok(())
}

/// The first message: who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The endorsement key.
    pub endorsement: Public,
    /// Its certificate in DER; empty where there is none.
    pub certificate: Vec<u8>,
    /// Certificates of issuers that the TPM holds, at most three.
    pub chain: Vec<Vec<u8>>,
    /// The attestation key.
    pub attestation: Public,
    /// The epoch of the master key that is wanted; 0 is the active one.
    pub epoch: u32,
    /// Never the same twice, so that nothing that was sent to this host earlier is an answer to it.
    pub nonce: [u8; DIGEST],
}

impl Hello {
    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 20_000;
}

impl Wire for Hello {
    const WHAT: &'static str = "hello";

    fn write(&self, writer: &mut Writer) {
        begin(writer, 1).sized_structure(&self.endorsement).sized(&self.certificate);
        writer.u8(u8::try_from(self.chain.len()).unwrap_or(u8::MAX));
        for certificate in &self.chain {
            writer.sized(certificate);
        }
        writer.sized_structure(&self.attestation).u32(self.epoch).raw(&self.nonce);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        check_begin(reader, 1)?;
        let endorsement = reader.sized_structure(Public::MAX_SIZE)?;
        let certificate = reader.sized(MAX_CERTIFICATE)?.to_vec();
        let count = usize::from(reader.u8()?);
        if count > MAX_INTERMEDIATES {
            return Err(reader.malformed("its chain has more than 3 certificates"));
        }
        let chain =
            (0..count).map(|_| Ok(reader.sized(MAX_CERTIFICATE)?.to_vec())).collect::<Result<_, _>>()?;
        let attestation = reader.sized_structure(Public::MAX_SIZE)?;
        let (epoch, nonce) = (reader.u32()?, reader.array()?);
        Ok(Self { endorsement, certificate, chain, attestation, epoch, nonce })
    }
}

/// The second message: prove that both keys are in one TPM, and how it was booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// A secret for the TPM with both keys.
    pub credential: Credential,
    /// Never the same twice.
    pub nonce: [u8; DIGEST],
    /// The registers to quote.
    pub selection: PcrSelection,
}

impl Challenge {
    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 1024;
}

impl Wire for Challenge {
    const WHAT: &'static str = "challenge";

    fn write(&self, writer: &mut Writer) {
        begin(writer, 2).sized(&self.credential.blob).sized(&self.credential.encrypted_seed);
        writer.raw(&self.nonce).structure(&self.selection);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        check_begin(reader, 2)?;
        let credential = Credential {
            blob: reader.sized(MAX_BLOB)?.to_vec(),
            encrypted_seed: reader.sized(MAX_ENCRYPTED)?.to_vec(),
        };
        Ok(Self { credential, nonce: reader.array()?, selection: PcrSelection::read(reader)? })
    }
}

/// The third message: the proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the TPM signed.
    pub quote: Vec<u8>,
    /// The signature of the attestation key over it.
    pub signature: EcdsaSignature,
    /// The registers.
    pub values: PcrValues,
    /// HMAC with the credential's secret over all the above and the transcript.
    pub proof: [u8; DIGEST],
}

impl Answer {
    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 4096;

    /// What the proof is over, besides the transcript.
    fn body(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        begin(&mut writer, 3).sized(&self.quote).structure(&self.signature).structure(&self.values);
        writer.into_vec()
    }

    /// What the proof has to be.
    pub(super) fn expected_proof(&self, secret: &[u8], transcript: &[u8]) -> [u8; DIGEST] {
        proof(secret, b"join", transcript, &self.body())
    }
}

/// The HMAC with the credential's secret over what it is for, the transcript and the message.
fn proof(secret: &[u8], label: &[u8], transcript: &[u8], body: &[u8]) -> [u8; DIGEST] {
    let mut proof = [0; DIGEST];
    proof
        .iter_mut()
        .zip(HASH.hmac(secret, &[label, transcript, body]).iter())
        .for_each(|(to, from)| *to = *from);
    proof
}

/// The proof for what goes along with grants, of which there may be several in one exchange.
pub(super) fn vouch(secret: &[u8], transcript: &[u8], bytes: &[u8]) -> [u8; DIGEST] {
    proof(secret, b"vouch", transcript, bytes)
}

impl Wire for Answer {
    const WHAT: &'static str = "answer";

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.body()).raw(&self.proof);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        check_begin(reader, 3)?;
        Ok(Self {
            quote: reader.sized(Quote::MAX_SIZE)?.to_vec(),
            signature: EcdsaSignature::read(reader)?,
            values: PcrValues::read(reader)?,
            proof: reader.array()?,
        })
    }
}

/// The last message: the master key, for one TPM and approved boots only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The sealed key.
    pub object: ImportBlob,
    /// Who approves boot states.
    pub authority: Authority,
    /// Cluster and epoch.
    pub reference: Vec<u8>,
    /// The approval of the boot state that was quoted.
    pub approval: Approval,
    /// HMAC with the credential's secret over all the above and the transcript.
    pub proof: [u8; DIGEST],
}

impl Grant {
    /// The longest, in bytes.
    pub const MAX_SIZE: usize = 4096;

    fn body(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        begin(&mut writer, 4).sized_structure(&self.object.public);
        writer.sized(&self.object.duplicate).sized(&self.object.encrypted_seed);
        writer.sized_structure(&self.authority).sized(&self.reference).sized_structure(&self.approval);
        writer.into_vec()
    }

    pub(super) fn expected_proof(&self, secret: &[u8], transcript: &[u8]) -> [u8; DIGEST] {
        proof(secret, b"grant", transcript, &self.body())
    }
}

impl Wire for Grant {
    const WHAT: &'static str = "grant";

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.body()).raw(&self.proof);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        check_begin(reader, 4)?;
        let object = ImportBlob {
            public: reader.sized_structure(Public::MAX_SIZE)?,
            duplicate: reader.sized(MAX_DUPLICATE)?.to_vec(),
            encrypted_seed: reader.sized(MAX_ENCRYPTED)?.to_vec(),
        };
        let authority = reader.sized_structure(Public::MAX_SIZE)?;
        let reference = reader.sized(MAX_REFERENCE)?.to_vec();
        if reference.is_empty() {
            return Err(reader.malformed("its reference is empty"));
        }
        let approval = reader.sized_structure(Approval::MAX_SIZE)?;
        Ok(Self { object, authority, reference, approval, proof: reader.array()? })
    }
}

/// What quote and proofs are bound to: both messages before them, and the channel they went through.
#[must_use]
pub fn transcript(hello: &[u8], challenge: &[u8], channel: &[u8]) -> Vec<u8> {
    let [hello, challenge, channel] = [hello, challenge, channel].map(|part| HASH.digest(&[part]));
    HASH.digest(&[TRANSCRIPT, &hello, &challenge, &channel])
}

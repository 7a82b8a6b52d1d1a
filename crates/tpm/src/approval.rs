//! Approvals: boot states that the release authority, which lives offline, allows to open master keys.
//!
//! Owns: the authority's key pair and public key, signing and checking of approvals.
//!
//! Invariant: an approval is for one reference (by convention `chatelaine/<cluster id>/mk/<epoch>`), which is signed along: none
//! is valid for another cluster or epoch. Refuses: keys other than P-256.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use zeroize::Zeroizing;

use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::error::TpmError;
use crate::software::policy::{self, MAX_REFERENCE};
use crate::software::verify::p256_signature;
use crate::types::{
    Attributes, Curve, EcdsaSignature, HashAlgorithm, KeyParameters, Name, PcrSelection, PcrValues, Public,
};

const HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// The authority's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    key: VerifyingKey,
    public: Public,
}

impl Authority {
    fn new(key: VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        let coordinate = |found: Option<&[u8]>| found.map(<[u8]>::to_vec).unwrap_or_default();
        let public = Public {
            name_algorithm: HASH,
            attributes: Attributes::SIGN.with(Attributes::USER_WITH_AUTH),
            auth_policy: Vec::new(),
            parameters: KeyParameters::Ecc {
                aes_bits: None,
                ecdsa: Some(HASH),
                curve: Curve::P256,
                x: coordinate(point.x().map(|x| x.as_ref())),
                y: coordinate(point.y().map(|y| y.as_ref())),
            },
        };
        Self { key, public }
    }

    /// The authority with that public area.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it is not what [`Authority::public`] gives for a P-256 key.
    pub fn from_public(public: &Public) -> Result<Self, TpmError> {
        let authority = crate::software::verify::p256_key(public).map(Self::new)?;
        if authority.public != *public {
            return Err(TpmError::invalid(
                "release authority",
                "its public area is not of the expected form",
            ));
        }
        Ok(authority)
    }

    /// The authority with that public key, in the 33 or 65 bytes of SEC 1.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it is no point of P-256.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, TpmError> {
        VerifyingKey::from_sec1_bytes(bytes)
            .map(Self::new)
            .map_err(|_| TpmError::invalid("release authority", "it is no public key of P-256"))
    }

    /// The public key in the 33 bytes of SEC 1's compressed form.
    #[must_use]
    pub fn to_sec1(&self) -> Vec<u8> {
        self.key.to_sec1_point(true).as_bytes().to_vec()
    }

    /// Reads the public key from SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it is not that, or of another curve.
    pub fn from_pem(pem: &str) -> Result<Self, TpmError> {
        VerifyingKey::from_public_key_pem(pem)
            .map(Self::new)
            .map_err(|_| TpmError::invalid("release authority", "it is no P-256 public key in PEM"))
    }

    /// The public key as SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it cannot be encoded.
    pub fn to_pem(&self) -> Result<String, TpmError> {
        self.key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| TpmError::invalid("release authority", "it cannot be written as PEM"))
    }

    /// The public area, as TPMs load it.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The name that policies refer to.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// The digest of the policy "a boot state that this authority approved for the reference".
    #[must_use]
    pub fn policy(&self, reference: &[u8]) -> Vec<u8> {
        policy::authorize(&self.name(), reference)
    }
}

impl Wire for Authority {
    const WHAT: &'static str = "release authority";

    fn write(&self, writer: &mut Writer) {
        writer.structure(&self.public);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let public = Public::read(reader)?;
        Self::from_public(&public).map_err(|_| reader.malformed("it is no public area of a P-256 authority"))
    }
}

/// The authority's key pair. It belongs on a machine that has nothing else.
pub struct ReleaseAuthority {
    key: SigningKey,
}

impl ReleaseAuthority {
    /// A new key pair.
    ///
    /// # Errors
    /// [`TpmError::Random`]
    pub fn generate() -> Result<Self, TpmError> {
        let key = SigningKey::try_generate_from_rng(&mut getrandom::SysRng).map_err(|_| TpmError::Random)?;
        Ok(Self { key })
    }

    /// Reads the private key from PKCS #8 in PEM.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it is not that, or of another curve.
    pub fn from_pem(pem: &str) -> Result<Self, TpmError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(|key| Self { key })
            .map_err(|_| TpmError::invalid("release authority", "it is no P-256 private key in PKCS #8 PEM"))
    }

    /// The private key in PKCS #8 PEM, not encrypted.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when it cannot be encoded.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, TpmError> {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| TpmError::invalid("release authority", "it cannot be written as PEM"))
    }

    /// The public key.
    #[must_use]
    pub fn authority(&self) -> Authority {
        Authority::new(*self.key.verifying_key())
    }

    /// Approves a boot state for the reference.
    ///
    /// # Errors
    /// [`TpmError::Unmeasured`] when a register holds no measurement, [`TpmError::Invalid`] when the reference is empty or
    /// longer than 64 bytes.
    pub fn approve(&self, state: &PcrValues, reference: &[u8]) -> Result<Approval, TpmError> {
        state.require_measured()?;
        if reference.is_empty() || reference.len() > MAX_REFERENCE {
            return Err(TpmError::invalid("reference of an approval", "its length is not in 1 to 64 bytes"));
        }
        let digest = state.policy_digest();
        let signed: Signature = self
            .key
            .sign_prehash(&policy::approval_digest(&digest, reference))
            .map_err(|_| TpmError::invalid("release authority", "it cannot sign"))?;
        let (r, s) = signed.split_bytes();
        Ok(Approval {
            selection: state.selection(),
            digest,
            reference: reference.to_vec(),
            signature: EcdsaSignature { hash: HASH, r: r.to_vec(), s: s.to_vec() },
        })
    }
}

/// A boot state that is allowed to open what is sealed for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    selection: PcrSelection,
    digest: Vec<u8>,
    reference: Vec<u8>,
    signature: EcdsaSignature,
}

impl Approval {
    /// The longest approval, in bytes.
    pub const MAX_SIZE: usize = 256;

    /// Which registers it speaks of.
    #[must_use]
    pub fn selection(&self) -> PcrSelection {
        self.selection
    }

    /// The policy digest of the approved values, [`PcrValues::policy_digest`].
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// What it is for.
    #[must_use]
    pub fn reference(&self) -> &[u8] {
        &self.reference
    }

    pub(crate) fn signature(&self) -> &EcdsaSignature {
        &self.signature
    }

    /// Whether the authority signed it.
    #[must_use]
    pub fn is_signed_by(&self, authority: &Authority) -> bool {
        let Some(signature) = p256_signature(&self.signature) else { return false };
        let digest = policy::approval_digest(&self.digest, &self.reference);
        authority.key.verify_prehash(&digest, &signature).is_ok()
    }

    /// Whether it allows this boot state for this reference, by the word of this authority.
    #[must_use]
    pub fn allows(&self, state: &PcrValues, authority: &Authority, reference: &[u8]) -> bool {
        self.selection == state.selection()
            && self.reference == reference
            && self.digest == state.policy_digest()
            && self.is_signed_by(authority)
    }
}

impl Wire for Approval {
    const WHAT: &'static str = "approval";

    fn write(&self, writer: &mut Writer) {
        writer
            .structure(&self.selection)
            .sized(&self.digest)
            .sized(&self.reference)
            .structure(&self.signature);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let selection = PcrSelection::read(reader)?;
        let digest = reader.sized(HASH.size())?.to_vec();
        let reference = reader.sized(MAX_REFERENCE)?.to_vec();
        if digest.len() != HASH.size() || reference.is_empty() {
            return Err(reader.malformed("digest or reference is missing"));
        }
        let signature = EcdsaSignature::read(reader)?;
        if signature.hash != HASH {
            return Err(reader.malformed("its signature is not of SHA-256"));
        }
        Ok(Self { selection, digest, reference, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(byte: u8) -> PcrValues {
        PcrValues::new("sha256:0,7".parse().unwrap(), vec![vec![byte; 32], vec![9; 32]]).unwrap()
    }

    #[test]
    fn an_approval_is_for_one_state_reference_and_authority() {
        let (signer, other) = (ReleaseAuthority::generate().unwrap(), ReleaseAuthority::generate().unwrap());
        let authority = signer.authority();
        let approval = signer.approve(&state(1), b"a/mk/1").unwrap();
        let read = Approval::from_bytes(&approval.to_bytes()).unwrap();
        assert_eq!(read, approval);
        assert!(approval.to_bytes().len() <= Approval::MAX_SIZE);
        assert!(read.allows(&state(1), &authority, b"a/mk/1"));
        assert!(!read.allows(&state(2), &authority, b"a/mk/1"));
        assert!(!read.allows(&state(1), &authority, b"a/mk/2"));
        assert!(!read.allows(&state(1), &other.authority(), b"a/mk/1"));
        // The reference is part of what is signed.
        let mut forged = approval.clone();
        forged.reference = b"a/mk/2".to_vec();
        assert!(!forged.allows(&state(1), &authority, b"a/mk/2"));
        let mut forged = approval;
        forged.digest = state(2).policy_digest();
        assert!(!forged.allows(&state(2), &authority, b"a/mk/1"));
    }

    #[test]
    fn what_nobody_measured_is_not_approved() {
        let signer = ReleaseAuthority::generate().unwrap();
        assert!(matches!(signer.approve(&state(0), b"r"), Err(TpmError::Unmeasured { register: 0, .. })));
        assert!(signer.approve(&state(1), &[]).is_err());
        assert!(signer.approve(&state(1), &[1; 65]).is_err());
    }

    #[test]
    fn keys_are_stored_and_read() {
        let signer = ReleaseAuthority::generate().unwrap();
        let again = ReleaseAuthority::from_pem(&signer.to_pem().unwrap()).unwrap();
        assert_eq!(again.authority(), signer.authority());
        assert_eq!(Authority::from_sec1(&signer.authority().to_sec1()).unwrap(), signer.authority());
        assert_eq!(Authority::from_bytes(&signer.authority().to_bytes()).unwrap(), signer.authority());
        assert!(ReleaseAuthority::from_pem("-----BEGIN PRIVATE KEY-----\n").is_err());
    }
}

//! Break-glass: master keys sealed for an offline recovery key, which opens them without any other seal.
//!
//! Every master key is encrypted by HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20Poly1305) for the public half of the recovery key. The server keeps only that half, so that new master keys
//! are recoverable without anybody fetching the other one. The private half exists on paper, whole or in shares of
//! which some threshold is needed ([`shares`]).
//!
//! Refuses: to open without the private half; keys and shares that were mistyped.

pub mod shares;
#[cfg(test)]
mod tests;

use bech32::{Bech32m, Hrp};
use chatelaine_crypto::{KeyMaterial, sha256};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{KeyIdentity, Seal, SealError, base64_bytes, parse_sealed};

/// The seal's kind in the document.
pub const KIND: &str = "recovery";
/// What the text of a recovery key begins with.
const KEY_PREFIX: &str = "chatelaine-recovery-";
/// The length of both halves of an X25519 key, in bytes (RFC 7748 section 5).
pub const KEY_LENGTH: usize = 32;

type PublicKey = <X25519HkdfSha256 as hpke::Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;

/// The public half of a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRecipient {
    /// The X25519 public key.
    #[serde(with = "base64_bytes")]
    pub public_key: Vec<u8>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// How many shares are needed; 1 where the key was not shared out.
    pub threshold: u8,
    /// How many shares there are.
    pub shares: u8,
}

impl RecoveryRecipient {
    /// A short name of the key: the first 8 bytes of SHA-256 over the public half, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public_key)
    }
}

fn fingerprint(public_key: &[u8]) -> String {
    let digest = sha256(&[b"chatelaine recovery key\0", public_key]);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The private half of a recovery key.
pub struct RecoveryKey {
    material: KeyMaterial,
}

impl RecoveryKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the system gives no random bytes.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self { material: KeyMaterial::random(KEY_LENGTH * 8)? })
    }

    /// A key of its 32 bytes.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for another length.
    pub fn from_material(material: KeyMaterial) -> Result<Self, SealError> {
        if material.len() == KEY_LENGTH {
            Ok(Self { material })
        } else {
            Err(invalid(format!("has {} bytes, must have {KEY_LENGTH}", material.len())))
        }
    }

    /// Reads the text that [`RecoveryKey::to_text`] gives; upper case and surrounding space do not matter.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for anything else, mistyped ones included.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        Self::from_material(decode(text, KEY_PREFIX, "recovery key")?)
    }

    /// The text for paper: Bech32m (BIP 350), which finds typing errors.
    ///
    /// # Errors
    /// [`SealError::Invalid`] never happens for keys of this length.
    pub fn to_text(&self) -> Result<Zeroizing<String>, SealError> {
        encode(self.material.expose(), KEY_PREFIX)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for bytes that are no key.
    pub fn recipient(
        &self,
        created: &str,
        threshold: u8,
        shares: u8,
    ) -> Result<RecoveryRecipient, SealError> {
        let public_key = X25519HkdfSha256::sk_to_pk(&self.private_key()?).to_bytes().to_vec();
        Ok(RecoveryRecipient { public_key, created: created.to_owned(), threshold, shares })
    }

    fn private_key(&self) -> Result<PrivateKey, SealError> {
        PrivateKey::from_bytes(self.material.expose()).map_err(|_| invalid("is not a key".to_owned()))
    }
}

fn invalid(problem: String) -> SealError {
    SealError::Invalid { what: "recovery key", problem }
}

/// Bech32m of secret bytes.
fn encode(bytes: &[u8], prefix: &str) -> Result<Zeroizing<String>, SealError> {
    let prefix = Hrp::parse(prefix).map_err(|error| invalid(error.to_string()))?;
    bech32::encode_lower::<Bech32m>(prefix, bytes)
        .map(Zeroizing::new)
        .map_err(|error| invalid(error.to_string()))
}

/// The bytes of a Bech32m text.
fn decode(text: &str, prefix: &str, what: &'static str) -> Result<KeyMaterial, SealError> {
    use bech32::primitives::decode::CheckedHrpstring;
    let invalid = |problem: &str| SealError::Invalid { what, problem: problem.to_owned() };
    let text = text.trim();
    // The library's words may repeat characters of the text.
    let checked = CheckedHrpstring::new::<Bech32m>(text)
        .map_err(|_| invalid("was mistyped or cut: its check does not fit"))?;
    if checked.hrp().to_lowercase() != prefix {
        return Err(SealError::Invalid { what, problem: format!("does not begin with {prefix}") });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    bytes.extend(checked.byte_iter());
    Ok(KeyMaterial::copy_from(&bytes))
}

/// Seals for a recovery key, and opens where its private half is at hand.
pub struct RecoverySeal {
    public_key: Vec<u8>,
    private: Option<RecoveryKey>,
}

/// What the document holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// The fingerprint of the recovery key.
    recovery_key: String,
    /// The sender's ephemeral public key.
    #[serde(with = "base64_bytes")]
    encapsulated: Vec<u8>,
    /// Ciphertext and tag.
    #[serde(with = "base64_bytes")]
    wrapped: Vec<u8>,
}

impl RecoverySeal {
    /// The seal that only closes.
    #[must_use]
    pub fn of_recipient(recipient: &RecoveryRecipient) -> Self {
        Self { public_key: recipient.public_key.clone(), private: None }
    }

    /// The seal that opens.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for bytes that are no key.
    pub fn of_key(key: RecoveryKey) -> Result<Self, SealError> {
        let public_key = key.recipient("", 1, 1)?.public_key;
        Ok(Self { public_key, private: Some(key) })
    }
}

impl Seal for RecoverySeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn describe(&self) -> String {
        format!("recovery key {}", fingerprint(&self.public_key))
    }

    fn prepare(&self) -> Result<(), SealError> {
        Ok(())
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        let public_key = PublicKey::from_bytes(&self.public_key).map_err(|_| SealError::Invalid {
            what: "recovery",
            problem: "the public key is none".to_owned(),
        })?;
        let (encapsulated, wrapped) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public_key,
                b"chatelaine recovery",
                key.expose(),
                &identity.associated_data(KIND),
            )
            .map_err(|error| SealError::Invalid { what: "recovery", problem: error.to_string() })?;
        Ok(serde_json::json!(Wrapped {
            recovery_key: fingerprint(&self.public_key),
            encapsulated: encapsulated.to_bytes().to_vec(),
            wrapped,
        }))
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        let sealed: Wrapped = parse_sealed(self, sealed)?;
        let refused = |problem: String, remedy: &str| SealError::Refused {
            place: self.describe(),
            problem,
            remedy: remedy.to_owned(),
        };
        let Some(private) = &self.private else {
            return Err(refused(
                "its private half is not here".to_owned(),
                "run `chatelaine master-key recover`",
            ));
        };
        if sealed.recovery_key != fingerprint(&self.public_key) {
            return Err(refused(
                format!("the master key is sealed for recovery key {}", sealed.recovery_key),
                "fetch that one",
            ));
        }
        let encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated)
            .map_err(|_| {
                refused("what it should open was changed".to_owned(), "restore it from its backup")
            })?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private.private_key()?,
            &encapsulated,
            b"chatelaine recovery",
            &sealed.wrapped,
            &identity.associated_data(KIND),
        )
        .map(KeyMaterial::from_vec)
        .map_err(|_| refused("what it should open was changed".to_owned(), "restore it from its backup"))
    }
}

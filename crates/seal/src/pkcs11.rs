//! The PKCS#11 seal: master keys wrapped by an AES-256 key that never leaves a token (a hardware security module, a smart
//! card, SoftHSM).
//!
//! Owns the token's wrapping key, which [`Seal::prepare`] makes where there is none of that label, and what the document
//! holds of it. The token's module is loaded at run time; nothing of it is linked. What a sealed master key was wrapped
//! with is written beside it, so that it opens after the settings name another wrapping key or mechanism.
//!
//! Invariants: one session at a time, no longer than an operation; a token that was lost is looked for again at the next
//! operation; a PIN that the token refused is never shown to it again; an operation ends within its time.
//!
//! Refuses: wrapping keys that can leave the token, labels that several keys or tokens have, sealed keys that were moved
//! to another key's place or changed.

mod failure;
mod gate;
mod module;
#[cfg(test)]
mod tests;
mod token;
mod wrap;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use chatelaine_crypto::{KeyMaterial, RecordCipher};
use cryptoki::object::Attribute;
use serde::{Deserialize, Serialize};

use crate::files::PrivateFile;
use crate::{KeyIdentity, Seal, SealError, base64_bytes, parse_sealed};
use failure::Failure;
use module::{Attempt, Library, Module};
use token::{Access, Token, with_token};

const KIND: &str = "pkcs11";
/// The longest PIN, in bytes.
pub const MAX_PIN: usize = 255;
/// The longest label of a key, in bytes.
pub const MAX_KEY_LABEL: usize = 64;
/// The longest label of a token, in bytes (`CK_TOKEN_INFO`).
const MAX_TOKEN_LABEL: usize = 32;
/// The longest serial number of a token, in bytes (`CK_TOKEN_INFO`).
const MAX_SERIAL: usize = 16;
/// How long an operation may take, in seconds: least and most.
const TIMEOUT: std::ops::RangeInclusive<u64> = 1..=600;
/// More bytes than any sealed master key has.
const MAX_WRAPPED: usize = 1024;

/// Which token of a module: what is given must all be right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSelector {
    /// Its label.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
}

impl TokenSelector {
    fn selects(&self, label: &str, serial: &str) -> bool {
        let is =
            |wanted: &Option<String>, there: &str| wanted.as_deref().is_none_or(|wanted| wanted == there);
        is(&self.label, label) && is(&self.serial, serial)
    }
}

/// How the token wraps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The token encrypts the master key with AES-GCM (`CKM_AES_GCM`), bound to what it is.
    #[default]
    AesGcm,
    /// For tokens without AES-GCM: the token makes a key and wraps it (`CKM_AES_KEY_WRAP`, RFC 3394); from it, it derives
    /// (`CKM_SHA256_HMAC`) the key under which the server wraps the master key, bound to what it is.
    AesKeyWrap,
}

impl Mechanism {
    /// The name in settings and in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::AesKeyWrap => "aes-key-wrap",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::AesGcm => Self::AesKeyWrap,
            Self::AesKeyWrap => Self::AesGcm,
        }
    }

    /// What a wrapping key for it is used for.
    fn uses(self, allowed: bool) -> [Attribute; 2] {
        match self {
            Self::AesGcm => [Attribute::Encrypt(allowed), Attribute::Decrypt(allowed)],
            Self::AesKeyWrap => [Attribute::Wrap(allowed), Attribute::Unwrap(allowed)],
        }
    }
}

/// Where the token and its wrapping key are.
#[derive(Debug, Clone)]
pub struct Pkcs11Settings {
    /// The library of the token's software; an absolute path.
    pub module: PathBuf,
    /// The token.
    pub token: TokenSelector,
    /// A file of mode 0600 with the user's PIN in its one line.
    pub pin_file: PathBuf,
    /// The label of the key that new master keys are wrapped with.
    pub key_label: String,
    /// How new master keys are wrapped.
    pub mechanism: Mechanism,
    /// How long an operation may take, 1 s to 10 min.
    pub timeout: Duration,
}

impl Pkcs11Settings {
    /// The time an operation has where nothing else is set.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    fn check(&self) -> Result<(), SealError> {
        let invalid = |what, problem: String| Err(SealError::Invalid { what, problem });
        if !self.module.is_absolute() {
            return invalid("module", format!("{} is not an absolute path", self.module.display()));
        }
        if self.token.label.is_none() && self.token.serial.is_none() {
            return invalid("token", "give its label or its serial number".to_owned());
        }
        let (label, serial) = (self.token.label.as_deref(), self.token.serial.as_deref());
        for (what, text, most) in [
            ("token.label", label, MAX_TOKEN_LABEL),
            ("token.serial", serial, MAX_SERIAL),
            ("key_label", Some(&*self.key_label), MAX_KEY_LABEL),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
                return invalid(what, format!("must have 1 to {most} bytes and no control characters"));
            }
        }
        if !TIMEOUT.contains(&self.timeout.as_secs())
            || self.timeout.as_secs() == *TIMEOUT.end() && self.timeout.subsec_nanos() > 0
        {
            let problem = format!(
                "is {:?}, allowed are {} to {} seconds",
                self.timeout,
                TIMEOUT.start(),
                TIMEOUT.end()
            );
            return invalid("timeout", problem);
        }
        Ok(())
    }
}

/// Master keys wrapped by a token.
pub struct Pkcs11Seal {
    settings: Pkcs11Settings,
    pin_file: PrivateFile,
    /// The module that was found first: a newer one under the same name is for the next process.
    module: OnceLock<Module>,
}

/// What the document holds.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    mechanism: Mechanism,
    /// The token, as it was called then. It may have another name or number when it was restored on other hardware.
    token_label: String,
    token_serial: String,
    /// `CKA_LABEL` of the wrapping key.
    key_label: String,
    /// `CKA_ID` of the wrapping key, in hexadecimal digits; empty where it has none.
    key_id: String,
    /// `aes-gcm`: the initialization vector.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Vec::is_empty")]
    iv: Vec<u8>,
    /// `aes-key-wrap`: the key, wrapped, that the master key's wrapping key is derived from.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Vec::is_empty")]
    derivation_key: Vec<u8>,
    /// The master key: of `aes-gcm` the ciphertext and the tag, of `aes-key-wrap` what the record cipher makes.
    #[serde(with = "base64_bytes")]
    wrapped: Vec<u8>,
}

impl Wrapped {
    /// What is authenticated beside the master key: its identity, and all that is written beside it in plain form.
    fn associated_data(&self, identity: &[u8]) -> Vec<u8> {
        let mut data = identity.to_vec();
        let parts =
            [self.mechanism.name(), &self.token_label, &self.token_serial, &self.key_label, &self.key_id];
        for part in parts {
            data.extend_from_slice(format!("\0{}:{part}", part.len()).as_bytes());
        }
        data
    }

    /// The id of the wrapping key, if everything has a length that it can have.
    fn checked_key_id(&self) -> Option<Vec<u8>> {
        let parameters = match self.mechanism {
            Mechanism::AesGcm => self.iv.len() == wrap::IV && self.derivation_key.is_empty(),
            Mechanism::AesKeyWrap => {
                self.iv.is_empty() && (24..=MAX_WRAPPED).contains(&self.derivation_key.len())
            }
        };
        let wrapped = (wrap::TAG + 1..=MAX_WRAPPED).contains(&self.wrapped.len());
        let labels = self.key_label.len() <= MAX_WRAPPED && self.key_id.len() <= MAX_WRAPPED;
        if parameters && wrapped && labels { hex::decode(&self.key_id).ok() } else { None }
    }
}

impl Pkcs11Seal {
    /// The seal in a token; neither it nor its module is touched yet.
    ///
    /// # Errors
    /// [`SealError::Invalid`] with the setting that is not allowed.
    pub fn new(settings: Pkcs11Settings) -> Result<Self, SealError> {
        settings.check()?;
        // Two bytes for the end of the line.
        let pin_file = PrivateFile::new(&settings.pin_file, "PIN", MAX_PIN + 2);
        Ok(Self { settings, pin_file, module: OnceLock::new() })
    }

    /// Does some work in a session with the token.
    fn with_token<R: Send + 'static>(
        &self,
        writes: bool,
        work: impl Fn(&Token) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, SealError> {
        let module = match self.module.get() {
            Some(module) => module,
            None => {
                let module = Module::at(&self.settings.module)?;
                self.module.get_or_init(|| module)
            }
        };
        let access = Access {
            token: self.settings.token.clone(),
            pin: self.pin()?,
            pin_file: self.pin_file.describe(),
        };
        let outcome = module.call(self.settings.timeout, move |library: &mut Library, attempt: Attempt| {
            with_token(library, attempt, &access, writes, &work)
        });
        outcome.map_err(|failure| failure.at(self.describe()))
    }

    fn pin(&self) -> Result<KeyMaterial, SealError> {
        match self.pin_file.read_line() {
            Ok(pin) => Ok(KeyMaterial::copy_from(&pin)),
            Err(SealError::Missing { .. }) => Err(SealError::Invalid {
                what: "pin_file",
                problem: format!(
                    "there is no {}; put the PIN of the token's user into it, in one line, and run `chmod 600`",
                    self.pin_file.describe()
                ),
            }),
            Err(other) => Err(other),
        }
    }

    fn refused(&self, failure: Failure) -> SealError {
        failure.at(self.describe())
    }
}

impl Seal for Pkcs11Seal {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// The token's label, or its serial number where no label is set: with two tokens, keys move from one to the other.
    fn name(&self) -> String {
        let TokenSelector { label, serial } = &self.settings.token;
        label.as_ref().or(serial.as_ref()).cloned().unwrap_or_default()
    }

    fn describe(&self) -> String {
        let TokenSelector { label, serial } = &self.settings.token;
        let token = match (label, serial) {
            (Some(label), Some(serial)) => format!("{label:?} of serial {serial}"),
            (Some(label), None) => format!("{label:?}"),
            (None, serial) => format!("of serial {}", serial.as_deref().unwrap_or_default()),
        };
        format!("PKCS#11 token {token} of {}", self.settings.module.display())
    }

    /// Makes the wrapping key, or checks the one that is there.
    fn prepare(&self) -> Result<(), SealError> {
        let (label, mechanism) = (self.settings.key_label.clone(), self.settings.mechanism);
        self.with_token(true, move |token| {
            if token.wrapping_key(&label, mechanism)?.is_some() {
                return Ok(());
            }
            // A module may not know yet what another process made.
            if token.attempt == Attempt::First {
                return Err(Failure::Lost(format!("there is no key {label:?} in the {}", token.describe())));
            }
            token.make_key(&label, mechanism)
        })
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        let (label, mechanism) = (self.settings.key_label.clone(), self.settings.mechanism);
        let identity = identity.associated_data(KIND);
        let plain = KeyMaterial::copy_from(key.expose());
        let wrapped = self.with_token(false, move |token| {
            let key = token.wrapping_key(&label, mechanism)?.ok_or_else(|| {
                token.missing(
                    format!("there is no key {label:?} in the {}", token.describe()),
                    "correct `key_label`, or let the server make the key by adding this seal anew",
                )
            })?;
            let mut wrapped = Wrapped {
                mechanism,
                token_label: token.label.clone(),
                token_serial: token.serial.clone(),
                key_label: label.clone(),
                key_id: hex::encode(&key.id),
                iv: Vec::new(),
                derivation_key: Vec::new(),
                wrapped: Vec::new(),
            };
            let data = wrapped.associated_data(&identity);
            match mechanism {
                Mechanism::AesGcm => {
                    (wrapped.iv, wrapped.wrapped) = wrap::encrypt(token, key.handle, &data, &plain)?;
                }
                Mechanism::AesKeyWrap => {
                    let derived;
                    (wrapped.derivation_key, derived) = wrap::derive_anew(token, key.handle, &data)?;
                    wrapped.wrapped =
                        cipher(&derived)?.seal(&data, plain.expose()).map_err(SealError::from)?;
                }
            }
            Ok(wrapped)
        })?;
        Ok(serde_json::json!(wrapped))
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        let sealed: Wrapped = parse_sealed(self, sealed)?;
        let id = sealed.checked_key_id().ok_or_else(|| self.refused(wrap::does_not_open()))?;
        let data = sealed.associated_data(&identity.associated_data(KIND));
        self.with_token(false, move |token| {
            let key = token.key_of(&sealed.key_label, &id)?;
            match sealed.mechanism {
                Mechanism::AesGcm => wrap::decrypt(token, key, &data, &sealed.iv, &sealed.wrapped),
                Mechanism::AesKeyWrap => {
                    let derived = wrap::derive_again(token, key, &data, &sealed.derivation_key)?;
                    cipher(&derived)?.open(&data, &sealed.wrapped).map_err(|_| wrap::does_not_open())
                }
            }
        })
    }
}

/// The cipher of a derived key, which is used for one master key only.
fn cipher(key: &KeyMaterial) -> Result<RecordCipher, SealError> {
    Ok(RecordCipher::new(key)?)
}

//! A token for the time of one operation: found, logged in to, its wrapping key looked up and used.
//!
//! Invariants: a session lives as long as one operation; a PIN that the token refused is never shown to it again.
//!
//! Refuses: wrapping keys that can leave the token, that are not AES-256, or that are not the only ones of their label.

use chatelaine_crypto::KeyMaterial;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism as TokenMechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::failure::{Failure, describe, is_about_pin, never_reached_token};
use super::module::{Attempt, Library};
use super::{Mechanism, TokenSelector};
use crate::SealError;

/// The length of a wrapping key, in bytes.
const KEY_LENGTH: std::ffi::c_ulong = 32;
/// Most tokens that an error lists.
const MAX_LISTED: usize = 16;

/// Which token, and how to log in to it.
pub(super) struct Access {
    pub(super) token: TokenSelector,
    pub(super) pin: KeyMaterial,
    /// Of the PIN, for messages.
    pub(super) pin_file: String,
}

/// A session with a token, logged in.
pub(super) struct Token {
    pub(super) session: Session,
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) attempt: Attempt,
}

/// A wrapping key in a token.
#[derive(Debug)]
pub(super) struct WrappingKey {
    pub(super) handle: ObjectHandle,
    /// `CKA_ID`; empty where the key has none.
    pub(super) id: Vec<u8>,
}

/// Does some work in a session that ends with it.
pub(super) fn with_token<R>(
    library: &mut Library,
    attempt: Attempt,
    access: &Access,
    writes: bool,
    work: impl FnOnce(&Token) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let module = library.start()?;
    let (slot, facts) = find_token(&module, &access.token)?;
    let session = if writes { module.open_rw_session(slot) } else { module.open_ro_session(slot) }?;
    log_in(library, &session, &facts, access)?;
    let token =
        Token { session, label: facts.label().to_owned(), serial: facts.serial_number().to_owned(), attempt };
    let outcome = work(&token);
    // What a module does not close now would stay open for good.
    if token.session.close().is_err() {
        library.stop();
    }
    outcome
}

fn find_token(module: &Pkcs11, selector: &TokenSelector) -> Result<(Slot, TokenInfo), Failure> {
    let (mut found, mut others, mut silent) = (Vec::new(), Vec::new(), None);
    for slot in module.get_slots_with_token()? {
        match module.get_token_info(slot) {
            // Another token's trouble is not ours.
            Err(error) => silent = Some(describe(&error)),
            Ok(facts) if !facts.token_initialized() => {}
            Ok(facts) if selector.selects(facts.label(), facts.serial_number()) => found.push((slot, facts)),
            Ok(facts) => others.push(format!("{:?} (serial {})", facts.label(), facts.serial_number())),
        }
    }
    if found.len() > 1 {
        let serials: Vec<_> =
            found.iter().take(MAX_LISTED).map(|(_, facts)| facts.serial_number().to_owned()).collect();
        return Err(Failure::refused(
            format!("there are {} tokens like that, of serials {}", found.len(), serials.join(", ")),
            "set `serial` to that of the right one",
        ));
    }
    found.pop().ok_or_else(|| {
        others.truncate(MAX_LISTED);
        let others = if others.is_empty() { "no other".to_owned() } else { others.join(", ") };
        let silent = silent.map_or_else(String::new, |error| format!("; a token does not answer: {error}"));
        Failure::Lost(format!(
            "there is no such token; the module knows {others}{silent}. Connect it, or correct `label` and `serial`"
        ))
    })
}

fn log_in(
    library: &mut Library,
    session: &Session,
    facts: &TokenInfo,
    access: &Access,
) -> Result<(), Failure> {
    if !facts.login_required() {
        return Ok(());
    }
    let serial = facts.serial_number();
    if !facts.user_pin_initialized() {
        return Err(Failure::refused(
            "the token has no user PIN yet",
            "set one with the token's own tools, such as `pkcs11-tool --init-pin`",
        ));
    }
    if facts.user_pin_locked() {
        return Err(Failure::refused(
            "the token has locked its user PIN after too many wrong ones",
            "set a new PIN as the token's security officer, and put it into `pin_file`",
        ));
    }
    library.may_try(serial, &access.pin)?;
    if facts.user_pin_final_try() {
        return Err(Failure::refused(
            "the token will lock its user PIN after one more wrong attempt; it is not risked",
            "log in with the token's own tools once, which makes it count anew, and check the PIN in `pin_file`",
        ));
    }
    let pin = std::str::from_utf8(access.pin.expose()).map_err(|_| {
        Failure::refused(
            format!("the PIN in {} is not text in UTF-8", access.pin_file),
            "set another PIN, of ASCII characters",
        )
    })?;
    match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
        Ok(()) => {
            library.pin_was_right(serial);
            Ok(())
        }
        // Somebody else in this process is; that does not show that our PIN is right.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error @ Error::Pkcs11(code, _)) if is_about_pin(code) => {
            library.pin_was_refused(serial, &access.pin);
            Err(Failure::refused(
                format!("the token refused the PIN in {} ({})", access.pin_file, describe(&error)),
                "put the right PIN into the file; this one is not tried again, as tokens lock after a few wrong PINs",
            ))
        }
        Err(error @ Error::Pkcs11(code, _)) if never_reached_token(code) => {
            Err(Failure::Lost(describe(&error)))
        }
        Err(error) => Err(Failure::LostAtLogin(describe(&error))),
    }
}

impl Token {
    /// The token, for people.
    pub(super) fn describe(&self) -> String {
        format!("token {:?} (serial {})", self.label, self.serial)
    }

    /// The keys of a label; of an id, where one is given.
    fn find(&self, label: Option<&str>, id: &[u8]) -> Result<Vec<ObjectHandle>, Failure> {
        let mut template = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true)];
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        if !id.is_empty() {
            template.push(Attribute::Id(id.to_vec()));
        }
        Ok(self.session.find_objects(&template)?)
    }

    /// The key of a label that new master keys are wrapped with, if there is one.
    pub(super) fn wrapping_key(
        &self,
        label: &str,
        mechanism: Mechanism,
    ) -> Result<Option<WrappingKey>, Failure> {
        match self.find(Some(label), &[])?.as_slice() {
            [] => Ok(None),
            [handle] => self.check(*handle, label, mechanism).map(Some),
            several => Err(Failure::refused(
                format!(
                    "there are {} keys with the label {label:?} in the {}",
                    several.len(),
                    self.describe()
                ),
                "give all but one of them another label, or set `key_label` to one that occurs once",
            )),
        }
    }

    /// The key that a master key was wrapped with, whatever it may be used for by now.
    pub(super) fn key_of(&self, label: &str, id: &[u8]) -> Result<ObjectHandle, Failure> {
        let mut found = self.find(Some(label), id)?;
        if found.is_empty() && !id.is_empty() {
            // Somebody gave it another label.
            found = self.find(None, id)?;
        }
        let name = || format!("key {label:?} (id {:?}) in the {}", hex::encode(id), self.describe());
        match found.as_slice() {
            [handle] => Ok(*handle),
            [] => Err(self.missing(
                format!("there is no {}, which the master key is wrapped with", name()),
                "connect the token that has it, or restore it from the token's backup",
            )),
            several => Err(Failure::refused(
                format!("there are {} keys like {}", several.len(), name()),
                "give all but the right one another label",
            )),
        }
    }

    /// That a key is not there, once the module has looked anew.
    pub(super) fn missing(&self, problem: String, remedy: &str) -> Failure {
        match self.attempt {
            Attempt::First => Failure::Lost(problem),
            Attempt::Again => Failure::refused(problem, remedy),
        }
    }

    /// Whether a key is what it must be; its id.
    fn check(&self, handle: ObjectHandle, label: &str, mechanism: Mechanism) -> Result<WrappingKey, Failure> {
        let uses = mechanism.uses(true);
        let mut wanted = vec![
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Id,
        ];
        wanted.extend(uses.iter().map(Attribute::attribute_type));
        let attributes = self.session.get_attributes(handle, &wanted)?;
        let has = |wanted: &Attribute| attributes.contains(wanted);
        let problem = if !has(&Attribute::KeyType(KeyType::AES)) {
            Some("is not an AES key".to_owned())
        } else if !has(&Attribute::ValueLen(KEY_LENGTH.into())) {
            Some("does not have 256 bits".to_owned())
        } else if !has(&Attribute::Extractable(false)) || !has(&Attribute::Sensitive(true)) {
            Some("can leave the token: it must be sensitive and not extractable".to_owned())
        } else {
            uses.iter()
                .find(|used| !has(used))
                .map(|_| format!("may not be used with the mechanism {}", mechanism.name()))
        };
        if let Some(problem) = problem {
            return Err(Failure::refused(
                format!("the key {label:?} in the {} {problem}", self.describe()),
                "set `key_label` to another label, under which the server makes a key; what is wrapped with this one, seal anew first",
            ));
        }
        let id = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Id(id) => Some(id),
            _ => None,
        });
        Ok(WrappingKey { handle, id: id.unwrap_or_default() })
    }

    /// Makes a wrapping key that never leaves the token.
    pub(super) fn make_key(&self, label: &str, mechanism: Mechanism) -> Result<(), Failure> {
        let id = KeyMaterial::random(128).map_err(SealError::from)?;
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::ValueLen(KEY_LENGTH.into()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.expose().to_vec()),
        ];
        template.extend(mechanism.uses(true));
        // A key that wraps other keys and decrypts data as well would decrypt what it wrapped.
        template.extend(mechanism.other().uses(false));
        let made = self.session.generate_key(&TokenMechanism::AesKeyGen, &template)?;
        let keys = self.find(Some(label), &[])?;
        if keys.len() > 1 {
            // Another server was doing the same; each takes its own away.
            let _ = self.session.destroy_object(made);
            return Err(Failure::Other(SealError::Unavailable {
                place: self.describe(),
                problem: format!(
                    "somebody else made a key with the label {label:?} at the same time; try again"
                ),
            }));
        }
        Ok(())
    }
}

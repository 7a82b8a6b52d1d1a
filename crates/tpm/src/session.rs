//! Sessions: authorization by HMAC or policy, and encryption of what is secret in commands and answers (Part 1, 17 to 21).
//!
//! Sans-I/O: [`prepare`] makes the bytes of a command, [`Prepared::accept`] checks and opens its answer.
//!
//! Invariants: the session key comes from a salt that only the TPM with the salt's key can know; each command and answer
//! has new nonces; an answer is believed only after its HMAC was compared in constant time, whoever sent it.
//! Refuses: an answer without authorizations to a command with a session; encryption of what has no length in front.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::codec::{MAX_MESSAGE, Reader, Writer};
use crate::command::{self, Command, Handle, PASSWORD, SessionKind};
use crate::error::TpmError;
use crate::random;
use crate::response_code::ResponseCode;
use crate::software::exchange::{Purpose, exchange};
use crate::software::kdf::kdfa;
use crate::software::{cfb_decrypt, cfb_encrypt};
use crate::types::{AuthValue, HashAlgorithm, Public};

const HASH: HashAlgorithm = HashAlgorithm::Sha256;
/// Bits of the digest and of the session key.
const HASH_BITS: u16 = 256;
/// Bits of AES-128 key and initialization vector.
const CIPHER_BITS: u16 = 256;
const TAG_PLAIN: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;
/// Tag, size and code.
const HEADER: usize = 10;

/// What a session does with one command (`TPMA_SESSION`, Part 2, 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// The session goes on after the command.
    pub continues: bool,
    /// The command's first parameter is encrypted.
    pub decrypt: bool,
    /// The answer's first parameter is encrypted.
    pub encrypt: bool,
}

impl Use {
    /// The last use of a session.
    pub const LAST: Self = Self { continues: false, decrypt: false, encrypt: false };
    /// A use after which the session goes on.
    pub const CONTINUE: Self = Self { continues: true, decrypt: false, encrypt: false };

    /// With the answer encrypted.
    #[must_use]
    pub const fn encrypting(self) -> Self {
        Self { encrypt: true, ..self }
    }

    /// With the command encrypted.
    #[must_use]
    pub const fn decrypting(self) -> Self {
        Self { decrypt: true, ..self }
    }

    fn bits(self) -> u8 {
        u8::from(self.continues) | u8::from(self.decrypt) << 5 | u8::from(self.encrypt) << 6
    }
}

/// A session that is being started.
pub struct Starting {
    kind: SessionKind,
    nonce: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
}

impl Starting {
    /// The command that starts a session. Its salt is for `salt_key`, whose public area the caller knows to be right;
    /// without one nothing in the session is hidden from whoever reads the bus.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when the key cannot be used, [`TpmError::Random`].
    pub fn begin(kind: SessionKind, salt_key: Option<(u32, &Public)>) -> Result<(Self, Command), TpmError> {
        let nonce = random::bytes(HASH.size())?;
        let Some((handle, public)) = salt_key else {
            let command = command::start_auth_session(kind, None, &nonce, &[]);
            return Ok((Self { kind, nonce, salt: Zeroizing::default() }, command));
        };
        let exchanged = exchange(public, Purpose::Session)?;
        let handle = Handle::object(handle, public.name());
        let command = command::start_auth_session(kind, Some(&handle), &nonce, &exchanged.encrypted);
        Ok((Self { kind, nonce, salt: exchanged.secret }, command))
    }

    /// The session, from the answer.
    ///
    /// # Errors
    /// [`TpmError::Malformed`]
    pub fn finish(self, handle: u32, parameters: &[u8]) -> Result<Session, TpmError> {
        let nonce_tpm = command::started_session(parameters)?;
        let key = if self.salt.is_empty() {
            Zeroizing::default()
        } else {
            kdfa(HASH, &self.salt, "ATH", &nonce_tpm, &self.nonce, HASH_BITS)
        };
        Ok(Session { handle, kind: self.kind, key, nonce_tpm, needs_auth_value: false })
    }
}

/// A session that lives in a TPM.
pub struct Session {
    handle: u32,
    kind: SessionKind,
    key: Zeroizing<Vec<u8>>,
    nonce_tpm: Vec<u8>,
    needs_auth_value: bool,
}

impl Session {
    /// Its handle.
    #[must_use]
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Says that `TPM2_PolicyAuthValue` was part of the policy: the next HMAC proves the object's value, too.
    pub fn prove_auth_value(&mut self) {
        self.needs_auth_value = true;
    }

    /// Part 1, 19.6.5: the key of the HMAC.
    fn mac_key(&self, auth: &AuthValue) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(128));
        key.extend_from_slice(&self.key);
        if self.kind == SessionKind::Hmac || self.needs_auth_value {
            key.extend_from_slice(auth.expose());
        }
        key
    }

    /// Part 1, 21.3: key and initialization vector for a parameter.
    fn cipher(&self, auth: &AuthValue, newer: &[u8], older: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(128));
        key.extend_from_slice(&self.key);
        key.extend_from_slice(auth.expose());
        kdfa(HASH, &key, "CFB", newer, older, CIPHER_BITS)
    }
}

/// Who authorizes: one for each handle that needs it, then sessions that only encrypt.
pub enum Authorization<'a> {
    /// The authorization value itself, in plain: only fit for values that are no secret.
    Password(&'a AuthValue),
    /// A session, with the authorization value of what it authorizes.
    Session(&'a mut Session, &'a AuthValue, Use),
}

impl Authorization<'_> {
    fn session(&self) -> Option<(&Session, &AuthValue, Use)> {
        match self {
            Self::Password(_) => None,
            Self::Session(session, auth, usage) => Some((session, auth, *usage)),
        }
    }
}

/// A command on its way.
pub struct Prepared<'a, 'b> {
    /// What is sent.
    pub bytes: Zeroizing<Vec<u8>>,
    command: &'a Command,
    authorizations: &'a mut [Authorization<'b>],
    nonces: Vec<Zeroizing<Vec<u8>>>,
}

/// What a TPM answered.
pub struct Answer {
    /// The handle, where the command returns one.
    pub handle: Option<u32>,
    /// The parameters, decrypted.
    pub parameters: Zeroizing<Vec<u8>>,
    /// Sessions that the TPM has ended.
    pub ended: Vec<u32>,
}

/// Splits a buffer's length from its content, which is what is encrypted.
fn sized_part(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (length, rest) = parameters.split_first_chunk_mut::<2>()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*length)))
}

/// Makes the bytes of a command.
///
/// # Errors
/// [`TpmError::Invalid`] when authorizations and handles do not fit, or the command is longer than a TPM takes.
pub fn prepare<'a, 'b>(
    command: &'a Command,
    authorizations: &'a mut [Authorization<'b>],
) -> Result<Prepared<'a, 'b>, TpmError> {
    let wrong = |problem| TpmError::Invalid { what: command.name, problem };
    if authorizations.len() < command.authorized {
        return Err(wrong("a handle has no authorization"));
    }
    let nonces: Vec<_> =
        authorizations.iter().map(|_| random::bytes(HASH.size())).collect::<Result<_, _>>()?;
    let mut parameters = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
    parameters.extend_from_slice(&command.parameters);
    for (authorization, nonce) in authorizations.iter().zip(&nonces) {
        if let Some((session, auth, usage)) = authorization.session()
            && usage.decrypt
        {
            let part = sized_part(&mut parameters)
                .ok_or_else(|| wrong("the first parameter cannot be encrypted"))?;
            apply(session, auth, (nonce, &session.nonce_tpm), part, cfb_encrypt)
                .ok_or_else(|| wrong("encryption"))?;
        }
    }
    let mut hashed = vec![command.code.to_be_bytes().to_vec()];
    hashed.extend(command.handles.iter().map(|handle| handle.name.as_bytes().to_vec()));
    let mut parts: Vec<&[u8]> = hashed.iter().map(Vec::as_slice).collect();
    parts.push(&parameters);
    let cp_hash = HASH.digest(&parts);

    let mut area = Writer::secret();
    for (place, (authorization, nonce)) in authorizations.iter().zip(&nonces).enumerate() {
        match authorization {
            Authorization::Password(auth) => {
                area.u32(PASSWORD).sized(&[]).u8(Use::CONTINUE.bits()).sized(auth.expose());
            }
            Authorization::Session(session, auth, usage) => {
                let extra = if place == 0 { other_nonces(authorizations) } else { Vec::new() };
                let key = session.mac_key(auth);
                let attributes = [usage.bits()];
                let mac = mac(&key, &[&cp_hash, nonce, &session.nonce_tpm, &extra, &attributes]);
                area.u32(session.handle).sized(nonce).u8(usage.bits()).sized(&mac);
            }
        }
    }

    let mut body = Writer::secret();
    command.handles.iter().for_each(|handle| {
        body.u32(handle.value);
    });
    if !authorizations.is_empty() {
        body.u32(u32::try_from(area.as_slice().len()).unwrap_or(u32::MAX)).raw(area.as_slice());
    }
    body.raw(&parameters);
    let size = body.as_slice().len().saturating_add(HEADER);
    if size > MAX_MESSAGE {
        return Err(wrong("the command is longer than 4096 bytes"));
    }
    let mut bytes = Writer::secret();
    bytes.u16(if authorizations.is_empty() { TAG_PLAIN } else { TAG_SESSIONS });
    bytes.u32(u32::try_from(size).unwrap_or(u32::MAX)).u32(command.code).raw(body.as_slice());
    Ok(Prepared { bytes: bytes.into_secret(), command, authorizations, nonces })
}

/// An empty key makes an empty HMAC (Part 1, 19.6.5): a policy session without salt proves nothing of itself.
fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    if key.is_empty() { Zeroizing::default() } else { HASH.hmac(key, parts) }
}

/// Nonces of sessions that encrypt and are not the first one go into the first one's HMAC (Part 1, 19.6.5).
fn other_nonces(authorizations: &[Authorization<'_>]) -> Vec<u8> {
    let find = |wanted: fn(Use) -> bool| {
        authorizations
            .iter()
            .enumerate()
            .find_map(|(place, authorization)| {
                authorization
                    .session()
                    .filter(|(_, _, usage)| wanted(*usage))
                    .map(|(session, ..)| (place, session))
            })
            .filter(|(place, _)| *place != 0)
    };
    let decrypting = find(|usage| usage.decrypt);
    let encrypting =
        find(|usage| usage.encrypt).filter(|(place, _)| decrypting.is_none_or(|(other, _)| *place != other));
    let nonce = |found: Option<(usize, &Session)>| found.map(|(_, session)| session.nonce_tpm.clone());
    [nonce(decrypting), nonce(encrypting)].into_iter().flatten().flatten().collect()
}

/// Encrypts or decrypts in place, by key and initialization vector.
type Cipher = fn(&[u8], &[u8], &mut [u8]) -> Option<()>;

fn apply(
    session: &Session,
    auth: &AuthValue,
    (newer, older): (&[u8], &[u8]),
    part: &mut [u8],
    cipher: Cipher,
) -> Option<()> {
    let material = session.cipher(auth, newer, older);
    let (key, iv) = material.split_at_checked(16)?;
    cipher(key, iv, part)
}

/// The code of an answer.
///
/// # Errors
/// [`TpmError::Malformed`] when it is no answer, or not as long as it says.
pub fn response_code(bytes: &[u8]) -> Result<ResponseCode, TpmError> {
    let mut reader = Reader::new(bytes, "answer");
    let tag = reader.u16()?;
    if ![TAG_PLAIN, TAG_SESSIONS, 0x00c4].contains(&tag) {
        return Err(reader.malformed("its tag is unknown").into());
    }
    if usize::try_from(reader.u32()?) != Ok(bytes.len()) {
        return Err(reader.malformed("it is not as long as it says").into());
    }
    Ok(ResponseCode(reader.u32()?))
}

/// The handle in an answer, before anything of it is believed: whatever it is, it has to be flushed.
pub(crate) fn returned_handle(command: &Command, bytes: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(bytes, "answer");
    reader.take(HEADER).ok()?;
    command.returns_handle.then(|| reader.u32().ok()).flatten()
}

impl Prepared<'_, '_> {
    /// Checks the answer and decrypts it.
    ///
    /// # Errors
    /// [`TpmError::Response`] when the TPM refused, [`TpmError::Tampered`] when the answer is not authentic,
    /// [`TpmError::Malformed`] when it is none.
    pub fn accept(self, bytes: &[u8]) -> Result<Answer, TpmError> {
        let name = self.command.name;
        let tampered = |problem| TpmError::Tampered { command: name, problem };
        let code = response_code(bytes)?;
        if code != ResponseCode::SUCCESS {
            return Err(TpmError::Response { command: name, code });
        }
        let mut reader = Reader::new(bytes, "answer");
        let tag = reader.u16()?;
        reader.take(HEADER.saturating_sub(2))?;
        let handle = if self.command.returns_handle { Some(reader.u32()?) } else { None };
        if self.authorizations.is_empty() {
            if tag != TAG_PLAIN {
                return Err(tampered("it is authorized, the command was not"));
            }
            return Ok(Answer {
                handle,
                parameters: Zeroizing::new(reader.rest().to_vec()),
                ended: Vec::new(),
            });
        }
        if tag != TAG_SESSIONS {
            return Err(tampered("it has no authorization"));
        }
        let size = usize::try_from(reader.u32()?).map_err(|_| tampered("its size is wrong"))?;
        let mut parameters = Zeroizing::new(reader.take(size)?.to_vec());
        let rp_hash = HASH.digest(&[&code.0.to_be_bytes(), &self.command.code.to_be_bytes(), &parameters]);
        let mut ended = Vec::new();
        let mut encrypted = None;
        for (authorization, nonce) in self.authorizations.iter_mut().zip(&self.nonces) {
            let nonce_tpm = reader.sized(HashAlgorithm::MAX_SIZE)?;
            let attributes = reader.u8()?;
            let found = reader.sized(HashAlgorithm::MAX_SIZE)?;
            let Authorization::Session(session, auth, usage) = authorization else { continue };
            let key = session.mac_key(auth);
            let expected = mac(&key, &[&rp_hash, nonce_tpm, nonce, &[attributes]]);
            if !bool::from(expected.ct_eq(found)) {
                return Err(tampered("its HMAC is wrong"));
            }
            session.nonce_tpm = nonce_tpm.to_vec();
            if usage.encrypt {
                encrypted = Some((&**session, *auth, nonce));
            }
            if attributes & Use::CONTINUE.bits() == 0 {
                ended.push(session.handle);
            }
        }
        reader.end()?;
        if let Some((session, auth, nonce)) = encrypted {
            let part = sized_part(&mut parameters).ok_or_else(|| tampered("nothing in it is encrypted"))?;
            apply(session, auth, (&session.nonce_tpm, nonce), part, cfb_decrypt)
                .ok_or_else(|| tampered("it cannot be decrypted"))?;
        }
        // A policy session that goes on starts over (Part 1, 19.7.7); only authorizing ones are used up by a command.
        for authorization in self.authorizations.iter_mut().take(self.command.authorized) {
            if let Authorization::Session(session, ..) = authorization {
                session.needs_auth_value = false;
            }
        }
        Ok(Answer { handle, parameters, ended })
    }
}

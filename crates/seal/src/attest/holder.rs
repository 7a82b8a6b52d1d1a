//! The holder's side: who may have the keys, and the challenges that wait for an answer. Needs no TPM.
//!
//! Invariants: at most [`MAX_WAITING`] challenges wait; each is used once, whatever the answer, and forgotten after its
//! time; whether a host is enrolled is asked again when its answer comes. That a host has kept what it got is believed only
//! if it says so by the newest key in it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chatelaine_tpm::attest::messages::DIGEST;
use chatelaine_tpm::attest::{Enrolment, Hello, Pending, Refusal, challenge, check_answer};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::software::certificate::Makers;
use chatelaine_tpm::types::PcrSelection;
use subtle::ConstantTimeEq as _;

use super::bundle::{Bundle, CHECK, GrantedKey, confirmation};
use crate::boot::BootState;
use crate::document::SealedKeys;
use crate::hosts::{EnrolledHost, SERVER};
use crate::tpm::approvals::{Approvals, read_authority};
use crate::tpm::{boot_state, payload, registers};
use crate::{KeyId, SealError, Unsealed};

/// Most challenges that wait for an answer.
pub const MAX_WAITING: usize = 64;
/// How long a challenge that went over the network waits.
pub const ONLINE: Duration = Duration::from_secs(60);
/// How long a challenge that is carried in files waits.
pub const CARRIED: Duration = Duration::from_secs(3600);

/// How a holder is set up.
#[derive(Debug, Clone)]
pub struct HolderSettings {
    /// Which registers a host has to show, by a preset's name or as a list.
    pub registers: String,
    /// The release authority's public key.
    pub authority: PathBuf,
    /// The folder of approvals.
    pub approvals: PathBuf,
    /// Certificates in DER of makers of TPMs that are trusted.
    pub makers: Vec<Vec<u8>>,
}

/// Hands out the master keys of a server.
pub struct Holder {
    registers: PcrSelection,
    authority: PathBuf,
    approvals: Approvals,
    makers: Makers,
    has_makers: bool,
    waiting: Mutex<HashMap<String, Waiting>>,
    granted: Mutex<HashMap<String, Unconfirmed>>,
}

struct Waiting {
    pending: Pending,
    about: About,
    until: Instant,
    patience: Duration,
}

/// Keys that were handed out, and of which nobody has said that they were kept.
struct Unconfirmed {
    confirmation: [u8; DIGEST],
    kept: Kept,
    until: Instant,
}

/// A host that has kept what it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The host.
    pub about: About,
    /// The epoch of the newest key among it.
    pub epoch: u32,
}

/// Whom an exchange is about, for the audit trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The host as it is enrolled.
    pub host: Option<String>,
    /// The name of its endorsement key.
    pub endorsement_name: Option<String>,
    /// The policy digest of the registers it showed.
    pub digest: Option<String>,
    /// Starts of its TPM after loss of power.
    pub reset_count: Option<u32>,
    /// The firmware of its TPM.
    pub firmware_version: Option<u64>,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.host.as_deref().unwrap_or("unknown"))?;
        if let Some(name) = &self.endorsement_name {
            write!(f, ", endorsement key {name}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, ", boot state {digest}")?;
        }
        if let Some(count) = self.reset_count {
            write!(f, ", reset count {count}")?;
        }
        if let Some(version) = self.firmware_version {
            write!(f, ", TPM firmware {version:#x}")?;
        }
        Ok(())
    }
}

/// A challenge on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenged {
    /// Its id, which comes back with the answer.
    pub id: String,
    /// The message.
    pub challenge: Vec<u8>,
    /// Whom it is for.
    pub about: About,
}

/// What a host gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The message.
    pub bundle: Vec<u8>,
    /// Who gets it.
    pub about: About,
    /// The numbers of the master keys in it.
    pub epochs: Vec<u32>,
}

/// Why a host gets nothing.
#[derive(Debug)]
pub struct Refused {
    /// Which host, as far as it is known.
    pub about: About,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// Why a host gets nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// One of the checks of the exchange.
    #[error(transparent)]
    Exchange(#[from] Refusal),
    /// The host is enrolled for other keys.
    #[error("the host is not enrolled for the master key `{0}`")]
    KeyNotAllowed(String),
    /// Nobody has that key here.
    #[error("the master key `{0}` is not handed out here; `server` is")]
    UnknownKey(String),
    /// There is no master key of that number.
    #[error("there is no master key of epoch {0} here")]
    UnknownEpoch(u32),
    /// The host has to show a certificate, and no maker is trusted.
    #[error(
        "the host is enrolled with its endorsement certificate, and no maker of TPMs is trusted here: put the makers' \
         certificates into a folder and name it in seal.tpm.makers, or enrol the host with --no-certificate"
    )]
    NoMakers,
    /// The challenge is not known.
    #[error(
        "there is no such challenge: it was answered already, has expired, or was made by another server"
    )]
    NoChallenge,
    /// Nobody waits for this confirmation.
    #[error("no keys were granted in this exchange, or that was confirmed already, or too long ago")]
    NoGrant,
    /// It was not made by the newest key that was granted.
    #[error("the confirmation is not from a host that has opened the keys")]
    Confirmation,
    /// Too many challenges wait.
    #[error("too many challenges wait for their answers; try again in a minute")]
    Busy,
    /// Nobody approved how the host has booted.
    #[error("the boot state is not approved: {}", list(.0))]
    NotApproved(Vec<BootState>),
    /// Something of this host does not work.
    #[error(transparent)]
    Here(#[from] SealError),
}

/// The values once: they are the same for every epoch.
fn list(states: &[BootState]) -> String {
    let Some(first) = states.first() else { return String::new() };
    let others: Vec<_> = states.iter().skip(1).map(|state| state.epoch.to_string()).collect();
    if others.is_empty() {
        first.to_string()
    } else {
        format!("{first}, and for epochs {}", others.join(", "))
    }
}

fn is_enrolled<'a>(hosts: &'a [EnrolledHost], name: &str) -> Option<&'a EnrolledHost> {
    hosts.iter().find(|host| host.endorsement_name == name)
}

/// What a host says that keeps all of it, and the epoch of the newest key.
fn confirmation_of(unsealed: &Unsealed, bundle: &Bundle) -> Result<([u8; DIGEST], u32), Reason> {
    let newest =
        bundle.newest().and_then(|newest| unsealed.keys.find(&newest.id)).ok_or(SealError::InvalidId)?;
    Ok((confirmation(&newest.material, &bundle.proof)?, newest.epoch))
}

impl Holder {
    /// The holder; no file is read yet.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for settings that cannot be used.
    pub fn new(settings: HolderSettings) -> Result<Self, SealError> {
        let has_makers = !settings.makers.is_empty();
        let makers = super::trusted(settings.makers)
            .map_err(|problem| SealError::Invalid { what: "seal.tpm.makers", problem })?;
        Ok(Self {
            registers: registers(&settings.registers)?,
            authority: settings.authority,
            approvals: Approvals::in_folder(settings.approvals),
            makers,
            has_makers,
            waiting: Mutex::new(HashMap::new()),
            granted: Mutex::new(HashMap::new()),
        })
    }

    /// Checks a hello and challenges the host. `now` is in seconds since 1970; `patience` is how long the answer may take.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn challenge(
        &self,
        document: &SealedKeys,
        key: &str,
        hello: &[u8],
        now: u64,
        patience: Duration,
    ) -> Result<Challenged, Box<Refused>> {
        let mut about = About::default();
        let made = self.make_challenge(document, key, hello, now, &mut about);
        let (challenge, pending) = match made {
            Ok(made) => made,
            Err(reason) => return Err(Box::new(Refused { about, reason })),
        };
        let waiting = Waiting { pending, about: about.clone(), until: Instant::now() + patience, patience };
        match self.keep(waiting) {
            Ok(id) => Ok(Challenged { id, challenge, about }),
            Err(reason) => Err(Box::new(Refused { about, reason })),
        }
    }

    fn make_challenge(
        &self,
        document: &SealedKeys,
        key: &str,
        hello: &[u8],
        now: u64,
        about: &mut About,
    ) -> Result<(Vec<u8>, Pending), Reason> {
        if key != SERVER {
            return Err(Reason::UnknownKey(key.chars().take(64).filter(char::is_ascii_graphic).collect()));
        }
        let mut enrolment = None;
        if let Ok(parsed) = Hello::from_bytes(hello.get(..Hello::MAX_SIZE).unwrap_or(hello)) {
            let name = parsed.endorsement.name().to_string();
            if let Some(host) = is_enrolled(&document.hosts, &name) {
                about.host = Some(host.name.clone());
                enrolment =
                    Some(if host.certificate { Enrolment::WithCertificate } else { Enrolment::ByNameOnly });
                about.endorsement_name = Some(name);
                if !host.may_get(key) {
                    return Err(Reason::KeyNotAllowed(key.to_owned()));
                }
                if host.certificate && !self.has_makers {
                    return Err(Reason::NoMakers);
                }
                if parsed.epoch != 0 && document.keys.iter().all(|key| key.epoch != parsed.epoch) {
                    return Err(Reason::UnknownEpoch(parsed.epoch));
                }
            } else {
                about.endorsement_name = Some(name);
            }
        }
        let channel = super::channel(key);
        let (challenge, pending) =
            challenge(hello, |_| enrolment, &self.makers, now, self.registers, &channel)?;
        Ok((challenge.to_bytes(), pending))
    }

    fn keep(&self, waiting: Waiting) -> Result<String, Reason> {
        let id = KeyId::random()?.as_str().to_owned();
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, other| other.until > now);
        if all.len() >= MAX_WAITING {
            return Err(Reason::Busy);
        }
        all.insert(id.clone(), waiting);
        Ok(id)
    }

    fn take(&self, id: &str) -> Option<Waiting> {
        let taken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        taken.filter(|waiting| waiting.until > Instant::now())
    }

    /// Checks the answer to a challenge, and grants all master keys. The caller writes it down before it hands them out.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn grant(&self, unsealed: &Unsealed, id: &str, answer: &[u8]) -> Result<Granted, Box<Refused>> {
        let Some(Waiting { pending, mut about, patience, .. }) = self.take(id) else {
            return Err(Box::new(Refused { about: About::default(), reason: Reason::NoChallenge }));
        };
        let bundle = self.make_bundle(unsealed, &pending, answer, &mut about);
        let expected = bundle.and_then(|bundle| Ok((confirmation_of(unsealed, &bundle)?, bundle)));
        match expected {
            Ok(((confirmation, epoch), bundle)) => {
                let kept = Kept { about: about.clone(), epoch };
                self.expect(id, Unconfirmed { confirmation, kept, until: Instant::now() + patience });
                let epochs = bundle.keys.iter().map(|key| key.epoch).collect();
                Ok(Granted { bundle: bundle.to_bytes(), about, epochs })
            }
            Err(reason) => Err(Box::new(Refused { about, reason })),
        }
    }

    /// Confirmations are for information: where too many are missing, the oldest is given up.
    fn expect(&self, id: &str, unconfirmed: Unconfirmed) {
        let mut all = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, other| other.until > now);
        if all.len() >= MAX_WAITING {
            let oldest = all.iter().min_by_key(|(_, other)| other.until).map(|(id, _)| id.clone());
            oldest.and_then(|id| all.remove(&id));
        }
        all.insert(id.to_owned(), unconfirmed);
    }

    /// Checks that a host has kept what it was granted in the exchange of this id.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn confirm(&self, id: &str, confirmation: &[u8]) -> Result<Kept, Box<Refused>> {
        let taken = self.granted.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(unconfirmed) = taken.filter(|unconfirmed| unconfirmed.until > Instant::now()) else {
            return Err(Box::new(Refused { about: About::default(), reason: Reason::NoGrant }));
        };
        if !bool::from(unconfirmed.confirmation.as_slice().ct_eq(confirmation)) {
            let about = unconfirmed.kept.about;
            return Err(Box::new(Refused { about, reason: Reason::Confirmation }));
        }
        Ok(unconfirmed.kept)
    }

    fn make_bundle(
        &self,
        unsealed: &Unsealed,
        pending: &Pending,
        answer: &[u8],
        about: &mut About,
    ) -> Result<Bundle, Reason> {
        let document = unsealed.document();
        let name = pending.host();
        // It may have been withdrawn meanwhile.
        match is_enrolled(&document.hosts, &name.to_string()) {
            None => return Err(Refusal::NotEnrolled(name).into()),
            Some(host) if !host.may_get(SERVER) => return Err(Reason::KeyNotAllowed(SERVER.to_owned())),
            Some(_) => {}
        }
        let authority = read_authority(&self.authority)?;
        let approvals = self.approvals.read()?;
        let (mut keys, mut not_approved) = (Vec::new(), Vec::new());
        for (entry, key) in document.keys.iter().zip(unsealed.keys.iter()) {
            let identity = key.identity(&document.cluster);
            let reference = identity.policy_reference();
            let secret = pending.to_secret_bytes();
            let same = Pending::from_secret_bytes(&secret).map_err(Refusal::from)?;
            let checked = check_answer(same, answer, &authority, reference.as_bytes(), &approvals);
            let boot = match &checked {
                Ok(admitted) => Some(admitted.boot()),
                Err(Refusal::BootNotApproved(boot)) => Some(&**boot),
                Err(_) => None,
            };
            if let Some(boot) = boot {
                about.digest = Some(boot_state(&boot.values, &identity).digest);
                about.reset_count = Some(boot.reset_count);
                about.firmware_version = Some(boot.firmware_version);
            }
            match checked {
                Ok(admitted) => {
                    let grant = admitted.grant(payload(&key.material, &identity).expose())?;
                    let mut check = [0; CHECK];
                    check.iter_mut().zip(&entry.check).for_each(|(to, from)| *to = *from);
                    keys.push(GrantedKey {
                        id: entry.id.clone(),
                        epoch: entry.epoch,
                        state: entry.state,
                        created: entry.created.clone(),
                        activated: entry.activated.clone(),
                        check,
                        authenticator: [0; 32],
                        grant: grant.to_bytes(),
                    });
                }
                Err(Refusal::BootNotApproved(boot)) => not_approved.push(boot_state(&boot.values, &identity)),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        if !not_approved.is_empty() {
            return Err(Reason::NotApproved(not_approved));
        }
        let cluster = document.cluster.clone();
        let mut bundle = Bundle { cluster, keys, proof: [0; 32] };
        bundle.authenticate(&unsealed.keys)?;
        bundle.proof = pending.vouch(&bundle.body());
        Ok(bundle)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("registers", &self.registers).finish_non_exhaustive()
    }
}

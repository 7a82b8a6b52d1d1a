//! The TPM seal: master keys sealed to this host's TPM and to boot states that a release authority has approved.
//!
//! The policy of what is sealed is `PolicyAuthorize` with the authority's key and the reference
//! `chatelaine/<cluster>/mk/<epoch>` (TPM 2.0 Library, Part 3, 23.16): a planned update of firmware or boot loader needs a new
//! approval ([`approvals`]) and no new seal, and an approval for another cluster or epoch opens nothing. Optionally a value
//! from a file is needed too, so that another local user with access to the TPM cannot open it.
//!
//! Invariants: master keys cross the bus to the TPM only in sessions that are encrypted and authenticated; the lock of what
//! is opened is the configured authority's and for this very key.
//!
//! Refuses: boots that were not measured, to open without an approval, and boots that were capped ([`cap`]).

pub mod approvals;
pub mod cap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_crypto::{KeyMaterial, sha256};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::tpm::Lock;
use chatelaine_tpm::types::{AuthValue, PcrSelection, PcrValues};
use chatelaine_tpm::{Address, Approval, Authority, Options, SealedBlob, Tpm, TpmError};
use serde::{Deserialize, Serialize};

use crate::boot::BootState;
use crate::files::PrivateFile;
use crate::{KeyIdentity, Seal, SealError, base64_bytes, parse_sealed};
use approvals::Approvals;

pub use chatelaine_tpm::ReleaseAuthority;

const KIND: &str = "tpm";
/// The length of a master key, and of the digest of its identity behind it, in bytes.
const PART: usize = 32;
/// The length of the value in the file, in bytes.
pub const AUTH_LENGTH: usize = 32;

/// Registers for boot loaders, by name: what measures firmware, boot loader, its configuration, kernel and command line.
pub const PRESETS: [(&str, &str); 3] = [
    // 8 and 9 hold what GRUB reads and runs, the kernel's command line and the initrd.
    ("grub", "sha256:0,2,4,7,8,9"),
    // systemd-stub measures the unified kernel image and its parts into 4, 11 and 12.
    ("uki", "sha256:0,2,4,7,11,12"),
    // Firmware alone: whoever may edit the boot loader's configuration opens the key.
    ("firmware", "sha256:0,2,4,7"),
];

/// How the seal is set up.
#[derive(Debug, Clone)]
pub struct TpmSettings {
    /// `device:/dev/tpmrm0`, `swtpm:path=/…` or `swtpm:host=…,port=…`.
    pub device: String,
    /// One of [`PRESETS`] by name, or registers such as `sha256:0,2,4,7,8,9`.
    pub registers: String,
    /// The release authority's public key, as `authority create` wrote it.
    pub authority: PathBuf,
    /// The folder of approvals.
    pub approvals: PathBuf,
    /// A file with 32 random bytes that are needed beside the TPM; made where it is missing.
    pub auth_file: Option<PathBuf>,
    /// The register that [`TpmSeal::cap`] extends; one of `registers`, 0 to 15.
    pub cap: Option<u8>,
    /// Which host's TPM it is.
    pub name: String,
    /// The longest that an operation of the TPM may take.
    pub timeout: Duration,
}

/// Master keys in this host's TPM.
pub struct TpmSeal {
    tpm: Arc<Tpm>,
    registers: PcrSelection,
    authority: PathBuf,
    approvals: Approvals,
    auth_file: Option<PrivateFile>,
    cap: Option<u8>,
    name: String,
}

/// What the document holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// The sealed object and what it lies under.
    #[serde(with = "base64_bytes")]
    blob: Vec<u8>,
}

fn invalid(what: &'static str, problem: impl Into<String>) -> SealError {
    SealError::Invalid { what, problem: problem.into() }
}

/// The registers that a setting names.
///
/// # Errors
/// [`SealError::Invalid`].
pub fn registers(text: &str) -> Result<PcrSelection, SealError> {
    let preset = PRESETS.iter().find(|(name, _)| *name == text);
    let text = preset.map_or(text, |(_, registers)| registers);
    text.parse().map_err(|error: chatelaine_tpm::codec::Malformed| {
        let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
        invalid(
            "registers",
            format!("{error}; allowed are {} and lists such as sha256:0,2,4,7,8,9", names.join(", ")),
        )
    })
}

fn address(text: &str) -> Result<Address, SealError> {
    text.parse().map_err(|error: chatelaine_tpm::codec::Malformed| invalid("device", error.to_string()))
}

/// Whether a seal can be made of these settings.
///
/// # Errors
/// [`SealError::Invalid`] with the setting's name.
pub fn check(device: &str, registers_text: &str, cap: Option<u8>) -> Result<(), SealError> {
    address(device)?;
    cap::check(&registers(registers_text)?, cap)
}

impl TpmSeal {
    /// The seal; nothing is sent to the TPM yet.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for settings that cannot be used.
    pub fn new(settings: &TpmSettings) -> Result<Self, SealError> {
        let address = address(&settings.device)?;
        let registers = registers(&settings.registers)?;
        cap::check(&registers, settings.cap)?;
        if settings.name.is_empty() || settings.name.len() > 120 {
            return Err(invalid("name", "must have 1 to 120 bytes"));
        }
        let options = Options {
            command: settings.timeout,
            operation: settings.timeout.saturating_mul(3),
            ..Options::default()
        };
        Ok(Self {
            tpm: Arc::new(Tpm::new(address, options)),
            registers,
            authority: settings.authority.clone(),
            approvals: Approvals::in_folder(&settings.approvals),
            auth_file: settings
                .auth_file
                .as_ref()
                .map(|path| PrivateFile::new(path, "TPM authorization value", AUTH_LENGTH)),
            cap: settings.cap,
            name: settings.name.clone(),
        })
    }

    /// The TPM.
    #[must_use]
    pub fn tpm(&self) -> &Arc<Tpm> {
        &self.tpm
    }

    /// The approvals that are installed here.
    #[must_use]
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Whether an approval of this boot state is installed.
    #[must_use]
    pub fn is_approved(&self, state: &BootState) -> bool {
        let (Ok(authority), Ok(files)) = (self.authority(), self.approvals.files()) else { return false };
        files.iter().any(|file| file.state == *state && file.check(&authority).is_ok())
    }

    /// The release authority whose word counts.
    ///
    /// # Errors
    /// [`SealError::Missing`] and [`SealError::Damaged`] for its file.
    pub fn authority(&self) -> Result<Authority, SealError> {
        approvals::read_authority(&self.authority)
    }

    /// How this host has booted, as something to be approved for a master key.
    ///
    /// # Errors
    /// Those of the TPM; [`SealError::Refused`] where the boot was not measured, or was capped.
    pub fn boot_state(&self, identity: &KeyIdentity<'_>) -> Result<BootState, SealError> {
        let values = self.tpm.pcr_read(&self.registers).map_err(|error| self.failed(error))?;
        values.require_measured().map_err(|error| self.failed(error))?;
        self.refuse_capped(&values)?;
        Ok(boot_state(&values, identity))
    }

    /// Whether something in a file is needed beside the TPM.
    pub(crate) fn has_file(&self) -> bool {
        self.auth_file.is_some()
    }

    fn auth_value(&self) -> Result<Option<AuthValue>, SealError> {
        let Some(file) = &self.auth_file else { return Ok(None) };
        let content = file.read()?;
        if content.len() != AUTH_LENGTH {
            return Err(SealError::damaged(file.path(), format!("must hold {AUTH_LENGTH} bytes")));
        }
        AuthValue::new(&content).map(Some).map_err(|error| SealError::damaged(file.path(), error.to_string()))
    }

    /// What a TPM's error is to those who have several seals.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn failed(&self, error: TpmError) -> SealError {
        let place = self.describe();
        let refused = |remedy: &str| SealError::Refused {
            place: place.clone(),
            problem: error.to_string(),
            remedy: remedy.to_owned(),
        };
        match &error {
            TpmError::WrongParent { .. } => refused("or restore the document that belongs to this host"),
            TpmError::Unmeasured { .. } | TpmError::BankMissing { .. } => refused(
                "the seal tpm needs a measured boot; set seal.tpm.registers to registers that are measured here",
            ),
            TpmError::Malformed(_) | TpmError::Invalid { .. } => {
                refused("restore the document from its backup")
            }
            // The bus, a busy chip, an answer that was altered: the next attempt may go better.
            _ => SealError::Unavailable { place, problem: error.to_string() },
        }
    }

    /// The same where opening failed, which may wait for an approval.
    fn not_opened(&self, error: TpmError, identity: &KeyIdentity<'_>) -> SealError {
        let state = match &error {
            TpmError::BootNotApproved(values) => {
                self.refuse_capped(values).map(|()| boot_state(values, identity))
            }
            TpmError::NoApproval { .. } => self.boot_state(identity),
            _ => return self.failed(error),
        };
        match state {
            Ok(state) => SealError::NotApproved { place: self.describe(), state: Box::new(state) },
            Err(error) => error,
        }
    }

    /// Approvals for a key by the configured authority.
    fn approvals_for(&self, authority: &Authority, reference: &str) -> Result<Vec<Approval>, SealError> {
        let all = self.approvals.read()?;
        let fits = |approval: &Approval| {
            approval.reference() == reference.as_bytes() && approval.is_signed_by(authority)
        };
        Ok(all.into_iter().filter(fits).collect())
    }
}

pub(crate) fn boot_state(values: &PcrValues, identity: &KeyIdentity<'_>) -> BootState {
    BootState {
        cluster: identity.cluster.clone(),
        epoch: identity.epoch,
        registers: values.selection().to_string(),
        values: values.iter().map(|(register, value)| (register, hex::encode(value))).collect(),
        digest: hex::encode(values.policy_digest()),
    }
}

/// What is sealed: the key, and by the digest behind it, whose it is.
pub(crate) fn payload(key: &KeyMaterial, identity: &KeyIdentity<'_>) -> KeyMaterial {
    let mut payload = KeyMaterial::zeroed(key.len().saturating_add(PART));
    let (first, second) = payload.expose_mut().split_at_mut(key.len());
    first.copy_from_slice(key.expose());
    second.copy_from_slice(&sha256(&[&identity.associated_data(KIND)]));
    payload
}

/// The key in what was sealed, if it is that key.
pub(crate) fn opened(payload: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, &'static str> {
    let (key, digest) = payload.expose().split_at_checked(PART).ok_or("what it opened is no master key")?;
    if digest != sha256(&[&identity.associated_data(KIND)]) {
        return Err("what it opened is another master key");
    }
    Ok(KeyMaterial::copy_from(key))
}

/// A sealed object as the document holds it.
pub(crate) fn wrapped(blob: &SealedBlob) -> serde_json::Value {
    serde_json::json!(Wrapped { blob: blob.to_bytes() })
}

impl Seal for TpmSeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn describe(&self) -> String {
        format!("TPM {} of {}", self.tpm.describe(), self.name)
    }

    fn prepare(&self) -> Result<(), SealError> {
        self.authority()?;
        // With it at its standard place, opening takes fewer commands. It opens without, too, where this may not be done.
        let _ = self.tpm.provision_storage_root();
        if let Some(file) = &self.auth_file
            && !file.exists()?
        {
            file.create(KeyMaterial::random(AUTH_LENGTH * 8)?.expose())?;
        }
        self.auth_value().map(drop)
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        let authority = self.authority()?;
        // Here already: a host without measured boot has no use for this seal.
        self.boot_state(identity)?;
        let lock = Lock::approved(&authority, identity.policy_reference().as_bytes())
            .map_err(|error| self.failed(error))?;
        let auth = self.auth_value()?;
        let blob = self
            .tpm
            .seal(payload(key, identity).expose(), &lock, auth.as_ref())
            .map_err(|error| self.failed(error))?;
        Ok(wrapped(&blob))
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        let sealed: Wrapped = parse_sealed(self, sealed)?;
        let refused = |problem: &str| SealError::Refused {
            place: self.describe(),
            problem: problem.to_owned(),
            remedy: "restore the document that belongs to this host and cluster".to_owned(),
        };
        let blob = SealedBlob::from_bytes(&sealed.blob).map_err(|error| refused(&error.to_string()))?;
        let authority = self.authority()?;
        let reference = identity.policy_reference();
        match blob.lock() {
            Lock::Approved { authority: by, reference: of }
                if *by == authority && of == reference.as_bytes() => {}
            _ => {
                return Err(refused(
                    "what it should open is locked by another authority, or for another key",
                ));
            }
        }
        let auth = if blob.needs_auth_value() { self.auth_value()? } else { None };
        let approvals = self.approvals_for(&authority, &reference)?;
        let opened = self
            .tpm
            .unseal(&blob, &approvals, auth.as_ref())
            .map_err(|error| self.not_opened(error, identity))?;
        self::opened(&KeyMaterial::copy_from(&opened), identity).map_err(refused)
    }
}

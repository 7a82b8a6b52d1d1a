//! Approvals and the release authority as files.
//!
//! The authority's private key belongs on a machine that has nothing else. An approval is signed, so its file needs no
//! protection; one that is not the authority's, or for another key, counts for nothing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::types::PcrValues;
use chatelaine_tpm::{Approval, Authority, ReleaseAuthority};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::invalid;
use crate::boot::BootState;
use crate::files::PrivateFile;
use crate::{SealError, base64_bytes};

/// Most approvals in a folder.
const MAX_APPROVALS: usize = 256;
/// Largest file of an approval, of a boot state or of a key, in bytes.
const MAX_FILE: usize = 16 * 1024;

/// An approval as a file. Only its last field is signed; the others are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalFile {
    /// What was approved.
    pub state: BootState,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was approved (RFC 3339).
    pub approved: String,
    /// The signed approval.
    #[serde(with = "base64_bytes")]
    pub approval: Vec<u8>,
}

impl ApprovalFile {
    /// Approves a boot state.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for a state that contradicts itself, was not measured, or cannot be signed.
    pub fn sign(
        authority: &ReleaseAuthority,
        state: BootState,
        note: String,
        now: &str,
    ) -> Result<Self, SealError> {
        let reference = format!("chatelaine/{}/mk/{}", state.cluster, state.epoch);
        let approval = authority
            .approve(&values(&state)?, reference.as_bytes())
            .map_err(|error| invalid("boot state", error.to_string()))?;
        Ok(Self { state, note, approved: now.to_owned(), approval: approval.to_bytes() })
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`SealError::Invalid`].
    pub fn parse(text: &[u8]) -> Result<Self, SealError> {
        let file: Self =
            serde_json::from_slice(text).map_err(|error| invalid("approval", error.to_string()))?;
        file.signed()?;
        Ok(file)
    }

    fn signed(&self) -> Result<Approval, SealError> {
        Approval::from_bytes(&self.approval).map_err(|error| invalid("approval", error.to_string()))
    }

    /// Whether the authority signed it, for what it says.
    ///
    /// # Errors
    /// [`SealError::Invalid`] says what does not fit.
    pub fn check(&self, authority: &Authority) -> Result<(), SealError> {
        let signed = self.signed()?;
        let reference = format!("chatelaine/{}/mk/{}", self.state.cluster, self.state.epoch);
        if !signed.is_signed_by(authority) {
            return Err(invalid("approval", "it is not signed by the configured release authority"));
        }
        if signed.reference() != reference.as_bytes()
            || signed.digest() != values(&self.state)?.policy_digest()
        {
            return Err(invalid("approval", "what was signed is not what it says"));
        }
        Ok(())
    }
}

/// The registers of a boot state, after its own words were compared.
///
/// # Errors
/// [`SealError::Invalid`].
pub fn values(state: &BootState) -> Result<PcrValues, SealError> {
    let selection = super::registers(&state.registers)?;
    let listed: Vec<u8> = state.values.keys().copied().collect();
    if selection.registers().collect::<Vec<_>>() != listed {
        return Err(invalid("boot state", "its values are not those of its registers"));
    }
    let values = state
        .values
        .values()
        .map(|value| hex::decode(value).map_err(|_| invalid("boot state", "a value is not hexadecimal")))
        .collect::<Result<_, _>>()?;
    let values =
        PcrValues::new(selection, values).map_err(|error| invalid("boot state", error.to_string()))?;
    if hex::encode(values.policy_digest()) != state.digest {
        return Err(invalid("boot state", "its digest is not that of its values"));
    }
    Ok(values)
}

/// A boot state with other values in some registers, as a planned update will lead to.
///
/// # Errors
/// [`SealError::Invalid`] for registers that the state does not have.
pub fn with_values(
    mut state: BootState,
    changes: impl IntoIterator<Item = (u8, String)>,
) -> Result<BootState, SealError> {
    for (register, value) in changes {
        let place = state.values.get_mut(&register);
        *place.ok_or_else(|| invalid("pcr", format!("{register} is not among {}", state.registers)))? =
            value.to_lowercase();
    }
    let values_now: Vec<Vec<u8>> = state
        .values
        .values()
        .map(|value| hex::decode(value).map_err(|_| invalid("pcr", "a value is not hexadecimal")))
        .collect::<Result<_, _>>()?;
    let values = PcrValues::new(super::registers(&state.registers)?, values_now)
        .map_err(|error| invalid("pcr", error.to_string()))?;
    state.digest = hex::encode(values.policy_digest());
    Ok(state)
}

/// The folder of approvals.
#[derive(Debug, Clone)]
pub struct Approvals {
    folder: PathBuf,
}

impl Approvals {
    /// That folder; it need not exist.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// All files in it that are approvals. Others count for nothing.
    ///
    /// # Errors
    /// [`SealError::Io`] where the folder cannot be read.
    pub fn files(&self) -> Result<Vec<ApprovalFile>, SealError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(SealError::io("cannot read the folder", &self.folder))?,
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        Ok(paths
            .into_iter()
            .take(MAX_APPROVALS)
            .filter_map(|path| ApprovalFile::parse(&read_limited(&path).ok()?).ok())
            .collect())
    }

    pub(crate) fn read(&self) -> Result<Vec<Approval>, SealError> {
        Ok(self.files()?.iter().filter_map(|file| file.signed().ok()).collect())
    }

    /// Installs one, under a name made of what it is for. The same one twice is one.
    ///
    /// # Errors
    /// [`SealError::Io`] and those of a folder that others can write to.
    pub fn install(&self, file: &ApprovalFile) -> Result<PathBuf, SealError> {
        use std::os::unix::fs::DirBuilderExt as _;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(SealError::io("cannot make the folder", &self.folder)(error));
            }
            _ => {}
        }
        if self.files()?.len() >= MAX_APPROVALS {
            return Err(invalid(
                "approvals",
                format!(
                    "there are {MAX_APPROVALS} in {} already; remove those of former epochs",
                    self.folder.display()
                ),
            ));
        }
        let digest = file.state.digest.get(..16).unwrap_or_default();
        // A host may have the master keys of several services, which all begin at the first epoch.
        let cluster = file.state.cluster.as_str().get(..8).unwrap_or_default();
        let path = self.folder.join(format!("{}-{digest}-{cluster}.json", file.state.epoch));
        let text = serde_json::to_vec_pretty(file).map_err(|error| invalid("approval", error.to_string()))?;
        PrivateFile::new(&path, "approval", MAX_FILE).replace(&text)?;
        Ok(path)
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, SealError> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(SealError::io("cannot open", path))?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content).map_err(SealError::io("cannot read", path))?;
    if content.len() > MAX_FILE {
        return Err(SealError::damaged(path, format!("is longer than {MAX_FILE} bytes")));
    }
    Ok(content)
}

/// A boot state from a file.
///
/// # Errors
/// [`SealError::Invalid`]; [`SealError::Io`].
pub fn read_state(path: &Path) -> Result<BootState, SealError> {
    let state: BootState = serde_json::from_slice(&read_limited(path)?)
        .map_err(|error| invalid("boot state", error.to_string()))?;
    values(&state)?;
    Ok(state)
}

/// An approval from a file.
///
/// # Errors
/// [`SealError::Invalid`]; [`SealError::Io`].
pub fn read_approval(path: &Path) -> Result<ApprovalFile, SealError> {
    ApprovalFile::parse(&read_limited(path)?)
}

/// The public key of a release authority.
///
/// # Errors
/// [`SealError::Missing`] where there is no file; [`SealError::Damaged`].
pub fn read_authority(path: &Path) -> Result<Authority, SealError> {
    if !path.exists() {
        return Err(SealError::Missing {
            what: "release authority's public key",
            place: format!("file {}", path.display()),
        });
    }
    let content = read_limited(path)?;
    let text = std::str::from_utf8(&content).map_err(|_| SealError::damaged(path, "is not text"))?;
    Authority::from_pem(text).map_err(|error| SealError::damaged(path, error.to_string()))
}

/// The private key of a release authority.
///
/// # Errors
/// Those of a private file; [`SealError::Damaged`].
pub fn read_release_authority(path: &Path) -> Result<ReleaseAuthority, SealError> {
    let content = PrivateFile::new(path, "release authority's private key", MAX_FILE).read()?;
    let text = std::str::from_utf8(&content).map_err(|_| SealError::damaged(path, "is not text"))?;
    ReleaseAuthority::from_pem(text).map_err(|error| SealError::damaged(path, error.to_string()))
}

/// Makes a release authority: the private key in `path` (mode 0600), the public one in `path` with `.pub` behind.
///
/// # Errors
/// [`SealError::Exists`]; those of private files.
pub fn create_release_authority(path: &Path) -> Result<PathBuf, SealError> {
    let failed = |error: chatelaine_tpm::TpmError| invalid("release authority", error.to_string());
    let authority = ReleaseAuthority::generate().map_err(failed)?;
    let private: Zeroizing<String> = authority.to_pem().map_err(failed)?;
    let public = authority.authority().to_pem().map_err(failed)?;
    PrivateFile::new(path, "release authority's private key", MAX_FILE).create(private.as_bytes())?;
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let public_path = PathBuf::from(name);
    PrivateFile::new(&public_path, "release authority's public key", MAX_FILE).create(public.as_bytes())?;
    Ok(public_path)
}

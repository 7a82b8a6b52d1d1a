//! How a host that joins gets the master keys from one that holds them: what surrounds the four messages of
//! [`chatelaine_tpm::attest`].
//!
//! Owns: the holder's look-up of enrolled hosts and its pending challenges ([`holder`]), the encoding of what it hands out
//! ([`bundle`]), the joiner's steps with the document they end in ([`joiner`]), the same steps for a host that has joined and
//! gets later keys ([`update`]), and makers of TPMs from a folder.
//!
//! Invariants: a challenge serves once and for a short time; a master key is granted only to an enrolled host that may have
//! it, and after an approved boot; what was received is used only if it is the key it is said to be and if somebody other
//! than the sender says which key that is.
//!
//! Refuses: everything else, with a reason that an administrator can act upon.

pub mod bundle;
pub mod holder;
pub mod joiner;
pub mod update;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use chatelaine_tpm::Tpm;
use chatelaine_tpm::software::certificate::{MAX_CERTIFICATE, Makers};
use chatelaine_tpm::tpm::EndorsementKind;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::SealError;

pub use bundle::Bundle;
pub use holder::{About, Challenged, Granted, Holder, HolderSettings, Kept, Reason, Refused};
pub use joiner::{JoinError, Joined, Known, Proven, Said, StateFile};
pub use update::{Update, Updated};

/// Most files of makers.
const MAX_FILES: usize = 256;
/// Largest file of a maker, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// Most certificates of makers.
const MAX_ROOTS: usize = 1024;

/// What both sides say of the channel in their proofs: which master key is wanted.
fn channel(key: &str) -> Vec<u8> {
    format!("chatelaine master key\0{key}").into_bytes()
}

/// Which endorsement key of a TPM joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endorsement(pub EndorsementKind);

const KINDS: [(&str, EndorsementKind); 3] = [
    ("rsa-2048", EndorsementKind::Rsa2048),
    ("ecc-p256", EndorsementKind::EccP256),
    ("ecc-p384", EndorsementKind::EccP384),
];

impl fmt::Display for Endorsement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = KINDS.iter().find(|(_, kind)| *kind == self.0);
        f.write_str(found.map_or("unknown", |(name, _)| name))
    }
}

impl FromStr for Endorsement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, kind)| Self(*kind))
            .ok_or_else(|| "allowed are rsa-2048, ecc-p256, ecc-p384".to_owned())
    }
}

/// An endorsement key of this host's TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    /// Which of the TPM's.
    pub kind: Endorsement,
    /// Its name in hex, by which a host is enrolled.
    pub name: String,
    /// Whether its maker put a certificate into the TPM.
    pub certificate: bool,
}

/// The endorsement keys of a TPM; those of kinds that it cannot make are left out.
///
/// # Errors
/// [`SealError::Unavailable`] where the TPM makes none.
pub fn endorsement_keys(tpm: &Tpm) -> Result<Vec<EndorsementKey>, SealError> {
    let mut keys = Vec::new();
    let mut failure = None;
    for (_, kind) in KINDS {
        let found = tpm.operation(|connection| {
            let key = connection.endorsement_key(kind)?;
            let name = key.name().to_string();
            connection.release(&key)?;
            // One that breaks the rules is as good as none.
            let certificate = connection.endorsement_certificate(kind).is_ok_and(|found| found.is_some());
            Ok(EndorsementKey { kind: Endorsement(kind), name, certificate })
        });
        match found {
            Ok(key) => keys.push(key),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if keys.is_empty() => Err(SealError::Unavailable {
            place: format!("TPM {}", tpm.describe()),
            problem: error.to_string(),
        }),
        _ => Ok(keys),
    }
}

/// The makers whose certificates are in the PEM files (`*.pem`, `*.crt`) of a folder. Each of them is trusted, whether it is a root or an
/// issuing authority.
///
/// # Errors
/// [`SealError::Io`] where the folder cannot be read; [`SealError::Damaged`] for a file without certificates.
pub fn makers(folder: &Path) -> Result<Vec<Vec<u8>>, SealError> {
    use std::io::Read as _;
    let entries = std::fs::read_dir(folder).map_err(SealError::io("cannot read the folder", folder))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem" || extension == "crt"))
        .collect();
    paths.sort();
    if paths.len() > MAX_FILES {
        return Err(SealError::damaged(folder, format!("holds more than {MAX_FILES} files of certificates")));
    }
    let mut roots = Vec::new();
    for path in paths {
        let mut text = Vec::new();
        let file = std::fs::File::open(&path).map_err(SealError::io("cannot open", &path))?;
        file.take(MAX_FILE).read_to_end(&mut text).map_err(SealError::io("cannot read", &path))?;
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| {
                SealError::damaged(&path, format!("is no PEM file of certificates ({error})"))
            })?;
            if certificate.len() > MAX_CERTIFICATE || roots.len() >= MAX_ROOTS {
                return Err(SealError::damaged(
                    &path,
                    format!(
                        "a certificate is longer than {MAX_CERTIFICATE} bytes, or they are more than {MAX_ROOTS}"
                    ),
                ));
            }
            trusted(vec![certificate.to_vec()]).map_err(|problem| SealError::damaged(&path, problem))?;
            roots.push(certificate.to_vec());
        }
        if roots.len() == before {
            return Err(SealError::damaged(&path, "holds no certificate"));
        }
    }
    Ok(roots)
}

fn trusted(roots: Vec<Vec<u8>>) -> Result<Makers, String> {
    Makers::new(roots, []).map_err(|error| error.to_string())
}

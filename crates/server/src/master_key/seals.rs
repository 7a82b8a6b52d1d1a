//! The seals that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_seal::file::FileSeal;
use chatelaine_seal::passphrase::{Cost, PassphraseSeal};
use chatelaine_seal::pkcs11::{Mechanism, Pkcs11Seal, Pkcs11Settings, TokenSelector};
use chatelaine_seal::tpm::{TpmSeal, TpmSettings};
use chatelaine_seal::{Seal, SealError};

use crate::config::{Config, Pkcs11Mechanism, SealKind};
use crate::platform;

/// Seals in the order in which they are asked.
pub(crate) struct Seals {
    pub(super) all: Vec<Arc<dyn Seal>>,
    /// The one among them that a person may have to help.
    pub(super) passphrase: Option<PassphraseSeal>,
    /// The one among them that waits for approvals.
    pub(super) tpm: Option<Arc<TpmSeal>>,
}

impl Seals {
    pub(super) fn configured(config: &Config) -> Result<Self, SealError> {
        let mut seals = Self { all: Vec::new(), passphrase: None, tpm: None };
        for kind in config.seal.kinds() {
            match kind {
                SealKind::Passphrase => {
                    let seal = passphrase(config)?;
                    seals.passphrase = Some(seal.clone());
                    seals.all.push(Arc::new(seal));
                }
                SealKind::Tpm => {
                    let seal = Arc::new(tpm(config)?);
                    seals.tpm = Some(Arc::clone(&seal));
                    seals.all.push(seal);
                }
                other => seals.all.push(seal(config, other)?),
            }
        }
        Ok(seals)
    }
}

/// The passphrase seal, as its section says.
pub(super) fn passphrase(config: &Config) -> Result<PassphraseSeal, SealError> {
    let settings = &config.seal.passphrase;
    let file: Option<PathBuf> = Some(settings.file.clone()).filter(|path| !path.as_os_str().is_empty());
    let kib = |mib: u32| mib.saturating_mul(1024);
    let or = |most: u32, own: u32| if most == 0 { own } else { most };
    let cost = Cost { memory_kib: kib(settings.memory_mib), passes: settings.passes, lanes: settings.lanes };
    PassphraseSeal::new(file, cost)?.allowing(
        kib(or(settings.max_memory_mib, settings.memory_mib)),
        or(settings.max_passes, settings.passes),
    )
}

/// The TPM seal, as its section says.
///
/// # Errors
/// Settings that no seal can be made of.
pub(crate) fn tpm(config: &Config) -> Result<TpmSeal, SealError> {
    let settings = &config.seal.tpm;
    let name = if settings.name.is_empty() {
        let mut name = platform::host_name().unwrap_or_else(|| "host".to_owned());
        name.truncate(name.floor_char_boundary(120));
        name
    } else {
        settings.name.clone()
    };
    TpmSeal::new(&TpmSettings {
        device: settings.device.clone(),
        registers: settings.registers.clone(),
        authority: config.release_authority_path(),
        approvals: config.approvals_path(),
        cap: settings.cap(),
        auth_file: Some(settings.auth_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        name,
        timeout: Duration::from_secs(settings.timeout_seconds),
    })
}

fn pkcs11(config: &Config) -> Result<Pkcs11Seal, SealError> {
    let settings = &config.seal.pkcs11;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Pkcs11Seal::new(Pkcs11Settings {
        module: settings.module.clone(),
        token: TokenSelector { label: given(&settings.token_label), serial: given(&settings.token_serial) },
        pin_file: settings.pin_file.clone(),
        key_label: settings.key_label.clone(),
        mechanism: match settings.mechanism {
            Pkcs11Mechanism::AesGcm => Mechanism::AesGcm,
            Pkcs11Mechanism::AesKeyWrap => Mechanism::AesKeyWrap,
        },
        timeout: Duration::from_secs(settings.timeout_seconds),
    })
}

/// The seal of a kind, by its section of the configuration.
///
/// # Errors
/// Settings that no seal can be made of.
pub(crate) fn seal(config: &Config, kind: SealKind) -> Result<Arc<dyn Seal>, SealError> {
    Ok(match kind {
        SealKind::File => Arc::new(FileSeal::new(config.sealing_key_path())),
        SealKind::Passphrase => Arc::new(passphrase(config)?),
        SealKind::Pkcs11 => Arc::new(pkcs11(config)?),
        SealKind::Tpm => Arc::new(tpm(config)?),
    })
}

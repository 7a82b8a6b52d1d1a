//! `[seal]`: where master keys rest.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[seal]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// The seal that is asked first for the master keys.
    pub kind: SealKind,
    /// Further seals, asked in this order where the first one does not open. New master keys are sealed by all of them.
    pub also: Vec<SealKind>,
    /// The file with the sealed master keys. Nothing in it is secret. Empty: `sealed-keys.json` in the data folder.
    pub document: PathBuf,
    /// Seconds after which a sealed server asks its seals again, at first; the pauses grow to 32 times as long.
    pub retry_seconds: u64,
    /// The seal `file`.
    pub file: FileSealConfig,
    /// The seal `passphrase`.
    pub passphrase: PassphraseSealConfig,
    /// The seal `pkcs11`.
    pub pkcs11: Pkcs11SealConfig,
    /// The seal `tpm`.
    pub tpm: TpmSealConfig,
}

impl Default for SealConfig {
    fn default() -> Self {
        Self {
            kind: SealKind::File,
            also: Vec::new(),
            document: PathBuf::new(),
            retry_seconds: 10,
            file: FileSealConfig::default(),
            passphrase: PassphraseSealConfig::default(),
            pkcs11: Pkcs11SealConfig::default(),
            tpm: TpmSealConfig::default(),
        }
    }
}

impl SealConfig {
    /// The seals in the order in which they are asked.
    pub fn kinds(&self) -> impl Iterator<Item = SealKind> {
        std::iter::once(self.kind).chain(self.also.iter().copied())
    }

    /// What an operator has to know who lets a register be capped.
    pub fn cap_consequence(&self) -> Option<String> {
        let register = self.tpm.cap()?;
        let others: Vec<_> = self.kinds().filter(|kind| *kind != SealKind::Tpm).map(SealKind::name).collect();
        if others.len() == self.kinds().count() {
            return None;
        }
        let begin = format!(
            "seal.tpm.cap_register: after the TPM has opened the master keys, PCR {register} is extended, and the TPM opens them \
             for nobody until the host starts anew; to rotate them, set it to -1 and restart the host first"
        );
        Some(if others.is_empty() {
            format!(
                "{begin}. No other seal is configured: a server that ends cannot start again without a restart of the host, \
                 and commands that open the keys themselves do not work meanwhile"
            )
        } else {
            format!("{begin}. Until then {} alone opens them", others.join(" or "))
        })
    }
}

/// What seals master keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SealKind {
    /// A sealing key in a file that only the server's user reads.
    #[default]
    File,
    /// A passphrase, from a file or from a person.
    Passphrase,
    /// A key in a PKCS#11 token, which never leaves it.
    Pkcs11,
    /// This host's TPM 2.0, under boot states that a release authority has approved.
    Tpm,
}

impl SealKind {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Pkcs11 => "pkcs11",
            Self::Tpm => "tpm",
        }
    }
}

/// `[seal.file]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSealConfig {
    /// The file of the sealing key (mode 0600 or 0400); made where it is missing and there is no store yet. A file of
    /// exactly 32 random bytes is taken too. Empty: `sealing-key` in the data folder.
    pub path: PathBuf,
}

/// `[seal.passphrase]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassphraseSealConfig {
    /// The file whose only line is the passphrase (mode 0600 or 0400), at least 12 bytes. Without a file and a descriptor the
    /// server starts sealed and waits for `chatelaine master-key unseal`.
    pub file: PathBuf,
    /// The file descriptor, 3 to 1023, from which whoever starts the server gives the passphrase: one line, read once at the
    /// start. 0: none.
    pub descriptor: u32,
    /// What Argon2id costs for new master keys: MiB of memory, 8 to 4096.
    pub memory_mib: u32,
    /// Passes over the memory, 1 to 64.
    pub passes: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
    /// The most MiB of memory that are spent on opening, whatever the document of sealed keys asks for: it can be
    /// authenticated only afterwards. 0: `memory_mib`. Set it where keys were sealed at a higher cost than that of new ones.
    pub max_memory_mib: u32,
    /// The most passes, likewise. 0: `passes`.
    pub max_passes: u32,
}

impl Default for PassphraseSealConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            descriptor: 0,
            memory_mib: 64,
            passes: 3,
            lanes: 4,
            max_memory_mib: 0,
            max_passes: 0,
        }
    }
}

/// `[seal.pkcs11]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pkcs11SealConfig {
    /// The token's library, an absolute path, for example `/usr/lib/softhsm/libsofthsm2.so`. Loaded when the seal is used.
    pub module: PathBuf,
    /// The token's label. One of label and serial number is needed.
    pub token_label: String,
    /// The token's serial number.
    pub token_serial: String,
    /// The file whose only line is the PIN of the token's user (mode 0600 or 0400).
    pub pin_file: PathBuf,
    /// The label of the wrapping key in the token; an AES-256 key of that label is made where there is none.
    pub key_label: String,
    /// How the token wraps: `aes-gcm`, or `aes-key-wrap` for tokens without it.
    pub mechanism: Pkcs11Mechanism,
    /// Seconds after which a token that does not answer is given up.
    pub timeout_seconds: u64,
}

impl Default for Pkcs11SealConfig {
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            token_label: String::new(),
            token_serial: String::new(),
            pin_file: PathBuf::new(),
            key_label: "chatelaine".to_owned(),
            mechanism: Pkcs11Mechanism::AesGcm,
            timeout_seconds: 30,
        }
    }
}

/// How a token wraps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pkcs11Mechanism {
    /// AES-256-GCM inside the token.
    #[default]
    AesGcm,
    /// A key made and wrapped by the token (RFC 3394), under which the master key is sealed.
    AesKeyWrap,
}

/// `[seal.tpm]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TpmSealConfig {
    /// `device:/dev/tpmrm0`, or a software TPM: `swtpm:path=/…`, `swtpm:host=127.0.0.1,port=2321`.
    pub device: String,
    /// The registers that tell how the host has booted: `grub` (sha256:0,2,4,7,8,9), `uki` (sha256:0,2,4,7,11,12), `firmware`
    /// (sha256:0,2,4,7: whoever may edit the boot loader's configuration then opens the keys), or a list.
    pub registers: String,
    /// The release authority's public key, as `chatelaine master-key authority` makes it. Empty: `release-authority.pub` in
    /// the data folder.
    pub authority: PathBuf,
    /// The folder of approved boot states. Empty: `approvals` in the data folder.
    pub approvals: PathBuf,
    /// A file of 32 random bytes (mode 0600) that is needed beside the TPM, against other users of this host who may use the
    /// TPM; made where it is missing. Empty: none.
    pub auth_file: PathBuf,
    /// The name of this host in the document of sealed keys. Empty: the machine's name.
    pub name: String,
    /// A folder of PEM files with certificates of makers of TPMs, each of which is trusted, for hosts that join and are
    /// enrolled with their certificate. Empty: no maker is trusted.
    pub makers: PathBuf,
    /// A register among `registers`, 0 to 15, that is extended when the TPM has opened the keys for the server: nothing opens
    /// them by the TPM again before the host starts anew, neither this server nor a command nor an intruder. So a server that
    /// ends needs a restart of the host, or another seal. -1: none.
    pub cap_register: i32,
    /// Seconds that one command of the TPM may take.
    pub timeout_seconds: u64,
}

impl TpmSealConfig {
    /// The register to be capped, if any.
    pub fn cap(&self) -> Option<u8> {
        u8::try_from(self.cap_register).ok()
    }
}

impl Default for TpmSealConfig {
    fn default() -> Self {
        Self {
            device: "device:/dev/tpmrm0".to_owned(),
            registers: "grub".to_owned(),
            authority: PathBuf::new(),
            approvals: PathBuf::new(),
            auth_file: PathBuf::new(),
            name: String::new(),
            makers: PathBuf::new(),
            cap_register: -1,
            timeout_seconds: 30,
        }
    }
}

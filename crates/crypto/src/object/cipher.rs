//! The ciphers of the object format and their numbers in its header.

use crate::CryptoError;
use crate::algorithms::DataCipher;

/// How a cipher works on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// AES-GCM over chunks (NIST SP 800-38D).
    Gcm,
    /// ChaCha20-Poly1305 over chunks (RFC 8439).
    ChaCha,
    /// AES-XTS over sectors of 4096 bytes (IEEE 1619).
    Xts,
    /// AES-CTR with a counter of 128 bits (NIST SP 800-38A, section 6.5).
    Ctr,
    /// AES-CBC (NIST SP 800-38A, section 6.2), padded as in RFC 5652, section 6.3.
    Cbc,
}

/// A cipher of the object format. The number stands for it in headers and is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum Cipher {
    Aes256Gcm = 1,
    Aes192Gcm = 2,
    Aes128Gcm = 3,
    ChaCha20Poly1305 = 4,
    Aes256Xts = 5,
    Aes128Xts = 6,
    Aes256Ctr = 7,
    Aes192Ctr = 8,
    Aes128Ctr = 9,
    Aes256Cbc = 10,
    Aes192Cbc = 11,
    Aes128Cbc = 12,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Aes256Gcm,
        Self::Aes192Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes256Xts,
        Self::Aes128Xts,
        Self::Aes256Ctr,
        Self::Aes192Ctr,
        Self::Aes128Ctr,
        Self::Aes256Cbc,
        Self::Aes192Cbc,
        Self::Aes128Cbc,
    ];

    /// The cipher of that name in the registry; case and `_` for `-` make no difference.
    ///
    /// # Errors
    /// [`CryptoError::UnknownAlgorithm`] with the names there are, [`CryptoError::RefusedAlgorithm`] with the reason.
    pub fn find(name: &str) -> Result<Self, CryptoError> {
        let entry = DataCipher::find(name)?;
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name() == entry.name)
            .ok_or(CryptoError::Library("a data cipher of the registry is not in the object format"))
    }

    /// The cipher with that number in a header.
    ///
    /// # Errors
    /// [`CryptoError::UnknownAlgorithm`] with the names there are.
    pub fn by_number(number: u8) -> Result<Self, CryptoError> {
        Self::ALL.into_iter().find(|cipher| cipher.number() == number).ok_or_else(|| {
            CryptoError::UnknownAlgorithm {
                name: format!("number {number}"),
                allowed: Self::ALL.map(Self::name).join(", "),
            }
        })
    }

    /// The number in headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in the registry, [`DATA_CIPHERS`](crate::algorithms::DATA_CIPHERS).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Aes192Gcm => "aes-192-gcm",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Xts => "aes-256-xts",
            Self::Aes128Xts => "aes-128-xts",
            Self::Aes256Ctr => "aes-256-ctr",
            Self::Aes192Ctr => "aes-192-ctr",
            Self::Aes128Ctr => "aes-128-ctr",
            Self::Aes256Cbc => "aes-256-cbc",
            Self::Aes192Cbc => "aes-192-cbc",
            Self::Aes128Cbc => "aes-128-cbc",
        }
    }

    /// How it works.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Aes256Gcm | Self::Aes192Gcm | Self::Aes128Gcm => Mode::Gcm,
            Self::ChaCha20Poly1305 => Mode::ChaCha,
            Self::Aes256Xts | Self::Aes128Xts => Mode::Xts,
            Self::Aes256Ctr | Self::Aes192Ctr | Self::Aes128Ctr => Mode::Ctr,
            Self::Aes256Cbc | Self::Aes192Cbc | Self::Aes128Cbc => Mode::Cbc,
        }
    }

    /// The length of its data keys, in bytes; for XTS that of both halves.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes256Xts => 64,
            Self::Aes256Gcm
            | Self::ChaCha20Poly1305
            | Self::Aes128Xts
            | Self::Aes256Ctr
            | Self::Aes256Cbc => 32,
            Self::Aes192Gcm | Self::Aes192Ctr | Self::Aes192Cbc => 24,
            Self::Aes128Gcm | Self::Aes128Ctr | Self::Aes128Cbc => 16,
        }
    }

    /// Whether a change of the encrypted data is noticed.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        matches!(self.mode(), Mode::Gcm | Mode::ChaCha)
    }

    /// Whether every byte of plain data makes one of encrypted data, the header aside.
    #[must_use]
    pub const fn preserves_length(self) -> bool {
        matches!(self.mode(), Mode::Xts | Mode::Ctr)
    }

    /// The entry in the registry.
    #[must_use]
    pub fn data_cipher(self) -> Option<&'static DataCipher> {
        DataCipher::lookup(self.name())
    }
}

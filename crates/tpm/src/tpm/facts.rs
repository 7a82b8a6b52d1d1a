//! Facts about a TPM: who made it, whether it is locked, what it holds, and its random generator.

use zeroize::Zeroizing;

use super::{Connection, Tpm};
use crate::command::{self, Capability};
use crate::error::TpmError;

/// The first fixed and the first variable property (`TPM_PT`, Part 2, 6.13).
const FIXED: u32 = 0x100;
const VARIABLE: u32 = 0x200;
const MANUFACTURER: u32 = 0x105;
const VENDOR_TEXT: std::ops::RangeInclusive<u32> = 0x106..=0x109;
const FIRMWARE_HIGH: u32 = 0x10b;
const FIRMWARE_LOW: u32 = 0x10c;
const PERMANENT: u32 = 0x200;
const LOCKOUT_COUNTER: u32 = 0x20e;
const MAX_FAILURES: u32 = 0x20f;
/// Properties asked for at a time.
const PROPERTIES: u32 = 64;
/// Handles asked for at a time.
const HANDLES: u32 = 64;
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSION: u32 = 0x0200_0000;

/// What a TPM says of itself. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Four letters that the TCG gave to the maker, for example `INTC`, `STM`, `IBM`.
    pub manufacturer: String,
    /// The maker's text.
    pub vendor: String,
    /// The firmware's version, in the maker's numbering.
    pub firmware: u64,
    /// Whether an authorization value is set for the owner hierarchy.
    pub owner_auth_set: bool,
    /// Whether an authorization value is set for the endorsement hierarchy.
    pub endorsement_auth_set: bool,
    /// Whether too many authorizations failed.
    pub in_lockout: bool,
    /// Authorizations that failed lately.
    pub lockout_counter: u32,
    /// How many of them lock the TPM.
    pub max_failures: u32,
}

fn text(values: impl IntoIterator<Item = u32>) -> String {
    values
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .filter(|byte| byte.is_ascii_graphic() || *byte == b' ')
        .map(char::from)
        .collect::<String>()
        .trim()
        .to_owned()
}

impl Connection<'_> {
    fn properties(&mut self, first: u32) -> Result<Vec<(u32, u32)>, TpmError> {
        let command = command::get_capability(Capability::Properties, first, PROPERTIES);
        let answer = self.run(&command, &mut [])?;
        Ok(command::capability_properties(&answer.parameters)?.1)
    }

    /// Handles in use from `first` on, of its kind, at most 64.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn handles(&mut self, first: u32) -> Result<Vec<u32>, TpmError> {
        let command = command::get_capability(Capability::Handles, first, HANDLES);
        let answer = self.run(&command, &mut [])?;
        Ok(command::capability_handles(&answer.parameters)?.1)
    }
}

impl Tpm {
    /// What the TPM says of itself.
    ///
    /// # Errors
    /// [`TpmError`]
    pub fn properties(&self) -> Result<Properties, TpmError> {
        let mut found = Vec::new();
        self.operation(|connection| {
            found.extend(connection.properties(FIXED)?);
            found.extend(connection.properties(VARIABLE)?);
            Ok(())
        })?;
        let value = |wanted: u32| {
            found.iter().find(|(property, _)| *property == wanted).map_or(0, |(_, value)| *value)
        };
        let permanent = value(PERMANENT);
        Ok(Properties {
            manufacturer: text([value(MANUFACTURER)]),
            vendor: text(VENDOR_TEXT.map(value)),
            firmware: u64::from(value(FIRMWARE_HIGH)) << 32 | u64::from(value(FIRMWARE_LOW)),
            owner_auth_set: permanent & 1 != 0,
            endorsement_auth_set: permanent & 2 != 0,
            in_lockout: permanent & (1 << 9) != 0,
            lockout_counter: value(LOCKOUT_COUNTER),
            max_failures: value(MAX_FAILURES),
        })
    }

    /// How many objects and how many sessions are loaded: of all programs, where no resource manager keeps them apart.
    ///
    /// # Errors
    /// [`TpmError`]
    pub fn loaded_counts(&self) -> Result<(usize, usize), TpmError> {
        self.operation(|connection| {
            Ok((connection.handles(TRANSIENT)?.len(), connection.handles(LOADED_SESSION)?.len()))
        })
    }

    /// Random bytes from the TPM, at most 32.
    ///
    /// # Errors
    /// [`TpmError::Invalid`] when more are asked for; those of [`Connection::run`].
    pub fn random(&self, count: u16) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        if count > 32 {
            return Err(TpmError::invalid("number of random bytes", "it is above 32"));
        }
        self.operation(|connection| {
            let answer = connection.run(&command::get_random(count), &mut [])?;
            Ok(command::random(&answer.parameters)?)
        })
    }

    /// Whether the TPM works, by its own test (`TPM2_GetTestResult`): some refuse with `TPM_RC_FAILURE` and are well.
    ///
    /// # Errors
    /// [`TpmError`]
    pub fn is_well(&self) -> Result<bool, TpmError> {
        self.operation(|connection| {
            let answer = connection.run(&command::get_test_result(), &mut [])?;
            let mut reader = crate::codec::Reader::new(&answer.parameters, "answer to TPM2_GetTestResult");
            reader.sized(crate::codec::MAX_MESSAGE)?;
            Ok(reader.u32()? == 0)
        })
    }
}

//! The cap: once a process has the master keys, the TPM opens them for nobody until the host starts anew.
//!
//! A register of the policy is extended by a constant event, so that no approval fits any more (TPM 2.0 Library, Part 1, 17).
//! A capped boot is told from one that nobody approved by the approvals: it is an approved one but for that event.
//!
//! Invariant: a boot is capped at most once, and only by whoever has opened the keys in it. Refuses: registers that a
//! program can reset, and to approve, or to seal in, a boot that is capped: its state is none that a host starts with.

use chatelaine_tpm::types::{HashAlgorithm, PcrSelection, PcrValues};

use super::{TpmSeal, approvals, invalid};
use crate::{Seal as _, SealError};

/// What the register is extended by, as the digest of its bank.
const EVENT: &[u8] = b"chatelaine: the master keys are open";
/// Registers from here on can be reset without a restart (TCG PC Client Platform TPM Profile, 4.6).
const FIRST_RESETTABLE: u8 = 16;

/// Whether a register may be capped.
pub(super) fn check(registers: &PcrSelection, cap: Option<u8>) -> Result<(), SealError> {
    match cap {
        None => Ok(()),
        Some(register) if register < FIRST_RESETTABLE && registers.registers().any(|one| one == register) => {
            Ok(())
        }
        Some(register) => Err(invalid(
            "cap_register",
            format!(
                "is {register}; allowed are those of {registers} below {FIRST_RESETTABLE}, since others can be reset \
                 without a restart of the host, and -1 for none"
            ),
        )),
    }
}

/// A register's value after the cap.
fn capped(bank: HashAlgorithm, value: &[u8]) -> Vec<u8> {
    bank.digest(&[value, &bank.digest(&[EVENT])])
}

/// The register by which `now` is `approved` capped. Others may have changed since: some systems go on measuring.
fn capped_register(now: &PcrValues, approved: &PcrValues) -> Option<u8> {
    if now.selection() != approved.selection() {
        return None;
    }
    let bank = now.selection().bank();
    let mut both = now.iter().zip(approved.iter());
    both.find(|((_, now), (_, approved))| *now == capped(bank, approved)).map(|((register, _), _)| register)
}

impl TpmSeal {
    /// Caps this boot, where that is configured; gives the register. The caller has the keys and needs the TPM no more.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] where the register does not have the value it should have afterwards.
    pub fn cap(&self) -> Result<Option<u8>, SealError> {
        let Some(register) = self.cap else { return Ok(None) };
        let bank = self.registers.bank();
        let value = || {
            let values = self.tpm.pcr_read(&self.registers).map_err(|error| self.failed(error))?;
            let found = values.iter().find(|(one, _)| *one == register).map(|(_, value)| value.to_vec());
            Ok::<_, SealError>(found.unwrap_or_default())
        };
        let before = value()?;
        let outcome = self.tpm.pcr_extend(register, bank, EVENT);
        // The register alone tells: an answer may be lost after the TPM has done it.
        if value()? == capped(bank, &before) {
            return Ok(Some(register));
        }
        let why = outcome
            .err()
            .map_or_else(|| "somebody else extended it, too".to_owned(), |error| error.to_string());
        let problem = format!("PCR {register} cannot be capped: {why}");
        Err(SealError::Unavailable { place: self.describe(), problem })
    }

    /// Whether this boot is capped, by whatever register.
    ///
    /// # Errors
    /// Those of the TPM, and of the authority's file.
    pub fn is_capped(&self) -> Result<bool, SealError> {
        let values = self.tpm.pcr_read(&self.registers).map_err(|error| self.failed(error))?;
        Ok(self.capped_register(&values)?.is_some())
    }

    fn capped_register(&self, now: &PcrValues) -> Result<Option<u8>, SealError> {
        let (authority, files) = (self.authority()?, self.approvals.files()?);
        // Of whatever key: a boot is one for all of them.
        let authentic = files.iter().filter(|file| file.check(&authority).is_ok());
        let mut approved = authentic.filter_map(|file| approvals::values(&file.state).ok());
        Ok(approved.find_map(|approved| capped_register(now, &approved)))
    }

    /// Refuses a boot that is capped.
    pub(super) fn refuse_capped(&self, now: &PcrValues) -> Result<(), SealError> {
        match self.capped_register(now)? {
            None => Ok(()),
            Some(register) => Err(SealError::Refused {
                place: self.describe(),
                problem: format!(
                    "PCR {register} was capped when the master keys were opened (seal.tpm.cap_register), so that the TPM opens \
                     and seals nothing for them until this host starts anew"
                ),
                remedy: "restart the host, or open the keys by another seal".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(registers: &str, values: &[u8]) -> PcrValues {
        let selection: PcrSelection = registers.parse().unwrap();
        PcrValues::new(selection, values.iter().map(|byte| vec![*byte; 32]).collect()).unwrap()
    }

    fn with(approved: &PcrValues, register: u8, value: &[u8]) -> PcrValues {
        let values = approved.iter().map(|(one, old)| if one == register { value } else { old }.to_vec());
        PcrValues::new(approved.selection(), values.collect()).unwrap()
    }

    #[test]
    fn only_registers_that_stay_until_a_restart_are_capped() {
        let registers: PcrSelection = "sha256:0,9,16,23".parse().unwrap();
        for (cap, good) in [
            (None, true),
            (Some(9), true),
            (Some(0), true),
            (Some(4), false),
            (Some(16), false),
            (Some(23), false),
        ] {
            assert_eq!(check(&registers, cap).is_ok(), good, "{cap:?}");
        }
    }

    #[test]
    fn a_capped_boot_is_told_from_another_one() {
        let approved = values("sha256:0,7,9", &[1, 2, 3]);
        assert_eq!(capped_register(&approved, &approved), None);
        let by_event = capped(HashAlgorithm::Sha256, &[3; 32]);
        let now = with(&approved, 9, &by_event);
        assert_eq!(capped_register(&now, &approved), Some(9));
        // Whatever else changes meanwhile.
        assert_eq!(capped_register(&with(&now, 0, &[8; 32]), &approved), Some(9));
        // Another event, the event over another value, other registers.
        let other = HashAlgorithm::Sha256.digest(&[&[3; 32], &HashAlgorithm::Sha256.digest(&[b"other"])]);
        assert_eq!(capped_register(&with(&approved, 9, &other), &approved), None);
        assert_eq!(capped_register(&with(&approved, 7, &by_event), &approved), None);
        assert_eq!(capped_register(&now, &values("sha256:0,7,8", &[1, 2, 3])), None);
    }
}

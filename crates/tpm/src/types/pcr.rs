//! Platform configuration registers: which, and what is in them.
//!
//! Invariant: a selection is of one bank and names at least one register; values are as many and as long as selected.

use std::fmt;
use std::str::FromStr;

use super::{HashAlgorithm, hex};
use crate::codec::{Malformed, Reader, Wire, Writer};
use crate::error::TpmError;

/// Registers 0 to 23.
const REGISTERS: u8 = 24;
/// Bytes of a bitmap on the wire.
const BITMAP: u8 = 3;
/// Banks in a list on the wire.
const MAX_BANKS: u32 = 16;

/// Registers of one bank (`TPML_PCR_SELECTION` with one entry, Part 2, 10.9.7). Displays and parses as `sha256:0,2,4,7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    bank: HashAlgorithm,
    mask: u32,
}

impl PcrSelection {
    /// Those registers of the bank.
    ///
    /// # Errors
    /// [`Malformed`] when there is none, or one above 23.
    pub fn new(bank: HashAlgorithm, registers: impl IntoIterator<Item = u8>) -> Result<Self, Malformed> {
        let mut mask = 0;
        for register in registers {
            if register >= REGISTERS {
                return Err(malformed("a register is not in 0 to 23"));
            }
            mask |= 1_u32.checked_shl(register.into()).unwrap_or_default();
        }
        if mask == 0 {
            return Err(malformed("it names no register"));
        }
        Ok(Self { bank, mask })
    }

    /// The bank.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The registers, ascending.
    pub fn registers(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.mask;
        (0..REGISTERS).filter(move |register| bit(mask, *register))
    }

    /// How many registers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registers().count()
    }
}

fn malformed(problem: &'static str) -> Malformed {
    Malformed { what: "selection of registers", problem }
}

fn bit(mask: u32, register: u8) -> bool {
    mask.checked_shr(register.into()).is_some_and(|rest| rest & 1 == 1)
}

impl FromStr for PcrSelection {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (bank, registers) =
            text.split_once(':').ok_or_else(|| malformed("it is not written like sha256:0,2,4,7"))?;
        let bank = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
            .into_iter()
            .find(|known| known.name() == bank)
            .ok_or_else(|| malformed("the bank is not sha256, sha384 or sha512"))?;
        let registers: Result<Vec<u8>, Malformed> = registers
            .split(',')
            .map(|number| {
                if number.is_empty()
                    || number.len() > 2
                    || !number.bytes().all(|digit| digit.is_ascii_digit())
                {
                    return Err(malformed("a register is not a number in 0 to 23"));
                }
                number.parse().map_err(|_| malformed("a register is not a number in 0 to 23"))
            })
            .collect();
        Self::new(bank, registers?)
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.bank.name())?;
        for (place, register) in self.registers().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{register}")?;
        }
        Ok(())
    }
}

/// Reads a list of selections: bank's number and bitmap of each.
fn read_list(reader: &mut Reader<'_>) -> Result<Vec<(u16, u32)>, Malformed> {
    let count = reader.u32()?;
    if count > MAX_BANKS {
        return Err(reader.malformed("it names more than 16 banks"));
    }
    (0..count)
        .map(|_| {
            let bank = reader.u16()?;
            let size = reader.u8()?;
            if size > 4 {
                return Err(reader.malformed("a bitmap is longer than 4 bytes"));
            }
            let bitmap = reader.take(size.into())?;
            let mask = bitmap.iter().rev().fold(0_u32, |mask, byte| (mask << 8) | u32::from(*byte));
            Ok((bank, mask))
        })
        .collect()
}

impl Wire for PcrSelection {
    const WHAT: &'static str = "selection of registers";

    fn write(&self, writer: &mut Writer) {
        let [a, b, c, _] = self.mask.to_le_bytes();
        writer.u32(1).structure(&self.bank).u8(BITMAP).raw(&[a, b, c]);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u32()? != 1 {
            return Err(reader.malformed("it is not of exactly one bank"));
        }
        let bank = HashAlgorithm::read(reader)?;
        if reader.u8()? != BITMAP {
            return Err(reader.malformed("its bitmap is not of 3 bytes"));
        }
        let [a, b, c] = reader.array()?;
        let mask = u32::from_le_bytes([a, b, c, 0]);
        if mask == 0 {
            return Err(reader.malformed("it names no register"));
        }
        Ok(Self { bank, mask })
    }
}

/// Selected registers with their values: a boot state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValues {
    selection: PcrSelection,
    values: Vec<Vec<u8>>,
}

impl PcrValues {
    /// The values in the order of the registers.
    ///
    /// # Errors
    /// [`Malformed`] when they are not as many and as long as selected.
    pub fn new(selection: PcrSelection, values: Vec<Vec<u8>>) -> Result<Self, Malformed> {
        let wrong = |problem| Malformed { what: "values of registers", problem };
        if values.len() != selection.count() {
            return Err(wrong("they are not as many as selected"));
        }
        if values.iter().any(|value| value.len() != selection.bank.size()) {
            return Err(wrong("one is not as long as a digest of its bank"));
        }
        Ok(Self { selection, values })
    }

    /// Which registers.
    #[must_use]
    pub fn selection(&self) -> PcrSelection {
        self.selection
    }

    /// Registers with values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.selection.registers().zip(self.values.iter().map(Vec::as_slice))
    }

    /// The SHA-256 digest over the values, as quotes and policies of this client have it.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        HashAlgorithm::Sha256.digest(&parts)
    }

    /// The digest of the policy that these registers have these values (`TPM2_PolicyPCR`, Part 3, 23.7).
    #[must_use]
    pub fn policy_digest(&self) -> Vec<u8> {
        crate::software::policy::pcr(&self.selection, &self.digest())
    }

    /// Refuses registers that nothing was measured into.
    ///
    /// # Errors
    /// [`TpmError::Unmeasured`] names the first.
    pub fn require_measured(&self) -> Result<(), TpmError> {
        for (register, value) in self.iter() {
            for (byte, name) in [(0, "zeros"), (0xff, "ones")] {
                if value.iter().all(|found| *found == byte) {
                    let bank = self.selection.bank.name();
                    return Err(TpmError::Unmeasured { bank, register, value: name });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for PcrValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.selection.bank.name())?;
        for (register, value) in self.iter() {
            write!(f, " {register}={}", hex(value))?;
        }
        Ok(())
    }
}

impl Wire for PcrValues {
    const WHAT: &'static str = "values of registers";

    fn write(&self, writer: &mut Writer) {
        writer.structure(&self.selection);
        for value in &self.values {
            writer.raw(value);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let selection = PcrSelection::read(reader)?;
        let values: Result<_, _> =
            selection.registers().map(|_| reader.take(selection.bank.size()).map(<[u8]>::to_vec)).collect();
        Self::new(selection, values?)
    }
}

/// One answer to `TPM2_PCR_Read` (Part 3, 22.4): at most eight values, and a counter that moves with every change.
#[derive(Debug)]
pub struct PcrReading {
    /// Moves with every change of a register.
    pub update_counter: u32,
    /// Registers with values, ascending; none when the bank is not allocated.
    pub values: Vec<(u8, Vec<u8>)>,
}

impl PcrReading {
    /// Reads the answer to a request of registers of one bank.
    pub(crate) fn read(reader: &mut Reader<'_>, bank: HashAlgorithm) -> Result<Self, Malformed> {
        let update_counter = reader.u32()?;
        let mask = read_list(reader)?
            .into_iter()
            .filter(|(found, _)| *found == bank.id())
            .fold(0, |mask, (_, found)| mask | found);
        let count = reader.u32()?;
        let registers: Vec<u8> = (0..REGISTERS).filter(|register| bit(mask, *register)).collect();
        if u32::try_from(registers.len()) != Ok(count) || count > 8 {
            return Err(reader.malformed("it has not as many values as it says"));
        }
        let values = registers
            .into_iter()
            .map(|register| {
                let value = reader.sized(bank.size())?;
                if value.len() != bank.size() {
                    return Err(reader.malformed("a value is not as long as a digest of its bank"));
                }
                Ok((register, value.to_vec()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { update_counter, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_parsed_displayed_and_written() {
        let selection: PcrSelection = "sha256:9,0,2,4,7,8".parse().unwrap();
        assert_eq!(selection.to_string(), "sha256:0,2,4,7,8,9");
        assert_eq!(selection.to_bytes(), [0, 0, 0, 1, 0, 11, 3, 0x95, 0x03, 0x00]);
        assert_eq!(PcrSelection::from_bytes(&selection.to_bytes()).unwrap(), selection);
        for wrong in [
            "",
            "sha256",
            "sha256:",
            "sha1:0",
            "sha256:24",
            "sha256:0,",
            "sha256:+1",
            "sha256:0 ",
            "sha256:001",
        ] {
            assert!(wrong.parse::<PcrSelection>().is_err(), "{wrong}");
        }
        assert!(PcrSelection::from_bytes(&[0, 0, 0, 1, 0, 11, 3, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_nobody_measured_is_refused_by_register() {
        let selection: PcrSelection = "sha256:4,7".parse().unwrap();
        for (value, name) in [(0, "zeros"), (0xff, "ones")] {
            let values = PcrValues::new(selection, vec![vec![1; 32], vec![value; 32]]).unwrap();
            let error = values.require_measured().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("PCR 7 of the sha256 bank is all {name}")),
                "{error}"
            );
        }
        PcrValues::new(selection, vec![vec![1; 32], vec![2; 32]]).unwrap().require_measured().unwrap();
        assert!(PcrValues::new(selection, vec![vec![1; 32]]).is_err());
        assert!(PcrValues::new(selection, vec![vec![1; 32], vec![1; 31]]).is_err());
    }
}

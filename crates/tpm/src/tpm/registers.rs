//! Platform configuration registers: reading them, and extending one.

use super::{Connection, Tpm};
use crate::codec::Malformed;
use crate::command;
use crate::error::TpmError;
use crate::session::Authorization;
use crate::types::{AuthValue, HashAlgorithm, PcrSelection, PcrValues};

/// How often reading starts over when a register changes in the middle of it.
const MAX_ROUNDS: u32 = 8;

impl Connection<'_> {
    /// The values of the registers, all of the same moment.
    ///
    /// # Errors
    /// [`TpmError::BankMissing`] when the TPM does not keep the bank; those of [`Connection::run`].
    pub fn pcr_read(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        for _ in 0..MAX_ROUNDS {
            if let Some(values) = self.pcr_read_round(selection)? {
                return Ok(values);
            }
        }
        Err(Malformed { what: "values of registers", problem: "they changed each time they were read" }
            .into())
    }

    /// One round: eight registers are answered at a time. None when something changed in between.
    fn pcr_read_round(&mut self, selection: &PcrSelection) -> Result<Option<PcrValues>, TpmError> {
        let bank = selection.bank();
        let mut values = Vec::new();
        let mut counter = None;
        let mut left: Vec<u8> = selection.registers().collect();
        while !left.is_empty() {
            let wanted = PcrSelection::new(bank, left.iter().copied())?;
            let answer = self.run(&command::pcr_read(&wanted), &mut [])?;
            let reading = command::pcr_values(&answer.parameters, &wanted)?;
            let found = reading.values;
            if found.is_empty() {
                return Err(TpmError::BankMissing { bank: bank.name() });
            }
            if *counter.get_or_insert(reading.update_counter) != reading.update_counter {
                return Ok(None);
            }
            // The TPM answers the lowest ones first.
            if !left.starts_with(&found.iter().map(|(register, _)| *register).collect::<Vec<_>>()) {
                let problem = "they are of other registers than asked for";
                return Err(Malformed { what: "values of registers", problem }.into());
            }
            left.drain(..found.len());
            values.extend(found.into_iter().map(|(_, value)| value));
        }
        Ok(Some(PcrValues::new(*selection, values)?))
    }
}

impl Tpm {
    /// The values of the registers.
    ///
    /// # Errors
    /// [`TpmError::BankMissing`] when the TPM does not keep the bank.
    pub fn pcr_read(&self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        self.operation(|connection| connection.pcr_read(selection))
    }

    /// Extends a register by the digest of `data`: afterwards nothing that is sealed to its former value opens until the next
    /// start of the machine.
    ///
    /// # Errors
    /// [`TpmError::Response`] when the register may not be extended.
    pub fn pcr_extend(&self, register: u8, bank: HashAlgorithm, data: &[u8]) -> Result<(), TpmError> {
        let command = command::pcr_extend(register, bank, &bank.digest(&[data]));
        let none = AuthValue::default();
        self.operation(|connection| connection.run(&command, &mut [Authorization::Password(&none)]).map(drop))
    }
}

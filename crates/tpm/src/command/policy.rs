//! Commands that extend the digest of a policy session (Part 3, 23).

use super::{Command, Handle, Ticket};
use crate::types::{Name, PcrSelection};

/// `TPM2_PolicyPCR` (Part 3, 23.7) with the values the registers have now.
#[must_use]
pub fn policy_pcr(session: u32, selection: &PcrSelection) -> Command {
    Command::new("TPM2_PolicyPCR", 0x17f).handle(&Handle::permanent(session)).parameters(|writer| {
        writer.sized(&[]).structure(selection);
    })
}

/// `TPM2_PolicyAuthorize` (Part 3, 23.16): replaces the digest, if it is the approved one, by that of the authority.
#[must_use]
pub fn policy_authorize(
    session: u32,
    approved: &[u8],
    reference: &[u8],
    authority: &Name,
    ticket: &Ticket,
) -> Command {
    Command::new("TPM2_PolicyAuthorize", 0x16a).handle(&Handle::permanent(session)).parameters(|writer| {
        writer.sized(approved).sized(reference).sized(authority.as_bytes()).structure(ticket);
    })
}

/// `TPM2_PolicyAuthValue` (Part 3, 23.17).
#[must_use]
pub fn policy_auth_value(session: u32) -> Command {
    Command::new("TPM2_PolicyAuthValue", 0x16b).handle(&Handle::permanent(session))
}

/// `TPM2_PolicySecret` (Part 3, 23.4) of an entity that is authorized with the command.
#[must_use]
pub fn policy_secret(entity: &Handle, session: u32) -> Command {
    Command::new("TPM2_PolicySecret", 0x151)
        .authorized(entity)
        .handle(&Handle::permanent(session))
        .parameters(|writer| {
            // No nonce, no hash of parameters, no reference, no expiration.
            writer.sized(&[]).sized(&[]).sized(&[]).u32(0);
        })
}

/// `TPM2_PolicyGetDigest` (Part 3, 23.6).
#[must_use]
pub fn policy_get_digest(session: u32) -> Command {
    Command::new("TPM2_PolicyGetDigest", 0x189).handle(&Handle::permanent(session))
}

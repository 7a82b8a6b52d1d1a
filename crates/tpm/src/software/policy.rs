//! Digests of policies, computed without a TPM (Part 3, 23; Part 1, 19.7). All are of SHA-256 unless a hash is given.

use crate::codec::Wire;
use crate::types::{HashAlgorithm, Name, PcrSelection};

const POLICY_SECRET: u32 = 0x0151;
const POLICY_AUTHORIZE: u32 = 0x016a;
const POLICY_AUTH_VALUE: u32 = 0x016b;
const POLICY_PCR: u32 = 0x017f;
/// The endorsement hierarchy (`TPM_RH_ENDORSEMENT`).
pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;

/// The longest reference that goes with a policy, in bytes (`TPM2B_NONCE`): what all TPMs take.
pub const MAX_REFERENCE: usize = 64;

const HASH: HashAlgorithm = HashAlgorithm::Sha256;
const START: [u8; 32] = [0; 32];

/// `TPM2_PolicyPCR` from the start: the registers have values with this digest.
#[must_use]
pub fn pcr(selection: &PcrSelection, values_digest: &[u8]) -> Vec<u8> {
    HASH.digest(&[&START, &POLICY_PCR.to_be_bytes(), &selection.to_bytes(), values_digest])
}

/// `TPM2_PolicyAuthorize`: any policy that the key signed together with the reference. What was before does not matter.
#[must_use]
pub fn authorize(authority: &Name, reference: &[u8]) -> Vec<u8> {
    update(HASH, &START, POLICY_AUTHORIZE, authority.as_bytes(), reference)
}

/// `TPM2_PolicyAuthValue` after `before`: the object's authorization value, too.
#[must_use]
pub fn auth_value(before: &[u8]) -> Vec<u8> {
    HASH.digest(&[before, &POLICY_AUTH_VALUE.to_be_bytes()])
}

/// `TPM2_PolicySecret` from the start: the authorization value of another entity.
#[must_use]
pub fn secret(hash: HashAlgorithm, entity: &Name, reference: &[u8]) -> Vec<u8> {
    let start = vec![0; hash.size()];
    update(hash, &start, POLICY_SECRET, entity.as_bytes(), reference)
}

/// The policy of endorsement keys in the low range: `TPM2_PolicySecret` of the endorsement hierarchy, "PolicyA" of the
/// TCG EK Credential Profile.
#[must_use]
pub fn endorsement() -> Vec<u8> {
    secret(HASH, &Name::of_handle(ENDORSEMENT), &[])
}

/// What an authority signs: the digest of approved policy and reference (Part 3, 23.16).
#[must_use]
pub fn approval_digest(approved: &[u8], reference: &[u8]) -> Vec<u8> {
    HASH.digest(&[approved, reference])
}

/// `PolicyUpdate()` of Part 3, 23.2.3.
fn update(hash: HashAlgorithm, before: &[u8], command: u32, name: &[u8], reference: &[u8]) -> Vec<u8> {
    let digest = hash.digest(&[before, &command.to_be_bytes(), name]);
    hash.digest(&[&digest, reference])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::hex;

    /// TCG EK Credential Profile 2.x, B.6.2: PolicyA of SHA-256 and SHA-384.
    #[test]
    fn the_policy_of_endorsement_keys_is_the_published_one() {
        assert_eq!(hex(&endorsement()), "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa");
        assert_eq!(
            hex(&secret(HashAlgorithm::Sha384, &Name::of_handle(ENDORSEMENT), &[])),
            "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53"
        );
    }

    /// The digest of `TPM2_PolicyAuthValue` alone, which many programs have as a constant.
    #[test]
    fn the_policy_of_an_authorization_value_is_the_published_one() {
        assert_eq!(
            hex(&auth_value(&START)),
            "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e"
        );
    }
}

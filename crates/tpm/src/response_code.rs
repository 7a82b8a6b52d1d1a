//! Response codes with readable names and what to do about them (Part 2, 6.6).

use std::fmt;

/// What a TPM answers when it refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

/// Bit 7: the code speaks of a parameter, a handle or a session, whose number is in it.
const FORMAT_ONE: u32 = 0x080;
const PARAMETER: u32 = 0x040;

impl ResponseCode {
    /// No refusal.
    pub const SUCCESS: Self = Self(0);
    /// The TPM has not been started after power-on.
    pub const INITIALIZE: Self = Self(0x100);
    /// The TPM says of itself that it failed; older software TPMs also answer this to a wrong RSA secret.
    pub const FAILURE: Self = Self(0x101);
    /// A password was given where only a policy authorizes.
    pub const AUTH_UNAVAILABLE: Self = Self(0x12f);
    /// Too many failed authorizations.
    pub const LOCKOUT: Self = Self(0x921);
    /// The TPM was interrupted: send the command again.
    pub const YIELDED: Self = Self(0x908);
    /// The TPM tests itself: send the command again.
    pub const TESTING: Self = Self(0x90a);
    /// The TPM protects its memory from wear: send the command again later.
    pub const NV_RATE: Self = Self(0x920);
    /// The TPM could not begin: send the command again.
    pub const RETRY: Self = Self(0x922);
    /// No such NV index or persistent object; of format one, without the handle's number.
    const HANDLE: u32 = 0x08b;
    const INTEGRITY: u32 = 0x09f;
    const VALUE: u32 = 0x084;
    const POLICY_FAIL: u32 = 0x09d;
    const SIGNATURE: u32 = 0x09b;

    /// The code without the number of the parameter, handle or session.
    #[must_use]
    pub fn base(self) -> u32 {
        if self.0 & FORMAT_ONE == 0 { self.0 } else { self.0 & 0x0bf }
    }

    /// Whether the same command is to be sent again.
    #[must_use]
    pub fn is_transient(self) -> bool {
        [Self::YIELDED, Self::TESTING, Self::RETRY, Self::NV_RATE].contains(&self)
    }

    /// Whether a handle or an index that the command names does not exist.
    #[must_use]
    pub fn is_unknown_handle(self) -> bool {
        self.base() == Self::HANDLE
    }

    /// Whether protected data was not made by or for this TPM's key.
    #[must_use]
    pub fn is_integrity(self) -> bool {
        self.base() == Self::INTEGRITY
    }

    /// Whether a value is not what the TPM expects: of `TPM2_PolicyAuthorize`, the digest of other registers.
    #[must_use]
    pub fn is_value(self) -> bool {
        self.base() == Self::VALUE
    }

    /// Whether the object's policy is not satisfied.
    #[must_use]
    pub fn is_policy_failure(self) -> bool {
        self.base() == Self::POLICY_FAIL
    }

    /// Whether a signature is not its key's.
    #[must_use]
    pub fn is_signature(self) -> bool {
        self.base() == Self::SIGNATURE
    }

    /// What the code speaks of, for example `parameter 1`.
    fn place(self) -> Option<(&'static str, u32)> {
        let number = (self.0 >> 8) & 0xf;
        match self.0 {
            code if code & FORMAT_ONE == 0 => None,
            code if code & PARAMETER != 0 => Some(("parameter", number)),
            _ if number >= 8 => Some(("session", number & 7)),
            _ => Some(("handle", number)),
        }
    }

    /// The name in the standard and what to do; the name is empty for codes this client does not know.
    #[must_use]
    pub fn explain(self) -> (&'static str, &'static str) {
        match self.base() {
            0x100 => (
                "TPM_RC_INITIALIZE",
                "the TPM was not started: the firmware or `swtpm --flags startup-clear` does that",
            ),
            0x101 => (
                "TPM_RC_FAILURE",
                "the secret was not made for this TPM, or the TPM is in failure mode: restart the host if other commands fail, too",
            ),
            0x120 => ("TPM_RC_DISABLED", "the hierarchy or command is disabled in the firmware setup"),
            0x12f => ("TPM_RC_AUTH_UNAVAILABLE", "this object opens by its policy only, not by a password"),
            0x143 => ("TPM_RC_COMMAND_CODE", "this TPM does not have the command: update its firmware"),
            0x144 => ("TPM_RC_AUTHSIZE", "the authorization area is not as long as it says"),
            0x145 => ("TPM_RC_AUTH_CONTEXT", "a session was given to a command that takes none"),
            0x902 => (
                "TPM_RC_OBJECT_MEMORY",
                "all slots for objects are taken by other programs: use /dev/tpmrm0, or flush them",
            ),
            0x903 => (
                "TPM_RC_SESSION_MEMORY",
                "all slots for sessions are taken by other programs: use /dev/tpmrm0, or flush them",
            ),
            0x904 => ("TPM_RC_MEMORY", "the TPM is out of memory: use /dev/tpmrm0, or flush other objects"),
            0x905 => (
                "TPM_RC_SESSION_HANDLES",
                "all session handles are taken by other programs: use /dev/tpmrm0, or flush them",
            ),
            0x908 => ("TPM_RC_YIELDED", "the TPM was busy for too long: try again"),
            0x90a => ("TPM_RC_TESTING", "the TPM tested itself for too long: try again"),
            0x910..=0x916 => (
                "TPM_RC_REFERENCE_H",
                "a handle is not loaded any more: another program flushed it, use /dev/tpmrm0",
            ),
            0x918..=0x91e => (
                "TPM_RC_REFERENCE_S",
                "a session is not loaded any more: another program flushed it, use /dev/tpmrm0",
            ),
            0x920 => ("TPM_RC_NV_RATE", "the TPM protects its memory from wear: try again later"),
            0x921 => (
                "TPM_RC_LOCKOUT",
                "too many failed authorizations or power cuts: wait, or reset with the lockout authorization (tpm2_dictionarylockout -c)",
            ),
            0x922 => ("TPM_RC_RETRY", "the TPM was busy for too long: try again"),
            0x923 => ("TPM_RC_NV_UNAVAILABLE", "the TPM's memory cannot be written now: try again"),
            0x081 => ("TPM_RC_ASYMMETRIC", "the TPM does not have this asymmetric algorithm"),
            0x082 => ("TPM_RC_ATTRIBUTES", "the attributes do not fit together or not the parent's"),
            0x083 => ("TPM_RC_HASH", "the TPM does not have this hash algorithm here"),
            0x084 => (
                "TPM_RC_VALUE",
                "a value is not what is expected; of TPM2_PolicyAuthorize: the registers are not the approved ones",
            ),
            0x085 => ("TPM_RC_HIERARCHY", "the hierarchy is disabled or not allowed here"),
            0x087 => ("TPM_RC_KEY_SIZE", "the TPM does not have keys of this size"),
            0x08a => ("TPM_RC_TYPE", "the object is of another type"),
            0x08b => ("TPM_RC_HANDLE", "there is no such object or index in this TPM"),
            0x08e => {
                ("TPM_RC_AUTH_FAIL", "the authorization value is wrong; this counts towards the lockout")
            }
            0x08f => ("TPM_RC_NONCE", "a nonce is not of the right size"),
            0x092 => ("TPM_RC_SCHEME", "the TPM does not have this scheme"),
            0x095 => ("TPM_RC_SIZE", "a field is not of the right size"),
            0x096 => ("TPM_RC_SYMMETRIC", "the TPM does not have this symmetric algorithm"),
            0x098 => ("TPM_RC_SELECTOR", "a union selector is wrong"),
            0x09a => ("TPM_RC_INSUFFICIENT", "the command is shorter than its structure"),
            0x09b => {
                ("TPM_RC_SIGNATURE", "the signature is not that key's: forged, or made by another authority")
            }
            0x09c => ("TPM_RC_KEY", "the key cannot be used for this"),
            0x09d => (
                "TPM_RC_POLICY_FAIL",
                "the policy is not satisfied: other registers, another authority, cluster or epoch",
            ),
            0x09f => ("TPM_RC_INTEGRITY", "not made for this TPM and parent, or altered"),
            0x0a0 => ("TPM_RC_TICKET", "the ticket is not this TPM's"),
            0x0a2 => ("TPM_RC_BAD_AUTH", "the authorization value is wrong"),
            0x0a3 => ("TPM_RC_EXPIRED", "the policy has expired"),
            0x0a5 => ("TPM_RC_COMMAND_CODE", "the policy allows another command only"),
            0x0a6 => ("TPM_RC_BINDING", "public and private part do not belong together"),
            0x0a7 => ("TPM_RC_CURVE", "the TPM does not have this curve"),
            0x0a8 => ("TPM_RC_ECC_POINT", "the point is not on the curve"),
            _ => ("", "see Part 2, 6.6 of the TPM library"),
        }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, advice) = self.explain();
        write!(f, "{:#05x}", self.0)?;
        if !name.is_empty() {
            write!(f, " {name}")?;
        }
        if let Some((what, number)) = self.place() {
            write!(f, " ({what} {number})")?;
        }
        write!(f, ": {advice}")
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode({:#x} {})", self.0, self.explain().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_themselves_their_place_and_a_remedy() {
        for (code, begin) in [
            (0x1df, "0x1df TPM_RC_INTEGRITY (parameter 1): "),
            (0x1c4, "0x1c4 TPM_RC_VALUE (parameter 1): "),
            (0x99d, "0x99d TPM_RC_POLICY_FAIL (session 1): "),
            (0x2db, "0x2db TPM_RC_SIGNATURE (parameter 2): "),
            (0x12f, "0x12f TPM_RC_AUTH_UNAVAILABLE: "),
            (0x18b, "0x18b TPM_RC_HANDLE (handle 1): "),
            (0x921, "0x921 TPM_RC_LOCKOUT: "),
            (0x100, "0x100 TPM_RC_INITIALIZE: "),
            (0x5ff, "0x5ff (parameter 5): see "),
        ] {
            assert!(ResponseCode(code).to_string().starts_with(begin), "{}", ResponseCode(code));
        }
        assert!(ResponseCode(0x18b).is_unknown_handle());
        assert!(ResponseCode::RETRY.is_transient() && !ResponseCode::LOCKOUT.is_transient());
    }
}

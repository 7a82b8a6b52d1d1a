//! Tokens as a request presents them, before anybody believes them.
//!
//! Invariant: past this module a token is known only by its SHA-256 digest, except to the one call that asks Keystone.
//! Refuses what cannot be a token: empty text, more than 8 KiB, characters other than visible ASCII (T-TOKEN-FORGED).

use chatelaine_client::SecretText;

/// Longer texts are refused unread, in bytes.
pub(super) const TOKEN_LIMIT: usize = 8 << 10;

/// What a token is remembered by.
pub(super) type Digest = [u8; 32];

/// Whether a text can be a token at all.
pub(super) fn is_plausible(token: &SecretText) -> bool {
    let text = token.expose();
    !text.is_empty() && text.len() <= TOKEN_LIMIT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn digest(token: &SecretText) -> Digest {
    chatelaine_crypto::sha256(&[token.expose().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-TOKEN-FORGED: nothing that is no token reaches a cache, a file or Keystone.
    #[test]
    fn only_short_visible_ascii_can_be_a_token() {
        for good in ["x", "gAAAAABn-_=", &"a".repeat(TOKEN_LIMIT)] {
            assert!(is_plausible(&SecretText::new(good)));
        }
        for bad in ["", " ", "a b", "a\n", "a\0", "é", "\u{7f}", &"a".repeat(TOKEN_LIMIT + 1)] {
            assert!(!is_plausible(&SecretText::new(bad)), "{} bytes were accepted", bad.len());
        }
    }
}

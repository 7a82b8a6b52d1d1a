//! Shares of a recovery key: any `threshold` of them give the key, fewer give nothing.
//!
//! Shamir's scheme over GF(2^8). A share's text holds the version, the threshold, the recovery key's fingerprint, and the
//! share itself, in Bech32m: a mistyped share, or one of another key, is told from a right one before shares are joined.

use std::collections::BTreeMap;

use blahaj::{Share, Sharks};
use chatelaine_crypto::KeyMaterial;
use zeroize::Zeroizing;

use super::{KEY_LENGTH, RecoveryKey, RecoverySeal, decode, encode};
use crate::{Seal as _, SealError};

/// What the text of a share begins with.
const SHARE_PREFIX: &str = "chatelaine-share-";
/// The version of the layout: this byte, the threshold, the fingerprint's 8 bytes, the share's number, its bytes.
const VERSION: u8 = 1;
const HEADER: usize = 10;
/// Most shares.
pub const MAX_SHARES: u8 = 32;

fn invalid(problem: impl Into<String>) -> SealError {
    SealError::Invalid { what: "share", problem: problem.into() }
}

/// The eight bytes that say of which key a share is.
fn mark(key: &RecoveryKey) -> Result<Vec<u8>, SealError> {
    let recipient = key.recipient("", 1, 1)?;
    let digest = chatelaine_crypto::sha256(&[b"chatelaine recovery key\0", &recipient.public_key]);
    Ok(digest.iter().take(8).copied().collect())
}

/// Shares out a key. Whoever calls destroys the key then.
///
/// # Errors
/// [`SealError::Invalid`] for a threshold below 2 or above the number of shares, or more than [`MAX_SHARES`] shares.
pub fn split(key: &RecoveryKey, threshold: u8, count: u8) -> Result<Vec<Zeroizing<String>>, SealError> {
    if count > MAX_SHARES || threshold < 2 || threshold > count {
        return Err(invalid(format!(
            "{threshold} of {count} is not possible: allowed are 2 to {MAX_SHARES} shares, and a threshold of 2 to that number"
        )));
    }
    let mark = mark(key)?;
    let dealer = Sharks(threshold);
    let shares = dealer.dealer(key.material.expose()).take(usize::from(count));
    shares
        .map(|share| {
            let share = Zeroizing::new(Vec::from(&share));
            let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER.saturating_add(share.len())));
            bytes.extend_from_slice(&[VERSION, threshold]);
            bytes.extend_from_slice(&mark);
            bytes.extend_from_slice(&share);
            encode(&bytes, SHARE_PREFIX)
        })
        .collect()
}

/// Joins shares to the key.
///
/// # Errors
/// [`SealError::Invalid`] for texts that are no shares, shares of different keys, too few of them, and shares that do not
/// give the key they name.
pub fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<RecoveryKey, SealError> {
    let mut shares: BTreeMap<u8, KeyMaterial> = BTreeMap::new();
    let mut header: Option<KeyMaterial> = None;
    for text in texts {
        let bytes = decode(text, SHARE_PREFIX, "share")?;
        let (head, share) = bytes
            .expose()
            .split_at_checked(HEADER)
            .filter(|(_, share)| share.len() == KEY_LENGTH.saturating_add(1))
            .ok_or_else(|| invalid("has a wrong length"))?;
        if head.first() != Some(&VERSION) {
            return Err(invalid("was made by another release"));
        }
        match &header {
            Some(known) if !known.ct_eq(head) => return Err(invalid("the shares are not of the same key")),
            Some(_) => {}
            None => header = Some(KeyMaterial::copy_from(head)),
        }
        // The same share twice counts once.
        shares.insert(share.first().copied().unwrap_or(0), KeyMaterial::copy_from(share));
    }
    let header = header.ok_or_else(|| invalid("none was given"))?;
    let threshold = header.expose().get(1).copied().unwrap_or(0);
    if shares.len() < usize::from(threshold) {
        return Err(invalid(format!("{} different ones were given, {threshold} are needed", shares.len())));
    }
    let parts: Vec<Share> = shares
        .values()
        .map(|share| Share::try_from(share.expose()).map_err(|_| invalid("is damaged")))
        .collect::<Result<_, _>>()?;
    let joined = Sharks(threshold).recover(&parts).map_err(|_| invalid("they do not fit together"))?;
    let key = RecoveryKey::from_material(KeyMaterial::from_vec(joined))?;
    if !header.expose().get(2..).is_some_and(|mark_of| mark(&key).is_ok_and(|mark| mark == mark_of)) {
        return Err(invalid(format!(
            "they do not give the key that they name; one of them is wrong for {}",
            RecoverySeal::of_key(key)?.describe()
        )));
    }
    Ok(key)
}

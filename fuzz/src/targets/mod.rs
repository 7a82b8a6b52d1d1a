//! The targets, by the crate they look at.

pub(crate) mod client;
pub(crate) mod crypto;
pub(crate) mod object;
pub(crate) mod policy;
pub(crate) mod record;
pub(crate) mod seal;
pub(crate) mod server;
pub(crate) mod tpm;

/// Takes the first `N` bytes as choices; the rest is the input proper.
fn choices<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    input.split_first_chunk::<N>().map(|(choices, rest)| (*choices, rest))
}

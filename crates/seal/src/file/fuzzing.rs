//! The key file's parser and writer, for the fuzz targets alone.

use zeroize::Zeroizing;

use super::format;

/// The content with the check line that belongs to it.
#[must_use]
pub fn with_check(content: &[u8]) -> Vec<u8> {
    let mut checked = content.to_vec();
    format::append_check(&mut checked);
    checked
}

/// What would be written for the keys in `content`; nothing where it is refused.
#[must_use]
pub fn rewritten(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    format::parse(content).ok().map(|keys| format::render(&keys))
}

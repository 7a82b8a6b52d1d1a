//! The file of the file seal, the document of sealed keys, and what people type of recovery keys.

use chatelaine_seal::document::SealedKeys;
use chatelaine_seal::file::fuzzing::{rewritten, with_check};
use chatelaine_seal::recovery::{RecoveryKey, shares};

/// There is one way only to write given keys: whatever is read is written back as it was.
///
/// The input is tried as it is and with the check that belongs to it, which no search would find.
pub(crate) fn sealing_key_file(input: &[u8]) {
    for content in [input.to_vec(), with_check(input)] {
        if let Some(written) = rewritten(&content) {
            assert_eq!(*written, content, "another way to write the same keys");
        }
    }
}

/// What is read can be written, and is the same when it is read again.
pub(crate) fn sealed_keys(input: &[u8]) {
    let Ok(document) = SealedKeys::parse(input) else { return };
    assert!(document.active().is_some());
    let written = document.render().unwrap_or_default();
    assert_eq!(SealedKeys::parse(&written), Ok(document));
}

/// Texts of recovery keys and shares: one that is taken is written as it was typed.
pub(crate) fn recovery_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = RecoveryKey::parse(text) {
        let written = key.to_text().unwrap_or_default();
        assert_eq!(written.as_str(), text.trim().to_lowercase());
    }
    let _ = shares::join(text.lines());
}

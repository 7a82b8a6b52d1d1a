//! The file of the file seal.

use chatelaine_seal::file::fuzzing::{rewritten, with_check};

/// There is one way only to write given keys: whatever is read is written back as it was.
///
/// The input is tried as it is and with the check that belongs to it, which no search would find.
pub(crate) fn master_key_file(input: &[u8]) {
    for content in [input.to_vec(), with_check(input)] {
        if let Some(written) = rewritten(&content) {
            assert_eq!(*written, content, "another way to write the same keys");
        }
    }
}

//! Bulk data: the format in which objects, files and streams are encrypted, and the engine for it.
//!
//! Owns the format, version 1 (`docs/api/object-format.md` has every byte of it and names the vectors): a [`Header`], which
//! can be kept in front of the body or apart from it, and the body, whose [`Layout`] follows from the header alone. An
//! [`ObjectKey`] is a header with the data key that fits it; it makes [`Encryptor`]s and [`Decryptor`]s, which stream in
//! constant memory and begin at any place.
//!
//! Invariants: a data key is checked against the header before any byte is decrypted, in every mode; the header is
//! authenticated with it; each header is made here, with a new salt, so no nonce, counter or tail mask is used twice; in
//! authenticated modes only bytes that were verified are released, and the end of the object is verified, too.
//!
//! Refuses: keys of another length than the cipher's, XTS keys whose halves are equal, headers of unknown versions,
//! objects beyond [`MAXIMUM_PLAIN_LENGTH`], and any further use of a stream after an error.

mod aes_key;
mod cbc;
mod cipher;
mod ctr;
mod decryptor;
mod encryptor;
mod header;
mod key;
mod layout;
mod sealed;
#[cfg(test)]
mod tests;
mod xts;

pub use cipher::{Cipher, Mode};
pub use decryptor::Decryptor;
pub use encryptor::Encryptor;
pub use header::{Header, KeyUse, MAGIC, MAXIMUM_HEADER_LENGTH, MAXIMUM_KEY_ID_LENGTH, VERSION};
pub use key::{ObjectKey, Parameters};
pub use layout::{DEFAULT_CHUNK_LENGTH, Layout, MAXIMUM_PLAIN_LENGTH, PlainLength, SECTOR_LENGTH};

/// The length of a block of AES, in bytes.
const BLOCK_LENGTH: usize = 16;

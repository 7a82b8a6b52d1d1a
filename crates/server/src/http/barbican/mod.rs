//! Barbican's API, version 1, on the wire.
//!
//! Owns what Barbican's clients send and expect to see: versions ([`version`]), paths ([`path`]), negotiation
//! ([`accept`]), bodies ([`body`], [`wire`]), payloads ([`content`]), queries ([`query`], [`paging`], [`filter`]) and
//! errors ([`error`]). What may be done is decided by the manager, as for every protocol.
//!
//! Invariants: no request, however odd, is answered with 500 for its form; bytes of payloads and passphrases are in
//! memory that is wiped; answers hold the keys that Barbican's clients know and no others, because some of them refuse
//! what they do not know.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod content;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod paging;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod routes;
pub(crate) mod time;
pub(crate) mod version;
pub(crate) mod wire;

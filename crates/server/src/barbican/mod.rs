//! What Barbican's protocol keeps in the store beside secrets, for its routes and for the import from its database.

pub mod content;
pub mod import;

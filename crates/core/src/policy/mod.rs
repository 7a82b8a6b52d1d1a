//! Who may do what: callers, actions and the rules between them.
//!
//! [`Caller`] is the only proof of authentication in the domain. It is constructed by the server's identity module and
//! nowhere else (`cargo xtask layers` holds everybody to that).

pub mod rules;

mod barbican;
mod caller;
mod delegation;
mod enforce;

pub use caller::{Caller, Identity, Trust};
pub use delegation::{Delegation, ScopeKeyTarget};
pub use enforce::{DefaultRule, KeyTarget, ObjectTarget, Policy, PolicyConfig, RuleDefaults, default_rules};

//! The rule language of OpenStack's `policy.yaml`: parsing, linking and checking.
//!
//! Owns the grammar (`and`, `or`, `not`, parentheses, `@`, `!`, `rule:`, `role:`, `name:%(target)s`, the older list
//! of lists), the file format, and the evaluation of one rule against a caller's credentials and a request's target.
//! It knows no rule by name and no caller: both are handed in through [`Attributes`].
//!
//! Invariant: a [`RuleSet`] that exists is whole. Every expression in it parsed, every reference is resolved to an
//! index, no rule reaches itself, and the work of one check is bounded. It never changes after [`RuleSet::build`].
//!
//! The meaning of a rule is that of oslo.policy 6.0, compared with it case by case in `tests/interop/policy_oracle`.
//! Where oslo.policy guesses, logs or raises, this module refuses, so that an operator hears of it at start:
//!
//! | Case | oslo.policy | here |
//! |---|---|---|
//! | syntax error in a rule | the rule denies everyone, a line in the log | refused at load, with rule, position and reason |
//! | left side of a check that is no Python expression (`user id`, `user.class`, `user.0`) | every check raises | refused at load |
//! | left side that is some other Python expression (`[1]`, `a+b`, `b'x'`, `0x1F`, an escaped string) | a literal, or a strange name | refused at load: dotted names, plain strings, numbers, `True`, `False` and `None` remain |
//! | a format other than `%(name)s` and `%%` | whatever Python prints, or it raises | refused at load |
//! | a check that is quoted as a whole inside parentheses, `('a':b')` | accepted, though not without the parentheses | refused at load |
//! | `http:` and `https:` checks | ask a remote server | refused at load |
//! | rules in a circle | raises when checked | refused at load |
//! | a rule without a value (`"name":`, `"name": !`) | allows everyone | refused at load: write `""` or `"@"` |
//! | duplicate keys in the file | the last one wins | refused at load |
//! | a name that walks into something that is no mapping, a role that is no string | raises | the whole rule denies ([`Fault`]), also under `not` |
//! | `roles` that is a string or a mapping | compares its characters or its keys | the whole rule denies ([`Fault`]) |
//! | reference to a rule that does not exist | the rule `default` when there is one, else false | the same, and a [`Warning`] at load |
//!
//! Limits: a file of 1 MiB, 10 000 rules, an expression of 64 KiB nested 64 deep, 32 names in a path; through all its
//! references one rule may be 256 deep and 65 536 checks long.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice))]

mod error;
mod evaluate;
mod explain;
mod expression;
mod file;
mod json;
mod parse;
mod set;
mod value;

#[cfg(test)]
mod tests;

pub use error::{Place, Reason, RuleError, SyntaxError, Warning};
pub use evaluate::Fault;
pub use explain::{Explanation, Verdict};
pub use expression::Expression;
pub use file::{RuleText, parse_policy_file};
pub use json::flatten;
pub use parse::parse_expression;
pub use set::RuleSet;
pub use value::{Attributes, Items, Value};

/// Longest policy file, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Most rules in one set: defaults and overrides together.
pub const MAX_RULES: usize = 10_000;
/// Longest expression, in bytes; for the list form the sum over its checks.
pub const MAX_EXPRESSION_BYTES: usize = 64 * 1024;
/// Deepest nesting of parentheses and `not` in one expression.
pub const MAX_NESTING: usize = 64;
/// Most names in the dotted path of one check.
pub const MAX_PATH: usize = 32;
/// Deepest tree that one rule may become once its references are followed.
pub const MAX_LINKED_DEPTH: usize = 256;
/// Most nodes that one rule may become once its references are followed.
pub const MAX_LINKED_CHECKS: usize = 65_536;

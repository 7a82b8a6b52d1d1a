//! What can be wrong with a policy, told so that an operator finds the place.

use std::fmt;

use thiserror::Error;

use super::{MAX_EXPRESSION_BYTES, MAX_LINKED_CHECKS, MAX_LINKED_DEPTH, MAX_NESTING, MAX_PATH};

/// Why a policy was refused; nothing of it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// The file is not a YAML (or JSON) mapping from rule names to rules.
    #[error("policy file, line {line}, column {column}: {reason}")]
    File {
        /// Line, counted from 1; 0 when the parser gave no place.
        line: u64,
        /// Column, counted from 1; 0 when the parser gave no place.
        column: u64,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The file or the number of rules is beyond its limit.
    #[error("{what} is {size}, but at most {limit} is allowed")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// What was found.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The same built-in rule was given twice.
    #[error("the built-in rule {rule:?} is defined twice")]
    Duplicate {
        /// Name of the rule.
        rule: String,
    },
    /// The expression of a rule does not parse, or uses what is not supported.
    #[error("rule {rule:?}: {error}")]
    Syntax {
        /// Name of the rule.
        rule: String,
        /// Place and reason.
        error: SyntaxError,
    },
    /// Rules refer to each other in a circle, so that a check would never end.
    #[error("rules refer to each other in a circle: {}; break it at one of them", circle(path))]
    Cycle {
        /// The rules of the circle; the first refers to the second, the last to the first.
        path: Vec<String>,
    },
    /// A rule is too deep or too long once the rules it refers to are put in their places.
    #[error(
        "rule {rule:?} with the rules it refers to is {depth} levels deep and {checks} checks long, but at most \
         {MAX_LINKED_DEPTH} levels and {MAX_LINKED_CHECKS} checks are allowed"
    )]
    TooComplex {
        /// Name of the rule.
        rule: String,
        /// Levels of the tree.
        depth: usize,
        /// Nodes of the tree.
        checks: usize,
    },
}

fn circle(path: &[String]) -> String {
    let mut text = String::new();
    for name in path.iter().chain(path.first()) {
        if !text.is_empty() {
            text.push_str(" -> ");
        }
        text.push_str(&format!("{name:?}"));
    }
    text
}

/// Where in a rule, and why, parsing stopped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}{}: {reason}", beside(.near))]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// The word that is wrong, shortened to 40 characters; empty at the end of the expression.
    pub near: String,
    /// Why.
    pub reason: Reason,
}

fn beside(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", near {text:?}") }
}

/// A place in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Character of the expression, counted from 1.
    Character(usize),
    /// Check of the list form, both counted from 1.
    Item {
        /// Which of the lists that are joined by `or`.
        alternative: usize,
        /// Which of the checks that are joined by `and`.
        check: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(position) => write!(formatter, "character {position}"),
            Self::Item { alternative, check } => {
                write!(formatter, "list {alternative}, check {check}")
            }
        }
    }
}

/// Why a rule does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reason {
    /// Nothing but white space.
    #[error("there is nothing but white space; write \"\" or @ to allow everyone, ! to allow no one")]
    Blank,
    /// Longer than [`MAX_EXPRESSION_BYTES`].
    #[error("the expression is longer than {MAX_EXPRESSION_BYTES} bytes")]
    TooLong,
    /// Deeper than [`MAX_NESTING`].
    #[error("parentheses and `not` are nested more than {MAX_NESTING} deep")]
    TooDeep,
    /// The expression ends where a check must follow.
    #[error("the expression ends where a check, `not` or `(` must follow")]
    Unfinished,
    /// An operator or `)` stands where a check must.
    #[error("a check, `not` or `(` must stand here")]
    CheckExpected,
    /// Two checks without an operator between them.
    #[error("`and` or `or` must stand between two checks")]
    OperatorExpected,
    /// `(` without `)`.
    #[error("this parenthesis is never closed")]
    Unclosed,
    /// `)` without `(`.
    #[error("this parenthesis was never opened")]
    Unopened,
    /// Not `@`, `!` or `kind:match`.
    #[error("a check is `@`, `!` or `kind:match`, for example `role:admin`")]
    NoColon,
    /// A quoted string as a whole.
    #[error("a quoted string is no check; quote only the left side, as in 'Member':%(target.role)s")]
    Quoted,
    /// `http:` or `https:`.
    #[error(
        "checks that ask a remote server (http, https) are not supported; write the rule with roles and names"
    )]
    Remote,
    /// The left side is neither a name nor a literal.
    #[error(
        "the left side must be `rule`, `role`, a dotted name such as `user.domain.id` (letters, digits, `_` and `-`, \
         no word of the Python language), a quoted string without escapes, a number, True, False or None"
    )]
    Subject,
    /// More names in a path than [`MAX_PATH`].
    #[error("the left side is a path of more than {MAX_PATH} names")]
    LongPath,
    /// A `%` that is neither `%(name)s` nor `%%`.
    #[error("`%` must be `%(name)s`, a value of the target, or `%%`, the sign itself")]
    Format,
}

/// Something in a policy that works, but is probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Warning {
    /// A reference to a rule that does not exist.
    #[error(
        "rule {rule:?} refers to rule {reference:?}, which is not defined: {}",
        if *.falls_back { "the rule \"default\" is used in its place" } else { "the reference is always false" }
    )]
    Undefined {
        /// The rule that holds the reference.
        rule: String,
        /// The name that is not defined.
        reference: String,
        /// Whether there is a rule `default` that takes its place.
        falls_back: bool,
    },
    /// A rule of the file that is not built in and that nothing refers to.
    #[error(
        "rule {rule:?} is neither a built-in rule nor referred to by another: it has no effect (is it misspelt?)"
    )]
    Unused {
        /// Name of the rule.
        rule: String,
    },
}

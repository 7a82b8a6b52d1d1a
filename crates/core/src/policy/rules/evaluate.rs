//! Checking a linked expression.
//!
//! Parts of `and` and `or` are looked at from left to right, and no further than needed. A [`Fault`] ends the whole
//! check, even under `not`: what cannot be understood must not become permission by being negated.

use std::borrow::Cow;

use thiserror::Error;

use super::expression::{Credential, Node, Piece, Shape, Subject, Template};
use super::set::Rule;
use super::value::{Attributes, Value};

/// A rule and the values it was given do not fit together; the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// A dotted name goes on below a value that is not a mapping.
    #[error("a name in the rule goes below a credential that is not a mapping")]
    NotAMapping,
    /// `roles` in the credentials is not a list of strings.
    #[error("the roles in the credentials are not a list of strings")]
    Roles,
    /// A mapping (or a list of them) would have to be compared as text.
    #[error("a mapping cannot be compared as a whole")]
    NoText,
}

/// One check: the rules it may refer to and the values it is made against.
#[derive(Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) credentials: &'a dyn Attributes,
    pub(super) target: &'a dyn Attributes,
}

impl<'a> Check<'a> {
    pub(super) fn node(&self, node: &Node) -> Result<bool, Fault> {
        match node {
            Node::True => Ok(true),
            Node::False => Ok(false),
            Node::Not(inner) => Ok(!self.node(inner)?),
            Node::And(parts) => {
                for part in parts {
                    if !self.node(part)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Or(parts) => {
                for part in parts {
                    if self.node(part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Rule(reference) => match reference.index.and_then(|index| self.rules.get(index)) {
                Some(rule) => self.node(&rule.expression),
                None => Ok(false),
            },
            Node::Role(wanted) => self.role(wanted),
            Node::Credential(check) => self.credential(check),
        }
    }

    fn role(&self, wanted: &Template) -> Result<bool, Fault> {
        let Some(wanted) = self.render(wanted)? else { return Ok(false) };
        let roles = match self.credentials.value("roles") {
            None => return Ok(false),
            Some(Value::List(roles)) => roles,
            Some(_) => return Err(Fault::Roles),
        };
        let mut found = false;
        for index in 0.. {
            match roles.item(index) {
                None => break,
                // The list is read to its end: one that holds anything but strings is not trusted at all.
                Some(Value::Text(role)) => found = found || same_role(&role, &wanted),
                Some(_) => return Err(Fault::Roles),
            }
        }
        Ok(found)
    }

    fn credential(&self, check: &Credential) -> Result<bool, Fault> {
        let Some(wanted) = self.render(&check.wanted)? else { return Ok(false) };
        match &check.subject {
            Subject::Literal(text) => Ok(**text == *wanted),
            Subject::Path(first, rest) => match self.root(first) {
                None => Ok(false),
                Some(value) => found_in(value, rest, &wanted),
            },
        }
    }

    /// The credential of that name. `system` has always stood for what is called `system_scope` today.
    pub(super) fn root(&self, name: &str) -> Option<Value<'a>> {
        if name == "system"
            && let Some(scope) = self.credentials.value("system_scope").filter(Value::is_true)
        {
            return Some(scope);
        }
        self.credentials.value(name)
    }

    /// The right side with the values of the target in their places, or `None` if the target lacks one.
    pub(super) fn render<'t>(&'t self, template: &'t Template) -> Result<Option<Cow<'t, str>>, Fault> {
        match &template.shape {
            Shape::Text(text) => Ok(Some(Cow::Borrowed(text))),
            Shape::Target(name) => self.target_text(name),
            Shape::Mixed(pieces) => {
                let mut rendered = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => rendered.push_str(text),
                        Piece::Target(name) => match self.target_text(name)? {
                            Some(text) => rendered.push_str(&text),
                            None => return Ok(None),
                        },
                    }
                }
                Ok(Some(Cow::Owned(rendered)))
            }
        }
    }

    fn target_text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Fault> {
        match self.target.value(name) {
            None => Ok(None),
            Some(value) => value.into_text().map(Some).ok_or(Fault::NoText),
        }
    }
}

/// Whether the value, or what the path leads to below it, has the wanted text. A list on the way is entered: the
/// check holds if it holds for one of its items.
fn found_in(value: Value<'_>, path: &[Box<str>], wanted: &str) -> Result<bool, Fault> {
    let Value::List(items) = value else { return at_end_or_below(value, path, wanted) };
    for index in 0.. {
        let Some(item) = items.item(index) else { break };
        if at_end_or_below(item, path, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn at_end_or_below(value: Value<'_>, path: &[Box<str>], wanted: &str) -> Result<bool, Fault> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(value.into_text().ok_or(Fault::NoText)? == wanted);
    };
    match value {
        Value::Map(map) => map.value(name).map_or(Ok(false), |value| found_in(value, rest, wanted)),
        _ => Err(Fault::NotAMapping),
    }
}

/// Names of roles are compared without regard to case.
fn same_role(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        one.eq_ignore_ascii_case(other)
    } else {
        one.to_lowercase() == other.to_lowercase()
    }
}

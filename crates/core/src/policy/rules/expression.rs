//! The tree of one parsed expression, and its text.

use std::fmt;

/// A parsed expression. Printing it gives an expression that parses to the same tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(pub(super) Node);

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// One node of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// `@`, or the empty expression.
    True,
    /// `!`
    False,
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Rule(Reference),
    Role(Template),
    Credential(Credential),
}

/// `rule:name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: Box<str>,
    /// Index in the rule set; `None` until linked, and for a rule that does not exist.
    pub(super) index: Option<usize>,
}

/// `subject:template`: the text of the subject must equal the rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    /// The left side as written.
    pub(super) source: Box<str>,
    pub(super) subject: Subject,
    pub(super) wanted: Template,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// A literal, as the text it is compared by.
    Literal(Box<str>),
    /// A path into the credentials: its first name, and those below.
    Path(Box<str>, Box<[Box<str>]>),
}

/// The right side of a check, split where values of the target go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// The right side as written.
    pub(super) source: Box<str>,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Text(Box<str>),
    /// Nothing but `%(name)s`, by far the most frequent.
    Target(Box<str>),
    Mixed(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Target(Box<str>),
}

impl Node {
    /// Calls `visit` for each reference to another rule, left to right.
    pub(super) fn each_reference(&mut self, visit: &mut dyn FnMut(&mut Reference)) {
        match self {
            Self::True | Self::False | Self::Role(_) | Self::Credential(_) => {}
            Self::Rule(reference) => visit(reference),
            Self::Not(inner) => inner.each_reference(visit),
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.each_reference(visit);
                }
            }
        }
    }

    fn in_parentheses(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({self})")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => formatter.write_str("@"),
            Self::False => formatter.write_str("!"),
            Self::Rule(reference) => write!(formatter, "rule:{}", reference.name),
            Self::Role(wanted) => write!(formatter, "role:{}", wanted.source),
            Self::Credential(check) => write!(formatter, "{}:{}", check.source, check.wanted.source),
            Self::Not(inner) => {
                formatter.write_str("not ")?;
                match **inner {
                    Self::And(_) | Self::Or(_) => inner.in_parentheses(formatter),
                    _ => write!(formatter, "{inner}"),
                }
            }
            Self::And(parts) => join(parts, " and ", formatter),
            Self::Or(parts) => join(parts, " or ", formatter),
        }
    }
}

/// Only the parentheses that the meaning needs, so that printing never nests deeper than what was read.
fn join(parts: &[Node], operator: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            formatter.write_str(operator)?;
        }
        let needed = match part {
            Node::Or(_) => true,
            Node::And(_) => operator == " and ",
            _ => false,
        };
        if needed { part.in_parentheses(formatter)? } else { write!(formatter, "{part}")? }
    }
    Ok(())
}

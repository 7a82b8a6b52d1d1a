//! The same check as [`super::evaluate`], written down step by step for an operator.

use std::fmt;

use serde::Serialize;

use super::evaluate::{Check, Fault};
use super::expression::{Node, Piece, Shape, Subject, Template};
use super::value::{Value, represent};

/// Longest part or value that is printed, in characters.
const MAX_PRINTED: usize = 300;

/// What became of one part of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// It could not be understood, and with it the whole rule denies.
    Faulted,
    /// The answer was known before it was reached.
    NotReached,
}

impl Verdict {
    fn of(result: Result<bool, Fault>) -> Self {
        match result {
            Ok(true) => Self::Passed,
            Ok(false) => Self::Failed,
            Err(_) => Self::Faulted,
        }
    }
}

/// One part of a rule, what became of it, and the parts it is made of.
///
/// Holds values of the credentials and of the target, for whoever may see both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The part as text, shortened to 300 characters.
    pub check: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, where the text alone does not say it.
    pub note: Option<String>,
    /// Its parts, in order; empty for a part that was not reached.
    pub parts: Vec<Explanation>,
}

/// An indented tree, one part a line: `+` passed, `-` failed, `!` faulted, `.` not reached.
impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(formatter, 0)
    }
}

impl Explanation {
    fn write(&self, formatter: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        let sign = match self.verdict {
            Verdict::Passed => '+',
            Verdict::Failed => '-',
            Verdict::Faulted => '!',
            Verdict::NotReached => '.',
        };
        write!(formatter, "{:indent$}{sign} {}", "", self.check)?;
        if let Some(note) = &self.note {
            write!(formatter, "  ({note})")?;
        }
        writeln!(formatter)?;
        self.parts.iter().try_for_each(|part| part.write(formatter, indent.saturating_add(2)))
    }

    fn skipped(node: &Node) -> Self {
        Self {
            check: shorten(&node.to_string()),
            verdict: Verdict::NotReached,
            note: None,
            parts: Vec::new(),
        }
    }
}

impl Check<'_> {
    /// The explanation of one node and, with it, the result of checking it.
    pub(super) fn explain(&self, node: &Node) -> (Explanation, Result<bool, Fault>) {
        let mut parts = Vec::new();
        let mut note = None;
        let result = match node {
            Node::Not(inner) => {
                let (part, result) = self.explain(inner);
                parts.push(part);
                result.map(|passed| !passed)
            }
            Node::And(nodes) => self.explain_parts(nodes, true, &mut parts),
            Node::Or(nodes) => self.explain_parts(nodes, false, &mut parts),
            Node::Rule(reference) => match reference.index.and_then(|index| self.rules.get(index)) {
                Some(rule) => {
                    if rule.name != reference.name {
                        note = Some(format!("not defined; rule {:?} takes its place", rule.name));
                    }
                    let (part, result) = self.explain(&rule.expression);
                    parts.push(part);
                    result
                }
                None => {
                    note = Some("not defined".to_owned());
                    Ok(false)
                }
            },
            Node::True | Node::False | Node::Role(_) | Node::Credential(_) => {
                let result = self.node(node);
                if result == Ok(false) {
                    note = self.why_not(node);
                }
                result
            }
        };
        if let (Err(fault), true) = (result, parts.is_empty()) {
            note = Some(fault.to_string());
        }
        (Explanation { check: shorten(&node.to_string()), verdict: Verdict::of(result), note, parts }, result)
    }

    /// Parts of `and` (`go_on` is true) or `or`, up to the one that decides; the others are listed only.
    fn explain_parts(
        &self,
        nodes: &[Node],
        go_on: bool,
        parts: &mut Vec<Explanation>,
    ) -> Result<bool, Fault> {
        let mut result = Ok(go_on);
        for node in nodes {
            if result == Ok(go_on) {
                let (part, outcome) = self.explain(node);
                parts.push(part);
                result = outcome;
            } else {
                parts.push(Explanation::skipped(node));
            }
        }
        result
    }

    fn why_not(&self, node: &Node) -> Option<String> {
        let note = match node {
            Node::Role(wanted) => match self.credentials.value("roles") {
                _ if self.missing(wanted).is_some() => self.missing(wanted)?,
                None => "the credentials have no roles".to_owned(),
                Some(roles) => format!("the roles are {}", printed(&roles)),
            },
            Node::Credential(check) => {
                let wanted = match self.render(&check.wanted) {
                    Ok(Some(wanted)) => printed(&Value::Text(wanted)),
                    _ => return self.missing(&check.wanted),
                };
                match &check.subject {
                    Subject::Literal(_) => format!("the right side is {wanted}"),
                    Subject::Path(first, _) => match self.root(first) {
                        None => format!("the credentials have no {first:?}"),
                        Some(value @ Value::Map(_)) => {
                            format!("not in {first:?}, which is {}; wanted {wanted}", printed(&value))
                        }
                        Some(value) => format!("{first:?} is {}, wanted {wanted}", printed(&value)),
                    },
                }
            }
            _ => return None,
        };
        Some(note)
    }

    /// The first name that the target lacks.
    fn missing(&self, template: &Template) -> Option<String> {
        let lacks =
            |name: &str| self.target.value(name).is_none().then(|| format!("the target has no {name:?}"));
        match &template.shape {
            Shape::Text(_) => None,
            Shape::Target(name) => lacks(name),
            Shape::Mixed(pieces) => pieces.iter().find_map(|piece| match piece {
                Piece::Text(_) => None,
                Piece::Target(name) => lacks(name),
            }),
        }
    }
}

fn printed(value: &Value<'_>) -> String {
    const DEPTH: usize = 16;
    let mut text = String::new();
    if represent(value, DEPTH, &mut text).is_none() {
        return "a mapping".to_owned();
    }
    shorten(&text)
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_PRINTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

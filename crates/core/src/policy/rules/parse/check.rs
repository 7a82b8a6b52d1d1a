//! A single check: `@`, `!` or `kind:match`.

use super::super::MAX_PATH;
use super::super::error::Reason;
use super::super::expression::{Credential, Node, Piece, Reference, Shape, Subject, Template};
use super::super::value::float_text;

/// Most digits of a number on the left side.
const MAX_DIGITS: usize = 38;

/// Words that Python does not take for a name, so that no working policy has them in a path.
const PYTHON_WORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

pub(super) fn parse_check(text: &str) -> Result<Node, Reason> {
    match text {
        "!" => return Ok(Node::False),
        "@" => return Ok(Node::True),
        _ => {}
    }
    let (kind, wanted) = text.split_once(':').ok_or(Reason::NoColon)?;
    match kind {
        "http" | "https" => Err(Reason::Remote),
        // A reference is taken as it stands: values of the target do not go into it.
        "rule" => Ok(Node::Rule(Reference { name: wanted.into(), index: None })),
        "role" => Ok(Node::Role(parse_template(wanted)?)),
        _ => Ok(Node::Credential(Credential {
            source: kind.into(),
            subject: parse_subject(kind)?,
            wanted: parse_template(wanted)?,
        })),
    }
}

fn parse_subject(kind: &str) -> Result<Subject, Reason> {
    let literal = |text: &str| Ok(Subject::Literal(text.into()));
    match kind.chars().next() {
        None => Err(Reason::Subject),
        Some('"' | '\'') => literal(string_literal(kind).ok_or(Reason::Subject)?),
        Some('+' | '-' | '0'..='9') => literal(&number_literal(kind).ok_or(Reason::Subject)?),
        Some(_) if matches!(kind, "True" | "False" | "None") => literal(kind),
        Some(_) => parse_path(kind),
    }
}

/// A string that holds neither its own quote nor anything Python would read as an escape or refuse.
fn string_literal(kind: &str) -> Option<&str> {
    let quote = if kind.starts_with('"') { '"' } else { '\'' };
    let inner = kind.strip_prefix(quote)?.strip_suffix(quote)?;
    let refused = |character: char| character == quote || matches!(character, '\\' | '\n' | '\r' | '\0');
    (!inner.contains(refused)).then_some(inner)
}

/// A decimal number as Python prints it back.
fn number_literal(kind: &str) -> Option<String> {
    let (negative, digits) = match kind.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, kind.strip_prefix('+').unwrap_or(kind)),
    };
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() > MAX_DIGITS {
        return None;
    }
    if let Some((whole, fraction)) = digits.split_once('.') {
        if !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let value: f64 = digits.parse().ok()?;
        return Some(float_text(if negative { -value } else { value }));
    }
    if !are_digits(digits) || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some(if negative && digits != "0" { format!("-{digits}") } else { digits.to_owned() })
}

fn parse_path(kind: &str) -> Result<Subject, Reason> {
    let mut names = Vec::new();
    let mut segments = kind.split('.').peekable();
    while let Some(segment) = segments.next() {
        if names.len() >= MAX_PATH {
            return Err(Reason::LongPath);
        }
        if !is_name(segment, segments.peek().is_none()) {
            return Err(Reason::Subject);
        }
        names.push(Box::from(segment));
    }
    let mut names = names.into_iter();
    let first = names.next().ok_or(Reason::Subject)?;
    Ok(Subject::Path(first, names.collect()))
}

/// A name, or several joined by `-`, of which those behind the first may be whole numbers. A number directly before
/// a dot would read as a fraction to Python, hence `last`.
fn is_name(segment: &str, last: bool) -> bool {
    let mut parts = segment.split('-').peekable();
    let mut first = true;
    while let Some(part) = parts.next() {
        let number_allowed = !first && (last || parts.peek().is_some());
        let number = number_allowed && is_whole_number(part);
        if !number && !is_identifier(part) {
            return false;
        }
        first = false;
    }
    true
}

fn is_identifier(part: &str) -> bool {
    let mut bytes = part.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !PYTHON_WORDS.contains(&part)
}

fn is_whole_number(part: &str) -> bool {
    (1..=MAX_DIGITS).contains(&part.len())
        && part.bytes().all(|byte| byte.is_ascii_digit())
        && (part == "0" || !part.starts_with('0'))
}

fn parse_template(source: &str) -> Result<Template, Reason> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (name, after) = target_name(after).ok_or(Reason::Format)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text).into()));
        }
        pieces.push(Piece::Target(name.into()));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    let shape = match pieces.pop() {
        None => Shape::Text("".into()),
        Some(Piece::Text(text)) if pieces.is_empty() => Shape::Text(text),
        Some(Piece::Target(name)) if pieces.is_empty() => Shape::Target(name),
        Some(last) => {
            pieces.push(last);
            Shape::Mixed(pieces)
        }
    };
    Ok(Template { source: source.into(), shape })
}

/// Splits `(name)s…` into the name and what follows; parentheses within the name must balance.
fn target_name(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('(')?;
    let mut open = 1_usize;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'(' => open = open.checked_add(1)?,
            b')' => open = open.checked_sub(1)?,
            _ => {}
        }
        if open == 0 {
            let rest = inner.get(at..)?.strip_prefix(")s")?;
            return Some((inner.get(..at)?, rest));
        }
    }
    None
}

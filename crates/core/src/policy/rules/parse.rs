//! From the text of an expression to its tree.
//!
//! `not` binds closer than `and`, `and` closer than `or`. A word may open with any number of `(` and end with any
//! number of `)`; those in its middle, as in `%(name)s`, belong to it. Refuses everything that is not an expression.

mod check;

use self::check::parse_check;
use super::error::{Place, Reason, SyntaxError};
use super::expression::{Expression, Node};
use super::file::RuleText;
use super::{MAX_EXPRESSION_BYTES, MAX_NESTING};

/// Parses one expression; the empty one is true.
pub fn parse_expression(text: &str) -> Result<Expression, SyntaxError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(SyntaxError { place: Place::Character(1), near: String::new(), reason: Reason::TooLong });
    }
    if text.is_empty() {
        return Ok(Expression(Node::True));
    }
    let located = |error: Error| {
        let before = text.get(..error.at).unwrap_or(text);
        SyntaxError {
            place: Place::Character(before.chars().count().saturating_add(1)),
            near: shorten(error.near),
            reason: error.reason,
        }
    };
    let tokens = tokenize(text).map_err(located)?;
    if tokens.is_empty() {
        return Err(located(Error { at: 0, near: "", reason: Reason::Blank }));
    }
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end: text.len() };
    let node = parser.alternatives(MAX_NESTING).map_err(located)?;
    match parser.tokens.next() {
        None => Ok(Expression(node)),
        Some(token) => {
            let reason = match token.kind {
                Kind::Close => Reason::Unopened,
                _ => Reason::OperatorExpected,
            };
            Err(located(token.error(reason)))
        }
    }
}

/// Parses either form of a rule.
pub(super) fn parse_rule(text: &RuleText) -> Result<Expression, SyntaxError> {
    match text {
        RuleText::Expression(text) => parse_expression(text),
        RuleText::Lists(lists) => parse_lists(lists),
    }
}

/// The older form: the lists are joined by `or`, the checks in each by `and`. No list at all is true; empty ones
/// are passed over, and if nothing is left the rule is false.
fn parse_lists(lists: &[Vec<String>]) -> Result<Expression, SyntaxError> {
    let bytes = lists.iter().flatten().fold(0_usize, |sum, check| sum.saturating_add(check.len()));
    if bytes > MAX_EXPRESSION_BYTES {
        let place = Place::Item { alternative: 1, check: 1 };
        return Err(SyntaxError { place, near: String::new(), reason: Reason::TooLong });
    }
    if lists.is_empty() {
        return Ok(Expression(Node::True));
    }
    let mut alternatives = Vec::new();
    for (alternative, list) in (1..).zip(lists) {
        let mut checks = Vec::new();
        for (check, text) in (1..).zip(list) {
            checks.push(parse_check(text).map_err(|reason| SyntaxError {
                place: Place::Item { alternative, check },
                near: shorten(text),
                reason,
            })?);
        }
        if !checks.is_empty() {
            alternatives.push(single_or(checks, Node::And));
        }
    }
    Ok(Expression(if alternatives.is_empty() { Node::False } else { single_or(alternatives, Node::Or) }))
}

/// The only part as it is, or all of them joined.
fn single_or(mut parts: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A [`SyntaxError`] whose place is still an offset in bytes.
struct Error<'a> {
    at: usize,
    near: &'a str,
    reason: Reason,
}

struct Token<'a> {
    at: usize,
    word: &'a str,
    kind: Kind,
}

impl<'a> Token<'a> {
    fn error(&self, reason: Reason) -> Error<'a> {
        Error { at: self.at, near: self.word, reason }
    }
}

enum Kind {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(Node),
}

/// White space as Python's `\s` has it: Unicode's, and the four information separators.
fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

fn tokenize(text: &str) -> Result<Vec<Token<'_>>, Error<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0_usize;
    for piece in text.split_inclusive(is_space) {
        tokenize_word(start, piece.trim_end_matches(is_space), &mut tokens)?;
        start = start.saturating_add(piece.len());
    }
    Ok(tokens)
}

fn tokenize_word<'a>(start: usize, word: &'a str, tokens: &mut Vec<Token<'a>>) -> Result<(), Error<'a>> {
    let tail = word.trim_start_matches('(');
    let opened = word.len().saturating_sub(tail.len());
    let middle = tail.trim_end_matches(')');
    let middle_at = start.saturating_add(opened);
    for at in start..middle_at {
        tokens.push(Token { at, word: "(", kind: Kind::Open });
    }
    if !middle.is_empty() {
        let kind = if middle.eq_ignore_ascii_case("and") {
            Kind::And
        } else if middle.eq_ignore_ascii_case("or") {
            Kind::Or
        } else if middle.eq_ignore_ascii_case("not") {
            Kind::Not
        } else {
            let checked = if is_quoted(middle) { Err(Reason::Quoted) } else { parse_check(middle) };
            Kind::Check(checked.map_err(|reason| Error { at: middle_at, near: middle, reason })?)
        };
        tokens.push(Token { at: middle_at, word: middle, kind });
    }
    let closed_at = middle_at.saturating_add(middle.len());
    for at in closed_at..start.saturating_add(word.len()) {
        tokens.push(Token { at, word: ")", kind: Kind::Close });
    }
    Ok(())
}

fn is_quoted(word: &str) -> bool {
    word.len() >= 2 && ['"', '\''].iter().any(|quote| word.starts_with(*quote) && word.ends_with(*quote))
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'a>>>,
    /// Where the text ends, in bytes.
    end: usize,
}

impl<'a> Parser<'a> {
    /// `room` is how many more parentheses and `not` may nest.
    fn alternatives(&mut self, room: usize) -> Result<Node, Error<'a>> {
        let mut parts = vec![self.conjunction(room)?];
        while self.tokens.next_if(|token| matches!(token.kind, Kind::Or)).is_some() {
            parts.push(self.conjunction(room)?);
        }
        Ok(single_or(parts, Node::Or))
    }

    fn conjunction(&mut self, room: usize) -> Result<Node, Error<'a>> {
        let mut parts = vec![self.operand(room)?];
        while self.tokens.next_if(|token| matches!(token.kind, Kind::And)).is_some() {
            parts.push(self.operand(room)?);
        }
        Ok(single_or(parts, Node::And))
    }

    fn operand(&mut self, room: usize) -> Result<Node, Error<'a>> {
        let Some(token) = self.tokens.next() else {
            return Err(Error { at: self.end, near: "", reason: Reason::Unfinished });
        };
        let deeper = || room.checked_sub(1).ok_or_else(|| token.error(Reason::TooDeep));
        match token.kind {
            Kind::Check(node) => Ok(node),
            Kind::Not => Ok(Node::Not(Box::new(self.operand(deeper()?)?))),
            Kind::Open => {
                let inner = self.alternatives(deeper()?)?;
                match self.tokens.next() {
                    Some(Token { kind: Kind::Close, .. }) => Ok(inner),
                    Some(other) => Err(other.error(Reason::OperatorExpected)),
                    None => Err(token.error(Reason::Unclosed)),
                }
            }
            Kind::Close | Kind::And | Kind::Or => Err(token.error(Reason::CheckExpected)),
        }
    }
}

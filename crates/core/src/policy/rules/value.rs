//! Values that rules are checked against, borrowed from whoever holds them.
//!
//! Rules compare text. The text of a value is what Python's `str()` gives for it, because policies in the field say
//! `True:%(enabled)s` and `is_admin:True`. The common values yield it without an allocation.

use std::borrow::Cow;
use std::sync::Arc;

/// Deepest nesting of lists and mappings that is turned into text.
const MAX_DEPTH: usize = 128;

/// Named values: the credentials of a caller, the target of a request, or a mapping inside one of them.
pub trait Attributes {
    /// The value under `name`, or `None` when there is no such name (which is not the same as [`Value::None`]).
    ///
    /// Credentials are asked for one name at a time: for `user.domain.id` they are asked for `user`, the mapping they
    /// answer with for `domain`, and so on. A target is asked once, for the whole of what stands in `%(…)s`, dots
    /// included.
    fn value(&self, name: &str) -> Option<Value<'_>>;

    /// The mapping as Python's `str()` prints it; `None` where it is not to be compared as a whole.
    fn text(&self) -> Option<String> {
        None
    }
}

/// A list of values.
pub trait Items {
    /// The value at `index`, counted from 0, or `None` behind the last.
    fn item(&self, index: usize) -> Option<Value<'_>>;
}

/// One value.
#[derive(Clone)]
pub enum Value<'a> {
    /// Present, but nothing: `None` in Python, `null` in JSON.
    None,
    /// A truth value, `True` or `False` as text.
    Boolean(bool),
    /// A whole number.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list; a check on it holds if it holds for one of its items.
    List(&'a dyn Items),
    /// A mapping.
    Map(&'a dyn Attributes),
}

impl<'a> Value<'a> {
    /// The same value with a shorter loan; never allocates.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::None => Value::None,
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::List(items) => Value::List(*items),
            Self::Map(map) => Value::Map(*map),
        }
    }

    /// The value as Python's `str()` prints it, or `None` for a mapping that has no text.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::None => Some(Cow::Borrowed("None")),
            Self::Boolean(true) => Some(Cow::Borrowed("True")),
            Self::Boolean(false) => Some(Cow::Borrowed("False")),
            other => {
                let mut text = String::new();
                represent(&other, MAX_DEPTH, &mut text)?;
                Some(Cow::Owned(text))
            }
        }
    }

    /// Whether Python takes the value for true in a condition.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Boolean(value) => *value,
            Self::Integer(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => items.item(0).is_some(),
            Self::Map(map) => map.text().is_none_or(|text| text != "{}"),
        }
    }
}

/// Appends the value as Python's `repr()` prints it.
pub(super) fn represent(value: &Value<'_>, depth: usize, out: &mut String) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::None => out.push_str("None"),
        Value::Boolean(value) => out.push_str(if *value { "True" } else { "False" }),
        Value::Integer(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float_text(*value)),
        Value::Text(text) => quote(text, out),
        Value::Map(map) => out.push_str(&map.text()?),
        Value::List(items) => {
            out.push('[');
            for index in 0.. {
                let Some(item) = items.item(index) else { break };
                if index > 0 {
                    out.push_str(", ");
                }
                represent(&item, depth, out)?;
            }
            out.push(']');
        }
    }
    Some(())
}

/// Appends the text as Python's `repr()` prints a string: single quotes unless only double ones avoid an escape.
pub(super) fn quote(text: &str, out: &mut String) {
    let delimiter = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(delimiter);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == delimiter => {
                out.push('\\');
                out.push(character);
            }
            _ if is_printable(character) => out.push(character),
            _ => {
                let code = u32::from(character);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
        }
    }
    out.push(delimiter);
}

/// Whether Python prints the character as itself; the standard library draws the same line where it escapes strings.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // Behind a first character, `escape_debug` keeps combining marks, as Python does.
    let mut buffer = String::from("a");
    buffer.push(character);
    let mut escaped = buffer.escape_debug().skip(1);
    escaped.next() == Some(character) && escaped.next().is_none()
}

/// The number as Python prints it: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let mut plain = format!("{value}");
        if !plain.contains('.') {
            plain.push_str(".0");
        }
        return plain;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::None, Self::from)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(i128::from(value))
    }
}

macro_rules! text_lists {
    ($($text:ty),+) => {$(
        impl Items for Vec<$text> {
            fn item(&self, index: usize) -> Option<Value<'_>> {
                self.get(index).map(|text| Value::Text(Cow::Borrowed(text)))
            }
        }

        impl Items for &[$text] {
            fn item(&self, index: usize) -> Option<Value<'_>> {
                self.get(index).map(|text| Value::Text(Cow::Borrowed(text)))
            }
        }

        impl<const COUNT: usize> Items for [$text; COUNT] {
            fn item(&self, index: usize) -> Option<Value<'_>> {
                self.get(index).map(|text| Value::Text(Cow::Borrowed(text)))
            }
        }
    )+};
}

text_lists!(String, Box<str>, Arc<str>, &str);

/// No names at all: the target of a rule that needs none.
impl Attributes for () {
    fn value(&self, _name: &str) -> Option<Value<'_>> {
        None
    }
}

/// Pairs of name and value; the first of a name counts. For a handful of names.
impl Attributes for [(&str, Value<'_>)] {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value.borrowed())
    }
}

impl<const COUNT: usize> Attributes for [(&str, Value<'_>); COUNT] {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.as_slice().value(name)
    }
}

//! The policy file: a mapping from rule names to rules, in YAML or in JSON, which is YAML.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_saphyr::{Location, Spanned, Tagged};

use super::error::RuleError;
use super::{MAX_EXPRESSION_BYTES, MAX_FILE_BYTES, MAX_RULES};

/// Most bytes of rules in one file. Escapes such as `\P` grow by half when they are read, and an alias repeats a rule;
/// this stops aliases that would make a small file a large one.
const MAX_RULE_BYTES: usize = 2 * MAX_FILE_BYTES;

/// A rule as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleText {
    /// An expression such as `role:admin and not role:reader`.
    Expression(String),
    /// The older form: lists joined by `or`, each of checks joined by `and`. A bare string in the outer list is a
    /// list of one check; an empty string there is an empty list.
    Lists(Vec<Vec<String>>),
}

impl RuleText {
    /// Bytes of what was written.
    fn len(&self) -> usize {
        match self {
            Self::Expression(text) => text.len(),
            Self::Lists(lists) => {
                lists.iter().flatten().fold(0, |sum, check| sum.saturating_add(check.len()))
            }
        }
    }
}

impl From<&str> for RuleText {
    fn from(text: &str) -> Self {
        Self::Expression(text.to_owned())
    }
}

impl fmt::Display for RuleText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression(text) => formatter.write_str(text),
            Self::Lists(lists) => write!(formatter, "{lists:?}"),
        }
    }
}

/// Reads a policy file; a file that is empty or holds only comments overrides nothing.
///
/// # Errors
/// [`RuleError::TooLarge`] beyond [`MAX_FILE_BYTES`]; [`RuleError::File`] for what is not a mapping from names to
/// strings or to lists of lists of strings, names a rule twice, or has more than [`MAX_RULES`].
pub fn parse_policy_file(yaml_or_json: &str) -> Result<BTreeMap<String, RuleText>, RuleError> {
    if yaml_or_json.len() > MAX_FILE_BYTES {
        return Err(RuleError::TooLarge {
            what: "the policy file, in bytes,",
            size: yaml_or_json.len(),
            limit: MAX_FILE_BYTES,
        });
    }
    let text = yaml_or_json.strip_prefix('\u{feff}').unwrap_or(yaml_or_json);
    let mut refusal = None;
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(
        text,
        serde_saphyr::options! {
            merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_RULES },
            reject_unsupported_tags: true,
            with_snippet: false,
        },
        |deserializer| FileSeed { refusal: &mut refusal }.deserialize(deserializer),
    );
    parsed.map_err(|error| {
        let error = error.without_snippet();
        refusal.unwrap_or_else(|| located(error.location(), error.to_string()))
    })
}

fn located(location: Option<Location>, reason: String) -> RuleError {
    RuleError::File {
        line: location.map_or(0, |location| location.line()),
        column: location.map_or(0, |location| location.column()),
        reason,
    }
}

struct FileSeed<'a> {
    /// Set before an error is returned of which the deserializer would not know the place.
    refusal: &'a mut Option<RuleError>,
}

impl FileSeed<'_> {
    fn refuse<E: serde::de::Error>(self, name: &str, location: Location, found: &str) -> E {
        let reason = format!(
            "rule {name:?} must be a string or a list of lists of strings, but is {found}; write \"\" or \"@\" to \
             allow everyone, \"!\" to allow no one, with the quotes"
        );
        let error = E::custom(&reason);
        *self.refusal = Some(located(Some(location), reason));
        error
    }
}

impl<'de> DeserializeSeed<'de> for FileSeed<'_> {
    type Value = BTreeMap<String, RuleText>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_> {
    type Value = BTreeMap<String, RuleText>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping from rule names to rules")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rules = BTreeMap::new();
        let mut bytes = 0_usize;
        while let Some(name) = map.next_key::<String>()? {
            let Spanned { value: Tagged(written, tag), referenced, .. } = map.next_value()?;
            let text = match (written, tag) {
                // `!` without quotes is a tag with nothing behind it, which YAML reads as the empty string, which
                // would allow everyone.
                (_, Some(tag)) => return Err(self.refuse(&name, referenced, &format!("tagged as {tag:?}"))),
                (Written::Rule(text), None) => text,
                (Written::Other(found), None) => return Err(self.refuse(&name, referenced, found)),
            };
            bytes = bytes.saturating_add(name.len()).saturating_add(text.len());
            if bytes > MAX_RULE_BYTES {
                return Err(A::Error::custom(format!("the rules are longer than {MAX_RULE_BYTES} bytes")));
            }
            if rules.len() >= MAX_RULES {
                return Err(A::Error::custom(format!("there are more than {MAX_RULES} rules")));
            }
            if rules.contains_key(&name) {
                return Err(A::Error::custom(format!("rule {name:?} is defined twice; keep one of them")));
            }
            rules.insert(name, text);
        }
        Ok(rules)
    }
}

/// The value of one key.
enum Written {
    Rule(RuleText),
    /// Something else, and what.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a list of lists of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Rule(RuleText::Expression(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, outer: A) -> Result<Written, A::Error> {
        let lists = bounded(outer, |Checks(list): &Checks| {
            list.iter().fold(0, |sum, check| sum.saturating_add(check.len()))
        })?;
        Ok(Written::Rule(RuleText::Lists(lists.into_iter().map(|Checks(list)| list).collect())))
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Other("nothing"))
    }

    fn visit_none<E>(self) -> Result<Written, E> {
        Ok(Written::Other("nothing"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Written, E> {
        Ok(Written::Other("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Written, E> {
        Ok(Written::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Written, E> {
        Ok(Written::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Written, E> {
        Ok(Written::Other("a number"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Written::Other("a mapping"))
    }
}

/// Reads a sequence up to the length of an expression, so that aliases cannot blow it up.
fn bounded<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    mut sequence: A,
    length: impl Fn(&T) -> usize,
) -> Result<Vec<T>, A::Error> {
    let mut items = Vec::new();
    let mut bytes = 0_usize;
    while let Some(item) = sequence.next_element()? {
        bytes = bytes.saturating_add(length(&item));
        if bytes > MAX_EXPRESSION_BYTES {
            return Err(A::Error::custom(format!("the rule is longer than {MAX_EXPRESSION_BYTES} bytes")));
        }
        items.push(item);
    }
    Ok(items)
}

/// One element of the outer list.
struct Checks(Vec<String>);

impl<'de> Deserialize<'de> for Checks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChecksVisitor)
    }
}

struct ChecksVisitor;

impl<'de> Visitor<'de> for ChecksVisitor {
    type Value = Checks;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a list of strings as part of a rule")
    }

    fn visit_str<E>(self, text: &str) -> Result<Checks, E> {
        Ok(Checks(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<Checks, A::Error> {
        let checks = bounded(inner, |Text(text): &Text| text.len())?;
        Ok(Checks(checks.into_iter().map(|Text(text)| text).collect()))
    }
}

/// A string, and nothing that could merely be read as one.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string as a check of a rule")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }
}

//! JSON bodies with Barbican's rules.
//!
//! Owns [`Json`], a JSON value whose strings are wiped and have no blanks around them, and [`Object`], from which the
//! routes take the properties they know; what is refused names schema and property.
//!
//! A string without escapes is copied once, to where it is wiped. For one with escapes the JSON reader keeps a buffer of
//! its own, which is not; the same holds for what the HTTP and TLS libraries read into.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use chatelaine_core::Timestamp;
use http::HeaderMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::super::body;
use super::error::BarbicanError;
use super::time;

/// The longest text of most properties, in characters.
pub(crate) const MAX_TEXT: usize = 255;

/// A string that is wiped.
pub(crate) type Text = Zeroizing<String>;

/// A JSON value.
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Number(serde_json::Number),
    /// Without blanks at either end.
    Text(Text),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// The type only: values may be secret.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

fn stripped(text: &str) -> &str {
    // The four separators of ASCII are blanks to Barbican, too.
    text.trim_matches(|letter: char| letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(Zeroizing::new(stripped(text).to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Json, A::Error> {
                // Of a name that is there twice the last counts, as ever in Python.
                let mut object = BTreeMap::new();
                while let Some((name, value)) = pairs.next_entry()? {
                    object.insert(name, value);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// As it may be stored and shown again. Not for what is secret.
    pub(crate) fn shown(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Boolean(value) => (*value).into(),
            Self::Number(number) => number.clone().into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Self::shown).collect(),
            Self::Object(object) => object
                .iter()
                .map(|(name, value)| (name.clone(), value.shown()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// The largest JSON body of a route that takes payloads of `max_payload` bytes: room for escapes and for the rest.
pub(crate) const fn limit(max_payload: usize) -> usize {
    max_payload.saturating_mul(2).saturating_add(64 * 1024)
}

/// Reads the body of a JSON route.
///
/// # Errors
/// 415 for another type, 413 beyond `limit` bytes, 408 when the client is too slow, 400 for what is no JSON object.
pub(crate) async fn object(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
    schema: &'static str,
) -> Result<Object, BarbicanError> {
    let bytes = body::read(headers, body, limit, patience).await?;
    Object::parse(schema, &bytes)
}

/// Reads a body that is a payload.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 when the client is too slow.
pub(crate) async fn bytes(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Zeroizing<Vec<u8>>, BarbicanError> {
    Ok(body::collect(headers, body, limit, patience).await?)
}

/// An object of a body, from which known properties are taken.
#[derive(Debug)]
pub(crate) struct Object {
    schema: &'static str,
    rest: BTreeMap<String, Json>,
}

impl Object {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is not JSON or no object. The text says nothing of what was found: it may be secret.
    pub(crate) fn parse(schema: &'static str, bytes: &[u8]) -> Result<Self, BarbicanError> {
        let value = serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            BarbicanError::bad_request(format!(
                "The body is not valid JSON: it goes wrong at line {line}, column {column}."
            ))
        })?;
        Self::of(schema, None, value)
    }

    /// An object inside of another.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(crate) fn of(
        schema: &'static str,
        property: Option<&str>,
        value: Json,
    ) -> Result<Self, BarbicanError> {
        match value {
            Json::Object(rest) => Ok(Self { schema, rest }),
            other => {
                let reason = format!("it must be an object, not {}", other.kind());
                Err(BarbicanError::invalid(schema, property, reason))
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.rest.contains_key(name)
    }

    /// Whatever is there under that name.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.rest.remove(name)
    }

    /// What was not taken.
    pub(crate) fn rest(&self) -> &BTreeMap<String, Json> {
        &self.rest
    }

    /// The names and values that were not taken.
    pub(crate) fn into_rest(self) -> BTreeMap<String, Json> {
        self.rest
    }

    pub(crate) fn wrong(&self, name: &str, reason: impl AsRef<str>) -> BarbicanError {
        BarbicanError::invalid(self.schema, Some(name), reason)
    }

    /// For a property that must be there.
    pub(crate) fn missing(&self, name: &str) -> BarbicanError {
        BarbicanError::invalid(self.schema, None, format!("'{name}' is required"))
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// 400 naming the first of it.
    pub(crate) fn finish(self) -> Result<(), BarbicanError> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(BarbicanError::chosen(self.schema, name, "there is no property of this name here"))
            }
        }
    }

    /// A string; null is refused.
    ///
    /// # Errors
    /// 400 for another type, and beyond `longest` characters.
    pub(crate) fn text(&mut self, name: &str, longest: usize) -> Result<Option<Text>, BarbicanError> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(value) => self.as_text(name, value, longest).map(Some),
        }
    }

    /// A string or null.
    ///
    /// # Errors
    /// As for [`Object::text`].
    pub(crate) fn text_or_null(&mut self, name: &str, longest: usize) -> Result<Option<Text>, BarbicanError> {
        match self.rest.remove(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => self.as_text(name, value, longest).map(Some),
        }
    }

    /// A string that must be there and not be empty.
    ///
    /// # Errors
    /// As for [`Object::text`].
    pub(crate) fn required(&mut self, name: &str, longest: usize) -> Result<Text, BarbicanError> {
        let text = self.text(name, longest)?.ok_or_else(|| self.missing(name))?;
        if text.is_empty() { Err(self.wrong(name, "it is empty")) } else { Ok(text) }
    }

    fn as_text(&self, name: &str, value: Json, longest: usize) -> Result<Text, BarbicanError> {
        match value {
            Json::Text(text) if text.chars().count() <= longest => Ok(text),
            Json::Text(_) => Err(self.wrong(name, format!("it has more than {longest} characters"))),
            other => Err(self.wrong(name, format!("it must be a string, not {}", other.kind()))),
        }
    }

    /// True or false; null is refused.
    ///
    /// # Errors
    /// 400 for another type.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, BarbicanError> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Json::Boolean(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, format!("it must be a boolean, not {}", other.kind()))),
        }
    }

    /// A whole number, `256.0` included; null is refused.
    ///
    /// # Errors
    /// 400 for another type.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, BarbicanError> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        let Json::Number(number) = &value else {
            return Err(self.wrong(name, format!("it must be an integer, not {}", value.kind())));
        };
        let whole = || {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            // Below 2^53 the conversion is exact.
            Some(float as i64)
        };
        match number.as_i64().or_else(whole) {
            Some(integer) => Ok(Some(integer)),
            None => Err(self.wrong(name, "it must be an integer of at most 63 bits")),
        }
    }

    /// A list; null is refused.
    ///
    /// # Errors
    /// 400 for another type.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<Json>>, BarbicanError> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Json::List(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong(name, format!("it must be an array, not {}", other.kind()))),
        }
    }

    /// A moment to come. An empty string is none.
    ///
    /// # Errors
    /// 400 for what is no moment or not in the future.
    pub(crate) fn future(
        &self,
        name: &str,
        text: Option<&Text>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, BarbicanError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let moment = time::parsed(text).ok_or_else(|| {
            self.wrong(name, "it is no moment as in ISO 8601, for example 2030-01-31T12:00:00")
        })?;
        if moment <= now {
            return Err(self.wrong(name, "it is not in the future"));
        }
        Ok(Some(moment))
    }
}

#[cfg(test)]
mod tests;

//! The words of arguments: scopes, states, reasons, attributes, moments, key-ids.
//!
//! Refuses what the server would refuse for its form alone, with what is allowed.

use std::collections::BTreeMap;

use chatelaine_api::{RevocationReason, Scope, State};
use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::SecretId;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::Failure;

const SCOPES: [&str; 4] = ["entity", "user", "project", "domain"];
/// Those a key can be listed in: a destroyed one is gone.
const STATES: [&str; 4] = ["pre_active", "active", "deactivated", "compromised"];
const REASONS: [&str; 7] = [
    "unspecified",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
];

fn word<T: DeserializeOwned>(text: String) -> Result<T, String> {
    serde_json::from_value(Value::String(text)).map_err(|error| error.to_string())
}

pub(super) fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(SCOPES).try_map(word::<Scope>)
}

pub(in crate::cli) fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(STATES).try_map(word::<State>)
}

pub(super) fn reasons() -> impl TypedValueParser<Value = RevocationReason> {
    PossibleValuesParser::new(REASONS).try_map(word::<RevocationReason>)
}

/// The word of a value in interfaces.
pub(in crate::cli) fn text<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The id of a key or other secret, in its only form.
pub(in crate::cli) fn key_id(text: &str) -> Result<SecretId, String> {
    SecretId::parse(text).map_err(|error| error.to_string())
}

/// A moment of RFC 3339, sent in UTC.
pub(super) fn moment(text: &str) -> Result<String, &'static str> {
    Timestamp::parse(text)
        .map(|moment| moment.to_string())
        .ok_or("a moment is date, time and offset (RFC 3339), for example 2027-01-31T00:00:00Z")
}

/// `name=value`.
pub(super) fn attribute(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(allowed) {
        return Err("the name of an attribute has letters, digits, `_`, `-` and `.` only");
    }
    if name.len() > 64 || value.chars().count() > 255 {
        return Err("the name of an attribute has at most 64 characters, its value at most 255");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// All attributes; a name that comes twice is refused, as nobody could tell which value was meant.
pub(super) fn attributes(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut attributes = BTreeMap::new();
    for (name, value) in pairs {
        if attributes.contains_key(&name) {
            return Err(Failure::usage(format!("attribute {name} is given twice")).advise("give it once"));
        }
        attributes.insert(name, value);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_known<T: DeserializeOwned + Serialize>(words: &[&str]) {
        for own in words {
            assert_eq!(text(&word::<T>((*own).to_owned()).unwrap()), *own);
        }
    }

    #[test]
    fn words_are_those_of_the_interface() {
        all_known::<Scope>(&SCOPES);
        all_known::<State>(&STATES);
        all_known::<RevocationReason>(&REASONS);
        assert!(word::<Scope>("Entity".to_owned()).is_err());
    }

    #[test]
    fn attributes_are_split_at_the_first_equals_sign() {
        assert_eq!(attribute("a.b-c_1=x=y").unwrap(), ("a.b-c_1".to_owned(), "x=y".to_owned()));
        assert_eq!(attribute("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(attribute(&format!("{}={}", "a".repeat(64), "ü".repeat(255))).is_ok());
        let (long_name, long_value) = (format!("{}=x", "a".repeat(65)), format!("a={}", "ü".repeat(256)));
        for wrong in ["", "a", "=x", "a b=x", "ü=x", &long_name, &long_value] {
            assert!(attribute(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn attributes_come_once() {
        let pair = |value: &str| ("a".to_owned(), value.to_owned());
        assert_eq!(attributes(vec![pair("1")]).unwrap().len(), 1);
        assert!(attributes(vec![pair("1"), pair("1")]).unwrap_err().message.contains("attribute a"));
    }

    #[test]
    fn moments_are_sent_in_utc() {
        assert_eq!(moment("2027-01-31T01:00:00+01:00").unwrap(), "2027-01-31T00:00:00.000000Z");
        for wrong in ["", "tomorrow", "2027-01-31", "2027-01-31T00:00:00", "2027-02-30T00:00:00Z"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn key_ids_have_one_form() {
        assert!(key_id("6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7").is_ok());
        for wrong in
            ["", "..", "6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7", "00000000-0000-0000-0000-000000000000"]
        {
            assert!(key_id(wrong).is_err(), "{wrong}");
        }
    }
}

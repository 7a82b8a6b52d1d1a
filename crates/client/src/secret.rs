//! Text that must not be seen: tokens, passwords, application credential secrets.
//!
//! The text is wiped when dropped and its `Debug` prints a constant. Refuses to be cloned, displayed, serialized or
//! compared; whoever needs to share one shares it behind an `Arc`.

use std::fmt;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

/// Secret text, wiped on drop.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over; the caller's own copies, if any, stay the caller's to wipe.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when the text has no characters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as an HTTP header value that HTTP libraries do not print; `None` when a header cannot carry it.
    pub(crate) fn header_value(&self) -> Option<HeaderValue> {
        sensitive_header(self.expose())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(hidden)")
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = SecretText;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("secret text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText::new(text))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<SecretText, E> {
                Ok(SecretText::new(text))
            }
        }
        deserializer.deserialize_string(Visitor)
    }
}

/// A header value marked sensitive; `None` when the text has characters outside visible ASCII.
pub(crate) fn sensitive_header(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_a_constant() {
        let printed = format!("{:?} {:#?}", SecretText::new("hunter2"), SecretText::new("hunter2"));
        assert!(!printed.contains("hunter2"));
    }

    #[test]
    fn headers_are_sensitive_and_refuse_what_a_header_cannot_carry() {
        let header = SecretText::new("gAAAA-token").header_value().unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("gAAAA"));
        for bad in ["", "two words", "line\nbreak", "null\0", "é", "tab\t"] {
            assert!(SecretText::new(bad).header_value().is_none(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn parses_from_json_text_only() {
        let secret: SecretText = serde_json::from_str("\"abc\"").unwrap();
        assert_eq!(secret.expose(), "abc");
        assert!(serde_json::from_str::<SecretText>("12").is_err());
    }
}

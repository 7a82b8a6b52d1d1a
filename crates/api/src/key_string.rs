//! Key strings on the wire: base64 in JSON, wiped bytes in memory.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The bytes a service puts: a key, or a key it has wrapped.
pub struct KeyString(Zeroizing<Vec<u8>>);

impl KeyString {
    /// Takes bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Decodes standard base64 with padding (RFC 4648, section 4).
    ///
    /// # Errors
    /// A text that says what is allowed, without the input.
    pub fn from_base64(text: &str) -> Result<Self, &'static str> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(text.len())));
        STANDARD
            .decode_vec(text, &mut bytes)
            .map_err(|_| "not base64 (RFC 4648, section 4: A-Z a-z 0-9 + / and padding, no line breaks)")?;
        Ok(Self(bytes))
    }

    /// The bytes in base64, wiped like them.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().div_ceil(3).saturating_mul(4)));
        STANDARD.encode_string(&*self.0, &mut text);
        text
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyString(secret)")
    }
}

impl Serialize for KeyString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for KeyString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = KeyString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeyString, E> {
                KeyString::from_base64(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Base64).map_err(|error| {
            // A type error would quote what was found, which may be key bytes in a wrong shape.
            let text = error.to_string();
            if text.starts_with("not base64") {
                error
            } else {
                D::Error::custom("it must be a string in base64")
            }
        })
    }
}

impl utoipa::PartialSchema for KeyString {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Byte)))
            .description(Some("Bytes in base64 (RFC 4648, section 4)"))
            .into()
    }
}

impl utoipa::ToSchema for KeyString {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        let key: KeyString = serde_json::from_str("\"AAECAw==\"").unwrap();
        assert_eq!(key.expose(), [0, 1, 2, 3]);
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"AAECAw==\"");
    }

    /// T-SECRET-LOGGED: neither `Debug` nor an error holds the bytes.
    #[test]
    fn refusals_and_debug_output_hold_nothing_of_the_key() {
        for wrong in ["\"SECRETBYTES*\"", "[\"SECRETBYTES\"]", "{\"SECRETBYTES\":1}", "123456789"] {
            let error = serde_json::from_str::<KeyString>(wrong).unwrap_err().to_string();
            assert!(!error.contains("SECRET") && !error.contains("12345"), "{error}");
        }
        assert_eq!(format!("{:?}", KeyString::new(vec![65])), "KeyString(secret)");
    }
}

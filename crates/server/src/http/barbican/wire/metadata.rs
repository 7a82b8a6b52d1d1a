//! User metadata of secrets: words of the client's under lower-case keys.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::{Json, MAX_TEXT, Object};
use super::super::error::{BarbicanError, shortened};

pub(crate) const SCHEMA: &str = "SecretMetadata";
pub(crate) const ENTRY_SCHEMA: &str = "SecretMetadatum";
/// Most entries of one secret. Barbican has no limit but the request's.
pub(crate) const MAX_ENTRIES: usize = 256;

/// All entries of a secret, as they are sent and shown.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BarbicanMetadata)]
pub(crate) struct MetadataDocument {
    /// At most 256 entries. Keys have 1 to 255 letters, digits, `_` and `-`, and become lower case; values have at most 255
    /// characters.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// One entry.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BarbicanMetadataEntry)]
pub(crate) struct Entry {
    /// In lower case.
    #[schema(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_-]+$")]
    pub(crate) key: String,
    #[schema(max_length = 255)]
    pub(crate) value: String,
}

/// A key as it is stored: letters, digits, `_` and `-`, in lower case.
fn key(schema: &str, text: &str) -> Result<String, BarbicanError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.is_empty() || text.len() > MAX_TEXT || !text.bytes().all(allowed) {
        let reason = format!("keys have 1 to {MAX_TEXT} letters of ASCII, digits, '_' and '-'");
        return Err(BarbicanError::chosen(schema, text, reason));
    }
    Ok(text.to_ascii_lowercase())
}

/// The refusal of one entry too many.
pub(crate) fn too_many() -> BarbicanError {
    BarbicanError::invalid(SCHEMA, Some("metadata"), format!("a secret has at most {MAX_ENTRIES} entries"))
}

/// Checks the body of `PUT …/metadata`: all entries, which replace what is there.
///
/// # Errors
/// 400 naming what is wrong. Unknown keys beside `metadata` are left alone.
pub(crate) fn read_all(mut object: Object) -> Result<MetadataDocument, BarbicanError> {
    let all = object.take("metadata").ok_or_else(|| object.missing("metadata"))?;
    let entries = Object::of(SCHEMA, Some("metadata"), all)?.into_rest();
    let mut metadata = BTreeMap::new();
    for (name, value) in entries {
        let name = key(SCHEMA, &name)?;
        let Json::Text(value) = value else {
            return Err(BarbicanError::chosen(SCHEMA, &name, "it must be a string"));
        };
        if value.chars().count() > MAX_TEXT {
            return Err(BarbicanError::chosen(
                SCHEMA,
                &name,
                format!("it has more than {MAX_TEXT} characters"),
            ));
        }
        metadata.insert(name, value.as_str().to_owned());
    }
    if metadata.len() > MAX_ENTRIES { Err(too_many()) } else { Ok(MetadataDocument { metadata }) }
}

/// Checks the body of `POST …/metadata` and of `PUT` and `POST …/metadata/{key}`.
///
/// # Errors
/// 400 naming what is wrong; unknown keys are refused.
pub(crate) fn read_entry(mut object: Object) -> Result<Entry, BarbicanError> {
    let name = object.text("key", MAX_TEXT)?.ok_or_else(|| object.missing("key"))?;
    let value = object.text("value", MAX_TEXT)?.ok_or_else(|| object.missing("value"))?;
    object.finish()?;
    Ok(Entry { key: key(ENTRY_SCHEMA, &name)?, value: value.as_str().to_owned() })
}

/// Whether the entry is the one that the path names, which is looked up as it stands there.
///
/// # Errors
/// 409.
pub(crate) fn same_key(entry: &Entry, path: &str) -> Result<(), BarbicanError> {
    if entry.key == path.to_ascii_lowercase() {
        return Ok(());
    }
    Err(BarbicanError::new(
        http::StatusCode::CONFLICT,
        format!(
            "The body has the key '{}', the path '{}'; they must be the same.",
            entry.key,
            shortened(path)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(body: &serde_json::Value) -> Result<Vec<(String, String)>, BarbicanError> {
        let object = Object::parse(SCHEMA, body.to_string().as_bytes())?;
        Ok(read_all(object)?.metadata.into_iter().collect())
    }

    fn entry(body: &serde_json::Value) -> Result<Entry, BarbicanError> {
        read_entry(Object::parse(ENTRY_SCHEMA, body.to_string().as_bytes())?)
    }

    #[test]
    fn keys_become_lower_case() {
        let found = all(&json!({"metadata": {"A_b-1": " v ", "c": ""}})).unwrap();
        assert_eq!(found, [("a_b-1".to_owned(), "v".to_owned()), ("c".to_owned(), String::new())]);
        assert_eq!(all(&json!({"metadata": {}, "other": 1})).unwrap(), []);
        let one = entry(&json!({"key": "Access-Limit", "value": "11"})).unwrap();
        assert_eq!(serde_json::to_value(&one).unwrap(), json!({"key": "access-limit", "value": "11"}));
        assert!(same_key(&one, "access-limit").is_ok());
        assert_eq!(same_key(&one, "other").unwrap_err().status(), 409);
    }

    #[test]
    fn wrong_metadata_is_refused() {
        let long = "x".repeat(256);
        let many: serde_json::Map<_, _> = (0..=MAX_ENTRIES).map(|n| (format!("k{n}"), json!("v"))).collect();
        for body in [
            json!({}),
            json!({"metadata": null}),
            json!({"metadata": []}),
            json!({"metadata": {"a b": "v"}}),
            json!({"metadata": {"ä": "v"}}),
            json!({"metadata": {"": "v"}}),
            json!({"metadata": {long.clone(): "v"}}),
            json!({"metadata": {"a": 1}}),
            json!({"metadata": {"a": long}}),
            json!({"metadata": many}),
        ] {
            assert_eq!(all(&body).unwrap_err().status(), 400, "{body}");
        }
        for body in [
            json!({}),
            json!({"key": "a"}),
            json!({"value": "a"}),
            json!({"key": "a", "value": 1}),
            json!({"key": "a b", "value": "v"}),
            json!({"key": "", "value": "v"}),
            json!({"key": "a", "value": long}),
            json!({"key": "a", "value": "v", "other": 1}),
        ] {
            assert_eq!(entry(&body).unwrap_err().status(), 400, "{body}");
        }
    }
}

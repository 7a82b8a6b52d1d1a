//! Secrets: what a client may say of a new one, and how one is shown.

use chatelaine_core::Timestamp;
use chatelaine_core::secret::SecretType;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::{Json, MAX_TEXT, Object, Text};
use super::super::content::{self, Payload};
use super::super::error::BarbicanError;
use super::super::time::{self, Moment};
use super::consumer::SecretConsumer;

/// The schema that refusals name.
pub(crate) const SCHEMA: &str = "Secret";
/// The longest key Barbican takes, in bits.
const MAX_BITS: i64 = 32_767;

/// The type of that name, in lower case.
fn kind(text: &str) -> Option<SecretType> {
    SecretType::ALL.into_iter().find(|of| of.as_str() == text)
}

/// What secrets and orders have in common.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) bit_length: Option<u32>,
    pub(super) expiration: Option<Timestamp>,
    pub(super) secret_type: Option<SecretType>,
    pub(super) payload_content_type: Option<String>,
    pub(super) payload_content_encoding: Option<String>,
    /// Not checked yet.
    pub(super) payload: Option<Text>,
    pub(super) transport_key_needed: bool,
    pub(super) transport_key_id: Option<String>,
}

fn plain(text: &Text) -> String {
    text.as_str().to_owned()
}

impl Described {
    /// Takes the properties that describe a secret; whatever else there is stays where it is.
    pub(super) fn take(object: &mut Object, now: Timestamp) -> Result<Self, BarbicanError> {
        let name = object.text_or_null("name", MAX_TEXT)?;
        let algorithm = object.text("algorithm", MAX_TEXT)?.as_ref().map(plain);
        let mode = object.text("mode", MAX_TEXT)?.as_ref().map(plain);
        let bit_length = match object.integer("bit_length")? {
            None => None,
            Some(bits) => Some(
                u32::try_from(bits)
                    .ok()
                    .filter(|_| (1..=MAX_BITS).contains(&bits))
                    .ok_or_else(|| object.wrong("bit_length", format!("1 to {MAX_BITS} are allowed")))?,
            ),
        };
        let expiration = object.text("expiration", MAX_TEXT)?;
        let payload = object.text("payload", usize::MAX)?;
        let payload_content_type = object.text_or_null("payload_content_type", MAX_TEXT)?.as_ref().map(plain);
        let payload_content_encoding = object.text("payload_content_encoding", MAX_TEXT)?.as_ref().map(plain);
        if payload_content_encoding.as_deref().is_some_and(|encoding| encoding != "base64") {
            return Err(object.wrong("payload_content_encoding", "only base64 is allowed"));
        }
        let secret_type = match object.text("secret_type", MAX_TEXT)? {
            None => None,
            Some(text) => Some(kind(&text).ok_or_else(|| {
                let allowed = SecretType::ALL.map(SecretType::as_str).join(", ");
                object.wrong("secret_type", format!("one of {allowed} is allowed"))
            })?),
        };
        let transport_key_needed =
            match object.text("transport_key_needed", MAX_TEXT)?.as_ref().map(|text| text.as_str()) {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => {
                    return Err(
                        object.wrong("transport_key_needed", "the strings true and false are allowed")
                    );
                }
            };
        let transport_key_id = object.text("transport_key_id", MAX_TEXT)?.as_ref().map(plain);
        Ok(Self {
            name: name.as_ref().map(plain),
            algorithm,
            mode,
            bit_length,
            expiration: object.future("expiration", expiration.as_ref(), now)?,
            secret_type,
            payload_content_type,
            payload_content_encoding,
            payload,
            transport_key_needed,
            transport_key_id,
        })
    }
}

/// A secret to be stored.
#[derive(Debug)]
pub(crate) struct NewSecret {
    pub(crate) name: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) bit_length: Option<u32>,
    pub(crate) expiration: Option<Timestamp>,
    pub(crate) secret_type: SecretType,
    /// None: it is sent later.
    pub(crate) payload: Option<Payload>,
    pub(crate) transport_key_needed: bool,
    pub(crate) transport_key_id: Option<String>,
}

impl NewSecret {
    /// Checks the body of `POST /v1/secrets`. What Barbican does not know is left alone.
    ///
    /// # Errors
    /// 400 naming the property; 413 for a payload of more than `max_payload` bytes as it was sent.
    pub(crate) fn read(
        mut object: Object,
        now: Timestamp,
        max_payload: usize,
    ) -> Result<Self, BarbicanError> {
        // That the type was sent at all counts, even as null.
        let typed = object.has("payload_content_type");
        let said = Described::take(&mut object, now)?;
        let payload = match (&said.payload, &said.payload_content_type) {
            (None, None) if !typed => None,
            (None, _) => {
                return Err(object.wrong("payload", "payload_content_type needs a payload"));
            }
            (Some(_), None) => {
                return Err(object.wrong("payload_content_type", "a payload needs it"));
            }
            (Some(payload), Some(of)) => {
                let content_type = content::check(of, said.payload_content_encoding.as_deref())?;
                Some(content::posted(payload, content_type, max_payload)?)
            }
        };
        Ok(Self {
            name: said.name,
            algorithm: said.algorithm,
            mode: said.mode,
            bit_length: said.bit_length,
            expiration: said.expiration,
            secret_type: said.secret_type.unwrap_or(SecretType::Opaque),
            payload,
            transport_key_needed: said.transport_key_needed,
            transport_key_id: said.transport_key_id,
        })
    }
}

/// What is known of a secret, to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown<'a> {
    /// The full address.
    pub(crate) secret_ref: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) name: Option<&'a str>,
    pub(crate) secret_type: SecretType,
    pub(crate) expiration: Option<Timestamp>,
    pub(crate) algorithm: Option<&'a str>,
    pub(crate) bit_length: Option<u32>,
    pub(crate) mode: Option<&'a str>,
    pub(crate) creator_id: &'a str,
    /// None without a payload.
    pub(crate) content_type: Option<&'a str>,
    /// None below version 1.1.
    pub(crate) consumers: Option<&'a [SecretConsumer]>,
}

/// How a secret is shown, alone and in lists. Clients refuse keys they do not know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanSecret)]
pub(crate) struct SecretDocument<'a> {
    #[schema(value_type = Moment)]
    created: String,
    #[schema(value_type = Moment)]
    updated: String,
    /// Always `ACTIVE`.
    status: &'static str,
    #[schema(required)]
    name: Option<&'a str>,
    #[schema(value_type = chatelaine_api::SecretType)]
    secret_type: &'static str,
    #[schema(required, value_type = Option<Moment>)]
    expiration: Option<String>,
    #[schema(required)]
    algorithm: Option<&'a str>,
    #[schema(required)]
    bit_length: Option<u32>,
    #[schema(required)]
    mode: Option<&'a str>,
    /// The user that stored it.
    creator_id: &'a str,
    /// Only where there is a payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content_types: Option<ContentTypes<'a>>,
    /// Not with microversion 1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<SecretConsumer>>)]
    consumers: Option<&'a [SecretConsumer]>,
    /// The secret's address; its id is the last part.
    secret_ref: String,
}

/// The media type of a payload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanContentTypes)]
struct ContentTypes<'a> {
    default: &'a str,
}

/// The status of every secret that can be seen.
pub(crate) const ACTIVE: &str = "ACTIVE";

impl<'a> From<Shown<'a>> for SecretDocument<'a> {
    fn from(of: Shown<'a>) -> Self {
        Self {
            created: time::written(of.created),
            updated: time::written(of.updated),
            status: ACTIVE,
            name: of.name,
            secret_type: of.secret_type.as_str(),
            expiration: of.expiration.map(time::written),
            algorithm: of.algorithm,
            bit_length: of.bit_length,
            mode: of.mode,
            creator_id: of.creator_id,
            content_types: of.content_type.map(|default| ContentTypes { default }),
            consumers: of.consumers,
            secret_ref: of.secret_ref,
        }
    }
}

/// Whether `force` in the query of a deletion says so.
///
/// # Errors
/// 400 for what is neither yes nor no.
pub(crate) fn forced(query: &super::super::query::Query) -> Result<bool, BarbicanError> {
    match query.first("force") {
        None => Ok(false),
        Some(text) => super::super::query::boolean(text)
            .ok_or_else(|| BarbicanError::parameter("force", "true and false are allowed")),
    }
}

/// Whether a JSON value is one of those that stand for nothing.
pub(super) fn is_nothing(value: Option<&Json>) -> bool {
    match value {
        None | Some(Json::Null) => true,
        Some(Json::Text(text)) => text.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;

//! What a put or update must look like before the manager sees it; every refusal names the field.

use std::collections::BTreeMap;

use chatelaine_api::{KeyString, NewKeyRequest, UpdateKeyRequest};
use chatelaine_core::Timestamp;
use chatelaine_core::manager::{KeyUpdate, NewKey};
use chatelaine_crypto::algorithms::{Algorithm, Kind};
use chatelaine_crypto::{CryptoError, Envelope, KeyMaterial};
use http::StatusCode;

use super::super::error::{ApiError, is_repeatable};
use super::document;

/// Longest name, master key's name, and value of an attribute, in characters.
const MAX_TEXT: usize = 255;
const MAX_ATTRIBUTES: usize = 32;

fn text(field: &str, text: &str) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length == 0 || length > MAX_TEXT {
        return Err(ApiError::field(
            field,
            format!("it has {length} characters, 1 to {MAX_TEXT} are allowed"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::field(field, "it holds a control character, none are allowed"));
    }
    Ok(())
}

fn attributes(attributes: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if attributes.len() > MAX_ATTRIBUTES {
        let count = attributes.len();
        return Err(ApiError::field(
            "attributes",
            format!("there are {count}, at most {MAX_ATTRIBUTES} are allowed"),
        ));
    }
    for (name, value) in attributes {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(ApiError::field(
                "attributes",
                "names have 1 to 64 letters, digits, '_', '-' and '.'",
            ));
        }
        if value.chars().count() > MAX_TEXT || value.chars().any(char::is_control) {
            let place =
                if is_repeatable(name) { format!("attributes.{name}") } else { "attributes".to_owned() };
            return Err(ApiError::field(
                place,
                format!("at most {MAX_TEXT} characters and no control characters are allowed"),
            ));
        }
    }
    Ok(())
}

fn moment(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).ok_or_else(|| {
        ApiError::field(field, "it is not a moment as in RFC 3339, for example 2027-01-31T12:00:00Z")
    })
}

fn algorithm_problem(error: &CryptoError) -> ApiError {
    let field =
        if matches!(error, CryptoError::InvalidBitLength { .. }) { "bit_length" } else { "algorithm" };
    match error {
        // A name that is none could be a misplaced key string.
        CryptoError::UnknownAlgorithm { allowed, .. } => {
            ApiError::field(field, format!("there is no such algorithm; there are {allowed}"))
        }
        _ => ApiError::field(field, error.to_string()),
    }
}

/// Algorithm and length as the client names them, checked against the registry.
fn named(
    algorithm: Option<&str>,
    bit_length: Option<u32>,
) -> Result<(Option<&'static Algorithm>, Option<u32>), ApiError> {
    let Some(name) = algorithm else {
        return match bit_length {
            Some(_) => Err(ApiError::field("bit_length", "it needs algorithm")),
            None => Ok((None, None)),
        };
    };
    let algorithm = Algorithm::find(name).map_err(|error| algorithm_problem(&error))?;
    if let Some(bits) = bit_length {
        algorithm.check_bits(bits).map_err(|error| algorithm_problem(&error))?;
    }
    Ok((Some(algorithm), bit_length))
}

async fn generated(request: &NewKeyRequest) -> Result<(KeyMaterial, &'static Algorithm, u32), ApiError> {
    if request.master_key.is_some() {
        return Err(ApiError::field(
            "master_key",
            "a key that the server generates is not wrapped by a service",
        ));
    }
    let (algorithm, bits) = named(request.algorithm.as_deref(), request.bit_length)?;
    let algorithm = algorithm.ok_or_else(|| {
        ApiError::field("algorithm", "it is needed to generate a key; GET /v1/algorithms lists them")
    })?;
    if !matches!(algorithm.kind, Kind::Symmetric | Kind::Mac) {
        return Err(ApiError::field(
            "algorithm",
            format!("{} keys are not generated here: only symmetric and MAC keys are", algorithm.name),
        ));
    }
    let bits = bits.unwrap_or(algorithm.default_bits);
    algorithm.check_generated(bits).map_err(|error| algorithm_problem(&error))?;
    let made = tokio::task::spawn_blocking(move || chatelaine_crypto::generate(algorithm, bits)).await;
    let failed = |detail: String| ApiError::unavailable("no key could be generated; try again", 5, detail);
    match made {
        Ok(Ok(made)) => Ok((made.secret, algorithm, bits)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What a key string says of itself, where it is an envelope.
struct Wrapped {
    master_key: String,
    algorithm: &'static Algorithm,
    bits: u32,
}

fn envelope(key_string: &KeyString) -> Result<Option<Wrapped>, ApiError> {
    if !Envelope::is_envelope(key_string.expose()) {
        return Ok(None);
    }
    let envelope = Envelope::parse(key_string.expose())
        .map_err(|error| ApiError::field("key_string", format!("it begins like an envelope, but {error}")))?;
    let spec = envelope.spec();
    Ok(Some(Wrapped {
        master_key: envelope.master_key_id().to_owned(),
        algorithm: spec.algorithm(),
        bits: spec.bits(),
    }))
}

/// Checks a put. Generating may take a while and runs beside the executor.
pub(super) async fn new_key(request: NewKeyRequest) -> Result<NewKey, ApiError> {
    if let Some(name) = &request.name {
        text("name", name)?;
    }
    if let Some(master_key) = &request.master_key {
        text("master_key", master_key)?;
    }
    attributes(&request.attributes)?;
    let activates_at =
        request.activates_at.as_deref().map(|text| moment("activates_at", text)).transpose()?;
    let expires_at = request.expires_at.as_deref().map(|text| moment("expires_at", text)).transpose()?;
    let mut master_key = request.master_key.clone();
    let (payload, algorithm, bits) = match (&request.key_string, request.generate) {
        (Some(_), true) => {
            return Err(ApiError::field("generate", "give either key_string or generate, not both"));
        }
        (None, false) => {
            return Err(ApiError::field(
                "key_string",
                "it is missing; or let the server generate one with generate",
            ));
        }
        (None, true) => {
            let (payload, algorithm, bits) = generated(&request).await?;
            (payload, Some(algorithm), Some(bits))
        }
        (Some(key_string), false) => {
            let (mut algorithm, mut bits) = named(request.algorithm.as_deref(), request.bit_length)?;
            if let Some(wrapped) = envelope(key_string)? {
                let differs = |field: &str| {
                    Err(ApiError::field(field, "it differs from what the envelope in key_string says"))
                };
                if algorithm.is_some_and(|given| given.name != wrapped.algorithm.name) {
                    return differs("algorithm");
                }
                if bits.is_some_and(|given| given != wrapped.bits) {
                    return differs("bit_length");
                }
                if master_key.as_ref().is_some_and(|given| *given != wrapped.master_key) {
                    return differs("master_key");
                }
                (algorithm, bits) = (Some(wrapped.algorithm), Some(wrapped.bits));
                master_key = Some(wrapped.master_key);
            } else if master_key.is_none() {
                bits = plain_length(key_string, algorithm, bits)?;
            }
            (KeyMaterial::copy_from(key_string.expose()), algorithm, bits)
        }
    };
    Ok(NewKey {
        payload,
        name: request.name,
        algorithm: algorithm.map(|algorithm| algorithm.name.to_owned()),
        bit_length: bits,
        scope: document::scope(request.scope),
        scope_id: request.scope_id,
        master_key,
        attributes: request.attributes,
        activates_at,
        expires_at,
    })
}

/// A key string that no service has wrapped is the key itself: its length is the key's.
fn plain_length(
    key_string: &KeyString,
    algorithm: Option<&'static Algorithm>,
    bits: Option<u32>,
) -> Result<Option<u32>, ApiError> {
    let Some(algorithm) = algorithm.filter(|algorithm| algorithm.kind.is_bit_string()) else {
        return Ok(bits);
    };
    let length = u32::try_from(key_string.expose().len()).unwrap_or(u32::MAX).saturating_mul(8);
    if length == 0 {
        // The manager refuses an empty key string by its own limit.
        return Ok(bits);
    }
    if let Some(bits) = bits.filter(|bits| bits.div_ceil(8).saturating_mul(8) != length) {
        return Err(ApiError::field(
            "key_string",
            format!("it has {length} bits, bit_length says {bits}; name master_key if it is wrapped"),
        ));
    }
    algorithm.check_bits(length).map_err(|error| ApiError::field("key_string", error.to_string()))?;
    Ok(Some(bits.unwrap_or(length)))
}

/// Checks an update.
pub(super) fn update(request: UpdateKeyRequest) -> Result<KeyUpdate, ApiError> {
    let UpdateKeyRequest { key_string, name, mut master_key, attributes: words, expires_at } = request;
    if key_string.is_none()
        && name.is_none()
        && master_key.is_none()
        && words.is_none()
        && expires_at.is_none()
    {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "nothing to change: give key_string, name, master_key, attributes or expires_at",
        ));
    }
    if let Some(Some(name)) = &name {
        text("name", name)?;
    }
    if let Some(Some(master_key)) = &master_key {
        text("master_key", master_key)?;
    }
    if let Some(words) = &words {
        attributes(words)?;
    }
    let expires_at = match expires_at {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(moment("expires_at", &text)?)),
    };
    if let Some(wrapped) = key_string.as_ref().map(envelope).transpose()?.flatten() {
        match &master_key {
            Some(given) if given.as_ref() != Some(&wrapped.master_key) => {
                return Err(ApiError::field(
                    "master_key",
                    "it differs from what the envelope in key_string says",
                ));
            }
            _ => master_key = Some(Some(wrapped.master_key)),
        }
    }
    Ok(KeyUpdate {
        payload: key_string.map(|key_string| KeyMaterial::copy_from(key_string.expose())),
        name,
        master_key,
        attributes: words,
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(json: &str) -> String {
        let error = new_key(serde_json::from_str(json).unwrap()).await.unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST, "{json}");
        error.field.unwrap_or_default()
    }

    #[tokio::test]
    async fn refusals_name_the_field() {
        for (json, field) in [
            ("{}", "key_string"),
            (r#"{"key_string":"AA==","generate":true}"#, "generate"),
            (r#"{"generate":true}"#, "algorithm"),
            (r#"{"generate":true,"algorithm":"rot13"}"#, "algorithm"),
            (r#"{"generate":true,"algorithm":"des"}"#, "algorithm"),
            (r#"{"generate":true,"algorithm":"rsa","bit_length":2048}"#, "algorithm"),
            (r#"{"generate":true,"algorithm":"aes","bit_length":100}"#, "bit_length"),
            (r#"{"generate":true,"algorithm":"aes","master_key":"m"}"#, "master_key"),
            (r#"{"key_string":"AA==","bit_length":8}"#, "bit_length"),
            (r#"{"key_string":"AA==","algorithm":"aes"}"#, "key_string"),
            (r#"{"key_string":"AA==","algorithm":"aes","bit_length":256}"#, "key_string"),
            (r#"{"key_string":"AA==","name":""}"#, "name"),
            (r#"{"key_string":"AA==","name":"a\u0007"}"#, "name"),
            (r#"{"key_string":"AA==","attributes":{"a b":"c"}}"#, "attributes"),
            (r#"{"key_string":"AA==","attributes":{"a":"\n"}}"#, "attributes.a"),
            (r#"{"key_string":"AA==","expires_at":"tomorrow"}"#, "expires_at"),
        ] {
            assert_eq!(refused(json).await, field, "{json}");
        }
        let long = format!(r#"{{"key_string":"AA==","name":"{}"}}"#, "x".repeat(256));
        assert_eq!(refused(&long).await, "name");
    }

    #[tokio::test]
    async fn a_plain_key_gets_its_length() {
        let key = new_key(
            serde_json::from_str(r#"{"key_string":"AAAAAAAAAAAAAAAAAAAAAA==","algorithm":"AES"}"#).unwrap(),
        )
        .await
        .unwrap();
        assert_eq!((key.algorithm.as_deref(), key.bit_length), (Some("aes"), Some(128)));
        let key =
            new_key(serde_json::from_str(r#"{"generate":true,"algorithm":"aes"}"#).unwrap()).await.unwrap();
        assert_eq!((key.payload.len(), key.bit_length), (32, Some(256)));
    }

    #[tokio::test]
    async fn an_envelope_speaks_for_itself() {
        use chatelaine_crypto::KeySpec;
        use chatelaine_crypto::envelope::MasterKey;
        let master = MasterKey::new("m-7", &KeyMaterial::random(256).unwrap()).unwrap();
        let key = KeyMaterial::random(256).unwrap();
        let sealed = Envelope::seal_single(&master, "id", KeySpec::new("aes", 256).unwrap(), &key).unwrap();
        let request = |master_key: Option<&str>, bit_length| NewKeyRequest {
            key_string: Some(KeyString::new(sealed.to_bytes())),
            master_key: master_key.map(str::to_owned),
            algorithm: Some("aes".to_owned()),
            bit_length,
            ..NewKeyRequest::default()
        };
        let key = new_key(request(None, None)).await.unwrap();
        assert_eq!((key.master_key.as_deref(), key.bit_length), (Some("m-7"), Some(256)));
        assert_eq!(
            new_key(request(Some("other"), None)).await.unwrap_err().field.as_deref(),
            Some("master_key")
        );
        assert_eq!(new_key(request(None, Some(128))).await.unwrap_err().field.as_deref(), Some("bit_length"));
        let cut = NewKeyRequest {
            key_string: Some(KeyString::new(sealed.to_bytes()[..20].to_vec())),
            ..NewKeyRequest::default()
        };
        assert_eq!(new_key(cut).await.unwrap_err().field.as_deref(), Some("key_string"));
    }
}

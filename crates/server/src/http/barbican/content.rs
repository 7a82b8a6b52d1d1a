//! Payloads: which types there are, how they are encoded on the way in, how large they may be.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chatelaine_crypto::KeyMaterial;
use zeroize::Zeroizing;

use super::error::{BarbicanError, shortened};

/// The types of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    OctetStream,
    TextPlain,
    Pkcs8,
}

/// Without the padding and whatever stands between; the last bits that make no byte may be anything.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The schema that refusals of payloads name.
const SCHEMA: &str = "Secret";

impl ContentType {
    pub(crate) const ALL: [Self; 3] = [Self::OctetStream, Self::TextPlain, Self::Pkcs8];
    /// All of them, for messages.
    const ALLOWED: &str =
        "text/plain, text/plain;charset=utf-8, application/octet-stream and application/pkcs8";

    /// The name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OctetStream => "application/octet-stream",
            Self::TextPlain => "text/plain",
            Self::Pkcs8 => "application/pkcs8",
        }
    }

    /// Type and subtype.
    pub(crate) const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::OctetStream => ("application", "octet-stream"),
            Self::TextPlain => ("text", "plain"),
            Self::Pkcs8 => ("application", "pkcs8"),
        }
    }

    /// The type of that exact name, as it is stored.
    pub(crate) fn stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == name)
    }

    /// The type a client means: in any case, and with `charset=utf-8`, which says nothing new.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, parameter) =
            text.split_once(';').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        let known = parameter.is_none_or(|parameter| {
            parameter
                .split_once('=')
                .is_some_and(|(name, value)| name.trim() == "charset" && value.trim() == "utf-8")
        });
        Self::stored(name.trim()).filter(|_| known)
    }
}

/// A payload, decoded.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: KeyMaterial,
    pub(crate) content_type: ContentType,
}

/// Whether type and encoding of a payload in a JSON body fit together.
///
/// # Errors
/// 400 that quotes the type and says what is allowed.
pub(crate) fn check(content_type: &str, encoding: Option<&str>) -> Result<ContentType, BarbicanError> {
    let Some(found) = ContentType::parse(content_type) else {
        let reason =
            format!("'{}' is not supported; allowed: {}", shortened(content_type), ContentType::ALLOWED);
        return Err(BarbicanError::invalid(SCHEMA, Some("payload_content_type"), reason));
    };
    let wrong =
        |reason: String| Err(BarbicanError::invalid(SCHEMA, Some("payload_content_encoding"), reason));
    match (found, encoding) {
        (ContentType::TextPlain, None) => Ok(found),
        (ContentType::TextPlain, Some(_)) => wrong(format!("'{}' has no encoding", found.as_str())),
        (_, Some("base64")) => Ok(found),
        (_, _) => wrong(format!("'{}' must be encoded as base64", found.as_str())),
    }
}

/// A payload from a JSON body; type and encoding were checked before.
///
/// # Errors
/// 413 beyond `limit` bytes of text, 400 for an empty payload and for what is not base64.
pub(crate) fn posted(text: &str, content_type: ContentType, limit: usize) -> Result<Payload, BarbicanError> {
    if text.len() > limit {
        return Err(BarbicanError::too_large("payload", limit));
    }
    if text.is_empty() {
        return Err(BarbicanError::invalid(
            SCHEMA,
            Some("payload"),
            "it is empty; leave it out to send it later",
        ));
    }
    let bytes = match content_type {
        ContentType::TextPlain => KeyMaterial::copy_from(text.as_bytes()),
        ContentType::OctetStream | ContentType::Pkcs8 => base64(text.as_bytes())
            .map_err(|reason| BarbicanError::invalid(SCHEMA, Some("payload"), reason))?,
    };
    Ok(Payload { bytes, content_type })
}

/// The type of a payload that is sent as a body of its own.
///
/// # Errors
/// 415 for all but the two types there are, in lower case; parameters are not looked at. None at all is text.
pub(crate) fn put_type(content_type: Option<&str>) -> Result<ContentType, BarbicanError> {
    let Some(text) = content_type else { return Ok(ContentType::TextPlain) };
    match text.split(';').next().unwrap_or_default().trim() {
        "text/plain" => Ok(ContentType::TextPlain),
        "application/octet-stream" => Ok(ContentType::OctetStream),
        _ => Err(BarbicanError::unsupported_type(text, "text/plain and application/octet-stream")),
    }
}

/// A payload that is a body of its own.
///
/// # Errors
/// 413 beyond `limit` bytes, 400 for none, for an unknown encoding and for what is not base64.
pub(crate) fn put(
    content_type: ContentType,
    encoding: Option<&str>,
    body: &[u8],
    limit: usize,
) -> Result<Payload, BarbicanError> {
    if body.is_empty() {
        return Err(BarbicanError::bad_request("No payload: the body is empty."));
    }
    if body.len() > limit {
        return Err(BarbicanError::too_large("payload", limit));
    }
    let encoding = encoding.filter(|_| content_type != ContentType::TextPlain);
    let bytes = match encoding {
        None => KeyMaterial::copy_from(body),
        Some(name) if name.trim().eq_ignore_ascii_case("base64") => {
            base64(body).map_err(|reason| BarbicanError::bad_request(format!("The payload: {reason}")))?
        }
        Some(name) => {
            return Err(BarbicanError::bad_request(format!(
                "The content encoding '{}' is not supported; allowed: base64, or none for the bytes as they are",
                shortened(name)
            )));
        }
    };
    Ok(Payload { bytes, content_type })
}

/// Decodes base64 as leniently as Barbican does: whatever is not of the alphabet is skipped. Refused are wrong padding,
/// text after the padding, and text that holds no byte at all.
fn base64(text: &[u8]) -> Result<KeyMaterial, &'static str> {
    const PADDING: &str = "it is not base64: its length or padding is wrong";
    let mut letters = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut pads = 0_usize;
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                if complete(letters.len(), pads) {
                    return Err("it is not base64: something follows the padding");
                }
                pads = 0;
                letters.push(*byte);
            }
            b'=' => pads = pads.saturating_add(1),
            _ => {}
        }
    }
    if letters.is_empty() {
        return Err("it is not base64: it holds no data");
    }
    if !letters.len().is_multiple_of(4) && !complete(letters.len(), pads) {
        return Err(PADDING);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(letters.len())));
    LENIENT.decode_vec(&*letters, &mut bytes).map_err(|_| PADDING)?;
    Ok(KeyMaterial::copy_from(&bytes))
}

/// Whether so many pads end a text of so many letters.
const fn complete(letters: usize, pads: usize) -> bool {
    match letters % 4 {
        2 => pads >= 2,
        3 => pads >= 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_however_they_are_written() {
        for (text, expected) in [
            ("text/plain", Some(ContentType::TextPlain)),
            ("TEXT/plain", Some(ContentType::TextPlain)),
            ("text/plain;charset=utf-8", Some(ContentType::TextPlain)),
            ("text/plain; charset=UTF-8", Some(ContentType::TextPlain)),
            ("text/plain ;charset=utf-8", Some(ContentType::TextPlain)),
            ("application/octet-stream", Some(ContentType::OctetStream)),
            ("application/PKCS8", Some(ContentType::Pkcs8)),
            ("text/plain; charset=latin-1", None),
            ("text/plain; charset", None),
            ("text/plain; charset=utf-8; x=y", None),
            ("text/plain;", None),
            ("application/aes", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(ContentType::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn types_and_encodings_fit_together() {
        for (content_type, encoding, property) in [
            ("text/plain", None, None),
            ("application/octet-stream", Some("base64"), None),
            ("application/pkcs8", Some("base64"), None),
            ("text/plain", Some("base64"), Some("payload_content_encoding")),
            ("application/octet-stream", None, Some("payload_content_encoding")),
            ("application/pkcs8", None, Some("payload_content_encoding")),
            ("application/pkix-cert", Some("base64"), Some("payload_content_type")),
        ] {
            let result = check(content_type, encoding);
            let found = result.as_ref().err().map(|error| error.property().unwrap());
            assert_eq!(found, property, "{content_type} {encoding:?}");
        }
        let error = check("application/x-pem", None).unwrap_err();
        assert!(error.description().unwrap().contains("'application/x-pem'"));
    }

    #[test]
    fn base64_is_lenient_about_what_stands_between() {
        for (text, expected) in [
            ("QUJD", Some(&b"ABC"[..])),
            ("QU\nJD\r\n", Some(b"ABC")),
            ("!QUJD!", Some(b"ABC")),
            ("QUI=", Some(b"AB")),
            ("QQ==", Some(b"A")),
            ("Q=Q==", Some(b"A")),
            ("QQ=\n=", Some(b"A")),
            ("QR==", Some(b"A")),
            ("QUJD====", Some(b"ABC")),
            ("QQ", None),
            ("QQ=", None),
            ("QUI", None),
            ("Q===", None),
            ("QUJDQ", None),
            ("QQ==QQ==", None),
            ("!!!", None),
            ("====", None),
            ("", None),
        ] {
            let found = base64(text.as_bytes()).ok();
            assert_eq!(found.as_ref().map(KeyMaterial::expose), expected, "{text}");
        }
    }

    #[test]
    fn posted_payloads() {
        let text = posted("a text", ContentType::TextPlain, 6).unwrap();
        assert_eq!(text.bytes.expose(), b"a text");
        assert_eq!(posted("a text", ContentType::TextPlain, 5).unwrap_err().status(), 413);
        assert_eq!(posted("", ContentType::TextPlain, 5).unwrap_err().status(), 400);
        assert_eq!(posted("QUJD", ContentType::Pkcs8, 4).unwrap().bytes.expose(), b"ABC");
        // What counts is the text, not what it decodes to.
        assert_eq!(posted("QUJD", ContentType::OctetStream, 3).unwrap_err().status(), 413);
        assert_eq!(posted("!", ContentType::OctetStream, 3).unwrap_err().status(), 400);
    }

    #[test]
    fn payloads_of_their_own() {
        for (content_type, expected) in [
            (None, Ok(ContentType::TextPlain)),
            (Some("text/plain"), Ok(ContentType::TextPlain)),
            (Some("text/plain; charset=latin-1"), Ok(ContentType::TextPlain)),
            (Some("application/octet-stream"), Ok(ContentType::OctetStream)),
            (Some("Text/Plain"), Err(415)),
            (Some("application/json"), Err(415)),
            (Some("application/pkcs8"), Err(415)),
            (Some(""), Err(415)),
        ] {
            assert_eq!(put_type(content_type).map_err(|error| error.status()), expected, "{content_type:?}");
        }
        let put = |of, encoding, body| {
            put(of, encoding, body, 8).map(|payload| payload.bytes.expose().to_vec()).map_err(|e| e.status())
        };
        let (text, bytes) = (ContentType::TextPlain, ContentType::OctetStream);
        assert_eq!(put(text, None, b"  a \n"), Ok(b"  a \n".to_vec()));
        assert_eq!(put(text, Some("gzip"), b"QUJD"), Ok(b"QUJD".to_vec()));
        assert_eq!(put(bytes, None, b"\xff"), Ok(b"\xff".to_vec()));
        assert_eq!(put(bytes, Some("Base64"), b"QUJD"), Ok(b"ABC".to_vec()));
        assert_eq!(put(bytes, Some("base64"), b"!!"), Err(400));
        assert_eq!(put(bytes, Some("binary"), b"QUJD"), Err(400));
        assert_eq!(put(bytes, Some(""), b"QUJD"), Err(400));
        assert_eq!(put(bytes, None, b""), Err(400));
        assert_eq!(put(bytes, None, b"123456789"), Err(413));
    }
}

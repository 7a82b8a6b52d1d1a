//! `If-Match` (RFC 9110, section 13.1.1), as far as the native API takes it: one version.

use chatelaine_core::id::Version;
use http::{HeaderMap, StatusCode, header};

use super::super::error::ApiError;

fn wrong() -> ApiError {
    ApiError::field("If-Match", "it must be one ETag as this server sent it, for example \"3\"")
}

/// The version the client names, if it names one.
///
/// # Errors
/// 400 for anything but one ETag of this server.
pub(crate) fn optional(headers: &HeaderMap) -> Result<Option<Version>, ApiError> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong());
    }
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().map(|number| Some(Version::new(number))).map_err(|_| wrong())
}

/// The version the client names.
///
/// # Errors
/// 428 without one (RFC 6585, section 3); as for [`optional`].
pub(crate) fn required(headers: &HeaderMap) -> Result<Version, ApiError> {
    optional(headers)?.ok_or_else(|| {
        ApiError::new(
            StatusCode::PRECONDITION_REQUIRED,
            "a change must name the version it is based on: send the ETag of the key in If-Match",
        )
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(values: &[&str]) -> Result<Option<u64>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        optional(&headers).map(|version| version.map(Version::number)).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn one_etag_is_taken() {
        assert_eq!(parsed(&["\"3\""]), Ok(Some(3)));
        assert_eq!(parsed(&[]), Ok(None));
        for wrong in
            ["3", "*", "W/\"3\"", "\"3\", \"4\"", "\"x\"", "\"\"", "\"99999999999999999999\"", "\"+3\""]
        {
            assert_eq!(parsed(&[wrong]), Err(400), "{wrong}");
        }
        assert_eq!(parsed(&["\"3\"", "\"3\""]), Err(400));
        assert_eq!(required(&HeaderMap::new()).unwrap_err().status, StatusCode::PRECONDITION_REQUIRED);
    }
}

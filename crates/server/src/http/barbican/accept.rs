//! What a client accepts (RFC 9110, section 12.5.1), and what it gets.
//!
//! Owns negotiation for JSON routes ([`json`]), the choice between a secret's description and its payload on the one
//! route that has both ([`wants_payload`]), and the type of a payload ([`payload`]).

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::content::ContentType;
use super::error::BarbicanError;

/// Ranges beyond this are not looked at.
const MAX_RANGES: usize = 64;

/// One range of an `Accept` header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    kind: String,
    subtype: String,
    /// Whether it has a parameter that UTF-8 text does not have.
    foreign_parameter: bool,
    /// Thousandths.
    quality: u16,
    /// As the client wrote it, without the quality.
    written: String,
}

/// An `Accept` header, all of its lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accept(Option<Vec<Range>>);

/// `q`, in thousandths; one that cannot be read counts as one.
fn quality(text: &str) -> u16 {
    let thousandths = text.parse::<f32>().ok().filter(|quality| (0.0..=1.0).contains(quality));
    thousandths.map_or(1000, |quality| (quality * 1000.0).round() as u16)
}

fn range(text: &str) -> Option<Range> {
    let mut parts = text.split(';');
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let (kind, subtype) = (kind.trim().to_ascii_lowercase(), subtype.trim().to_ascii_lowercase());
    if kind.is_empty() || subtype.is_empty() || (kind == "*" && subtype != "*") {
        return None;
    }
    let mut found = Range {
        written: format!("{kind}/{subtype}"),
        kind,
        subtype,
        foreign_parameter: false,
        quality: 1000,
    };
    for parameter in parts.filter(|parameter| !parameter.trim().is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            found.quality = quality(value);
            // What follows says something about the answer, not about the type.
            break;
        }
        let utf8 = name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8");
        found.foreign_parameter |= !utf8;
        found.written.push(';');
        found.written.push_str(parameter.trim_end());
    }
    Some(found)
}

impl Range {
    /// How exactly this range means that type: not at all, `*/*`, `type/*`, the type.
    fn precision(&self, kind: &str, subtype: &str) -> u8 {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", _) => 1,
            (found, "*") if found == kind => 2,
            (found, sub) if found == kind && sub == subtype => 3,
            _ => 0,
        }
    }
}

impl Accept {
    /// Reads the header. An absent one and an empty one are the same.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut ranges = Vec::new();
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            let text = String::from_utf8_lossy(value.as_bytes());
            said |= !text.trim().is_empty();
            let room = MAX_RANGES.saturating_sub(ranges.len());
            ranges.extend(text.split(',').filter_map(range).take(room));
        }
        Self(said.then_some(ranges))
    }

    /// Whether that type itself is named, and not as one that is not wanted.
    pub(crate) fn names(&self, kind: &str, subtype: &str) -> bool {
        let ranges = self.0.iter().flatten();
        ranges.filter(|range| range.precision(kind, subtype) == 3).any(|range| range.quality > 0)
    }

    /// The range that says most exactly how much that type is wanted.
    fn best(&self, kind: &str, subtype: &str) -> Option<&Range> {
        let fitting = self
            .0
            .iter()
            .flatten()
            .filter(|range| range.precision(kind, subtype) > 0 && !range.foreign_parameter);
        fitting.max_by_key(|range| (range.precision(kind, subtype), range.quality))
    }

    /// Whether JSON will do.
    fn takes_json(&self) -> bool {
        self.0.is_none() || self.best("application", "json").is_some_and(|range| range.quality > 0)
    }
}

/// Lets a request through that accepts JSON.
///
/// # Errors
/// 406.
pub(crate) fn json(headers: &HeaderMap) -> Result<(), BarbicanError> {
    if Accept::of(headers).takes_json() { Ok(()) } else { Err(BarbicanError::not_acceptable()) }
}

/// Whether `GET /v1/secrets/{id}` is the old way to read a payload: when JSON is not among what is accepted, or only by a
/// wildcard beside a type that payloads have.
pub(crate) fn wants_payload(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    if accept.names("application", "json") {
        return false;
    }
    let named = ContentType::ALL.iter().any(|of| {
        let (kind, subtype) = of.parts();
        accept.names(kind, subtype)
    });
    named || !accept.takes_json()
}

/// 406 for a payload, which says what would do.
fn unfit(is_text: bool) -> BarbicanError {
    let text = if is_text { ", text/plain" } else { "; text/plain does not fit, since it is not UTF-8" };
    BarbicanError::new(
        StatusCode::NOT_ACCEPTABLE,
        format!(
            "This payload is given as application/octet-stream, application/pkcs8{text}; send one in Accept."
        ),
    )
}

/// The `Content-Type` of a payload for this client. `stored` is the type it was stored with; whoever accepts nothing in
/// particular gets bytes without one, as ever.
///
/// # Errors
/// 406 when nothing fits: for text that also means bytes that are not UTF-8.
pub(crate) fn payload(
    headers: &HeaderMap,
    stored: Option<ContentType>,
    bytes: &[u8],
) -> Result<HeaderValue, BarbicanError> {
    let accept = Accept::of(headers);
    if accept.0.is_none() {
        return Ok(HeaderValue::from_static(ContentType::OctetStream.as_str()));
    }
    let is_text = std::str::from_utf8(bytes).is_ok();
    // The stored type first, since of equals the first is taken.
    let stored = stored.unwrap_or(ContentType::OctetStream);
    let rest = ContentType::ALL.into_iter().filter(|of| *of != stored);
    let mut chosen: Option<(u16, u8, ContentType, &Range)> = None;
    for offer in std::iter::once(stored).chain(rest) {
        if offer == ContentType::TextPlain && !is_text {
            continue;
        }
        let (kind, subtype) = offer.parts();
        let Some(range) = accept.best(kind, subtype).filter(|range| range.quality > 0) else { continue };
        let precision = range.precision(kind, subtype);
        if chosen.is_none_or(|(quality, exact, ..)| (range.quality, precision) > (quality, exact)) {
            chosen = Some((range.quality, precision, offer, range));
        }
    }
    let (_, precision, offer, range) = chosen.ok_or_else(|| unfit(is_text))?;
    let written = match offer {
        // The character set as the client wrote it, where it did.
        ContentType::TextPlain if precision == 3 && range.written.contains(';') => {
            HeaderValue::try_from(range.written.as_str()).ok()
        }
        ContentType::TextPlain => None,
        other => Some(HeaderValue::from_static(other.as_str())),
    };
    Ok(written.unwrap_or(HeaderValue::from_static("text/plain; charset=UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn json_routes() {
        for (values, taken) in [
            (&[][..], true),
            (&[""], true),
            (&["*/*"], true),
            (&["application/json"], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["application/*;q=0.1"], true),
            (&["text/html, application/json;q=0.5"], true),
            (&["text/html", "application/json"], true),
            (&["application/json;q=0"], false),
            (&["application/json;q=0, */*"], false),
            (&["application/json;q=0.000, */*;q=1"], false),
            (&["text/plain"], false),
            (&["application/xml, text/*"], false),
            (&["nonsense"], false),
            (&["\u{e4}"], false),
        ] {
            assert_eq!(json(&headers(values)).is_ok(), taken, "{values:?}");
        }
        assert_eq!(json(&headers(&["text/plain"])).unwrap_err().description(), None);
    }

    #[test]
    fn the_old_way_to_read_a_payload() {
        for (value, payload) in [
            ("", false),
            ("application/json", false),
            ("*/*", false),
            ("application/json, */*", false),
            ("application/json;q=1", false),
            ("application/json, text/plain", false),
            ("application/*", false),
            ("text/plain", true),
            ("application/octet-stream", true),
            ("application/octet-stream, */*;q=0.1", true),
            ("application/pkcs8", true),
            ("application/xml", true),
        ] {
            assert_eq!(wants_payload(&headers(&[value])), payload, "{value}");
        }
    }

    fn served(accept: &str, stored: ContentType, bytes: &[u8]) -> Result<String, u16> {
        payload(&headers(&[accept]), Some(stored), bytes)
            .map(|value| value.to_str().unwrap().to_owned())
            .map_err(|error| error.status())
    }

    #[test]
    fn payloads_of_text() {
        for (accept, expected) in [
            ("", Ok("application/octet-stream")),
            ("*/*", Ok("text/plain; charset=UTF-8")),
            ("text/plain", Ok("text/plain; charset=UTF-8")),
            ("text/*", Ok("text/plain; charset=UTF-8")),
            ("TEXT/PLAIN", Ok("text/plain; charset=UTF-8")),
            ("text/plain; charset=utf-8", Ok("text/plain; charset=utf-8")),
            ("text/plain;charset=UTF-8;q=0.5", Ok("text/plain;charset=UTF-8")),
            ("text/plain; charset=latin-1", Err(406)),
            ("application/octet-stream", Ok("application/octet-stream")),
            ("application/pkcs8", Ok("application/pkcs8")),
            ("application/*", Ok("application/octet-stream")),
            ("application/octet-stream, */*;q=0.5", Ok("application/octet-stream")),
            ("text/plain;q=0.5, application/octet-stream", Ok("application/octet-stream")),
            ("text/plain;q=0, */*", Ok("application/octet-stream")),
            ("application/json", Err(406)),
            ("application/xml", Err(406)),
            ("nonsense", Err(406)),
        ] {
            assert_eq!(
                served(accept, ContentType::TextPlain, b"text"),
                expected.map(str::to_owned),
                "{accept}"
            );
        }
    }

    #[test]
    fn payloads_of_bytes() {
        for (accept, stored, bytes, expected) in [
            ("text/plain", ContentType::OctetStream, &b"ascii"[..], Ok("text/plain; charset=UTF-8")),
            ("text/plain", ContentType::OctetStream, b"\xff", Err(406)),
            ("text/plain, */*;q=0.1", ContentType::OctetStream, b"\xff", Ok("application/octet-stream")),
            ("*/*", ContentType::OctetStream, b"ascii", Ok("application/octet-stream")),
            ("*/*", ContentType::Pkcs8, b"\xff", Ok("application/pkcs8")),
            ("*/*", ContentType::TextPlain, b"\xff", Ok("application/octet-stream")),
        ] {
            assert_eq!(served(accept, stored, bytes), expected.map(str::to_owned), "{accept}");
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let many = vec!["text/x"; 10_000].join(",");
        assert_eq!(Accept::of(&headers(&[&many])).0.unwrap().len(), MAX_RANGES);
    }
}

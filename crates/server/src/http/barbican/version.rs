//! Microversions: which one a request asks for, how answers tell which was served, and the version documents.
//!
//! Owns the range that is served, 1.0 to 1.2. A request without the header, or with one for other services, gets 1.0.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::accept::Accept;
use super::error::shortened;
use super::query::Query;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("openstack-api-version");
const SERVICE: &str = "key-manager";
const MEDIA_TYPE: &str = "application/vnd.openstack.key-manager-v1+json";
const DOCUMENTATION: &str = "https://docs.openstack.org/";

/// A microversion of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Microversion(u32);

/// Why a version was refused. Written as plain text, before anything of Barbican's is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionRefusal {
    status: StatusCode,
    text: String,
}

impl Microversion {
    /// 1.0, what clients get that ask for nothing.
    pub(crate) const MINIMUM: Self = Self(0);
    /// 1.1, from which on secrets show their consumers.
    const CONSUMERS: Self = Self(1);
    /// 1.2, the newest; from it on consumers keep a secret from being deleted.
    pub(crate) const MAXIMUM: Self = Self(2);

    /// The version a request asks for. Of several headers for this service the last counts.
    ///
    /// # Errors
    /// 406 beyond the range, 400 for what is no version.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, VersionRefusal> {
        let mut wanted = None;
        for value in headers.get_all(HEADER) {
            // Bytes beyond ASCII are in no version and no service's name.
            let text = String::from_utf8_lossy(value.as_bytes());
            for entry in text.split(',') {
                let mut words = entry.split_ascii_whitespace();
                if words.next().is_some_and(|service| service.eq_ignore_ascii_case(SERVICE)) {
                    wanted = Some(words.collect::<Vec<_>>().join(" "));
                }
            }
        }
        wanted.map_or(Ok(Self::MINIMUM), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Result<Self, VersionRefusal> {
        if text == "latest" {
            return Ok(Self::MAXIMUM);
        }
        let number = |digits: &str| {
            let plain = !digits.is_empty()
                && digits.len() <= 9
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.len() == 1 || !digits.starts_with('0'));
            digits.parse::<u32>().ok().filter(|_| plain)
        };
        let parsed = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        match parsed {
            None => Err(VersionRefusal {
                status: StatusCode::BAD_REQUEST,
                text: format!(
                    "'{}' is no version: OpenStack-API-Version must be '{SERVICE} 1.N' or '{SERVICE} latest'",
                    shortened(text)
                ),
            }),
            Some((1, minor)) if minor <= Self::MAXIMUM.0 => Ok(Self(minor)),
            Some((major, minor)) => Err(VersionRefusal {
                status: StatusCode::NOT_ACCEPTABLE,
                text: format!(
                    "Version {major}.{minor} is not served here: {} to {} are",
                    Self::MINIMUM,
                    Self::MAXIMUM
                ),
            }),
        }
    }

    /// Whether secrets show their consumers.
    pub(crate) fn shows_consumers(self) -> bool {
        self >= Self::CONSUMERS
    }

    /// Whether a secret that has consumers is deleted only by force.
    pub(crate) fn consumers_block_deletion(self) -> bool {
        self >= Self::MAXIMUM
    }

    /// Says in an answer which version it has. Belongs into every answer to an authenticated request.
    pub(crate) fn stamp(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(format!("{SERVICE} {self}")) {
            headers.insert(HEADER, value);
        }
        headers.append(header::VARY, HeaderValue::from_static("openstack-api-version"));
    }

    /// The one version there is, as this microversion describes it. `base` is the server's address.
    fn entry(self, base: &str) -> Value {
        let links = json!([
            {"rel": "self", "href": format!("{base}/v1/")},
            {"rel": "describedby", "type": "text/html", "href": DOCUMENTATION},
        ]);
        if self < Self::CONSUMERS {
            json!({
                "id": "v1",
                "status": "stable",
                "links": links,
                "media-types": [{"base": "application/json", "type": MEDIA_TYPE}],
            })
        } else {
            json!({
                "id": "v1",
                "status": "CURRENT",
                "min_version": Self::MINIMUM.to_string(),
                "max_version": Self::MAXIMUM.to_string(),
                "links": links,
            })
        }
    }

    /// The body of `GET /v1/`, which needs a token.
    pub(crate) fn document(self, base: &str) -> Value {
        json!({"version": self.entry(base)})
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl IntoResponse for VersionRefusal {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.text).into_response()
    }
}

#[derive(Serialize)]
struct Build {
    build: &'static str,
}

/// The answer to `GET /`, which needs no token.
pub(crate) fn root(version: Microversion, headers: &HeaderMap, query: Option<&str>, base: &str) -> Response {
    if Query::read(query).first("build").is_some() {
        axum::Json(Build { build: env!("CARGO_PKG_VERSION") }).into_response()
    } else if Accept::of(headers).names("application", "json-home") {
        (StatusCode::FOUND, [(header::LOCATION, format!("{base}/v1/"))]).into_response()
    } else {
        let entry = version.entry(base);
        let versions = if version.shows_consumers() { json!([entry]) } else { json!({"values": [entry]}) };
        (StatusCode::MULTIPLE_CHOICES, axum::Json(json!({"versions": versions}))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn read(values: &[&str]) -> Result<String, u16> {
        let pairs: Vec<_> = values.iter().map(|value| ("OpenStack-API-Version", *value)).collect();
        Microversion::read(&headers(&pairs))
            .map(|version| version.to_string())
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn versions_are_read() {
        for (values, expected) in [
            (&[][..], Ok("1.0")),
            (&["compute 2.90"], Ok("1.0")),
            (&["1.1"], Ok("1.0")),
            (&["key-manager 1.0"], Ok("1.0")),
            (&["key-manager 1.1"], Ok("1.1")),
            (&["key-manager 1.2"], Ok("1.2")),
            (&["key-manager latest"], Ok("1.2")),
            (&["  key-manager   1.1  "], Ok("1.1")),
            (&["compute 2.90, key-manager 1.1"], Ok("1.1")),
            (&["compute latest", "key-manager 1.1"], Ok("1.1")),
            (&["key-manager 1.1", "key-manager 1.2"], Ok("1.2")),
            (&["key-manager 1.3"], Err(406)),
            (&["key-manager 0.9"], Err(406)),
            (&["key-manager 2.0"], Err(406)),
            (&["key-manager 1.999999999"], Err(406)),
            (&["key-manager"], Err(400)),
            (&["key-manager x"], Err(400)),
            (&["key-manager 1"], Err(400)),
            (&["key-manager 1.01"], Err(400)),
            (&["key-manager 1.1 1"], Err(400)),
            (&["key-manager 1.-1"], Err(400)),
            (&["key-manager 1.9999999999"], Err(400)),
            (&["key-manager \u{fc}"], Err(400)),
        ] {
            assert_eq!(read(values), expected.map(str::to_owned), "{values:?}");
        }
    }

    async fn answer(pairs: &[(&str, &str)], query: Option<&str>) -> (u16, HeaderMap, Vec<u8>) {
        let headers = headers(pairs);
        let response = match Microversion::read(&headers) {
            Ok(version) => root(version, &headers, query, "http://k:9311"),
            Err(refusal) => refusal.into_response(),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn both_shapes_of_the_list_of_versions() {
        let (status, _, body) = answer(&[], None).await;
        assert_eq!(status, 300);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let entry = &body["versions"]["values"][0];
        assert_eq!((&entry["id"], &entry["status"]), (&json!("v1"), &json!("stable")));
        assert_eq!(entry["links"][0], json!({"rel": "self", "href": "http://k:9311/v1/"}));
        assert_eq!(entry["media-types"][0]["type"], MEDIA_TYPE);
        assert!(entry.get("updated").is_none() && entry.get("max_version").is_none());

        let (status, _, body) = answer(&[("OpenStack-API-Version", "key-manager 1.1")], None).await;
        assert_eq!(status, 300);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let entry = &body["versions"][0];
        assert_eq!(
            (&entry["status"], &entry["min_version"], &entry["max_version"]),
            (&json!("CURRENT"), &json!("1.0"), &json!("1.2"))
        );
        assert_eq!(Microversion::MAXIMUM.document("b")["version"]["status"], "CURRENT");
        assert_eq!(Microversion::MINIMUM.document("b")["version"]["links"][0]["href"], "b/v1/");
    }

    #[tokio::test]
    async fn other_answers_of_the_root() {
        let (status, _, body) = answer(&[], Some("build=1")).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body), (200, json!({"build": env!("CARGO_PKG_VERSION")})));
        let (status, found, _) = answer(&[("Accept", "application/json-home")], None).await;
        assert_eq!((status, &found[header::LOCATION]), (302, &HeaderValue::from_static("http://k:9311/v1/")));
        let (status, found, body) = answer(&[("OpenStack-API-Version", "key-manager 9.9")], None).await;
        assert_eq!((status, found.contains_key(HEADER)), (406, false));
        assert!(found[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
        assert!(String::from_utf8(body).unwrap().contains("1.0 to 1.2"));
    }

    #[test]
    fn what_the_versions_change() {
        let [first, second, third] = [Microversion(0), Microversion(1), Microversion(2)];
        assert_eq!([first, second, third].map(Microversion::shows_consumers), [false, true, true]);
        assert_eq!([first, second, third].map(Microversion::consumers_block_deletion), [false, false, true]);
    }
}

//! The form of a line: a CADF event (DMTF DSP0262) as one JSON object, with the chain's fields at its end.
//!
//! `{…event…[,"previous":"<hex>","key":"<id>"],"seq":N,"mac":"<hex>"}` and a newline. `previous` and `key` stand in the
//! first line of a segment only. The authenticator covers the previous line's authenticator and then every byte of the
//! line before `,"mac":`.
//!
//! Invariant: the chain's fields are found by position, and there is one way only to write them: a quotation mark
//! inside a value is always escaped, so no value can imitate them.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use chatelaine_core::audit::{Action, Event, LoggedChange, Outcome, Written};
use chatelaine_core::id::{SecretId, Version};
use serde::Deserialize;

use super::LineMac;

/// Longest line, in bytes, newline included.
pub const MAX_LINE: usize = 64 * 1024;

/// What CADF calls a key manager.
const SERVICE: &str = "service/security/keymanager";
const RECORD_PREFIX: &str = "data/security/";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the event's part of a line, from the opening brace on and without the closing one.
pub(super) fn render(event: &Event, observer: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"typeURI\":\"http://schemas.dmtf.org/cloud/audit/1.0/event\",\"eventType\":\"activity\",\"id\":\"",
    );
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}\",\"eventTime\":\"{}", event.id, event.time);
    out.extend_from_slice(b"\",\"action\":\"");
    out.extend_from_slice(event.action.cadf().as_bytes());
    out.extend_from_slice(b"\",\"outcome\":\"");
    out.extend_from_slice(event.outcome.as_str().as_bytes());
    out.extend_from_slice(b"\",\"initiator\":{\"id\":");
    // CADF requires an id.
    string(if event.initiator.user.is_empty() { "unknown" } else { &event.initiator.user }, out);
    out.extend_from_slice(b",\"typeURI\":\"service/security/account/user\"");
    if let Some(project) = &event.initiator.project {
        field("project_id", project, out);
    }
    if let Some(service) = &event.initiator.service {
        field("service_id", service, out);
    }
    if let Some(trust) = &event.initiator.trust {
        out.extend_from_slice(b",\"trust\":{\"id\":");
        string(&trust.id, out);
        field("trustor_id", &trust.trustor, out);
        field("trustee_id", &trust.trustee, out);
        out.push(b'}');
    }
    if let Some(address) = &event.initiator.address {
        out.extend_from_slice(b",\"host\":{\"address\":");
        string(address, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"},\"target\":{\"typeURI\":\"");
    match event.target_kind {
        Some(kind) => {
            out.extend_from_slice(RECORD_PREFIX.as_bytes());
            escaped(kind, out);
        }
        None => out.extend_from_slice(SERVICE.as_bytes()),
    }
    out.extend_from_slice(b"\",\"id\":");
    string(event.target.as_deref().unwrap_or(observer), out);
    if let Some(written) = &event.written {
        out.extend_from_slice(b",\"version\":");
        number(written.version.number(), out);
        field("digest", &written.digest, out);
    }
    out.extend_from_slice(b"},\"observer\":{\"id\":");
    string(observer, out);
    out.extend_from_slice(b",\"typeURI\":\"");
    out.extend_from_slice(SERVICE.as_bytes());
    out.extend_from_slice(b"\"}");
    if let Some(reason) = &event.reason {
        out.extend_from_slice(b",\"reason\":{\"reasonType\":\"chatelaine\"");
        field("reasonCode", reason, out);
        out.push(b'}');
    }
    if let Some(request) = &event.request_id {
        field("requestid", request, out);
    }
}

/// Writes the fields that let a segment be verified on its own.
pub(crate) fn render_start(previous: &LineMac, key_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"previous\":\"");
    hex(previous, out);
    out.extend_from_slice(b"\",\"key\":\"");
    out.extend_from_slice(key_id.as_bytes());
    out.push(b'"');
}

/// Writes the line's number.
pub(super) fn render_seq(seq: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"seq\":");
    number(seq, out);
}

/// Writes the authenticator and ends the line.
pub(crate) fn render_mac(mac: &LineMac, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"mac\":\"");
    hex(mac, out);
    out.extend_from_slice(b"\"}\n");
}

/// Whether a text can name a key in a line: 1 to 64 of letters, digits, `.`, `_`, `:` and `-`.
pub(super) fn is_key_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_key_id_byte)
}

fn is_key_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(value, out);
}

fn string(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(value, out);
    out.push(b'"');
}

fn escaped(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                hex(&[byte], out);
            }
            _ => out.push(byte),
        }
    }
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0'.saturating_add(u8::try_from(value % 10).unwrap_or(0)));
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

/// An authenticator as text, 64 lower-case hexadecimal digits.
#[must_use]
pub fn mac_text(mac: &LineMac) -> String {
    hex::encode(mac)
}

/// Reads an authenticator; lower case only, so that there is one way to write it.
#[must_use]
pub fn parse_mac(text: &[u8]) -> Option<LineMac> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut mac = [0; 32];
    hex::decode_to_slice(text, &mut mac).ok().map(|()| mac)
}

/// The chain's fields of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// The bytes the authenticator covers.
    pub(crate) authenticated: &'a [u8],
    /// The same without the number.
    pub(crate) event: &'a [u8],
    pub(crate) seq: u64,
    pub(crate) mac: LineMac,
}

impl<'a> Line<'a> {
    /// Finds the chain's fields in a line without its newline; none where they are not written as this module does.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_suffix(b"\"}")?;
        let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let mac = parse_mac(mac)?;
        let authenticated = rest.strip_suffix(b",\"mac\":\"")?;
        let digits = authenticated.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, digits) = authenticated.split_at_checked(authenticated.len().checked_sub(digits)?)?;
        if digits.starts_with(b"0") {
            return None;
        }
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let event = rest.strip_suffix(b",\"seq\":")?;
        event.starts_with(b"{\"typeURI\":").then_some(Self { authenticated, event, seq, mac })
    }

    /// What the first line of a segment says of the chain before it, and the id of the key.
    pub(crate) fn start(&self) -> Option<(LineMac, &'a str)> {
        let rest = self.event.strip_suffix(b"\"")?;
        let length = rest.iter().rev().take_while(|byte| is_key_id_byte(**byte)).count();
        let (rest, key) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
        let rest = rest.strip_suffix(b"\",\"key\":\"")?;
        let (rest, previous) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        rest.ends_with(b",\"previous\":\"")
            .then(|| Some((parse_mac(previous)?, std::str::from_utf8(key).ok()?)))?
    }

    /// The authenticated bytes as they would be with another number.
    pub(crate) fn renumbered(event: &[u8], seq: u64) -> Vec<u8> {
        let mut bytes = event.to_vec();
        render_seq(seq, &mut bytes);
        bytes
    }
}

/// A change of a record, as a line tells it.
#[derive(Debug)]
pub(crate) struct ChangeOf {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) change: LoggedChange,
}

#[derive(Deserialize)]
struct EventFields {
    id: String,
    action: String,
    outcome: Outcome,
    target: TargetFields,
}

#[derive(Deserialize)]
struct TargetFields {
    #[serde(rename = "typeURI")]
    type_uri: String,
    id: String,
    version: Option<u64>,
    #[serde(default)]
    digest: String,
}

/// Whether a verified line tells of this action.
pub(super) fn is_action(line: &[u8], action: Action) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct ActionField {
        action: String,
    }
    let fields: ActionField = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok(fields.action == action.cadf())
}

/// Reads the change that a verified line tells of: `Ok(None)` where it tells of none.
pub(crate) fn parse_change(line: &[u8]) -> Result<Option<ChangeOf>, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    // Most lines tell of reads; the field's name cannot stand inside a value.
    if !text.contains(",\"version\":") {
        return Ok(None);
    }
    let fields: EventFields = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (Some(version), Some(kind)) =
        (fields.target.version, fields.target.type_uri.strip_prefix(RECORD_PREFIX))
    else {
        return Ok(None);
    };
    let event = SecretId::parse(&fields.id).map_err(|error| error.to_string())?;
    let action = Action::from_cadf(&fields.action)
        .ok_or_else(|| "the action is not one this release knows".to_owned())?;
    Ok(Some(ChangeOf {
        kind: kind.to_owned(),
        id: fields.target.id,
        change: LoggedChange {
            event,
            action,
            outcome: fields.outcome,
            written: Written { version: Version::new(version), digest: fields.target.digest },
        },
    }))
}

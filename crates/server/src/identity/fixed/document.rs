//! The file of identities: its form, its limits, its errors.
//!
//! The file holds SHA-256 digests of tokens. A plain digest is right here, and a slow password hash would be wrong: each
//! token is 256 random bits, so there is nothing to guess from a digest, and every request has to compute one.
//!
//! Invariant: what was parsed is complete and unambiguous. Refuses unknown fields, two entries for one token, one user
//! or project name under two ids, and anything over its limits. No message quotes a value of the file, because somebody
//! may have pasted a token into it.

use std::collections::HashMap;
use std::path::Path;

use chatelaine_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::IdentityError;
use crate::identity::token::Digest;

/// Largest file, in bytes.
pub(super) const MAX_FILE: usize = 4 << 20;
const MAX_IDENTITIES: usize = 10_000;
const MAX_ROLES: usize = 64;
const MAX_NAME: usize = 255;
const MAX_ID: usize = 64;

const HEADER: &str = "\
# Who may use this key manager. Changes take effect within a second of the next request.
# `chatelaine identity add | list | remove` edits this file and does not keep comments.
# A token is not in here, only its SHA-256 digest.

";

/// The whole file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(default)]
    pub(super) identity: Vec<Entry>,
}

/// One token and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(super) token_sha256: String,
    pub(super) user_id: String,
    pub(super) user_name: String,
    pub(super) project_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project_name: Option<String>,
    pub(super) roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<String>,
}

impl Entry {
    /// The token's digest; `None` unless it is 64 lower-case hexadecimal digits.
    pub(super) fn digest(&self) -> Option<Digest> {
        let mut digest = Digest::default();
        hex::decode_to_slice(&self.token_sha256, &mut digest).ok()?;
        (hex::encode(digest) == self.token_sha256).then_some(digest)
    }

    /// When the token ends; the outer `None` when the text is no moment.
    pub(super) fn expiry(&self) -> Option<Option<Timestamp>> {
        match &self.expires_at {
            None => Some(None),
            Some(text) => Timestamp::parse(text).map(Some),
        }
    }

    fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.digest().is_none() {
            return Some((
                "token_sha256",
                "must be the token's SHA-256 digest, 64 hexadecimal digits in lower case",
            ));
        }
        if !is_id(&self.user_id) {
            return Some(("user_id", ID_RULE));
        }
        if !is_id(&self.project_id) {
            return Some(("project_id", ID_RULE));
        }
        if !is_name(&self.user_name) {
            return Some(("user_name", NAME_RULE));
        }
        if !self.project_name.as_deref().is_none_or(is_name) {
            return Some(("project_name", NAME_RULE));
        }
        if self.roles.is_empty()
            || self.roles.len() > MAX_ROLES
            || !self.roles.iter().all(|role| is_role(role))
        {
            return Some(("roles", ROLES_RULE));
        }
        if self.expiry().is_none() {
            return Some(("expires_at", "must be a moment like \"2027-01-31T00:00:00Z\", in quotes"));
        }
        None
    }
}

pub(super) const ID_RULE: &str = "must be 1 to 64 letters, digits, `-`, `_` or `.`";
pub(super) const NAME_RULE: &str = "must have 1 to 255 characters, none of them a control character";
pub(super) const ROLES_RULE: &str = "must be a list of 1 to 64 role names of visible ASCII characters";

pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

pub(super) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control)
}

pub(super) fn is_role(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a list of roles is within the limits.
pub(super) fn are_roles(roles: &[String]) -> bool {
    (1..=MAX_ROLES).contains(&roles.len()) && roles.iter().all(|role| is_role(role))
}

/// Reads the file's text.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Document, IdentityError> {
    let refuse = |problem: String| IdentityError::file(path, problem, "mend it or put the earlier file back");
    let text = std::str::from_utf8(bytes).map_err(|_| refuse("is not text in UTF-8".to_owned()))?;
    let syntax = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        refuse(format!("is not TOML, see line {}", before.matches('\n').count().saturating_add(1)))
    };
    let table = toml::de::Deserializer::parse(text).map_err(|error| syntax(&error))?;
    let document: Document = serde_path_to_error::deserialize(table).map_err(|error| {
        let place = error.path().to_string();
        // Of the library's messages only those about names of fields hold no value.
        let message = error.inner().message().lines().next().unwrap_or("");
        let fault = if message.starts_with("unknown field") || message.starts_with("missing field") {
            message.to_owned()
        } else {
            "has an unexpected form".to_owned()
        };
        refuse(format!("field `{place}`: {fault}"))
    })?;
    check(&document).map_err(refuse)?;
    Ok(document)
}

/// The rules over the whole file, also applied before it is written.
pub(super) fn check(document: &Document) -> Result<(), String> {
    if document.identity.len() > MAX_IDENTITIES {
        return Err(format!("has more than {MAX_IDENTITIES} identities"));
    }
    let mut tokens = HashMap::new();
    let mut users = HashMap::new();
    let mut projects = HashMap::new();
    for (index, entry) in document.identity.iter().enumerate() {
        let place = |field: &str| format!("field `identity[{index}].{field}`");
        if let Some((field, rule)) = entry.problem() {
            return Err(format!("{} {rule}", place(field)));
        }
        if let Some(earlier) = tokens.insert(&entry.token_sha256, index) {
            return Err(format!("{} is the same as that of identity[{earlier}]", place("token_sha256")));
        }
        if *users.entry(&entry.user_name).or_insert(&entry.user_id) != &entry.user_id {
            return Err(format!("{} has another user_id in an earlier entry", place("user_name")));
        }
        if let Some(name) = &entry.project_name
            && *projects.entry(name).or_insert(&entry.project_id) != &entry.project_id
        {
            return Err(format!("{} has another project_id in an earlier entry", place("project_name")));
        }
    }
    Ok(())
}

/// The file's text.
pub(crate) fn render(path: &Path, document: &Document) -> Result<String, IdentityError> {
    let refuse = |problem: String| {
        IdentityError::file(path, format!("was not written: {problem}"), "nothing was changed")
    };
    check(document).map_err(refuse)?;
    let body = toml::to_string(document).map_err(|_| refuse("it cannot be put into TOML".to_owned()))?;
    Ok(format!("{HEADER}{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: impl FnOnce(&mut Entry)) -> String {
        let mut entry = Entry {
            token_sha256: hex::encode([7; 32]),
            user_id: "u".repeat(32),
            user_name: "user".into(),
            project_id: "p".repeat(32),
            project_name: None,
            roles: vec!["service".into()],
            expires_at: None,
        };
        change(&mut entry);
        toml::to_string(&Document { identity: vec![entry] }).unwrap()
    }

    fn parsed(text: &str) -> Result<Document, String> {
        parse(Path::new("/f"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        let document = parsed(&text(|entry| {
            entry.project_name = Some("service".into());
            entry.expires_at = Some("2027-01-31T00:00:00+02:00".into());
        }))
        .unwrap();
        assert_eq!(parsed(&render(Path::new("/f"), &document).unwrap()).unwrap(), document);
        assert_eq!(parsed("").unwrap(), Document::default());
    }

    #[test]
    fn refusals_name_the_field_and_quote_nothing() {
        type Change = fn(&mut Entry);
        let cases: [(&str, Change); 11] = [
            ("token_sha256", |e| e.token_sha256 = "chatelaine_canary".into()),
            ("token_sha256", |e| e.token_sha256 = hex::encode_upper([0xaa; 32])),
            ("token_sha256", |e| e.token_sha256.clear()),
            ("user_id", |e| e.user_id = "canary canary".into()),
            ("user_id", |e| e.user_id = "u".repeat(65)),
            ("project_id", |e| e.project_id.clear()),
            ("user_name", |e| e.user_name = "canary\n".into()),
            ("project_name", |e| e.project_name = Some(" ".into())),
            ("roles", |e| e.roles.clear()),
            ("roles", |e| e.roles = vec!["canary role".into()]),
            ("expires_at", |e| e.expires_at = Some("canary".into())),
        ];
        for (field, change) in cases {
            let message = parsed(&text(change)).unwrap_err();
            assert!(message.contains(&format!("identity[0].{field}")), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
        for (damaged, expected) in [
            ("[[identity]]\nroles = \"canary\"", "identity[0].roles"),
            ("identity = \"canary\"", "identity"),
            ("[[identity]]\n\ncanary = = 1", "line 3"),
            ("[[identity]]\nuser_id = \"a\"", "missing field"),
            (&text(|_| {}).replace("user_name", "username"), "unknown field `username`"),
        ] {
            let message = parsed(damaged).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
        assert!(parse(Path::new("/f"), b"\xff").is_err());
    }

    #[test]
    fn ambiguous_files_are_refused() {
        let one = text(|_| {});
        assert!(parsed(&format!("{one}{one}")).unwrap_err().contains("same as that of identity[0]"));
        let other_id = text(|entry| {
            entry.token_sha256 = hex::encode([8; 32]);
            entry.user_id = "v".into();
        });
        assert!(parsed(&format!("{one}{other_id}")).unwrap_err().contains("another user_id"));
        let project = |token: u8, id: &str| {
            text(|entry| {
                entry.token_sha256 = hex::encode([token; 32]);
                entry.project_name = Some("demo".into());
                entry.project_id = id.into();
            })
        };
        assert!(
            parsed(&format!("{}{}", project(1, "a"), project(2, "b")))
                .unwrap_err()
                .contains("another project_id")
        );
        parsed(&format!("{}{}", project(1, "a"), project(2, "a"))).unwrap();
    }
}

//! What is asked, again and again: by the native interface, and by Barbican's.

use anyhow::{Context, Result};

/// A kind of request.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A route that does nothing.
    Null,
    /// A key, with its material.
    Get,
    /// A key without its material.
    Metadata,
    /// A new key.
    Put,
    /// What Barbican's interface knows of a secret.
    SecretMetadata,
    /// The payload of a secret.
    SecretPayload,
    /// A new secret of 32 characters.
    SecretPost,
    /// The end of a secret.
    SecretDelete,
    /// The first ten secrets of the project.
    SecretList,
    /// A key of an agent, opened.
    AgentGet,
    /// A new key of an agent.
    AgentCreate,
}

/// A request without its address and token.
pub struct Asked {
    pub method: &'static str,
    pub path: String,
    pub accept: &'static str,
    pub body: &'static str,
}

const KEY: &str = r#"{"key_string":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","algorithm":"aes"}"#;
const SECRET: &str =
    r#"{"name":"measured","payload":"0123456789abcdef0123456789abcdef","payload_content_type":"text/plain"}"#;

impl Kind {
    /// All of them and what they are called on the command line.
    pub const NAMES: [(&str, Self); 11] = [
        ("null", Self::Null),
        ("get", Self::Get),
        ("metadata", Self::Metadata),
        ("put", Self::Put),
        ("secret-metadata", Self::SecretMetadata),
        ("secret-payload", Self::SecretPayload),
        ("secret-post", Self::SecretPost),
        ("secret-delete", Self::SecretDelete),
        ("secret-list", Self::SecretList),
        ("agent-get", Self::AgentGet),
        ("agent-create", Self::AgentCreate),
    ];

    pub fn of(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        let known = || Self::NAMES.map(|(name, _)| name).join(", ");
        found.map(|(_, kind)| *kind).with_context(|| format!("{name}: one of {}", known()))
    }

    /// Whether the ids of what there is are needed.
    pub const fn needs_ids(self) -> bool {
        matches!(
            self,
            Self::Get
                | Self::Metadata
                | Self::SecretMetadata
                | Self::SecretPayload
                | Self::SecretDelete
                | Self::AgentGet
        )
    }

    /// Whether each id can be used once only.
    pub const fn uses_up_ids(self) -> bool {
        matches!(self, Self::SecretDelete)
    }

    /// The microversion that python-barbicanclient, and castellan with it, asks for.
    pub const fn version(self) -> Option<&'static str> {
        match self {
            Self::Null | Self::Get | Self::Metadata | Self::Put | Self::AgentGet | Self::AgentCreate => None,
            _ => Some("key-manager 1.2"),
        }
    }

    /// Whether a token goes with it: to an agent it would be that of a user.
    pub const fn has_token(self) -> bool {
        !matches!(self, Self::AgentGet | Self::AgentCreate)
    }

    pub fn request(self, id: &str) -> Asked {
        let (method, path, accept, body) = match self {
            Self::Null => ("GET", "/healthcheck".to_owned(), "*/*", ""),
            Self::AgentGet | Self::Get => ("GET", format!("/v1/keys/{id}"), "*/*", ""),
            Self::Metadata => ("GET", format!("/v1/keys/{id}/metadata"), "*/*", ""),
            Self::Put => ("PUT", format!("/v1/keys/{id}"), "*/*", KEY),
            Self::AgentCreate => ("POST", "/v1/keys".to_owned(), "*/*", r#"{"algorithm":"aes"}"#),
            Self::SecretMetadata => ("GET", format!("/v1/secrets/{id}"), "application/json", ""),
            Self::SecretPayload => ("GET", format!("/v1/secrets/{id}/payload"), "text/plain", ""),
            Self::SecretPost => ("POST", "/v1/secrets".to_owned(), "*/*", SECRET),
            Self::SecretDelete => ("DELETE", format!("/v1/secrets/{id}"), "*/*", ""),
            Self::SecretList => ("GET", "/v1/secrets?limit=10&offset=0".to_owned(), "application/json", ""),
        };
        Asked { method, path, accept, body }
    }

    /// The id of what an answer says was made; `asked` is the one in the request.
    pub fn made(self, asked: &str, answer: &[u8]) -> Result<Option<String>> {
        match self {
            Self::Put => Ok(Some(asked.to_owned())),
            Self::SecretPost => {
                let answer: serde_json::Value = serde_json::from_slice(answer)?;
                let reference = answer.get("secret_ref").and_then(serde_json::Value::as_str);
                let id = reference.and_then(|reference| reference.rsplit('/').next());
                Ok(Some(id.context("an answer without secret_ref")?.to_owned()))
            }
            Self::AgentCreate => {
                let answer: serde_json::Value = serde_json::from_slice(answer)?;
                let id = answer.get("id").and_then(serde_json::Value::as_str);
                Ok(Some(id.context("an answer without id")?.to_owned()))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_new_secret_is_read_from_its_reference() {
        let answer = br#"{"secret_ref":"http://127.0.0.1:9311/v1/secrets/7c1e"}"#;
        assert_eq!(Kind::SecretPost.made("", answer).unwrap().as_deref(), Some("7c1e"));
        assert!(Kind::SecretPost.made("", b"{}").is_err());
    }

    #[test]
    fn every_kind_has_its_name() {
        for (name, kind) in Kind::NAMES {
            assert!(Kind::of(name).is_ok_and(|found| found == kind));
        }
        assert!(Kind::of("secret").is_err());
    }
}

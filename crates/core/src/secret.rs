//! A secret: its metadata, its states, and the body it is stored as.
//!
//! The body holds everything: a length, the metadata in JSON, the payload. Index attributes of the record are copies
//! derived from it ([`Secret::index`]); where they differ, the body is right.

use std::collections::BTreeMap;
use std::ops::Range;

use chatelaine_crypto::KeyMaterial;
use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::store::{IndexAttributes, Record};

/// Whose key it is: that of one volume, object or image, or one with which a user's, project's or domain's are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scope {
    Entity,
    User,
    Project,
    Domain,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Entity, Self::User, Self::Project, Self::Domain];

    /// The word in interfaces and in storage.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::User => "user",
            Self::Project => "project",
            Self::Domain => "domain",
        }
    }
}

/// The state of a secret (KMIP 2.1, section 4.57). A deleted secret keeps its state until it is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum State {
    PreActive,
    Active,
    Deactivated,
    Compromised,
    Destroyed,
    DestroyedCompromised,
}

impl State {
    /// The word in interfaces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreActive => "pre_active",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
            Self::DestroyedCompromised => "destroyed_compromised",
        }
    }
}

/// Why a secret was revoked (KMIP 2.1, section 11.51).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum RevocationReason {
    Unspecified,
    KeyCompromise,
    CaCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl RevocationReason {
    const fn compromises(self) -> bool {
        matches!(self, Self::KeyCompromise | Self::CaCompromise)
    }
}

/// A revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Why.
    pub reason: RevocationReason,
    /// When it was said.
    pub at: Timestamp,
}

/// A deletion that has not been purged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was asked for.
    pub at: Timestamp,
    /// When the material will be destroyed.
    pub purge_at: Timestamp,
    /// The audit event that records the request.
    pub event: SecretId,
}

/// Which interface a secret came by. It decides who sees it there: a key that a service put is for that service alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The native key API, or KMIP.
    #[default]
    Native,
    /// Barbican's interface.
    Barbican,
}

impl Origin {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    const fn is_native(&self) -> bool {
        matches!(self, Self::Native)
    }
}

/// What a secret is for, in Barbican's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SecretType {
    Symmetric,
    Public,
    Private,
    Passphrase,
    Certificate,
    Opaque,
}

impl SecretType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Symmetric, Self::Public, Self::Private, Self::Passphrase, Self::Certificate, Self::Opaque];

    /// The word in interfaces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::Public => "public",
            Self::Private => "private",
            Self::Passphrase => "passphrase",
            Self::Certificate => "certificate",
            Self::Opaque => "opaque",
        }
    }
}

/// Everything about a secret but its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The user that put it.
    pub owner: String,
    /// The project it was put from.
    pub project: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Canonical name of its algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Length of the key itself, in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_length: Option<u32>,
    /// Which interface it came by.
    #[serde(default, skip_serializing_if = "Origin::is_native")]
    pub origin: Origin,
    /// What it is for; a key of the native interface is symmetric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<SecretType>,
    /// The mode its algorithm is used in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The media type of the payload; `application/octet-stream` if there is a payload and no word of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Who may read it, if not the whole project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Its scope.
    pub scope: Scope,
    /// Whose it is, where it is the key of a user, project or domain: the id that Keystone gives that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<String>,
    /// The service's master key that the key string is wrapped under, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<String>,
    /// Free words of its owner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// When it was put.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Not released before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<Timestamp>,
    /// Not released from this on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Its revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

impl Metadata {
    /// The state at a moment.
    pub fn state(&self, now: Timestamp) -> State {
        match self.revocation {
            Some(revocation) if revocation.reason.compromises() => State::Compromised,
            Some(_) => State::Deactivated,
            None if self.expires_at.is_some_and(|end| end <= now) => State::Deactivated,
            None if self.activates_at.is_some_and(|start| start > now) => State::PreActive,
            None => State::Active,
        }
    }

    /// What the record can be listed by; the key of a user, project or domain by whose it is. It is due when it can be purged, where it is deleted, and else when it expires.
    pub fn index(&self) -> IndexAttributes {
        IndexAttributes {
            owner: Some(self.owner.clone()),
            name: self.name.clone(),
            state: Some(if self.deletion.is_some() { DELETED } else { LIVE }.to_owned()),
            class: Some(self.scope.as_str().to_owned()),
            parent: self.scope_id.clone(),
            reference: self.master_key.clone(),
            due: self.deletion.map_or(self.expires_at, |deletion| Some(deletion.purge_at)),
        }
    }
}

/// Index state of a secret that is not deleted.
pub const LIVE: &str = "live";
/// Index state of a deleted secret.
pub const DELETED: &str = "deleted";

/// What is known of a secret beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretView {
    /// Its id.
    pub id: SecretId,
    /// The version of its record.
    pub version: Version,
    /// Everything but the payload.
    pub metadata: Metadata,
    /// Whether there is a payload.
    pub has_payload: bool,
}

impl SecretView {
    /// About how much memory it takes, in bytes.
    pub fn weight(&self) -> usize {
        let metadata = &self.metadata;
        let words: usize =
            metadata.attributes.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        let users = metadata.acl.as_ref().map_or(0, |acl| acl.users.iter().map(|user| user.len() + 24).sum());
        let texts =
            [&metadata.name, &metadata.algorithm, &metadata.mode, &metadata.scope_id, &metadata.master_key];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        512_usize.saturating_add(words).saturating_add(users).saturating_add(texts)
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.metadata.expires_at.is_some_and(|end| end <= now)
    }
}

/// A secret, opened.
#[derive(Debug)]
pub struct Secret {
    /// Its id.
    pub id: SecretId,
    /// The version of its record.
    pub version: Version,
    /// Everything but the payload.
    pub metadata: Metadata,
    body: KeyMaterial,
    payload: Range<usize>,
}

impl Secret {
    /// It without its payload.
    pub fn view(&self) -> SecretView {
        SecretView {
            id: self.id,
            version: self.version,
            metadata: self.metadata.clone(),
            has_payload: !self.payload.is_empty(),
        }
    }

    /// The payload: the key string of the native interface; empty while there is none.
    pub fn payload(&self) -> &[u8] {
        self.body.expose().get(self.payload.clone()).unwrap_or_default()
    }

    /// Reads an opened body.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when an authentic body is not of this form: a defect, or a newer program wrote it.
    pub fn decode(record: &Record, body: KeyMaterial) -> Result<Self> {
        let corrupt = |what: &str| Error::Corrupt(format!("{}/{}: {what}", record.kind, record.id));
        let bytes = body.expose();
        let length = bytes.first_chunk::<4>().ok_or_else(|| corrupt("its body is too short"))?;
        let end = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).saturating_add(4);
        let json = bytes.get(4..end).ok_or_else(|| corrupt("its body is too short"))?;
        let metadata = serde_json::from_slice(json).map_err(|_| corrupt("its metadata cannot be read"))?;
        let id = SecretId::parse(&record.id).map_err(|_| corrupt("its id is not a UUID"))?;
        let payload = end..bytes.len();
        Ok(Self { id, version: record.version, metadata, body, payload })
    }
}

/// The body of a secret, to be sealed.
///
/// # Errors
/// [`Error::Internal`] when the metadata cannot be written as JSON.
pub fn encode(metadata: &Metadata, payload: &[u8]) -> Result<KeyMaterial> {
    let json = serde_json::to_vec(metadata).map_err(|error| Error::Internal(error.to_string()))?;
    let length = u32::try_from(json.len()).map_err(|_| Error::Internal("metadata of 4 GiB".to_owned()))?;
    let mut body = KeyMaterial::zeroed(json.len().saturating_add(payload.len()).saturating_add(4));
    let (head, rest) = body.expose_mut().split_at_mut(4);
    head.copy_from_slice(&length.to_be_bytes());
    let (meta, tail) = rest.split_at_mut(json.len());
    meta.copy_from_slice(&json);
    tail.copy_from_slice(payload);
    Ok(body)
}

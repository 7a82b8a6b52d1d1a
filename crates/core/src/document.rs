//! Documents: what a protocol keeps beside secrets (containers, orders, who uses what, quotas).
//!
//! A document is a record of its own kind. The domain knows its envelope, by which it is found, listed and authorized;
//! the content belongs to the protocol, which alone has its type. Both are sealed together under the project's key.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Version;
use crate::store::{IndexAttributes, Kind, Record};

/// A kind of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentKind {
    /// Its name, in the store and in the audit trail.
    pub name: &'static str,
    /// What rules call one: `target.<noun>.project_id`. Without a noun, rules see no target.
    pub noun: Option<&'static str>,
    /// Whether those of other projects are not found, rather than refused.
    pub hidden_from_others: bool,
}

impl DocumentKind {
    /// The kind of its records.
    pub const fn kind(self) -> Kind {
        Kind::new(self.name)
    }
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    /// Its id, unique in its kind.
    pub id: String,
    /// The version of its record.
    pub version: Version,
    /// The project it belongs to.
    pub project: String,
    /// The user that made it.
    pub owner: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// A name for people.
    pub name: Option<String>,
    /// What it is within its kind, to list by.
    pub class: Option<String>,
    /// The secret it belongs to, and goes with.
    pub parent: Option<String>,
    /// Something it refers to, to list by.
    pub reference: Option<String>,
    /// Who may read it, if not the whole project.
    pub acl: Option<Acl>,
    /// What the protocol keeps in it.
    pub content: T,
}

/// The sealed body.
#[derive(Serialize, Deserialize)]
struct Body<T> {
    owner: String,
    updated: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acl: Option<Acl>,
    content: T,
}

impl<T: DeserializeOwned> Document<T> {
    /// Reads the opened body of a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when an authentic body is not of this form: a defect, or a newer program wrote it.
    pub(crate) fn decode(record: &Record, body: &[u8]) -> Result<Self> {
        let body: Body<T> = serde_json::from_slice(body).map_err(|_| {
            Error::Corrupt(format!("{}/{}: its content cannot be read", record.kind, record.id))
        })?;
        Ok(Self {
            id: record.id.clone(),
            version: record.version,
            project: record.project.clone(),
            owner: body.owner,
            created: record.created,
            updated: body.updated,
            name: body.name,
            class: body.class,
            parent: body.parent,
            reference: body.reference,
            acl: body.acl,
            content: body.content,
        })
    }
}

impl<T: Serialize> Document<T> {
    /// The record it is stored as, not sealed yet, and the body to be sealed.
    ///
    /// # Errors
    /// [`Error::Internal`] when the content cannot be written as JSON.
    pub(crate) fn encode(&self, kind: Kind) -> Result<(Record, Vec<u8>)> {
        let body = Body {
            owner: self.owner.clone(),
            updated: self.updated,
            name: self.name.clone(),
            class: self.class.clone(),
            parent: self.parent.clone(),
            reference: self.reference.clone(),
            acl: self.acl.clone(),
            content: &self.content,
        };
        let bytes = serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?;
        let record = Record {
            kind,
            id: self.id.clone(),
            project: self.project.clone(),
            created: self.created,
            version: self.version,
            attributes: IndexAttributes {
                owner: Some(self.owner.clone()),
                name: self.name.clone(),
                class: self.class.clone(),
                parent: self.parent.clone(),
                reference: self.reference.clone(),
                ..IndexAttributes::default()
            },
            body: Vec::new(),
        };
        Ok((record, bytes))
    }
}

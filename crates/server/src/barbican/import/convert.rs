//! From rows of Barbican's database to objects of ours, or to a reason why not.

use std::collections::BTreeSet;

use chatelaine_core::acl::Acl;
use chatelaine_core::clock::Timestamp;
use chatelaine_core::document::Document;
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::manager::{ImportedDocument, ImportedSecret};
use chatelaine_core::secret::{Metadata, Origin, Scope, SecretType};
use chatelaine_store::barbican::{AclRow, ContainerRow, PayloadRow, QuotaRow, SecretRow};
use serde::Serialize;

use super::keys::{KeyProblem, Keys};
use super::report::Reason;
use crate::barbican::content::{
    CONTAINER, ConsumersContent, ContainerConsumer, ContainerContent, PROJECT_QUOTA, QuotaContent,
    SECRET_CONSUMERS, SecretConsumer, SecretRef,
};

const ACTIVE: &str = "ACTIVE";
/// The one operation that Barbican's access lists know.
const READ: &str = "read";
/// The store plug-in in front of the backends that keep sealed payloads in the database.
const IN_DATABASE: &str = "StoreCryptoAdapterPlugin";
const CONTAINER_TYPES: [&str; 4] = ["generic", "rsa", "dsa", "certificate"];

/// Why something stays out, in words.
pub(super) type Omission = (Reason, String);

fn unsupported(what: impl Into<String>) -> Omission {
    (Reason::Unsupported, what.into())
}

/// What every object must meet: to be there, to be complete, and to belong to a project.
fn present(deleted: bool, status: &str, project: Option<String>) -> Result<String, Omission> {
    if deleted {
        return Err((Reason::Deleted, "it was deleted".to_owned()));
    }
    if status != ACTIVE {
        return Err((Reason::NotActive, format!("its status is {status}")));
    }
    project.ok_or_else(|| (Reason::Damaged, "its project is not in the database".to_owned()))
}

fn id_of(text: &str) -> Result<SecretId, Omission> {
    SecretId::parse(text).map_err(|error| unsupported(error.to_string()))
}

fn read_acl(rows: Vec<AclRow>) -> Option<Acl> {
    let row = rows.into_iter().find(|row| row.operation == READ)?;
    Some(Acl {
        project_access: row.project_access,
        users: row.users.into_iter().collect::<BTreeSet<_>>(),
        created: row.created,
        updated: row.updated,
    })
}

fn json(content: &impl Serialize) -> Result<serde_json::Value, Omission> {
    serde_json::to_value(content).map_err(|error| unsupported(error.to_string()))
}

/// A secret whose payload is not opened yet.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) secret: ImportedSecret,
    pub(super) payload: Option<PayloadRow>,
}

/// The type as it was; nothing said is opaque, as Barbican reads it.
fn secret_type(text: Option<&str>) -> Result<SecretType, Omission> {
    let Some(text) = text else { return Ok(SecretType::Opaque) };
    SecretType::ALL
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or_else(|| unsupported(format!("its type {text} is not known")))
}

/// The one payload, if there is any that is kept in the database.
fn payload(row: &mut SecretRow) -> Result<Option<PayloadRow>, Omission> {
    let plugin =
        row.store_metadata.get("plugin_name").map(|name| name.rsplit('.').next().unwrap_or_default());
    match (plugin, row.payloads.len()) {
        (None, 0) => Ok(None),
        (Some(IN_DATABASE), 0) => Err((Reason::Damaged, "its payload is missing".to_owned())),
        (Some(other), _) if other != IN_DATABASE => {
            Err((Reason::OtherBackend, format!("its payload is kept by {other}")))
        }
        (_, 1) => Ok(row.payloads.pop()),
        (_, count) => Err((Reason::Damaged, format!("it has {count} payloads"))),
    }
}

pub(super) fn secret(mut row: SecretRow, now: Timestamp) -> Result<Sealed, Omission> {
    let project = present(row.deleted, &row.status, row.project.take())?;
    if let Some(end) = row.expiration
        && end <= now
    {
        return Err((Reason::Expired, format!("it expired at {end}")));
    }
    let id = id_of(&row.id)?;
    let payload = payload(&mut row)?;
    let bit_length = row
        .bit_length
        .map(|bits| u32::try_from(bits).map_err(|_| unsupported(format!("its bit length is {bits}"))))
        .transpose()?;
    let content_type = payload.as_ref().and_then(|payload| {
        row.store_metadata.get("content_type").cloned().or_else(|| payload.content_type.clone())
    });
    let owner = row.creator.unwrap_or_default();
    let consumers = (!row.consumers.is_empty()).then(|| ConsumersContent {
        consumers: row
            .consumers
            .into_iter()
            .map(|consumer| SecretConsumer {
                service: consumer.service,
                resource_type: consumer.resource_type,
                resource_id: consumer.resource_id,
                project: None,
                created: consumer.created,
                updated: consumer.updated,
            })
            .collect(),
    });
    let consumers = consumers
        .map(|content| {
            let times = content.consumers.iter();
            Ok::<_, Omission>(Document {
                id: id.to_string(),
                version: Version::FIRST,
                project: project.clone(),
                owner: owner.clone(),
                created: times.clone().map(|consumer| consumer.created).min().unwrap_or(row.created),
                updated: times.map(|consumer| consumer.updated).max().unwrap_or(row.updated),
                name: None,
                class: None,
                parent: Some(id.to_string()),
                reference: None,
                acl: None,
                content: json(&content)?,
            })
        })
        .transpose()?;
    let metadata = Metadata {
        owner,
        project,
        name: row.name,
        algorithm: row.algorithm,
        bit_length,
        origin: Origin::Barbican,
        secret_type: Some(secret_type(row.secret_type.as_deref())?),
        mode: row.mode,
        content_type,
        acl: read_acl(row.acls),
        scope: Scope::Entity,
        scope_id: None,
        master_key: None,
        attributes: row.user_metadata,
        created: row.created,
        updated: row.updated,
        activates_at: None,
        expires_at: row.expiration,
        revocation: None,
        deletion: None,
    };
    let attached = vec![(SECRET_CONSUMERS, consumers)];
    Ok(Sealed { secret: ImportedSecret { id, metadata, payload: None, attached }, payload })
}

/// Opens the payload, and holds the whole against our limits.
pub(super) fn open(
    sealed: Sealed,
    keys: &mut Keys,
    now: Timestamp,
    max_payload: usize,
) -> Result<ImportedSecret, Omission> {
    let Sealed { mut secret, payload } = sealed;
    if let Some(payload) = payload {
        secret.payload = Some(keys.open(&payload).map_err(omitted)?);
    }
    secret.check(now, max_payload).map_err(|error| (Reason::Limit, error.to_string()))?;
    Ok(secret)
}

pub(super) fn omitted(problem: KeyProblem) -> Omission {
    match problem {
        KeyProblem::OtherBackend(name) => (Reason::OtherBackend, format!("its payload is sealed by {name}")),
        KeyProblem::Unopened => (Reason::Unopened, "no given key opens the key of its project".to_owned()),
        KeyProblem::Damaged(what) => (Reason::Damaged, what.to_owned()),
    }
}

pub(super) fn container(mut row: ContainerRow) -> Result<ImportedDocument, Omission> {
    let project = present(row.deleted, &row.status, row.project.take())?;
    id_of(&row.id)?;
    let class = row.container_type.unwrap_or_default();
    if !CONTAINER_TYPES.contains(&class.as_str()) {
        return Err(unsupported(format!("its type {class:?} is not known")));
    }
    let refs = row
        .secrets
        .into_iter()
        .map(|link| Ok::<_, Omission>(SecretRef { name: link.name, secret: id_of(&link.secret_id)? }));
    let content = ContainerContent {
        secret_refs: refs.collect::<Result<_, _>>()?,
        consumers: row
            .consumers
            .into_iter()
            .map(|consumer| ContainerConsumer {
                name: consumer.name,
                url: consumer.url,
                project: None,
                created: consumer.created,
                updated: consumer.updated,
            })
            .collect(),
    };
    let document = Document {
        id: row.id,
        version: Version::FIRST,
        project,
        owner: row.creator.unwrap_or_default(),
        created: row.created,
        updated: row.updated,
        name: row.name,
        class: Some(class),
        parent: None,
        reference: None,
        acl: read_acl(row.acls),
        content: json(&content)?,
    };
    checked(ImportedDocument { kind: CONTAINER, document })
}

pub(super) fn quota(row: QuotaRow) -> Result<ImportedDocument, Omission> {
    let project = present(false, ACTIVE, row.project)?;
    let content = QuotaContent {
        secrets: row.secrets,
        orders: row.orders,
        containers: row.containers,
        consumers: row.consumers,
        cas: row.cas,
    };
    let document = Document {
        id: project.clone(),
        version: Version::FIRST,
        project,
        owner: String::new(),
        created: row.created,
        updated: row.updated,
        name: None,
        class: None,
        parent: None,
        reference: None,
        acl: None,
        content: json(&content)?,
    };
    checked(ImportedDocument { kind: PROJECT_QUOTA, document })
}

fn checked(imported: ImportedDocument) -> Result<ImportedDocument, Omission> {
    imported.check().map_err(|error| (Reason::Limit, error.to_string()))?;
    Ok(imported)
}

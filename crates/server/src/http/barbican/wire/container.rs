//! Containers: what a client may say of a new one, and how one is shown.

use std::collections::BTreeSet;

use chatelaine_core::Timestamp;
use chatelaine_core::id::SecretId;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::{MAX_TEXT, Object};
use super::super::error::BarbicanError;
use super::super::path;
use super::super::time::{self, Moment};
use super::consumer::ContainerConsumer;
use super::secret::ACTIVE;

pub(crate) const SCHEMA: &str = "Container";
pub(crate) const MEMBER_SCHEMA: &str = "ContainerSecret";

pub(crate) const PRIVATE_KEY: &str = "private_key";
pub(crate) const PUBLIC_KEY: &str = "public_key";
pub(crate) const PASSPHRASE: &str = "private_key_passphrase";

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    /// Any secrets.
    Generic,
    /// A key pair.
    Rsa,
    /// A certificate with what belongs to it.
    Certificate,
}

impl ContainerKind {
    const ALL: [Self; 3] = [Self::Generic, Self::Rsa, Self::Certificate];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Rsa => "rsa",
            Self::Certificate => "certificate",
        }
    }

    /// The kind of that name, in lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == text)
    }

    /// The names secrets must have, and those they may have beside them; none: any.
    const fn names(self) -> Option<(&'static [&'static str], &'static [&'static str])> {
        match self {
            Self::Generic => None,
            Self::Rsa => Some((&[PUBLIC_KEY, PRIVATE_KEY], &[PASSPHRASE])),
            Self::Certificate => Some((&["certificate"], &[PRIVATE_KEY, PASSPHRASE, "intermediates"])),
        }
    }
}

/// A secret in a container, as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: Option<String>,
    /// None: the reference ends with what is no id, so there is no such secret.
    pub(crate) secret: Option<SecretId>,
}

impl Member {
    /// The answer when there is no such secret for this project.
    pub(crate) fn not_found(&self) -> BarbicanError {
        let name = self.name.as_deref().unwrap_or("None");
        BarbicanError::not_found(format!("There is no secret at the reference with the name '{name}'."))
    }

    /// The name, and the reference as it is.
    fn take(object: &mut Object) -> Result<(Option<String>, String), BarbicanError> {
        let name = object.text_or_null("name", MAX_TEXT)?.map(|name| name.as_str().to_owned());
        // Longer than any address; it is not stored.
        let reference = object.required("secret_ref", 4096)?;
        Ok((name, reference.as_str().to_owned()))
    }

    /// Checks the body of `POST` and `DELETE /v1/containers/{id}/secrets`. Only the end of the reference counts there.
    ///
    /// # Errors
    /// 400 naming what is wrong. Unknown keys are left alone.
    pub(crate) fn read(mut object: Object) -> Result<Self, BarbicanError> {
        let (name, reference) = Self::take(&mut object)?;
        let secret = path::valid_id(last_segment(&reference));
        if secret.is_none() && !reference.contains('/') {
            return Err(
                object.wrong("secret_ref", "it must be the address of a secret, which ends with its id")
            );
        }
        Ok(Self { name, secret })
    }
}

fn last_segment(reference: &str) -> &str {
    let reference = reference.trim_end_matches('/');
    reference.rsplit('/').next().unwrap_or(reference)
}

/// A container to be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewContainer {
    pub(crate) name: Option<String>,
    pub(crate) kind: ContainerKind,
    pub(crate) members: Vec<Member>,
}

impl NewContainer {
    /// Checks the body of `POST /v1/containers`. `base` is this server's address, with which references must begin.
    ///
    /// # Errors
    /// 400 naming what is wrong. Unknown keys are left alone.
    pub(crate) fn read(mut object: Object, base: &str) -> Result<Self, BarbicanError> {
        let name = object.text_or_null("name", MAX_TEXT)?.map(|name| name.as_str().to_owned());
        let kind = object.required("type", MAX_TEXT)?;
        let kind = ContainerKind::parse(&kind).ok_or_else(|| {
            object.wrong(
                "type",
                format!("one of {} is allowed", ContainerKind::ALL.map(ContainerKind::as_str).join(", ")),
            )
        })?;
        let wrong = |reason: String| BarbicanError::invalid(SCHEMA, Some("secret_refs"), reason);
        let mut members = Vec::new();
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for item in object.list("secret_refs")?.unwrap_or_default() {
            let (name, reference) = Member::take(&mut Object::of(SCHEMA, Some("secret_refs"), item)?)?;
            let rest = reference.strip_prefix(base).filter(|rest| rest.starts_with('/'));
            if rest.is_none() {
                return Err(BarbicanError::invalid(
                    SCHEMA,
                    Some("secret_ref"),
                    format!("it must be a full address of this server, which begins with '{base}/'"),
                ));
            }
            let id = last_segment(&reference);
            if !ids.insert(id.to_owned()) {
                return Err(wrong("a secret is in it twice".to_owned()));
            }
            // No name at all is a name, too.
            if !names.insert(name.clone()) {
                return Err(wrong("two of its secrets have the same name or none".to_owned()));
            }
            members.push(Member { name, secret: path::valid_id(id) });
        }
        check_names(kind, &members)?;
        Ok(Self { name, kind, members })
    }
}

/// Which names the secrets have: an empty container is right for every kind.
fn check_names(kind: ContainerKind, members: &[Member]) -> Result<(), BarbicanError> {
    let Some((required, optional)) = kind.names().filter(|_| !members.is_empty()) else { return Ok(()) };
    let wrong = |reason: String| BarbicanError::invalid(SCHEMA, Some("secret_refs"), reason);
    let all = [required, optional].concat();
    let has = |wanted: &str| members.iter().any(|member| member.name.as_deref() == Some(wanted));
    if let Some(missing) = required.iter().find(|name| !has(name)) {
        return Err(wrong(format!("'{missing}' is required for the type '{}'", kind.as_str())));
    }
    let known = |member: &Member| member.name.as_deref().is_some_and(|name| all.contains(&name));
    if members.iter().all(known) {
        Ok(())
    } else {
        Err(wrong(format!("the type '{}' has the names {} and no others", kind.as_str(), all.join(", "))))
    }
}

/// What is known of a container, to be shown.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    /// The full address.
    pub(crate) container_ref: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) name: Option<&'a str>,
    pub(crate) kind: &'a str,
    pub(crate) creator_id: &'a str,
    /// Name and full address of each secret that is still there.
    pub(crate) secrets: Vec<(Option<&'a str>, String)>,
    pub(crate) consumers: &'a [ContainerConsumer],
}

/// How a container is shown, alone and in lists.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanContainer)]
pub(crate) struct ContainerDocument<'a> {
    #[schema(value_type = Moment)]
    created: String,
    #[schema(value_type = Moment)]
    updated: String,
    /// Always `ACTIVE`.
    status: &'static str,
    #[schema(required)]
    name: Option<&'a str>,
    /// `generic`, `rsa` or `certificate`.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The user that made it.
    creator_id: &'a str,
    /// The container's address; its id is the last part.
    container_ref: String,
    /// Without secrets that are no longer there.
    secret_refs: Vec<MemberDocument<'a>>,
    #[schema(value_type = Vec<ContainerConsumer>)]
    consumers: &'a [ContainerConsumer],
}

/// A secret in a container.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanMember)]
struct MemberDocument<'a> {
    #[schema(required)]
    name: Option<&'a str>,
    /// The secret's address.
    secret_ref: String,
}

impl<'a> From<Shown<'a>> for ContainerDocument<'a> {
    fn from(of: Shown<'a>) -> Self {
        Self {
            created: time::written(of.created),
            updated: time::written(of.updated),
            status: ACTIVE,
            name: of.name,
            kind: of.kind,
            creator_id: of.creator_id,
            container_ref: of.container_ref,
            secret_refs: of
                .secrets
                .into_iter()
                .map(|(name, secret_ref)| MemberDocument { name, secret_ref })
                .collect(),
            consumers: of.consumers,
        }
    }
}

#[cfg(test)]
mod tests;

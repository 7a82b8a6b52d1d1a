//! Quotas of projects: how many of each thing one may have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::body::Object;
use super::super::error::BarbicanError;

pub(crate) const SCHEMA: &str = "ProjectQuotas";

/// Quotas; negative is without limit. For a project, none is the default; for a change, none stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BarbicanQuotas)]
pub(crate) struct Quotas {
    #[schema(required)]
    pub(crate) secrets: Option<i64>,
    #[schema(required)]
    pub(crate) orders: Option<i64>,
    #[schema(required)]
    pub(crate) containers: Option<i64>,
    #[schema(required)]
    pub(crate) consumers: Option<i64>,
    #[schema(required)]
    pub(crate) cas: Option<i64>,
}

impl Quotas {
    /// Checks the body of `PUT /v1/project-quotas/{project}`.
    ///
    /// # Errors
    /// 400 naming what is wrong; unknown keys are refused.
    pub(crate) fn read(mut object: Object) -> Result<Self, BarbicanError> {
        let quotas = object.take("project_quotas").ok_or_else(|| object.missing("project_quotas"))?;
        object.finish()?;
        let mut quotas = Object::of(SCHEMA, Some("project_quotas"), quotas)?;
        let found = Self {
            secrets: quotas.integer("secrets")?,
            orders: quotas.integer("orders")?,
            containers: quotas.integer("containers")?,
            consumers: quotas.integer("consumers")?,
            cas: quotas.integer("cas")?,
        };
        quotas.finish()?;
        Ok(found)
    }

    /// These, and of `other` what is not said here: a change over what is stored, what is stored over the defaults.
    pub(crate) fn over(self, other: Self) -> Self {
        Self {
            secrets: self.secrets.or(other.secrets),
            orders: self.orders.or(other.orders),
            containers: self.containers.or(other.containers),
            consumers: self.consumers.or(other.consumers),
            cas: self.cas.or(other.cas),
        }
    }
}

/// Whether a project that has `count` of something may have one more.
///
/// # Errors
/// 403.
pub(crate) fn room(what: &str, quota: Option<i64>, count: u64) -> Result<(), BarbicanError> {
    match quota {
        Some(quota) if u64::try_from(quota).is_ok_and(|quota| count >= quota) => {
            Err(BarbicanError::over_quota(what, quota))
        }
        _ => Ok(()),
    }
}

/// The answer of `GET /v1/quotas`: what counts for the caller's project.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanEffectiveQuotas)]
pub(crate) struct EffectiveDocument {
    pub(crate) quotas: Quotas,
}

/// The answer of `GET /v1/project-quotas/{project}`: what was set, null where nothing was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanProjectQuotas)]
pub(crate) struct ProjectDocument {
    pub(crate) project_quotas: Quotas,
}

/// An entry of `GET /v1/project-quotas`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanProjectQuotasEntry)]
pub(crate) struct ProjectEntry {
    pub(crate) project_id: String,
    pub(crate) project_quotas: Quotas,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &serde_json::Value) -> Result<Quotas, BarbicanError> {
        Quotas::read(Object::parse(SCHEMA, body.to_string().as_bytes())?)
    }

    #[test]
    fn quotas_are_laid_over_each_other() {
        let change = parsed(&json!({"project_quotas": {"secrets": 5, "cas": -1}})).unwrap();
        let stored = Quotas { secrets: Some(1), orders: Some(2), ..Quotas::default() };
        let merged = change.over(stored);
        assert_eq!((merged.secrets, merged.orders, merged.containers), (Some(5), Some(2), None));
        assert_eq!(
            serde_json::to_value(ProjectDocument { project_quotas: merged }).unwrap(),
            json!({"project_quotas": {"secrets": 5, "orders": 2, "containers": null, "consumers": null, "cas": -1}})
        );
        let entry = ProjectEntry { project_id: "p".to_owned(), project_quotas: merged };
        assert_eq!(serde_json::to_value(entry).unwrap()["project_id"], "p");
        let effective = serde_json::to_value(EffectiveDocument { quotas: merged }).unwrap();
        assert_eq!(effective["quotas"]["secrets"], 5);
    }

    #[test]
    fn wrong_quotas_are_refused() {
        for body in [
            json!({}),
            json!({"project_quotas": null}),
            json!({"project_quotas": []}),
            json!({"project_quotas": {"secrets": null}}),
            json!({"project_quotas": {"secrets": "5"}}),
            json!({"project_quotas": {"secrets": 1.5}}),
            json!({"project_quotas": {"secrets": true}}),
            json!({"project_quotas": {"keys": 5}}),
            json!({"project_quotas": {}, "quotas": {}}),
            json!({"quotas": {}}),
        ] {
            assert_eq!(parsed(&body).unwrap_err().status(), 400, "{body}");
        }
    }

    #[test]
    fn room_is_what_is_left() {
        for (quota, count, allowed) in [
            (None, 9, true),
            (Some(-1), 9, true),
            (Some(0), 0, false),
            (Some(2), 1, true),
            (Some(2), 2, false),
        ] {
            let result = room("secrets", quota, count);
            assert_eq!(result.is_ok(), allowed, "{quota:?} {count}");
            assert!(result.err().is_none_or(|error| error.status() == 403));
        }
    }
}

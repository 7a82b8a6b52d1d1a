//! Encryption defaults of users, projects and domains, and which is in force.
//!
//! Owns their routes and what the rules see of them. Invariants: a change of one that is there names its version; who may
//! not know a default is refused alike, whether or not there is one.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chatelaine_api::{
    DefaultLevel, DefaultSource, EffectiveDefaultDocument, EncryptionDefaultDocument,
    EncryptionDefaultRequest, ErrorDocument, WiderScope,
};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::document::Document;
use chatelaine_core::id::Version;
use chatelaine_core::manager::{Access, Place};
use chatelaine_core::policy::rules::{Attributes, Value};
use chatelaine_core::policy::{Caller, Identity};
use http::{HeaderMap, StatusCode, header};

use super::super::App;
use super::super::body;
use super::super::caller::Authenticated;
use super::super::change::{raced, to_the_end};
use super::super::error::ApiError;
use super::{etag, listing, no_store, precondition};
use crate::encryption_defaults::{Choice, ENCRYPTION_DEFAULT, Problem, SEALED_UNDER, document_id};

const READ: Access = Access { rule: "encryption_default:get", action: Action::GetMetadata };
const SET: Access = Access { rule: "encryption_default:put", action: Action::Update };
const REMOVE: Access = Access { rule: "encryption_default:delete", action: Action::Delete };
const EFFECTIVE: Access = Access { rule: "encryption_default:get_effective", action: Action::GetMetadata };

/// The word of a level in paths.
const LEVELS: [(&str, WiderScope); 3] =
    [("users", WiderScope::User), ("projects", WiderScope::Project), ("domains", WiderScope::Domain)];

/// Whose default it is.
#[derive(Debug, Clone)]
struct Whose {
    level: WiderScope,
    id: String,
}

impl Whose {
    fn read(path: Result<Path<(String, String)>, PathRejection>) -> Result<Self, ApiError> {
        let Path((level, id)) =
            path.map_err(|_| ApiError::field("id", "it is not text in UTF-8, percent-encoded"))?;
        let found = LEVELS.into_iter().find(|(word, _)| *word == level);
        let (_, level) =
            found.ok_or_else(|| ApiError::field("level", "users, projects or domains are allowed"))?;
        Ok(Self { level, id: listing::keystone_id("id", id)? })
    }

    /// For messages.
    fn what(&self) -> String {
        format!("an encryption default of {} {}", self.level.as_str(), self.id)
    }
}

impl Attributes for Whose {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let level = match name.strip_prefix("target.encryption_default.")? {
            "user_id" => WiderScope::User,
            "project_id" => WiderScope::Project,
            "domain_id" => WiderScope::Domain,
            _ => return None,
        };
        (level == self.level).then(|| Value::from(self.id.as_str()))
    }
}

fn wrong(problem: Problem) -> ApiError {
    ApiError::field(problem.field, problem.reason)
}

fn answer(status: StatusCode, whose: &Whose, found: Document<Choice>) -> Response {
    let document = EncryptionDefaultDocument {
        level: whose.level,
        id: whose.id.clone(),
        version: found.version.number(),
        algorithm: found.content.algorithm,
        lock: found.content.lock,
        scope: found.content.scope,
        created_at: found.created.to_string(),
        updated_at: found.updated.to_string(),
    };
    let mut response = (status, Json(document)).into_response();
    response.headers_mut().insert(header::ETAG, etag(found.version));
    no_store(&mut response);
    response
}

/// Shows the encryption default of a user, project or domain.
#[utoipa::path(get, path = "/v1/encryption-defaults/{level}/{id}", tag = "encryption-defaults", operation_id = "get_encryption_default",
    params(("level" = String, Path, pattern = "^(users|projects|domains)$"),
        ("id" = String, Path, pattern = "^[A-Za-z0-9_-]+$", max_length = 64, description = "Keystone's id of the user, project or domain")),
    responses((status = 200, body = EncryptionDefaultDocument, headers(("ETag" = String))), (status = 404, body = ErrorDocument)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let whose = Whose::read(path)?;
    let (id, what) = (document_id(whose.level, &whose.id), whose.what());
    let place = Place { kind: ENCRYPTION_DEFAULT, id: &id, project: SEALED_UNDER, what: &what };
    let found = app.manager.setting(&authenticated.caller, place, READ, &whose).await?;
    Ok(answer(StatusCode::OK, &whose, found))
}

/// Sets the encryption default of a user, project or domain; one that is there is replaced if `If-Match` names its version.
#[utoipa::path(put, path = "/v1/encryption-defaults/{level}/{id}", tag = "encryption-defaults", operation_id = "set_encryption_default",
    request_body = EncryptionDefaultRequest,
    params(("level" = String, Path, pattern = "^(users|projects|domains)$"),
        ("id" = String, Path, pattern = "^[A-Za-z0-9_-]+$", max_length = 64, description = "Keystone's id of the user, project or domain"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to be replaced")),
    responses((status = 200, body = EncryptionDefaultDocument, headers(("ETag" = String))),
        (status = 201, body = EncryptionDefaultDocument, headers(("ETag" = String))),
        (status = 404, body = ErrorDocument), (status = 412, body = ErrorDocument), (status = 428, body = ErrorDocument)))]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let whose = Whose::read(path)?;
    let expected = precondition::optional(&headers)?;
    let request: EncryptionDefaultRequest =
        body::json(&headers, body, app.options.max_body, app.options.client_timeout).await?;
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        let choice = Choice::from(request).check().map_err(wrong)?;
        let (id, what) = (document_id(whose.level, &whose.id), whose.what());
        let place = Place { kind: ENCRYPTION_DEFAULT, id: &id, project: SEALED_UNDER, what: &what };
        let set = app.manager.put_setting(&caller, place, SET, &whose, (expected, choice)).await;
        let set = set.map_err(|error| match error {
            Error::Exists { .. } => ApiError::new(
                StatusCode::PRECONDITION_REQUIRED,
                "there is one already: send the ETag of the version to be replaced in If-Match",
            ),
            other => other.into(),
        })?;
        let status = if set.version == Version::FIRST { StatusCode::CREATED } else { StatusCode::OK };
        Ok(answer(status, &whose, set))
    })
    .await
}

/// Removes the encryption default of a user, project or domain; what is wider counts again.
#[utoipa::path(delete, path = "/v1/encryption-defaults/{level}/{id}", tag = "encryption-defaults", operation_id = "unset_encryption_default",
    params(("level" = String, Path, pattern = "^(users|projects|domains)$"),
        ("id" = String, Path, pattern = "^[A-Za-z0-9_-]+$", max_length = 64, description = "Keystone's id of the user, project or domain"),
        ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ErrorDocument), (status = 409, body = ErrorDocument), (status = 412, body = ErrorDocument)))]
pub(crate) async fn unset(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    authenticated: Authenticated,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let whose = Whose::read(path)?;
    let expected = precondition::optional(&headers)?;
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        let (id, what) = (document_id(whose.level, &whose.id), whose.what());
        let place = Place { kind: ENCRYPTION_DEFAULT, id: &id, project: SEALED_UNDER, what: &what };
        let removed = app.manager.remove_setting(&caller, place, REMOVE, &whose, expected).await;
        removed.map_err(|error| match expected {
            None => raced("encryption default", error),
            Some(_) => error.into(),
        })?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// For whom the default in force is asked.
#[derive(Debug, Default)]
struct Asked {
    user_id: Option<String>,
    project_id: Option<String>,
    domain_id: Option<String>,
    /// All of it is the caller's own.
    own: bool,
}

impl Asked {
    /// What a query asks for; without one, the caller's own.
    fn read(query: Option<&str>, caller: &Caller) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        let pairs = listing::pairs(query)?;
        let nobody = pairs.is_empty();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "user_id" => &mut asked.user_id,
                "project_id" => &mut asked.project_id,
                "domain_id" => &mut asked.domain_id,
                _ => return Err(listing::unknown(&name, "user_id, project_id, domain_id")),
            };
            *place = Some(listing::keystone_id(&name, value)?);
        }
        let identity = caller.identity();
        if nobody {
            asked.user_id = Some(identity.user_id.clone());
            asked.project_id.clone_from(&identity.project_id);
            asked.domain_id.clone_from(domain_of(identity));
        }
        let is = |asked: &Option<String>, own: Option<&str>| asked.is_none() || asked.as_deref() == own;
        asked.own = is(&asked.user_id, Some(&identity.user_id))
            && is(&asked.project_id, identity.project_id.as_deref())
            && is(&asked.domain_id, domain_of(identity).as_deref());
        Ok(asked)
    }

    /// Whose defaults are looked at, in this order.
    fn levels(self) -> impl Iterator<Item = Whose> {
        let levels = [
            (WiderScope::User, self.user_id),
            (WiderScope::Project, self.project_id),
            (WiderScope::Domain, self.domain_id),
        ];
        levels.into_iter().filter_map(|(level, id)| Some(Whose { level, id: id? }))
    }
}

/// The domain that a token stands in.
fn domain_of(identity: &Identity) -> &Option<String> {
    if identity.domain_id.is_some() { &identity.domain_id } else { &identity.project_domain_id }
}

impl Attributes for Asked {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        match name.strip_prefix("target.encryption_default.")? {
            "user_id" => self.user_id.as_deref().map(Value::from),
            "project_id" => self.project_id.as_deref().map(Value::from),
            "domain_id" => self.domain_id.as_deref().map(Value::from),
            "own" => Some(Value::Boolean(self.own)),
            _ => None,
        }
    }
}

/// Tells which encryption default is in force: that of the user, else of the project, else of the domain, else of the
/// configuration, each as a whole. What is not named is not looked at; where nothing is named, the caller's own user,
/// project and domain are.
#[utoipa::path(get, path = "/v1/encryption-defaults/effective", tag = "encryption-defaults", operation_id = "get_effective_encryption_default",
    params(("user_id" = Option<String>, Query), ("project_id" = Option<String>, Query), ("domain_id" = Option<String>, Query)),
    responses((status = 200, body = EffectiveDefaultDocument),
        (status = 409, body = ErrorDocument, description = "The one in force names a data cipher that is refused by now")))]
pub(crate) async fn effective(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let asked = Asked::read(query.as_deref(), &authenticated.caller)?;
    app.manager.allow_settings(&authenticated.caller, ENCRYPTION_DEFAULT, EFFECTIVE, &asked).await?;
    for whose in asked.levels() {
        let id = document_id(whose.level, &whose.id);
        let found = app.manager.peek_document::<Choice>(ENCRYPTION_DEFAULT, &id).await?;
        let Some(found) = found else { continue };
        let choice = found.content.check().map_err(|problem| {
            let message = format!(
                "{} cannot be used any more, {}: {}; set another",
                whose.what(),
                problem.field,
                problem.reason
            );
            ApiError::new(StatusCode::CONFLICT, message)
        })?;
        let source = DefaultSource { level: whose.level.into(), id: Some(whose.id) };
        return Ok(in_force(choice, source));
    }
    let source = DefaultSource { level: DefaultLevel::Service, id: None };
    Ok(in_force(app.options.encryption_default.clone(), source))
}

fn in_force(choice: Choice, source: DefaultSource) -> Response {
    let Choice { algorithm, lock, scope } = choice;
    let mut response = Json(EffectiveDefaultDocument { algorithm, lock, scope, source }).into_response();
    no_store(&mut response);
    response
}

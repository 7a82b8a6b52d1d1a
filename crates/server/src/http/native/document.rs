//! From the domain to the wire and back, for words and times.

use axum::response::Response;
use chatelaine_api as api;
use chatelaine_core::manager::Description;
use chatelaine_core::secret::{Deletion, Revocation, RevocationReason, Scope, Secret, State};
use http::{HeaderValue, header};
use zeroize::Zeroizing;

use super::super::error::ApiError;

pub(super) fn scope(scope: api::Scope) -> Scope {
    match scope {
        api::Scope::Entity => Scope::Entity,
        api::Scope::User => Scope::User,
        api::Scope::Project => Scope::Project,
        api::Scope::Domain => Scope::Domain,
    }
}

pub(super) fn wider(scope: api::WiderScope) -> Scope {
    self::scope(scope.into())
}

fn scope_out(scope: Scope) -> api::Scope {
    match scope {
        Scope::Entity => api::Scope::Entity,
        Scope::User => api::Scope::User,
        Scope::Project => api::Scope::Project,
        Scope::Domain => api::Scope::Domain,
    }
}

pub(in crate::http) fn state_out(state: State) -> api::State {
    match state {
        State::PreActive => api::State::PreActive,
        State::Active => api::State::Active,
        State::Deactivated => api::State::Deactivated,
        State::Compromised => api::State::Compromised,
        State::Destroyed => api::State::Destroyed,
        State::DestroyedCompromised => api::State::DestroyedCompromised,
    }
}

pub(super) fn reason(reason: api::RevocationReason) -> RevocationReason {
    match reason {
        api::RevocationReason::Unspecified => RevocationReason::Unspecified,
        api::RevocationReason::KeyCompromise => RevocationReason::KeyCompromise,
        api::RevocationReason::CaCompromise => RevocationReason::CaCompromise,
        api::RevocationReason::AffiliationChanged => RevocationReason::AffiliationChanged,
        api::RevocationReason::Superseded => RevocationReason::Superseded,
        api::RevocationReason::CessationOfOperation => RevocationReason::CessationOfOperation,
        api::RevocationReason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
    }
}

fn reason_out(reason: RevocationReason) -> api::RevocationReason {
    match reason {
        RevocationReason::Unspecified => api::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => api::RevocationReason::KeyCompromise,
        RevocationReason::CaCompromise => api::RevocationReason::CaCompromise,
        RevocationReason::AffiliationChanged => api::RevocationReason::AffiliationChanged,
        RevocationReason::Superseded => api::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => api::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => api::RevocationReason::PrivilegeWithdrawn,
    }
}

pub(in crate::http) fn revocation_out(said: Revocation) -> api::Revocation {
    api::Revocation { reason: reason_out(said.reason), at: said.at.to_string() }
}

pub(in crate::http) fn deletion_out(said: Deletion) -> api::Deletion {
    api::Deletion { at: said.at.to_string(), purge_at: said.purge_at.to_string() }
}

pub(super) fn key(description: Description) -> api::KeyDocument {
    let metadata = description.metadata;
    api::KeyDocument {
        id: description.id.to_string(),
        version: description.version.number(),
        state: state_out(description.state),
        name: metadata.name,
        algorithm: metadata.algorithm,
        bit_length: metadata.bit_length,
        scope: scope_out(metadata.scope),
        scope_id: metadata.scope_id,
        master_key: metadata.master_key,
        attributes: metadata.attributes,
        owner: metadata.owner,
        project_id: metadata.project,
        created_at: metadata.created.to_string(),
        updated_at: metadata.updated.to_string(),
        activates_at: metadata.activates_at.map(|at| at.to_string()),
        expires_at: metadata.expires_at.map(|at| at.to_string()),
        revocation: metadata.revocation.map(revocation_out),
        deletion: metadata.deletion.map(deletion_out),
    }
}

/// The answer to a get. The JSON is written once, into memory of the right size that is wiped when it was sent.
pub(super) fn released(description: Description, secret: &Secret) -> Result<Response, ApiError> {
    let document = api::ReleasedKey {
        key: key(description),
        key_string: api::KeyString::new(secret.payload().to_vec()),
    };
    // Metadata is bounded (names, attributes), the key string grows by a third: no reallocation leaves a copy behind.
    let room = secret.payload().len().saturating_mul(2).saturating_add(32 * 1024);
    let mut json = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *json, &document).map_err(|error| ApiError::failed(error.to_string()))?;
    let mut response = Response::new(axum::body::Body::from(bytes::Bytes::from_owner(json)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

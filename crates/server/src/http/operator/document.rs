//! From the domain to what an operator is shown.

use chatelaine_api as api;
use chatelaine_core::acl::Acl;
use chatelaine_core::clock::Timestamp;
use chatelaine_core::secret::{Origin, SecretType, SecretView};

use super::super::native::document::{deletion_out, revocation_out, state_out};

/// What a payload is when nothing was said of it.
const UNTOLD_CONTENT_TYPE: &str = "application/octet-stream";

fn origin(origin: Origin) -> api::Origin {
    match origin {
        Origin::Native => api::Origin::Native,
        Origin::Barbican => api::Origin::Barbican,
    }
}

/// A key of the native interface says nothing of its type: it is a symmetric key.
fn secret_type(said: Option<SecretType>) -> api::SecretType {
    match said {
        None | Some(SecretType::Symmetric) => api::SecretType::Symmetric,
        Some(SecretType::Public) => api::SecretType::Public,
        Some(SecretType::Private) => api::SecretType::Private,
        Some(SecretType::Passphrase) => api::SecretType::Passphrase,
        Some(SecretType::Certificate) => api::SecretType::Certificate,
        Some(SecretType::Opaque) => api::SecretType::Opaque,
    }
}

/// Who is on the list is the project's business; that there is one explains to an operator who can read.
fn access(list: &Acl) -> api::AccessDocument {
    api::AccessDocument {
        project_access: list.project_access,
        users: u64::try_from(list.users.len()).unwrap_or(u64::MAX),
        updated_at: list.updated.to_string(),
    }
}

/// A secret as it is at a moment.
pub(super) fn secret(view: &SecretView, now: Timestamp) -> api::SecretDocument {
    let metadata = &view.metadata;
    let content_type =
        view.has_payload.then(|| metadata.content_type.as_deref().unwrap_or(UNTOLD_CONTENT_TYPE).to_owned());
    api::SecretDocument {
        id: view.id.to_string(),
        version: view.version.number(),
        project_id: metadata.project.clone(),
        owner: metadata.owner.clone(),
        name: metadata.name.clone(),
        origin: origin(metadata.origin),
        secret_type: secret_type(metadata.secret_type),
        algorithm: metadata.algorithm.clone(),
        bit_length: metadata.bit_length,
        mode: metadata.mode.clone(),
        content_type,
        has_payload: view.has_payload,
        state: state_out(metadata.state(now)),
        created_at: metadata.created.to_string(),
        updated_at: metadata.updated.to_string(),
        activates_at: metadata.activates_at.map(|at| at.to_string()),
        expires_at: metadata.expires_at.map(|at| at.to_string()),
        revocation: metadata.revocation.map(revocation_out),
        deletion: metadata.deletion.map(deletion_out),
        access: metadata.acl.as_ref().map(access),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chatelaine_core::id::{SecretId, Version};
    use chatelaine_core::secret::{Deletion, Metadata, Scope};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn native() -> SecretView {
        let made = at("2026-11-25T06:00:00Z");
        let metadata = Metadata {
            owner: "cinder".to_owned(),
            project: "service".to_owned(),
            name: None,
            algorithm: Some("aes".to_owned()),
            bit_length: Some(256),
            origin: Origin::Native,
            secret_type: None,
            mode: None,
            content_type: None,
            acl: None,
            scope: Scope::Entity,
            scope_id: None,
            master_key: None,
            attributes: BTreeMap::from([("note".to_owned(), "canary".to_owned())]),
            created: made,
            updated: made,
            activates_at: None,
            expires_at: Some(at("2026-12-01T00:00:00Z")),
            revocation: None,
            deletion: None,
        };
        SecretView { id: SecretId::random(), version: Version::FIRST, metadata, has_payload: true }
    }

    #[test]
    fn a_native_key_reads_as_a_symmetric_key_of_bytes() {
        let view = native();
        let shown = secret(&view, view.metadata.created);
        assert_eq!((shown.origin, shown.secret_type), (api::Origin::Native, api::SecretType::Symmetric));
        assert_eq!((shown.content_type.as_deref(), shown.has_payload), (Some(UNTOLD_CONTENT_TYPE), true));
        assert_eq!((shown.state, shown.access, shown.deletion), (api::State::Active, None, None));
        let later = secret(&view, at("2026-12-01T00:00:00Z"));
        assert_eq!(later.state, api::State::Deactivated);
        // Words of the owner are not for the operator.
        assert!(!serde_json::to_string(&later).unwrap().contains("canary"));
    }

    #[test]
    fn a_private_secret_without_a_payload_that_was_deleted() {
        let mut view = native();
        view.has_payload = false;
        let when = view.metadata.created;
        let purge_at = at("2026-12-02T06:00:00Z");
        view.metadata.deletion = Some(Deletion { at: when, purge_at, event: SecretId::random() });
        view.metadata.origin = Origin::Barbican;
        view.metadata.secret_type = Some(SecretType::Certificate);
        view.metadata.content_type = Some("text/plain".to_owned());
        let users = ["ann".to_owned(), "bob".to_owned()].into();
        view.metadata.acl = Some(Acl { project_access: false, users, created: when, updated: when });
        let shown = secret(&view, when);
        assert_eq!((shown.origin, shown.secret_type), (api::Origin::Barbican, api::SecretType::Certificate));
        assert_eq!((shown.content_type.as_deref(), shown.has_payload), (None, false));
        assert_eq!(shown.deletion.unwrap().purge_at, purge_at.to_string());
        let access = shown.access.unwrap();
        assert_eq!((access.project_access, access.users), (false, 2));
    }

    /// Every word of the domain is the same word on the wire.
    #[test]
    fn types_keep_their_words() {
        for own in SecretType::ALL {
            let shown = serde_json::to_value(secret_type(Some(own))).unwrap();
            assert_eq!(shown, own.as_str());
        }
    }
}

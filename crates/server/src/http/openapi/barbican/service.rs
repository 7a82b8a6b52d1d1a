//! Versions, quotas, and what this server has none of.

use utoipa::openapi::path::HttpMethod::{Delete, Get, Post, Put};

use super::super::operation::{Operation, text};
use super::answers::{Build, VersionDocument, VersionsDocument};
use super::operation;
use super::requests::NewProjectQuotas;
use crate::http::barbican::wire::quota::{EffectiveDocument, ProjectDocument, ProjectEntry};

pub(super) fn versions() -> Vec<Operation> {
    vec![
        operation(Get, "/", "list_versions", "Tells which versions there are; needs no token.")
            .query("build", text(), "With any value: tells the version of this server instead")
            .gives::<Build>(200, "The version of this server")
            .gives::<VersionsDocument>(300, "The versions")
            .gives_nothing(302, "To `/v1/`, for who accepts `application/json-home`")
            .located(302),
        operation(Get, "/v1", "get_version", "Describes the version.")
            .gives::<VersionDocument>(200, "The version"),
    ]
}

pub(super) fn others() -> Vec<Operation> {
    const PROJECT: &str = "/v1/project-quotas/{project}";
    const ONE_STORE: &str =
        "There is one, and nothing to choose: as on a Barbican with one store, it is not found.";
    vec![
        operation(Get, "/v1/quotas", "get_quotas", "Tells the quotas in force for the token's project.")
            .gives::<EffectiveDocument>(200, "The quotas; negative is without a limit"),
        operation(
            Get,
            "/v1/project-quotas",
            "list_project_quotas",
            "Lists the projects that have quotas of their own.",
        )
        .gives_page::<ProjectEntry>("BarbicanProjectQuotasList", "project_quotas"),
        operation(Get, PROJECT, "get_project_quotas", "Shows the quotas that were set for a project.")
            .gives::<ProjectDocument>(200, "The quotas; null where none was set"),
        operation(Put, PROJECT, "put_project_quotas", "Sets quotas of a project.")
            .takes::<NewProjectQuotas>()
            .gives_nothing(204, "Set"),
        operation(Delete, PROJECT, "delete_project_quotas", "Takes the quotas of a project away.")
            .gives_nothing(204, "It has those of all projects again"),
        operation(Get, "/v1/secret-stores", "list_secret_stores", "Lists the stores of secrets.")
            .explained(ONE_STORE),
        operation(
            Get,
            "/v1/secret-stores/global-default",
            "get_global_default_store",
            "Shows the store for all.",
        )
        .explained(ONE_STORE),
        operation(
            Get,
            "/v1/secret-stores/preferred",
            "get_preferred_store",
            "Shows the project's own store.",
        )
        .explained(ONE_STORE),
        operation(Get, "/v1/transport_keys", "list_transport_keys", "Lists the transport keys: none.")
            .gives_page_of("BarbicanTransportKeyList", "transport_keys", text()),
        operation(Post, "/v1/transport_keys", "create_transport_key", "Adds a transport key; refused.")
            .explained("Payloads are protected by TLS on their way."),
        operation(
            Get,
            "/v1/transport_keys/{id}",
            "get_transport_key",
            "Shows a transport key; there is none.",
        ),
        operation(
            Delete,
            "/v1/transport_keys/{id}",
            "delete_transport_key",
            "Deletes a transport key; there is none.",
        ),
    ]
}

//! The OpenAPI document of all routes: one for all protocols, which its tags tell apart.
//!
//! The native and the operator's routes are described beside their handlers, Barbican's in [`barbican`], since its bodies
//! are read by hand; [`common`] adds what is so for all. A test asks the router whether it and the document agree.

mod barbican;
mod common;
mod operation;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::OpenApi;

use chatelaine_api::ErrorDocument;

use super::{attestation, health, native, operator};

const ABOUT: &str = "The key manager for OpenStack: its native API, Barbican's API, version 1, and what operators need. \
    Every path with GET takes HEAD, too, but for Barbican's, which take OPTIONS instead; other methods are answered with 405 \
    and `Allow`. Barbican's paths may end with a slash.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Chatelaine", description = ABOUT),
    paths(
        native::list_keys,
        native::create_key,
        native::put_key,
        native::get_key,
        native::update_key,
        native::delete_key,
        native::get_metadata,
        native::undelete_key,
        native::revoke_key,
        native::scope_keys::list,
        native::scope_keys::get_newest,
        native::encryption_defaults::effective,
        native::encryption_defaults::show,
        native::encryption_defaults::set,
        native::encryption_defaults::unset,
        native::algorithms::list,
        operator::list_secrets,
        operator::get_secret,
        operator::undelete_secret,
        operator::purge_secret,
        attestation::challenge_host,
        attestation::release_keys,
        attestation::confirm_keys,
        attestation::held_keys,
        health::healthcheck,
        health::readyz,
        health::metrics,
        serve,
    ),
    components(schemas(ErrorDocument, super::barbican::error::Document<'static>)),
    tags(
        (name = "keys", description = "The native API: keys of services"),
        (name = "scope-keys", description = "The native API: keys of users, projects and domains"),
        (name = "encryption-defaults", description = "The native API: how data is encrypted where nobody says otherwise"),
        (name = "algorithms", description = "The native API: what the server can do"),
        (name = "operator", description = "For operators: secrets of all projects, without their payloads"),
        (name = "attestation", description = "For hosts that join: how they get the master keys, and later ones"),
        (name = "operations", description = "For those who watch over the server"),
    ),
)]
struct Document;

static TEXT: LazyLock<String> = LazyLock::new(|| document().unwrap_or_default());

/// The document as JSON.
///
/// # Errors
/// That of the JSON writer; a defect.
pub fn document() -> Result<String, serde_json::Error> {
    whole().to_pretty_json()
}

fn whole() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    barbican::add_to(&mut document);
    common::add_to(&mut document);
    document
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operations", responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub(crate) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, super::JSON)], TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests;

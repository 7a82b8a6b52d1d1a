//! The OpenAPI document, made from the handlers and the wire types.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{health, native};

#[derive(OpenApi)]
#[openapi(
    info(title = "Chatelaine", description = "The native API of the key manager for OpenStack."),
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
        native::algorithms::list,
        health::healthcheck,
        health::readyz,
        health::metrics,
        serve,
    ),
    modifiers(&Tokens),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Auth-Token")));
        document.components.get_or_insert_default().add_security_scheme("token", token);
        for (path, item) in &mut document.paths.paths {
            if !(path.starts_with("/v1/keys") || path == "/v1/algorithms") {
                continue;
            }
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let needed =
                    utoipa::openapi::security::SecurityRequirement::new::<_, [&str; 0], &str>("token", []);
                operation.security = Some(vec![needed]);
            }
        }
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().unwrap_or_default());

/// The document as JSON.
///
/// # Errors
/// That of the JSON writer; a defect.
pub fn document() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operations", responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, super::JSON)], TEXT.as_str()).into_response()
}

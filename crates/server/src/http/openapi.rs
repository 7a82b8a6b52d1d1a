//! The OpenAPI document, made from the handlers and the wire types.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{health, native, operator};

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
        operator::list_secrets,
        operator::get_secret,
        operator::undelete_secret,
        operator::purge_secret,
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
            let with_token = ["/v1/keys", "/v1/operator/"].iter().any(|start| path.starts_with(start));
            if !(with_token || path == "/v1/algorithms") {
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A generated client that is not told of the token gets 401 for everything.
    #[test]
    fn whatever_needs_a_token_says_so() {
        let document: Value = serde_json::from_str(&document().unwrap()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let needed = path.starts_with("/v1/") && path != "/v1/openapi.json";
            for (method, operation) in item.as_object().unwrap() {
                assert_eq!(operation["security"][0]["token"].is_array(), needed, "{method} {path}");
            }
        }
        for path in ["", "/{secret_id}", "/{secret_id}/undelete", "/{secret_id}/purge"] {
            assert!(document["paths"][format!("/v1/operator/secrets{path}")].is_object(), "{path}");
        }
    }
}

//! Barbican's routes in the OpenAPI document. Handlers, bodies and errors are in [`crate::http::barbican`].

#[expect(dead_code, reason = "these types are only described")]
mod answers;
mod containers;
#[expect(dead_code, reason = "these types are only described")]
mod requests;
mod secrets;
mod service;

use utoipa::openapi::OpenApi;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::tag::TagBuilder;

use super::operation::{Operation, text};

/// The name of the schema of Barbican's errors.
pub(super) const ERROR: &str = "BarbicanError";

/// What every tag of Barbican's begins with.
pub(super) const TAG: &str = "barbican-";

/// What a client can ask for in `OpenStack-API-Version`.
pub(super) const VERSION: &str = "OpenStack-API-Version";

/// The random UUIDs that Barbican's ids are.
const ID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";

fn id() -> ObjectBuilder {
    text().pattern(Some(ID)).examples(["6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7"])
}

/// An operation with the parts of its path and the header that all of them look at.
fn operation(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Operation {
    let mut operation = Operation::new(method, path, &format!("barbican_{id}"), summary);
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation = match name {
            "key" => operation.part(name, text().min_length(Some(1)), "The key of the entry, in lower case"),
            "project" => operation.part(name, text().min_length(Some(1)), "The id of the project"),
            _ => operation.part(name, self::id(), "The id: the last part of the address"),
        };
    }
    let version = text().examples(["key-manager 1.2"]);
    operation.header(
        VERSION,
        version,
        "The microversion that is asked for: 1.0 to 1.2, `latest`; 1.0 without",
    )
}

/// Adds all of them to a document.
pub(super) fn add_to(document: &mut OpenApi) {
    let sections: [(&str, &str, Vec<Operation>); 8] = [
        ("versions", "which versions there are", service::versions()),
        ("secrets", "secrets and their payloads", secrets::secrets()),
        ("metadata", "words of their owners on secrets", secrets::metadata()),
        ("acls", "who may read secrets and containers", secrets::acls()),
        ("consumers", "who uses secrets and containers", containers::consumers()),
        ("containers", "named groups of secrets", containers::containers()),
        ("orders", "keys and key pairs that the server makes", containers::orders()),
        ("quotas", "how much a project may have, and what other servers have several of", service::others()),
    ];
    for (name, description, operations) in sections {
        let name = format!("{TAG}{name}");
        let description = format!("Barbican's API: {description}");
        let tag = TagBuilder::new().name(&name).description(Some(description)).build();
        document.tags.get_or_insert_default().push(tag);
        for operation in operations {
            operation.add_to(document, &name);
        }
    }
}

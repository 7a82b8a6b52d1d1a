//! Secrets, their payloads, their metadata, and access lists.

use utoipa::openapi::path::HttpMethod::{Delete, Get, Patch, Post, Put};

use super::super::operation::{Operation, integer, text, truth};
use super::requests::{NewAcl, NewMetadata, NewMetadataEntry, NewSecret};
use super::{ERROR, operation};
use crate::http::barbican::wire::acl::AclDocument;
use crate::http::barbican::wire::metadata::{Entry, MetadataDocument};
use crate::http::barbican::wire::secret::SecretDocument;

const MOMENTS: &str =
    "Moments as in ISO 8601, with commas between, each with `gt:`, `gte:`, `lt:`, `lte:` or nothing in front";

const PAYLOADS: [&str; 3] = ["text/plain", "application/octet-stream", "application/pkcs8"];

pub(super) fn secrets() -> Vec<Operation> {
    let filtered = operation(Get, "/v1/secrets", "list_secrets", "Lists the secrets of the token's project.")
        .explained("Without payloads. Parameters that mean nothing here are left alone.")
        .gives_page::<SecretDocument<'_>>("BarbicanSecretList", "secrets")
        .query("name", text(), "`%` is any text, `_` any letter; case makes no difference")
        .query("alg", text(), "The algorithm, likewise")
        .query("mode", text(), "The mode, likewise")
        .query("bits", integer(), "The length in bits")
        .query("secret_type", text(), "The type")
        .query("created", text(), MOMENTS)
        .query("updated", text(), MOMENTS)
        .query("expiration", text(), MOMENTS)
        .query("acl_only", text(), "`true`: secrets of all projects whose access list names the caller, instead")
        .query(
            "sort",
            text().examples(["created:desc,name"]),
            "`algorithm`, `bit_length`, `created`, `expiration`, `mode`, `name`, `secret_type`, `status` or `updated`, \
             each perhaps with `:asc` or `:desc`, with commas between",
        );
    let show = operation(Get, "/v1/secrets/{id}", "get_secret", "Shows a secret without its payload.")
        .explained(
            "An `Accept` header without JSON gets the payload, as clients did before there was a route for it: use \
             `/v1/secrets/{id}/payload` for that.",
        )
        .query("transport_key_needed", text(), "There are no transport keys here: `true` is refused")
        .gives::<SecretDocument<'_>>(200, "The secret; with an `Accept` header without JSON, its payload")
        .or_bytes(200, &PAYLOADS);
    vec![
        filtered,
        operation(Post, "/v1/secrets", "create_secret", "Stores a secret, with its payload or without.")
            .takes::<NewSecret>()
            .gives_reference(201, "BarbicanSecretReference", "secret_ref", "Stored")
            .located(201),
        show,
        operation(Put, "/v1/secrets/{id}", "put_payload", "Adds the payload of a secret that was stored without.")
            .takes_bytes(
                &["text/plain", "application/octet-stream"],
                "The payload as it is, or in base64 with `Content-Encoding: base64`; at most as long as the server allows",
            )
            .header("Content-Encoding", text(), "For bytes: `base64`, or not there")
            .query("transport_key_id", text(), "There are no transport keys here: refused")
            .gives_nothing(204, "Stored")
            .refuses(409, ERROR, "It has a payload, which cannot be changed"),
        operation(Delete, "/v1/secrets/{id}", "delete_secret", "Deletes a secret.")
            .query(
                "force",
                truth(),
                "From microversion 1.2 on: delete it although it has consumers, which is refused (400) without",
            )
            .gives_nothing(204, "Deleted"),
        operation(Get, "/v1/secrets/{id}/payload", "get_payload", "Reads the payload of a secret.")
            .explained(
                "In the type that `Accept` prefers; text can be had as bytes, and bytes that are UTF-8 as text. A secret \
                 without a payload is not found.",
            )
            .query("transport_key_id", text(), "There are no transport keys here: refused")
            .query("trans_wrapped_session_key", text(), "Likewise")
            .gives_nothing(200, "The payload")
            .or_bytes(200, &PAYLOADS),
    ]
}

pub(super) fn metadata() -> Vec<Operation> {
    const ALL: &str = "/v1/secrets/{id}/metadata";
    const ONE: &str = "/v1/secrets/{id}/metadata/{key}";
    vec![
        operation(Get, ALL, "list_metadata", "Shows the metadata of a secret.")
            .gives::<MetadataDocument>(200, "All entries"),
        operation(Put, ALL, "put_metadata", "Puts metadata in the place of what there is.")
            .takes::<NewMetadata>()
            .gives_reference(201, "BarbicanMetadataReference", "metadata_ref", "Stored"),
        operation(Post, ALL, "create_metadata_entry", "Adds an entry.")
            .takes::<NewMetadataEntry>()
            .gives::<Entry>(201, "Stored")
            .located(201)
            .refuses(409, ERROR, "There is an entry of this key"),
        operation(Get, ONE, "get_metadata_entry", "Shows an entry.").gives::<Entry>(200, "The entry"),
        operation(Put, ONE, "put_metadata_entry", "Changes an entry.")
            .takes::<NewMetadataEntry>()
            .gives::<Entry>(200, "Stored")
            .refuses(409, ERROR, "The keys in the path and in the body differ"),
        operation(Post, ONE, "set_metadata_entry", "Makes or changes an entry.")
            .explained("Not in Barbican, but sent by its client.")
            .takes::<NewMetadataEntry>()
            .gives::<Entry>(201, "Stored")
            .refuses(409, ERROR, "The keys in the path and in the body differ"),
        operation(Delete, ONE, "delete_metadata_entry", "Deletes an entry.")
            .gives_nothing(204, "There is no such entry any more"),
    ]
}

pub(super) fn acls() -> Vec<Operation> {
    let of = |path: &'static str, noun: &str| {
        let name = |verb: &str| format!("{verb}_{noun}_acl");
        let reference = |operation: Operation| {
            operation.gives_reference(
                200,
                "BarbicanAclReference",
                "acl_ref",
                "The list is as it was asked for",
            )
        };
        [
            operation(Get, path, &name("get"), "Shows the access list.")
                .gives::<AclDocument<'_>>(200, "The list, or what is so without one"),
            reference(
                operation(Put, path, &name("put"), "Puts an access list in the place of the one there is.")
                    .explained("An empty one takes the list away.")
                    .takes::<NewAcl>(),
            ),
            reference(
                operation(Patch, path, &name("patch"), "Changes what is said of the access list.")
                    .takes::<NewAcl>(),
            ),
            operation(Delete, path, &name("delete"), "Takes the access list away.")
                .gives_null(200, "There is none any more"),
        ]
    };
    let mut all = Vec::from(of("/v1/secrets/{id}/acl", "secret"));
    all.extend(of("/v1/containers/{id}/acl", "container"));
    all
}

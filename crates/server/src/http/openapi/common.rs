//! What the answers of many operations have in common, added to the document when all operations are in it.
//!
//! Owns the refusals that come from the layers around the handlers (tokens, limits, bodies, time) and the headers of all
//! answers, so that no handler has to be described with them.

use std::collections::BTreeSet;

use http::StatusCode;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::barbican;
use super::operation::{JSON, content, text};

/// The schema of errors in OpenStack's shape, which refused tokens have everywhere.
const ERROR: &str = "ErrorDocument";

/// What ids look like in paths of the native API: UUIDs of whatever version in lower case.
const ID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

/// A header that all answers have, and the component that describes it.
const REQUEST_ID: (&str, &str) = ("X-Openstack-Request-Id", "RequestId");

/// Refusals, and what they mean wherever they come.
const REFUSALS: [(u16, &str); 14] = [
    (400, "Something in the request is wrong; the message says what is allowed"),
    (401, "There is no valid token, or none that is scoped to a project where one is needed"),
    (403, "The roles, the network or the project of this token, or a quota, do not allow it"),
    (404, "There is no such thing for this caller"),
    (406, "Nothing here is in a form that the client accepts, or the microversion is not served"),
    (408, "The body was not sent in time"),
    (409, "It exists already, its state does not allow it, or another request was faster"),
    (412, "It has another version"),
    (413, "The body or the payload is too large"),
    (415, "The body is of a media type that is not taken here"),
    (428, "`If-Match` is missing"),
    (429, "Too many requests"),
    (500, "The server failed; its log has the request's id"),
    (503, "Not at the moment"),
];

/// Who asks for an operation, and whose errors it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Native,
    Barbican,
}

/// The refusals that operations refer to.
type Used = BTreeSet<(Side, u16)>;

fn component(side: Side, status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let word: String = reason.unwrap_or("Refused").split(' ').collect();
    match side {
        Side::Barbican => format!("Barbican{word}"),
        Side::Native => word,
    }
}

/// Adds all of it. Both shapes of errors are components of the document already.
pub(super) fn add_to(document: &mut OpenApi) {
    let mut used = Used::new();
    for (path, item) in &mut document.paths.paths {
        let PathItem { get, put, post, delete, patch, .. } = item;
        for (operation, changes) in [(get, false), (put, true), (post, true), (delete, true), (patch, true)] {
            let Some(operation) = operation else { continue };
            complete(path, operation, changes, &mut used);
        }
    }
    add_components(document.components.get_or_insert_default(), &used);
}

fn add_components(components: &mut Components, used: &Used) {
    let token = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Auth-Token")));
    components.add_security_scheme("token", token);
    let headers = [
        ("RequestId", text().pattern(Some("^req-")), "The request, for the people who read the server's log"),
        ("ServedVersion", text().pattern(Some("^key-manager 1\\.[0-2]$")), "The microversion of the answer"),
        ("RetryAfter", ObjectBuilder::new().schema_type(Type::Integer), "Seconds after which to try again"),
        ("Challenge", text(), "Where tokens come from"),
    ];
    for (name, schema, description) in headers {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        components.headers.insert(name.to_owned(), header.into());
    }
    for (side, status) in used {
        let said = REFUSALS.iter().find(|(known, _)| known == status).map(|(_, description)| *description);
        let response = refusal(*side, *status, said.unwrap_or_default());
        components.responses.insert(component(*side, *status), response.into());
    }
}

fn refusal(side: Side, status: u16, description: &str) -> Response {
    let error = if side == Side::Native { ERROR } else { barbican::ERROR };
    let schema = Ref::from_schema_name(error);
    let mut response = ResponseBuilder::new().description(description).content(JSON, content(schema)).build();
    if side == Side::Barbican && (status == 400 || status == 406) {
        // A wrong microversion is told in plain text.
        response.content.insert("text/plain".to_owned(), content(text()).into());
    }
    let headers = match status {
        401 => vec![REQUEST_ID, ("WWW-Authenticate", "Challenge")],
        429 | 503 => vec![REQUEST_ID, ("Retry-After", "RetryAfter")],
        _ => vec![REQUEST_ID],
    };
    add_headers(&mut response, &headers);
    response
}

fn add_headers(response: &mut Response, headers: &[(&str, &str)]) {
    for (name, component) in headers {
        let reference = Ref::new(format!("#/components/headers/{component}"));
        response.headers.insert((*name).to_owned(), RefOr::Ref(reference));
    }
}

/// Which refusals an operation can have besides those it names itself.
fn refusals(side: Side, path: &str, operation: &Operation, changes: bool) -> Vec<u16> {
    let mut statuses = vec![500, 503];
    let open = (side == Side::Native && !path.starts_with("/v1/")) || path == "/v1/openapi.json";
    let with_query =
        operation.parameters.iter().flatten().any(
            |of| matches!(of, RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Query)),
        );
    let by_id = path.contains('{');
    if side == Side::Barbican {
        statuses.extend([400, 406]);
    } else if by_id || with_query {
        statuses.push(400);
    }
    if !open && path != "/" {
        statuses.extend([401, 429]);
        // These say the same to everybody.
        if path != "/v1" && path != "/v1/algorithms" {
            statuses.push(403);
        }
    }
    // What is put need not be there before.
    let makes = side == Side::Native && operation.responses.responses.contains_key("201");
    if (by_id && !makes) || path.starts_with("/v1/secret-stores") {
        statuses.push(404);
    }
    if side == Side::Barbican && by_id && changes && !path.starts_with("/v1/transport_keys") {
        statuses.push(409);
    }
    if operation.request_body.is_some() {
        statuses.extend([400, 408, 413, 415]);
    }
    statuses
}

fn complete(path: &str, operation: &mut Operation, changes: bool, used: &mut Used) {
    let theirs = operation.tags.iter().flatten().any(|tag| tag.starts_with(barbican::TAG));
    let side = if theirs { Side::Barbican } else { Side::Native };
    let statuses = refusals(side, path, operation, changes);
    if statuses.contains(&401) {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("token", [])]);
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && ["key_id", "secret_id"].contains(&parameter.name.as_str())
        {
            parameter.schema = Some(text().pattern(Some(ID)).into());
        }
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        let RefOr::T(named) = response else { continue };
        let Ok(status) = status.parse::<StatusCode>() else { continue };
        if named.description.is_empty() {
            if status.as_u16() >= 400 && is_plain_error(named.content.get(JSON)) {
                *response = shared(side, status.as_u16(), used);
                continue;
            }
            named.description = status.canonical_reason().unwrap_or_default().to_owned();
        }
        let version = if theirs { vec![(barbican::VERSION, "ServedVersion")] } else { Vec::new() };
        add_headers(named, &[vec![REQUEST_ID], version].concat());
    }
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(|| shared(side, status, used));
    }
}

fn is_plain_error(content: Option<&RefOr<Content>>) -> bool {
    matches!(content, Some(RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }))
        if schema.ref_location.ends_with(&format!("/{ERROR}")))
}

fn shared(side: Side, status: u16, used: &mut Used) -> RefOr<Response> {
    let side = if status == 401 { Side::Native } else { side };
    used.insert((side, status));
    RefOr::Ref(Ref::from_response_name(component(side, status)))
}

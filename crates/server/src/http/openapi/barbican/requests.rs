//! What requests to Barbican's routes hold, as types that are only described: [`crate::http::barbican::wire`] reads bodies
//! by hand, since it wipes them and names what is wrong as Barbican does.

use utoipa::ToSchema;

/// A secret to be stored. Unknown properties are left alone; blanks around strings are taken away.
#[derive(ToSchema)]
#[schema(as = BarbicanNewSecret)]
pub(super) struct NewSecret {
    #[schema(max_length = 255)]
    name: Option<String>,
    #[schema(max_length = 255, nullable = false, example = "aes")]
    algorithm: Option<String>,
    #[schema(max_length = 255, nullable = false, example = "cbc")]
    mode: Option<String>,
    #[schema(minimum = 1, maximum = 32767, nullable = false, example = 256)]
    bit_length: Option<u32>,
    /// A moment to come, as in ISO 8601; without a zone it is UTC. Empty is none.
    #[schema(max_length = 255, nullable = false, example = "2099-01-31T12:00:00")]
    expiration: Option<String>,
    /// The payload itself, as text or in base64. Without one it is put later. Needs `payload_content_type`.
    #[schema(min_length = 1, nullable = false)]
    payload: Option<String>,
    /// `text/plain`, `application/octet-stream` or `application/pkcs8`; not without a payload.
    #[schema(max_length = 255, example = "application/octet-stream")]
    payload_content_type: Option<String>,
    /// Needed for every type but `text/plain`, which has none.
    #[schema(nullable = false)]
    payload_content_encoding: Option<Encoding>,
    /// `opaque` where nothing is said.
    #[schema(nullable = false)]
    secret_type: Option<chatelaine_api::SecretType>,
    /// There are no transport keys here: `true` is refused.
    #[schema(nullable = false)]
    transport_key_needed: Option<Word>,
    /// There are no transport keys here: refused together with a payload.
    #[schema(max_length = 255, nullable = false)]
    transport_key_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = BarbicanEncoding)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Base64,
}

/// A truth value in a string.
#[derive(ToSchema)]
#[schema(as = BarbicanWord)]
#[serde(rename_all = "lowercase")]
enum Word {
    True,
    False,
}

/// All entries of a secret, which replace those there are: at most 256.
#[derive(ToSchema)]
#[schema(as = BarbicanNewMetadata)]
pub(super) struct NewMetadata {
    /// Keys have 1 to 255 letters, digits, `_` and `-`, and become lower case; values have at most 255 characters.
    metadata: std::collections::BTreeMap<String, String>,
}

/// One entry.
#[derive(ToSchema)]
#[schema(as = BarbicanNewMetadataEntry)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMetadataEntry {
    #[schema(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_-]+$", example = "owner")]
    key: String,
    #[schema(max_length = 255)]
    value: String,
}

/// An access list. There is no operation but `read`.
#[derive(ToSchema)]
#[schema(as = BarbicanNewAcl)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAcl {
    #[schema(nullable = false)]
    read: Option<NewAclRead>,
}

#[derive(ToSchema)]
#[schema(as = BarbicanNewAclRead)]
#[serde(deny_unknown_fields)]
struct NewAclRead {
    /// Ids of users of whatever project, at most 255 characters each.
    #[schema(nullable = false)]
    users: Option<Vec<String>>,
    /// Whether members of the project may read; true where nothing is said.
    #[serde(rename = "project-access")]
    #[schema(nullable = false)]
    project_access: Option<bool>,
}

/// A container to be made.
#[derive(ToSchema)]
#[schema(as = BarbicanNewContainer)]
pub(super) struct NewContainer {
    #[schema(max_length = 255)]
    name: Option<String>,
    #[serde(rename = "type")]
    kind: ContainerKind,
    /// Secrets of the same project, each once and under a name of its own. Those of `rsa` are `public_key`, `private_key` and
    /// perhaps `private_key_passphrase`; those of `certificate` are `certificate` and perhaps `private_key`,
    /// `private_key_passphrase` and `intermediates`.
    #[schema(nullable = false)]
    secret_refs: Option<Vec<NewMember>>,
}

#[derive(ToSchema)]
#[schema(as = BarbicanContainerKind)]
#[serde(rename_all = "lowercase")]
enum ContainerKind {
    Generic,
    Rsa,
    Certificate,
}

/// A secret in a container.
#[derive(ToSchema)]
#[schema(as = BarbicanNewMember)]
pub(super) struct NewMember {
    #[schema(max_length = 255)]
    name: Option<String>,
    /// The secret's address on this server.
    #[schema(min_length = 1, max_length = 4096)]
    secret_ref: String,
}

/// A key or key pair to be made.
#[derive(ToSchema)]
#[schema(as = BarbicanNewOrder)]
pub(super) struct NewOrder {
    #[serde(rename = "type")]
    kind: OrderKind,
    meta: OrderMeta,
}

#[derive(ToSchema)]
#[schema(as = BarbicanOrderKind)]
#[serde(rename_all = "lowercase")]
enum OrderKind {
    Key,
    Asymmetric,
}

/// What is to be made. Other properties are kept and shown; `payload` is refused.
#[derive(ToSchema)]
#[schema(as = BarbicanOrderMeta)]
struct OrderMeta {
    #[schema(max_length = 255)]
    name: Option<String>,
    /// For keys `aes`, `des` and `hmacsha1`, `hmacsha256`, `hmacsha384`, `hmacsha512`; for key pairs `rsa`, `ec`, `ed25519`.
    /// Anything else is taken and ends as an order with the status `ERROR`.
    #[schema(min_length = 1, max_length = 255, example = "aes")]
    algorithm: String,
    /// A multiple of 8, or 521 for `ec`.
    #[schema(minimum = 1, maximum = 32767, example = 256)]
    bit_length: u32,
    #[schema(max_length = 255, nullable = false)]
    mode: Option<String>,
    /// A moment to come, as in ISO 8601; without a zone it is UTC. Empty is none.
    #[schema(max_length = 255, nullable = false, example = "2099-01-31T12:00:00")]
    expiration: Option<String>,
    #[schema(max_length = 255, example = "application/octet-stream")]
    payload_content_type: Option<String>,
    /// For the private half of a key pair; neither kept with the order nor shown. `pass_phrase` means the same.
    passphrase: Option<String>,
}

/// Quotas to be set. What is not there stays.
#[derive(ToSchema)]
#[schema(as = BarbicanNewProjectQuotas)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProjectQuotas {
    project_quotas: NewQuotas,
}

/// Negative is without a limit.
#[derive(ToSchema)]
#[schema(as = BarbicanNewQuotas)]
#[serde(deny_unknown_fields)]
struct NewQuotas {
    #[schema(nullable = false)]
    secrets: Option<i64>,
    #[schema(nullable = false)]
    orders: Option<i64>,
    #[schema(nullable = false)]
    containers: Option<i64>,
    #[schema(nullable = false)]
    consumers: Option<i64>,
    #[schema(nullable = false)]
    cas: Option<i64>,
}

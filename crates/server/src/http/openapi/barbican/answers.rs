//! Answers that are written without a type of their own, as types that are only described.

use utoipa::ToSchema;

use crate::http::barbican::time::Moment;
use crate::http::barbican::wire::consumer::{ContainerConsumer, SecretConsumer};

/// An entry of the list of a secret's consumers.
#[derive(ToSchema)]
#[schema(as = BarbicanSecretConsumerEntry)]
pub(super) struct SecretConsumerEntry {
    created: Moment,
    updated: Moment,
    /// Always `ACTIVE`.
    status: String,
    #[serde(flatten)]
    consumer: SecretConsumer,
}

/// An entry of the list of a container's consumers.
#[derive(ToSchema)]
#[schema(as = BarbicanContainerConsumerEntry)]
pub(super) struct ContainerConsumerEntry {
    created: Moment,
    updated: Moment,
    /// Always `ACTIVE`.
    status: String,
    #[serde(flatten)]
    consumer: ContainerConsumer,
}

/// The one version there is, as microversion 1.0 shows it.
#[derive(ToSchema)]
#[schema(as = BarbicanStableVersion)]
struct StableVersion {
    #[schema(example = "v1")]
    id: String,
    #[schema(example = "stable")]
    status: String,
    links: Vec<Link>,
    #[serde(rename = "media-types")]
    media_types: Vec<MediaType>,
}

/// The same from microversion 1.1 on.
#[derive(ToSchema)]
#[schema(as = BarbicanCurrentVersion)]
struct CurrentVersion {
    #[schema(example = "v1")]
    id: String,
    #[schema(example = "CURRENT")]
    status: String,
    #[schema(example = "1.0")]
    min_version: String,
    #[schema(example = "1.2")]
    max_version: String,
    links: Vec<Link>,
}

#[derive(ToSchema)]
#[schema(as = BarbicanLink)]
struct Link {
    rel: String,
    href: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = BarbicanMediaType)]
struct MediaType {
    base: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(ToSchema)]
#[schema(as = BarbicanVersion)]
#[serde(untagged)]
enum Version {
    Stable(StableVersion),
    Current(CurrentVersion),
}

#[derive(ToSchema)]
#[schema(as = BarbicanVersionDocument)]
pub(super) struct VersionDocument {
    version: Version,
}

/// A list from microversion 1.1 on, an object with a list before.
#[derive(ToSchema)]
#[schema(as = BarbicanVersionValues)]
#[serde(untagged)]
enum Versions {
    Old { values: Vec<StableVersion> },
    New(Vec<CurrentVersion>),
}

#[derive(ToSchema)]
#[schema(as = BarbicanVersions)]
pub(super) struct VersionsDocument {
    versions: Versions,
}

/// With `build` in the query.
#[derive(ToSchema)]
#[schema(as = BarbicanBuild)]
pub(super) struct Build {
    /// The version of this server.
    build: String,
}

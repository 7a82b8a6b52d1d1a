//! The error shape of OpenStack's services.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every error answer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorBody,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The HTTP status.
    #[schema(example = 400)]
    pub code: u16,
    /// The status in words.
    #[schema(example = "Bad Request")]
    pub title: String,
    /// What was wrong and what is allowed.
    pub message: String,
    /// The field that was wrong, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The request, for the people who read the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

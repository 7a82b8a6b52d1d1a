//! Errors that tell people which variable or field to set, in the words of the source they used.

use std::path::PathBuf;

/// Why no cloud could be made out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudsError {
    /// A value is missing.
    #[error("{field} is missing: it must hold {what}")]
    Missing {
        /// The variable, or the field with its cloud and file.
        field: String,
        /// What it must hold.
        what: &'static str,
    },
    /// A value cannot be used.
    #[error("{field} {reason}")]
    Refused {
        /// The variable, or the field with its cloud and file.
        field: String,
        /// Why, and what is allowed.
        reason: &'static str,
    },
    /// Nothing says which cloud to use.
    #[error(
        "no credentials: set OS_CLOUD to a cloud of clouds.yaml, or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and so on, or CHATELAINE_ENDPOINT with OS_TOKEN"
    )]
    NothingConfigured,
    /// A cloud is named, but there is no file.
    #[error("cloud `{cloud}` is asked for, but there is no clouds.yaml; looked for {looked_for}")]
    NoFile {
        /// The cloud.
        cloud: String,
        /// The paths tried.
        looked_for: String,
    },
    /// The file has no such cloud.
    #[error("{path} has no cloud `{cloud}`; it has: {available}", path = path.display())]
    NoSuchCloud {
        /// The file.
        path: PathBuf,
        /// The cloud.
        cloud: String,
        /// The names there are.
        available: String,
    },
    /// The file has several clouds and none is named.
    #[error("{path} has several clouds ({available}); name one by OS_CLOUD or --os-cloud", path = path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The names there are.
        available: String,
    },
    /// A file cannot be read or understood.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why; line and column, never content.
        reason: String,
    },
}

/// Where a cloud's settings come from, for naming fields.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Environment,
    File { path: PathBuf, cloud: String },
}

impl Origin {
    pub(super) fn cloud(&self) -> Option<&str> {
        match self {
            Self::Environment => None,
            Self::File { cloud, .. } => Some(cloud),
        }
    }

    fn field(&self, name: &str) -> String {
        match self {
            Self::Environment => format!("OS_{}", name.to_ascii_uppercase()),
            Self::File { path, cloud } => {
                let outside = matches!(name, "auth_type" | "interface" | "cert" | "profile");
                let prefix = if outside { "" } else { "auth." };
                format!("`{prefix}{name}` of cloud `{cloud}` in {}", path.display())
            }
        }
    }

    pub(super) fn missing(&self, name: &str, what: &'static str) -> CloudsError {
        CloudsError::Missing { field: self.field(name), what }
    }

    pub(super) fn refuse(&self, name: &str, reason: &'static str) -> CloudsError {
        CloudsError::Refused { field: self.field(name), reason }
    }
}

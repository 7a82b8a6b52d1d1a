//! Whose key or default a command is about: a user's, a project's or a domain's.

use chatelaine_api::WiderScope;
use chatelaine_core::id::is_keystone_id;

use super::Failure;

/// The options; a command takes at most one of them.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct Customer {
    /// The project with this id
    #[arg(long, value_name = "ID", value_parser = id)]
    project: Option<String>,
    /// The domain with this id
    #[arg(long, value_name = "ID", value_parser = id)]
    domain: Option<String>,
    /// The user with this id
    #[arg(long, value_name = "ID", value_parser = id)]
    user: Option<String>,
}

/// An id as Keystone gives it.
pub(super) fn id(text: &str) -> Result<String, &'static str> {
    if is_keystone_id(text) {
        Ok(text.to_owned())
    } else {
        Err("an id has 1 to 64 letters, digits, `_` and `-`; names are not looked up")
    }
}

impl Customer {
    /// The one that is named, if one is.
    pub(super) fn named(&self) -> Option<(WiderScope, &str)> {
        let Self { project, domain, user } = self;
        let all = [(WiderScope::Project, project), (WiderScope::Domain, domain), (WiderScope::User, user)];
        all.into_iter().find_map(|(scope, id)| Some((scope, id.as_deref()?)))
    }

    /// The one that is named, where one must be.
    pub(super) fn one(&self) -> Result<(WiderScope, &str), Failure> {
        self.named().ok_or_else(|| {
            Failure::usage("it is not said whose").advise("give --project ID, --domain ID or --user ID")
        })
    }
}

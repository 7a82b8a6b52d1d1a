//! The first start: an administrator and a service, made where there is no file of identities yet.
//!
//! Two files have to appear: the identities (digests) and the tokens (for people). The tokens are written first under a
//! pending name, then the identities, then the tokens get their name. A crash in between heals at the next start:
//! pending tokens without identities were never good for anything and are made anew; pending tokens whose identities
//! exist get their name.
//!
//! Invariants: neither file ever replaces another; tokens that lie about never become good again by a lost file of
//! identities (T-TOKEN-REVOKED): only tokens made in the same step do.

use std::path::{Path, PathBuf};

use chatelaine_client::SecretText;
use zeroize::Zeroizing;

use super::document::{self, Document, MAX_FILE};
use super::edit::{self, NewIdentity};
use crate::identity::{IdentityError, files, token};

/// What the first start has made, for the one message that tells people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    /// The file with the tokens of the administrator and the service, mode 0600, in the form of OpenStack's
    /// `clouds.yaml`.
    pub clouds_file: PathBuf,
}

/// The name of the file of tokens in the data folder.
pub const CLOUDS_FILE: &str = "clouds.yaml";
const PENDING_FILE: &str = ".clouds.yaml.pending";
/// Largest file of tokens, in bytes.
const MAX_TOKENS: usize = 64 << 10;

const TOKENS_HEADER: &str = "\
# Tokens made at the first start. They are kept nowhere else: put them where they belong, then delete this file.
# With OS_CLIENT_CONFIG_FILE naming this file and OS_CLOUD naming one of the two, commands speak to this server.
clouds:
";

/// Makes identities and tokens if there are none, or ends what an earlier start began.
pub(super) fn ensure(
    file: &Path,
    data_folder: &Path,
    endpoint: &str,
) -> Result<Option<FirstStart>, IdentityError> {
    let pending = data_folder.join(PENDING_FILE);
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    if exists(file) && !exists(&pending) {
        return Ok(None);
    }
    files::make_folder(data_folder)?;
    files::make_folder(files::folder_of(file))?;
    files::check_folder(data_folder)?;
    let _lock = files::EditLock::take(file)?;
    let tokens_file = data_folder.join(CLOUDS_FILE);
    // Another process may have been here while this one waited.
    match (exists(file), exists(&pending)) {
        (true, false) => return Ok(None),
        (true, true) if !belongs(&pending, file)? => {
            tracing::warn!(path = %pending.display(), "tokens of no identity were left behind; removing them");
            discard(&pending)?;
            return Ok(None);
        }
        (true, true) => {}
        (false, stale) => {
            if exists(&tokens_file) {
                return Err(IdentityError::file(
                    &tokens_file,
                    format!("exists, but the identities in {} do not", file.display()),
                    "put the identities back, or move the tokens away to start with new ones",
                ));
            }
            if stale {
                discard(&pending)?;
            }
            let (tokens, identities) = make(file, endpoint)?;
            files::create(&pending, tokens.as_bytes())?;
            files::create(file, identities.as_bytes())?;
        }
    }
    files::rename_new(&pending, &tokens_file)?;
    files::sync_folder(data_folder)?;
    Ok(Some(FirstStart { clouds_file: tokens_file }))
}

fn discard(pending: &Path) -> Result<(), IdentityError> {
    std::fs::remove_file(pending).map_err(IdentityError::io("cannot remove", pending))
}

/// Both files' texts.
fn make(file: &Path, endpoint: &str) -> Result<(Zeroizing<String>, String), IdentityError> {
    let mut document = Document::default();
    let mut tokens = Zeroizing::new(String::with_capacity(1024));
    tokens.push_str(TOKENS_HEADER);
    // Keystone's admin is a member and a reader as well: Barbican's rules ask for those.
    let roles = [&["admin", "member", "reader"][..], &["service"]];
    for ((user, project), roles) in
        [("administrator", "admin"), ("service", "service")].into_iter().zip(roles)
    {
        let new = NewIdentity {
            user_name: user.to_owned(),
            project: project.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            user_id: None,
            project_id: None,
            expires_at: None,
        };
        let (token, entry) = edit::make(&new, &document)?;
        document.identity.push(entry);
        // In JSON's quotes, which are YAML's as well.
        let head = format!(
            "  {user}:\n    auth_type: admin_token\n    auth:\n      endpoint: {}\n      token: \"",
            serde_json::Value::from(endpoint)
        );
        for part in [head.as_str(), token.expose(), "\"\n"] {
            tokens.push_str(part);
        }
    }
    Ok((tokens, document::render(file, &document)?))
}

/// Whether the pending tokens are those of identities in the file.
fn belongs(pending: &Path, file: &Path) -> Result<bool, IdentityError> {
    let (Some(tokens), Some(identities)) = (files::read(pending, MAX_TOKENS)?, files::read(file, MAX_FILE)?)
    else {
        return Ok(false);
    };
    let identities = document::parse(file, &identities.bytes)?;
    let Ok(text) = std::str::from_utf8(&tokens.bytes) else { return Ok(false) };
    let mut digests = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("token: \"")?.strip_suffix('"'))
        .map(|text| token::digest(&SecretText::new(text)))
        .peekable();
    Ok(digests.peek().is_some()
        && digests.all(|digest| identities.identity.iter().any(|entry| entry.digest() == Some(digest))))
}

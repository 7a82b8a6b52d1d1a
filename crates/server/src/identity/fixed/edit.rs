//! Changes to the file of identities, for the command line and the first start.
//!
//! Invariants: one edit at a time (under a lock), written whole or not at all; entries that an edit does not name stay as
//! they are; a token is handed out once and kept nowhere. A file that does not parse is never written to.

use std::path::Path;

use chatelaine_client::SecretText;
use chatelaine_core::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::document::{self, Document, Entry};
use crate::identity::{IdentityError, files, token};

/// What every static token begins with, so that a lost one is recognised for what it is.
pub const TOKEN_PREFIX: &str = "chatelaine_";
/// Digits of the digest by which people tell tokens apart.
const FINGERPRINT: usize = 16;
/// The fewest of them that name a token.
const SHORTEST_FINGERPRINT: usize = 8;

/// An identity to add.
#[derive(Debug, Clone)]
pub struct NewIdentity {
    /// The user's name. A known one gets a further token under the same id.
    pub user_name: String,
    /// The project's name or id. An unknown name gets a new id.
    pub project: String,
    /// The roles in that project.
    pub roles: Vec<String>,
    /// The user's id, where it shall be a certain one: keys belong to ids. `None`: that of the name, or a new one.
    pub user_id: Option<String>,
    /// The project's id, where it shall be a certain one.
    pub project_id: Option<String>,
    /// When the token ends; `None`: when it is removed.
    pub expires_at: Option<Timestamp>,
}

/// An identity as it is shown; nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedIdentity {
    /// The user's name.
    pub user_name: String,
    /// The user's id.
    pub user_id: String,
    /// The project's name, where the file has one.
    pub project_name: Option<String>,
    /// The project's id.
    pub project_id: String,
    /// The roles in that project, in lower case.
    pub roles: Vec<String>,
    /// When the token ends; RFC 3339 in JSON.
    #[serde(serialize_with = "as_text")]
    pub expires_at: Option<Timestamp>,
    /// The first 16 digits of the token's SHA-256 digest, which tell one token of a user from another.
    pub token: String,
}

fn as_text<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    moment.map(|moment| moment.to_string()).serialize(serializer)
}

/// Adds an identity and gives its token, which cannot be had again. Makes the file if there is none.
///
/// # Errors
/// [`IdentityError::Edit`] for names, roles and moments that are not acceptable; otherwise whatever is wrong with the file.
pub fn add(file: &Path, new: &NewIdentity, now: Timestamp) -> Result<SecretText, IdentityError> {
    let refuse = |what: &str, rule: &str| Err(IdentityError::Edit(format!("the {what} {rule}")));
    if !document::is_name(&new.user_name) {
        return refuse("user name", document::NAME_RULE);
    }
    if !document::is_name(&new.project) {
        return refuse("project", document::NAME_RULE);
    }
    if !document::are_roles(&new.roles) {
        return refuse("roles", document::ROLES_RULE);
    }
    for (what, id) in [("user id", &new.user_id), ("project id", &new.project_id)] {
        if id.as_deref().is_some_and(|id| !document::is_id(id)) {
            return refuse(what, document::ID_RULE);
        }
    }
    if new.expires_at.is_some_and(|moment| moment <= now) {
        return refuse("expiry", "must lie in the future");
    }
    let file = &resolved(file);
    let _lock = files::EditLock::take(file)?;
    let existing = load(file)?;
    let mut document = existing
        .as_ref()
        .map_or_else(Document::default, |document| Document { identity: document.identity.clone() });
    let (token, entry) = make(new, &document)?;
    document.identity.push(entry);
    let text = document::render(file, &document)?;
    match existing {
        Some(_) => files::replace(file, text.as_bytes())?,
        None => files::create(file, text.as_bytes())?,
    }
    Ok(token)
}

/// What [`remove`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// How many tokens were removed.
    pub count: usize,
    /// The user's name and id, where no token of the user is left: the file knows nothing of the id any more.
    pub last_of: Option<(String, String)>,
}

/// Removes the tokens of a user, named by name or id; with `token` (at least 8 digits of [`ListedIdentity::token`])
/// only that one.
///
/// # Errors
/// [`IdentityError::Edit`] when nothing fits or `token` fits more than one; otherwise whatever is wrong with the file.
pub fn remove(file: &Path, user: &str, token: Option<&str>) -> Result<Removed, IdentityError> {
    if token.is_some_and(|digits| digits.len() < SHORTEST_FINGERPRINT) {
        return Err(IdentityError::Edit(format!(
            "a token is named by at least {SHORTEST_FINGERPRINT} digits of what `chatelaine identity list` shows for it"
        )));
    }
    let file = &resolved(file);
    let _lock = files::EditLock::take(file)?;
    let document = load_existing(file)?;
    let fits = |entry: &Entry| {
        (entry.user_name == user || entry.user_id == user)
            && token.is_none_or(|digits| entry.token_sha256.starts_with(digits))
    };
    let (gone, kept): (Vec<Entry>, Vec<Entry>) = document.identity.into_iter().partition(fits);
    if gone.is_empty() {
        return Err(IdentityError::Edit(
            "no token of that user is there; see `chatelaine identity list`".to_owned(),
        ));
    }
    if token.is_some() && gone.len() > 1 {
        return Err(IdentityError::Edit(
            "these digits fit more than one token; give more of them".to_owned(),
        ));
    }
    let last_of = gone
        .iter()
        .find(|gone| kept.iter().all(|entry| entry.user_id != gone.user_id))
        .map(|gone| (gone.user_name.clone(), gone.user_id.clone()));
    let text = document::render(file, &Document { identity: kept })?;
    files::replace(file, text.as_bytes())?;
    Ok(Removed { count: gone.len(), last_of })
}

/// The identities in the order of the file.
///
/// # Errors
/// Whatever is wrong with the file.
pub fn list(file: &Path) -> Result<Vec<ListedIdentity>, IdentityError> {
    let document = load_existing(&resolved(file))?;
    Ok(document
        .identity
        .into_iter()
        .map(|entry| ListedIdentity {
            expires_at: entry.expiry().flatten(),
            token: entry.token_sha256.chars().take(FINGERPRINT).collect(),
            roles: entry.roles.iter().map(|role| role.to_lowercase()).collect(),
            user_name: entry.user_name,
            user_id: entry.user_id,
            project_name: entry.project_name,
            project_id: entry.project_id,
        })
        .collect())
}

/// The file itself where `file` is a symbolic link, so that an edit does not replace the link.
fn resolved(file: &Path) -> std::path::PathBuf {
    std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf())
}

fn load(file: &Path) -> Result<Option<Document>, IdentityError> {
    let content = files::read(file, document::MAX_FILE)?;
    content.map(|content| document::parse(file, &content.bytes)).transpose()
}

fn load_existing(file: &Path) -> Result<Document, IdentityError> {
    load(file)?.ok_or_else(|| {
        IdentityError::file(file, "does not exist", "start the server once, or run `chatelaine identity add`")
    })
}

/// A token and its entry, with the ids that `document` has for its names.
pub(super) fn make(new: &NewIdentity, document: &Document) -> Result<(SecretText, Entry), IdentityError> {
    let token = random_token()?;
    let known = &document.identity;
    let known_user = known.iter().find(|entry| entry.user_name == new.user_name);
    let user_id = match (&new.user_id, known_user) {
        (None, None) => random_id(),
        (None, Some(entry)) => entry.user_id.clone(),
        (Some(id), Some(entry)) if entry.user_id != *id => {
            return Err(IdentityError::Edit(format!(
                "the user {} has the id {} in the file, not {id}",
                new.user_name, entry.user_id
            )));
        }
        // One id is one owner of keys: two names for it would be two that read each other's.
        (Some(id), _) => match known.iter().find(|entry| entry.user_id == *id) {
            Some(entry) if entry.user_name != new.user_name => {
                return Err(IdentityError::Edit(format!("the id {id} is that of user {}", entry.user_name)));
            }
            _ => id.clone(),
        },
    };
    let by_name = known.iter().find(|entry| entry.project_name.as_ref() == Some(&new.project));
    let by_id = || known.iter().find(|entry| entry.project_id == new.project);
    let (project_id, project_name) = match by_name.or_else(by_id) {
        Some(entry) if new.project_id.as_ref().is_some_and(|id| *id != entry.project_id) => {
            return Err(IdentityError::Edit(format!(
                "the project {} has the id {} in the file",
                new.project, entry.project_id
            )));
        }
        Some(entry) => (entry.project_id.clone(), entry.project_name.clone()),
        None if new.project_id.is_some() => {
            (new.project_id.clone().unwrap_or_default(), Some(new.project.clone()))
        }
        None if is_canonical_id(&new.project) => (new.project.clone(), None),
        None => (random_id(), Some(new.project.clone())),
    };
    let entry = Entry {
        token_sha256: hex::encode(token::digest(&token)),
        user_id,
        user_name: new.user_name.clone(),
        project_id,
        project_name,
        roles: new.roles.clone(),
        expires_at: new.expires_at.map(|moment| moment.to_string()),
    };
    Ok((token, entry))
}

/// 256 random bits in text.
fn random_token() -> Result<SecretText, IdentityError> {
    let mut bits = Zeroizing::new([0_u8; 32]);
    chatelaine_crypto::random::fill_secret(bits.as_mut()).map_err(|_| IdentityError::Random)?;
    let mut digits = Zeroizing::new([0_u8; 64]);
    hex::encode_to_slice(bits.as_ref(), digits.as_mut()).map_err(|_| IdentityError::Random)?;
    let digits = std::str::from_utf8(digits.as_ref()).map_err(|_| IdentityError::Random)?;
    // Reserved at once: growing would leave unwiped pieces behind.
    let mut text = String::with_capacity(TOKEN_PREFIX.len().saturating_add(digits.len()));
    text.push_str(TOKEN_PREFIX);
    text.push_str(digits);
    Ok(SecretText::new(text))
}

/// An id as Keystone makes them: 32 hexadecimal digits.
fn random_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn is_canonical_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

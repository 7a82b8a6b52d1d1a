//! `encryption-defaults …`: how data is encrypted where nobody says otherwise.
//!
//! Invariant: a default is replaced only as it was when it was read: who was faster is not overwritten.

use chatelaine_api::{
    EffectiveDefaultDocument, EncryptionDefaultDocument, EncryptionDefaultRequest, Lock, WiderScope,
};
use chatelaine_client::http::{ClientError, HttpMethod, Request, Session};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::customer::{self, Customer};
use super::key::words;
use super::{Exit, Failure, Format, Global, Terminal, connection};

const SHOW_EXAMPLE: &str = "\
Example:
  chatelaine encryption-defaults show --project 4f1c7a0e3b524a539a540f6c1f5be1a7";
const SET_EXAMPLE: &str = "\
A default counts as a whole: nothing of the domain's shows through that of a project.

Examples:
  chatelaine encryption-defaults set --project 4f1c7a0e3b524a539a540f6c1f5be1a7 --algorithm aes-256-gcm --lock dual --scope project
  chatelaine encryption-defaults set --user 0b9e4a672f1d4d85b3c67e1a9f5d2c04 --algorithm aes-256-xts --lock single";
const UNSET_EXAMPLE: &str = "\
Example:
  chatelaine encryption-defaults unset --domain default";
const EFFECTIVE_EXAMPLE: &str = "\
The user's default counts, else the project's, else the domain's, else that of the key manager's configuration. What is not
named is not looked at; without any option, that of your own token is shown.

Example:
  chatelaine encryption-defaults effective --user 0b9e4a672f1d4d85b3c67e1a9f5d2c04 --project 4f1c7a0e3b524a539a540f6c1f5be1a7";

const PATH: &str = "/v1/encryption-defaults";
const LOCKS: [&str; 3] = ["single", "dual", "compound"];
const SCOPES: [&str; 3] = ["user", "project", "domain"];

/// Arguments of `encryption-defaults`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the default of a user, project or domain
    #[command(after_help = SHOW_EXAMPLE)]
    Show(Whose),
    /// Set the default of a user, project or domain
    #[command(after_help = SET_EXAMPLE)]
    Set(Set),
    /// Remove the default of a user, project or domain
    #[command(after_help = UNSET_EXAMPLE)]
    Unset(Whose),
    /// Show which default is in force, and where it comes from
    #[command(after_help = EFFECTIVE_EXAMPLE)]
    Effective(Effective),
}

#[derive(Debug, clap::Args)]
struct Whose {
    #[command(flatten)]
    customer: Customer,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    customer: Customer,
    /// The data cipher; `chatelaine algorithms` lists them
    #[arg(long, value_name = "NAME")]
    algorithm: String,
    /// Which keys it takes to open a data key
    #[arg(long, value_name = "LOCK", value_parser = PossibleValuesParser::new(LOCKS).try_map(word::<Lock>))]
    lock: Lock,
    /// Whose key the lock takes besides the service's, for dual and compound
    #[arg(long, value_name = "SCOPE", value_parser = PossibleValuesParser::new(SCOPES).try_map(word::<WiderScope>))]
    scope: Option<WiderScope>,
}

#[derive(Debug, clap::Args)]
struct Effective {
    /// The user with this id
    #[arg(long, value_name = "ID", value_parser = customer::id)]
    user: Option<String>,
    /// The project with this id
    #[arg(long, value_name = "ID", value_parser = customer::id)]
    project: Option<String>,
    /// The domain with this id
    #[arg(long, value_name = "ID", value_parser = customer::id)]
    domain: Option<String>,
}

fn word<T: DeserializeOwned>(text: String) -> Result<T, String> {
    serde_json::from_value(Value::String(text)).map_err(|error| error.to_string())
}

/// Runs a command about encryption defaults.
pub(crate) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Show(whose) => {
            let path = path_of(&whose.customer)?;
            let session = connection::open(global, false, terminal).await?;
            let found: EncryptionDefaultDocument = get(&session, &path).await.map_err(explain)?;
            print(&found, terminal)
        }
        Command::Set(arguments) => set(arguments, global, terminal).await,
        Command::Unset(whose) => {
            let path = path_of(&whose.customer)?;
            let session = connection::open(global, false, terminal).await?;
            session.request(Request::new(HttpMethod::DELETE, path)).await.map_err(explain)?;
            Ok(Exit::Done)
        }
        Command::Effective(arguments) => effective(&arguments, global, terminal).await,
    }
}

fn path_of(customer: &Customer) -> Result<String, Failure> {
    let (scope, id) = customer.one()?;
    Ok(format!("{PATH}/{}s/{id}", scope.as_str()))
}

/// An error with what can be done about it.
fn explain(error: ClientError) -> Failure {
    let advice = match error.status() {
        Some(403) => {
            "users set their own, the roles admin and manager those of their project or domain, administrators all; the \
             policy's rules `encryption_default:…` decide"
        }
        Some(404) => "none is set; `chatelaine encryption-defaults effective` shows which one is in force",
        Some(412 | 428) => "somebody else changed it at the same moment: look at it, and repeat the command",
        _ => return error.into(),
    };
    Failure::from(error).advise(advice)
}

async fn get<T: DeserializeOwned>(session: &Session, path: &str) -> Result<T, ClientError> {
    session.request(Request::new(HttpMethod::GET, path)).await?.json()
}

async fn set(arguments: Set, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let path = path_of(&arguments.customer)?;
    let Set { algorithm, lock, scope, .. } = arguments;
    let session = connection::open(global, false, terminal).await?;
    let version = match get::<EncryptionDefaultDocument>(&session, &path).await {
        Ok(found) => Some(found.version),
        Err(error) if error.status() == Some(404) => None,
        Err(error) => return Err(explain(error)),
    };
    let mut request =
        Request::new(HttpMethod::PUT, path).json(&EncryptionDefaultRequest { algorithm, lock, scope })?;
    if let Some(version) = version {
        request = request.header("If-Match", &format!("\"{version}\""))?;
    }
    let set: EncryptionDefaultDocument =
        session.request(request).await.and_then(|response| response.json()).map_err(explain)?;
    print(&set, terminal)
}

fn print(found: &EncryptionDefaultDocument, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let rows = [
        ("level", Some(words::text(&found.level))),
        ("id", Some(found.id.clone())),
        ("version", Some(found.version.to_string())),
        ("algorithm", Some(found.algorithm.clone())),
        ("lock", Some(words::text(&found.lock))),
        ("scope", found.scope.as_ref().map(words::text)),
        ("created_at", Some(found.created_at.clone())),
        ("updated_at", Some(found.updated_at.clone())),
    ];
    match terminal.format {
        Format::Json => terminal.json(found)?,
        Format::Table => terminal.table(&["FIELD", "VALUE"], given(rows))?,
    }
    Ok(Exit::Done)
}

async fn effective(arguments: &Effective, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Effective { user, project, domain } = arguments;
    let session = connection::open(global, false, terminal).await?;
    let mut request = Request::new(HttpMethod::GET, format!("{PATH}/effective"));
    for (name, value) in [("user_id", user), ("project_id", project), ("domain_id", domain)] {
        if let Some(value) = value {
            request = request.query(name, value);
        }
    }
    let found: EffectiveDefaultDocument =
        session.request(request).await.and_then(|response| response.json()).map_err(explain)?;
    let rows = [
        ("algorithm", Some(found.algorithm.clone())),
        ("lock", Some(words::text(&found.lock))),
        ("scope", found.scope.as_ref().map(words::text)),
        ("from", Some(words::text(&found.source.level))),
        ("of", found.source.id.clone()),
    ];
    match terminal.format {
        Format::Json => terminal.json(&found)?,
        Format::Table => terminal.table(&["FIELD", "VALUE"], given(rows))?,
    }
    Ok(Exit::Done)
}

fn given(rows: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Vec<Vec<String>> {
    rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect()
}

//! `identity list|add|remove`: the static identities' file, edited safely. A running server notices within a second.

use std::path::PathBuf;

use chatelaine_core::Timestamp;
use chatelaine_core::clock::{Clock as _, SystemClock};
use clap::Subcommand;
use serde_json::json;

use super::{failed, load};
use crate::cli::{Exit, Failure, Format, Global, Terminal};
use crate::identity::{IdentityError, IdentityKind, NewIdentity, add, list, remove};

/// Arguments of `identity`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the static identities; tokens are not shown, they are not kept
    #[command(after_help = "Example:\n  chatelaine identity list")]
    List,
    /// Add an identity, or a further token of one, and print the token: it cannot be had again
    #[command(after_help = "Example:\n  chatelaine identity add cinder --project service --role service")]
    Add {
        /// The user's name
        user: String,
        /// The project's name or id
        #[arg(long)]
        project: String,
        /// A role in that project; may be given several times
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// The user's id, where it shall be a certain one: keys belong to ids, not to names
        #[arg(long, value_name = "ID")]
        user_id: Option<String>,
        /// The project's id, where it shall be a certain one
        #[arg(long, value_name = "ID")]
        project_id: Option<String>,
        /// When the token ends (RFC 3339)
        #[arg(long, value_name = "MOMENT")]
        expires_at: Option<String>,
    },
    /// Remove the tokens of a user
    #[command(after_help = "Example:\n  chatelaine identity remove cinder --token 1f0e9d5d41402abc")]
    Remove {
        /// The user's name or id
        user: String,
        /// Only the token that `identity list` shows with these digits
        #[arg(long, value_name = "DIGITS")]
        token: Option<String>,
    },
}

fn refused(error: IdentityError) -> Failure {
    match error {
        IdentityError::Edit(message) => Failure::usage(message),
        other => failed(other),
    }
}

fn file(global: &Global, terminal: &Terminal) -> Result<PathBuf, Failure> {
    let config = load(global, terminal)?;
    if config.identity.kind != IdentityKind::Static {
        return Err(Failure::usage(
            "identity.kind is keystone: users and roles are Keystone's, `openstack user` shows them",
        ));
    }
    Ok(config.identity.fixed.path(&config.data.folder))
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let file = file(global, terminal)?;
    match arguments.command {
        Command::List => {
            let found = list(&file).map_err(refused)?;
            if terminal.format == Format::Json {
                terminal.json(&found)?;
                return Ok(Exit::Done);
            }
            let rows = found.into_iter().map(|one| {
                vec![
                    one.user_name,
                    one.user_id,
                    one.project_name.unwrap_or(one.project_id),
                    one.roles.join(", "),
                    one.expires_at.map_or_else(String::new, |at| at.to_string()),
                    one.token,
                ]
            });
            terminal.table(
                &["USER", "ID", "PROJECT", "ROLES", "EXPIRES AT", "TOKEN'S SHA-256"],
                rows.collect(),
            )?;
        }
        Command::Add { user, project, roles, user_id, project_id, expires_at } => {
            let expires_at = expires_at.as_deref().map(|text| {
                Timestamp::parse(text).ok_or_else(|| {
                    Failure::usage(
                        "--expires-at: not a moment as in RFC 3339, for example 2027-01-31T12:00:00Z",
                    )
                })
            });
            let new = NewIdentity {
                user_name: user,
                project,
                roles,
                user_id,
                project_id,
                expires_at: expires_at.transpose()?,
            };
            let token = add(&file, &new, SystemClock.now()).map_err(refused)?;
            match terminal.format {
                Format::Json => terminal.json(&json!({ "token": token.expose() }))?,
                Format::Table => {
                    terminal.write(token.expose().as_bytes())?;
                    terminal.write(b"\n")?;
                }
            }
            terminal.note("the token is kept nowhere else");
        }
        Command::Remove { user, token } => {
            let removed = remove(&file, &user, token.as_deref()).map_err(refused)?;
            match terminal.format {
                Format::Json => terminal.json(&json!({ "removed": removed.count }))?,
                Format::Table => terminal.write(format!("removed {}\n", removed.count).as_bytes())?,
            }
            if let Some((name, id)) = removed.last_of {
                terminal.warn(&format!(
                    "{name} has no token any more, and the file forgets the id {id} that the user's keys belong to: \
                     `identity add {name} --user-id {id}` gives the same user a token again, with --project-id for the \
                     same project"
                ));
            }
        }
    }
    Ok(Exit::Done)
}

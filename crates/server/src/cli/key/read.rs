//! `key get` and `key show`.
//!
//! Invariants: the file for a key string is created before the key is asked for, so that nothing is released that
//! cannot be kept; raw bytes never go to a terminal.

use std::path::PathBuf;

use chatelaine_api::ReleasedKey;
use chatelaine_client::http::{HttpMethod, Request};
use chatelaine_core::id::SecretId;

use super::encoding::{self, Encoding};
use super::file::NewFile;
use super::{metadata, path_of, print, words};
use crate::cli::{Exit, Failure, Format, Global, Terminal, connection};

const GET_EXAMPLE: &str = "\
Examples:
  chatelaine key get 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --encoding base64
  chatelaine key get 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --output volume.key";

const SHOW_EXAMPLE: &str = "\
Example:
  chatelaine key show 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";

/// Arguments of `key get`.
#[derive(Debug, clap::Args)]
#[command(after_help = GET_EXAMPLE)]
pub(super) struct Get {
    /// The key's id
    #[arg(value_name = "KEY-ID", value_parser = words::key_id)]
    id: SecretId,
    /// A new file for the key string, made with mode 0600; what exists is never overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How the key string is written; raw without this, and with --format json a field in base64
    #[arg(long, value_enum)]
    encoding: Option<Encoding>,
    /// Release a key that is revoked, expired or not active yet
    #[arg(long)]
    allow_inactive: bool,
}

/// Arguments of `key show`.
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLE)]
pub(super) struct Show {
    /// The key's id
    #[arg(value_name = "KEY-ID", value_parser = words::key_id)]
    id: SecretId,
}

pub(super) async fn get(arguments: &Get, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let encoding = arguments.encoding.unwrap_or(Encoding::Raw);
    if arguments.output.is_none() {
        match terminal.format {
            Format::Json if arguments.encoding.is_some() => {
                return Err(Failure::usage("--format json writes the key string as a field in base64")
                    .advise("leave --encoding out, or name a file with --output"));
            }
            Format::Table if encoding == Encoding::Raw && terminal.output_is_terminal => {
                return Err(Failure::usage("raw bytes of a key string are not written to a terminal")
                    .advise("use --encoding base64 or hex, --output FILE, or a pipe"));
            }
            _ => {}
        }
    }
    let file = match &arguments.output {
        None => None,
        Some(path) => {
            let failed = |error: std::io::Error| {
                Failure::usage(format!("cannot create {}: {error}", path.display()))
                    .advise("name a file that does not exist, in a folder you can write to")
            };
            Some((path, NewFile::create(path).map_err(failed)?))
        }
    };
    let session = connection::open(global, false, terminal).await?;
    let mut request = Request::new(HttpMethod::GET, path_of(arguments.id));
    if arguments.allow_inactive {
        request = request.query("allow_inactive", "true");
    }
    let released: ReleasedKey = session.request(request).await?.json()?;
    let Some((path, file)) = file else {
        match terminal.format {
            Format::Json => terminal.json(&released)?,
            Format::Table => terminal.write(&encoding::encode(&released.key_string, encoding)?)?,
        }
        return Ok(Exit::Done);
    };
    file.finish(&encoding::encode(&released.key_string, encoding)?)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    if terminal.format == Format::Json {
        terminal.json(&released.key)?;
    }
    let length = released.key_string.expose().len();
    terminal.note(&format!("key string of {length} bytes written to {}", path.display()));
    Ok(Exit::Done)
}

pub(super) async fn show(
    arguments: &Show,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let session = connection::open(global, false, terminal).await?;
    let document = metadata(&session, arguments.id).await?;
    print(&document, terminal)?;
    Ok(Exit::Done)
}

//! `key update`.
//!
//! Invariant: a change always carries the version it is meant for; without `--if-match` that is the one read just
//! before, and this is said.

use std::path::PathBuf;

use chatelaine_api::UpdateKeyRequest;
use chatelaine_client::http::{HttpMethod, Request};
use chatelaine_core::id::SecretId;

use super::encoding::{self, Encoding};
use super::{if_match, metadata, path_of, send_and_print, words};
use crate::cli::{Exit, Failure, Global, Terminal, connection};

const EXAMPLE: &str = "\
Examples:
  chatelaine key update 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --name archive --no-expires-at
  chatelaine key update 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --if-match 3 --key-string-file rewrapped.bin --master-key swift-2027";

/// Arguments of `key update`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Arguments {
    /// The key's id
    #[arg(value_name = "KEY-ID", value_parser = words::key_id)]
    id: SecretId,
    /// The version the change is meant for; without it the key's version is read first
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    if_match: Option<u64>,
    /// A new name
    #[arg(long, value_name = "NAME", group = "change", conflicts_with = "no_name")]
    name: Option<String>,
    /// Take the name away
    #[arg(long, group = "change")]
    no_name: bool,
    /// The master key of yours that the new key string is wrapped under
    #[arg(long, value_name = "NAME", group = "change", conflicts_with = "no_master_key")]
    master_key: Option<String>,
    /// Say that the key string is wrapped under no master key of yours
    #[arg(long, group = "change")]
    no_master_key: bool,
    /// New attributes in place of all old ones; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = words::attribute, group = "change",
          conflicts_with = "no_attributes")]
    attributes: Vec<(String, String)>,
    /// Take all attributes away
    #[arg(long, group = "change")]
    no_attributes: bool,
    /// A new expiry (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = words::moment, group = "change",
          conflicts_with = "no_expires_at")]
    expires_at: Option<String>,
    /// Take the expiry away
    #[arg(long, group = "change")]
    no_expires_at: bool,
    /// The file that holds a new key string; - for standard input
    #[arg(long, value_name = "FILE", group = "change")]
    key_string_file: Option<PathBuf>,
    /// How the file holds it
    #[arg(long, value_enum, default_value_t = Encoding::Raw, requires = "key_string_file")]
    encoding: Encoding,
}

pub(super) async fn run(
    arguments: Arguments,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let attributes = match (arguments.attributes.is_empty(), arguments.no_attributes) {
        (true, false) => None,
        _ => Some(words::attributes(arguments.attributes)?),
    };
    let mut body = UpdateKeyRequest {
        key_string: None,
        name: change(arguments.name, arguments.no_name),
        master_key: change(arguments.master_key, arguments.no_master_key),
        attributes,
        expires_at: change(arguments.expires_at, arguments.no_expires_at),
    };
    let from_input = arguments.key_string_file.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let session = connection::open(global, from_input, terminal).await?;
    if let Some(path) = &arguments.key_string_file {
        body.key_string = Some(encoding::read(path, arguments.encoding, terminal)?);
    }
    let version = match arguments.if_match {
        Some(version) => version,
        None => {
            let version = metadata(&session, arguments.id).await?.version;
            terminal.note(&format!("changing version {version}, read just now; --if-match names one"));
            version
        }
    };
    let request = Request::new(HttpMethod::PATCH, path_of(arguments.id)).json(&body)?;
    send_and_print(&session, if_match(request, version)?, terminal).await
}

/// A new value, none any more, or no change.
fn change(value: Option<String>, remove: bool) -> Option<Option<String>> {
    if remove { Some(None) } else { value.map(Some) }
}

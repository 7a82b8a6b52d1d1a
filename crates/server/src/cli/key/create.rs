//! `key create` and `key put`.

use std::path::PathBuf;

use chatelaine_api::{NewKeyRequest, Scope};
use chatelaine_client::http::{HttpMethod, Request};
use chatelaine_core::id::SecretId;

use super::encoding::{self, Encoding};
use super::{KEYS, path_of, send_and_print, words};
use crate::cli::{Exit, Failure, Global, Terminal, connection, customer};

const CREATE_EXAMPLE: &str = "\
Example:
  chatelaine key create --algorithm aes --bit-length 256 --name backup --attribute rack=7";

const PUT_EXAMPLE: &str = "\
Examples:
  chatelaine key put --key-string-file wrapped.bin --algorithm aes --bit-length 256 --master-key swift-2026
  openssl rand -hex 32 | chatelaine key put 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 --key-string-file - --encoding hex";

/// What is said about a new key.
#[derive(Debug, clap::Args)]
struct Description {
    /// A name for people, at most 255 characters
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whose key it is
    #[arg(long, value_name = "SCOPE", value_parser = words::scopes(), default_value = "entity")]
    scope: Scope,
    /// Keystone's id of that user, project or domain; only the identity service puts keys of these
    #[arg(long, value_name = "ID", value_parser = customer::id)]
    scope_id: Option<String>,
    /// A word of yours; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = words::attribute)]
    attributes: Vec<(String, String)>,
    /// Not released before (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = words::moment)]
    activates_at: Option<String>,
    /// Not released from then on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = words::moment)]
    expires_at: Option<String>,
}

impl Description {
    fn into_request(self) -> Result<NewKeyRequest, Failure> {
        Ok(NewKeyRequest {
            name: self.name,
            scope: self.scope,
            scope_id: self.scope_id,
            attributes: words::attributes(self.attributes)?,
            activates_at: self.activates_at,
            expires_at: self.expires_at,
            ..NewKeyRequest::default()
        })
    }
}

/// Arguments of `key create`.
#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_EXAMPLE)]
pub(super) struct Create {
    /// What the key is for: see `chatelaine algorithms`
    #[arg(long, value_name = "NAME")]
    algorithm: String,
    /// The key's length in bits; without it the algorithm's usual one
    #[arg(long, value_name = "BITS")]
    bit_length: Option<u32>,
    #[command(flatten)]
    description: Description,
}

/// Arguments of `key put`.
#[derive(Debug, clap::Args)]
#[command(after_help = PUT_EXAMPLE)]
pub(super) struct Put {
    /// The key's id, a UUID; without it the server makes one
    #[arg(value_name = "KEY-ID", value_parser = words::key_id)]
    id: Option<SecretId>,
    /// The file that holds the key string, at most 65,536 bytes; - for standard input
    #[arg(long, value_name = "FILE")]
    key_string_file: PathBuf,
    /// How the file holds it
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    encoding: Encoding,
    /// What the key is for: see `chatelaine algorithms`
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// The length of the key itself in bits
    #[arg(long, value_name = "BITS")]
    bit_length: Option<u32>,
    /// The master key of yours that the key string is wrapped under
    #[arg(long, value_name = "NAME")]
    master_key: Option<String>,
    #[command(flatten)]
    description: Description,
}

pub(super) async fn create(
    arguments: Create,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let body = NewKeyRequest {
        generate: true,
        algorithm: Some(arguments.algorithm),
        bit_length: arguments.bit_length,
        ..arguments.description.into_request()?
    };
    let session = connection::open(global, false, terminal).await?;
    let request = Request::new(HttpMethod::POST, KEYS).json(&body)?;
    send_and_print(&session, request, terminal).await
}

pub(super) async fn put(arguments: Put, global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut body = NewKeyRequest {
        algorithm: arguments.algorithm,
        bit_length: arguments.bit_length,
        master_key: arguments.master_key,
        ..arguments.description.into_request()?
    };
    let from_input = arguments.key_string_file.as_os_str() == "-";
    let session = connection::open(global, from_input, terminal).await?;
    body.key_string = Some(encoding::read(&arguments.key_string_file, arguments.encoding, terminal)?);
    let request = match arguments.id {
        Some(id) => Request::new(HttpMethod::PUT, path_of(id)),
        None => Request::new(HttpMethod::POST, KEYS),
    };
    send_and_print(&session, request.json(&body)?, terminal).await
}

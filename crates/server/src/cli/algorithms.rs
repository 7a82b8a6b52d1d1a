//! `algorithms`: what the server's cryptographic library can do.

use chatelaine_api::{AlgorithmDocument, AlgorithmsDocument, BitLengthRange, DataCipherDocument};
use chatelaine_client::http::{HttpMethod, Request};

use super::{Exit, Failure, Format, Global, Terminal, connection};

const EXAMPLE: &str = "\
Example:
  chatelaine algorithms";

/// Arguments of `algorithms`: none.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {}

/// Prints the algorithms and data ciphers.
pub(crate) async fn run(global: &Global, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let session = connection::open(global, false, terminal).await?;
    let response = session.request(Request::new(HttpMethod::GET, "/v1/algorithms")).await?;
    let document: AlgorithmsDocument = response.json()?;
    if terminal.format == Format::Json {
        terminal.json(&document)?;
        return Ok(Exit::Done);
    }
    terminal.table(
        &["ALGORITHM", "KIND", "STATUS", "BIT LENGTHS", "DEFAULT", "MODES", "ACCELERATED", "REASON"],
        document.algorithms.iter().map(algorithm_row).collect(),
    )?;
    terminal.write(b"\n")?;
    terminal.table(
        &["DATA CIPHER", "STATUS", "BITS", "AUTHENTICATED", "SAME LENGTH", "RANDOM ACCESS", "REASON"],
        document.data_ciphers.iter().map(cipher_row).collect(),
    )?;
    Ok(Exit::Done)
}

fn algorithm_row(algorithm: &AlgorithmDocument) -> Vec<String> {
    let modes: Vec<&str> = algorithm.modes.iter().map(|mode| mode.name.as_str()).collect();
    let default = match algorithm.default_bit_length {
        0 => String::new(),
        bits => bits.to_string(),
    };
    vec![
        algorithm.name.clone(),
        algorithm.kind.clone(),
        algorithm.status.clone(),
        lengths(&algorithm.bit_lengths),
        default,
        modes.join(", "),
        yes(algorithm.accelerated),
        algorithm.reason.clone().unwrap_or_default(),
    ]
}

fn cipher_row(cipher: &DataCipherDocument) -> Vec<String> {
    vec![
        cipher.name.clone(),
        cipher.status.clone(),
        cipher.bit_length.to_string(),
        yes(cipher.authenticated),
        yes(cipher.length_preserving),
        yes(cipher.random_access),
        cipher.reason.clone().unwrap_or_default(),
    ]
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn lengths(range: &BitLengthRange) -> String {
    match range {
        BitLengthRange::List(bits) => bits.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        BitLengthRange::Range { minimum, maximum, step } => {
            format!("{minimum} to {maximum} by {step}")
        }
    }
}

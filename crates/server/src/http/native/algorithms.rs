//! `GET /v1/algorithms`: the registry of the cryptographic crate, as a document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chatelaine_api::{
    AccelerationDocument, AlgorithmDocument, AlgorithmsDocument, BitLengthRange, DataCipherDocument,
    ModeDocument,
};
use chatelaine_crypto::algorithms::{ALGORITHMS, BitLengths, DATA_CIPHERS, Kind, Status, acceleration};

use super::super::App;
use super::super::caller::Authenticated;

/// What the cryptographic library can do here, and whether the processor helps.
#[utoipa::path(get, path = "/v1/algorithms", tag = "algorithms", responses((status = 200, body = AlgorithmsDocument)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _caller: Authenticated,
) -> Json<Arc<AlgorithmsDocument>> {
    Json(Arc::clone(&app.algorithms))
}

fn lengths(lengths: &BitLengths) -> BitLengthRange {
    match *lengths {
        BitLengths::None => BitLengthRange::List(Vec::new()),
        BitLengths::List(list) => BitLengthRange::List(list.to_vec()),
        BitLengths::Range { minimum, maximum, step } => BitLengthRange::Range { minimum, maximum, step },
    }
}

fn status(status: Status) -> (String, Option<String>) {
    match status {
        Status::Recommended => ("recommended".to_owned(), None),
        Status::Allowed => ("allowed".to_owned(), None),
        Status::Refused(reason) => ("refused".to_owned(), Some(reason.to_owned())),
    }
}

/// Makes the document; the processor does not change while the server runs.
pub(crate) fn document() -> AlgorithmsDocument {
    let found = acceleration();
    let has = |unit: &str| found.names.contains(&unit);
    let algorithms = ALGORITHMS.iter().map(|entry| {
        let (status, reason) = status(entry.status);
        let refused = reason.is_some();
        AlgorithmDocument {
            name: entry.name.to_owned(),
            aliases: entry.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            kind: match entry.kind {
                Kind::Symmetric => "symmetric",
                Kind::Mac => "mac",
                Kind::KeyPair => "key-pair",
                Kind::Opaque => "opaque",
            }
            .to_owned(),
            status,
            reason,
            bit_lengths: lengths(&entry.bit_lengths),
            generated_bit_lengths: lengths(&entry.generated),
            default_bit_length: entry.default_bits,
            modes: entry
                .modes
                .iter()
                .map(|mode| ModeDocument {
                    name: mode.name.to_owned(),
                    bit_lengths: lengths(&mode.bit_lengths),
                })
                .collect(),
            accelerated: !refused
                && match entry.name {
                    "aes" => found.aes,
                    "chacha20" => has("avx2") || has("asimd"),
                    name if name.starts_with("hmac-sha1") || name.starts_with("hmac-sha256") => {
                        has("sha_ni") || has("sha2")
                    }
                    _ => false,
                },
        }
    });
    let data_ciphers = DATA_CIPHERS.iter().map(|entry| {
        let (status, reason) = status(entry.status);
        DataCipherDocument {
            name: entry.name.to_owned(),
            algorithm: entry.algorithm.to_owned(),
            mode: entry.mode.to_owned(),
            bit_length: entry.key_bits,
            authenticated: entry.authenticated,
            length_preserving: entry.length_preserving,
            random_access: entry.random_access,
            status,
            reason,
        }
    });
    AlgorithmsDocument {
        algorithms: algorithms.collect(),
        data_ciphers: data_ciphers.collect(),
        acceleration: AccelerationDocument {
            aes: found.aes,
            vector_aes: found.vector_aes,
            units: found.names.iter().map(|name| (*name).to_owned()).collect(),
        },
    }
}

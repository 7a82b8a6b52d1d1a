//! The keys of Barbican's software backend: its key-encryption keys, and the projects' keys sealed under them.
//!
//! Invariants: a key is opened when it is needed and never written; no message holds any of it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_crypto::{FernetKey, KeyMaterial};
use chatelaine_store::barbican::{KekRow, PayloadRow};

/// The backend whose secrets can be opened here, the last part of its Python class.
const SOFTWARE: &str = "SimpleCryptoPlugin";
/// Most opened keys kept at once; beyond it the memory of them starts anew.
const MOST_OPEN: usize = 4096;

/// All keys of an import.
pub(super) struct Keys {
    /// What the operator gave.
    given: Vec<FernetKey>,
    /// The projects' keys, sealed, by the id of their row.
    sealed: HashMap<String, KekRow>,
    opened: HashMap<String, FernetKey>,
}

/// Why a payload could not be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    /// Another backend sealed it, by the name of its class.
    OtherBackend(String),
    /// No given key opens the project's key.
    Unopened,
    /// It is not what the backend wrote.
    Damaged(&'static str),
}

impl Keys {
    pub(super) fn new(given: Vec<FernetKey>, sealed: HashMap<String, KekRow>) -> Self {
        Self { given, sealed, opened: HashMap::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.given.len()
    }

    /// The key that a payload is sealed under.
    pub(super) fn project_key(&mut self, payload: &PayloadRow) -> Result<&FernetKey, KeyProblem> {
        let id = payload.kek_id.as_deref().unwrap_or_default();
        if !self.opened.contains_key(id) {
            let row =
                self.sealed.get(id).ok_or(KeyProblem::Damaged("the key it is sealed under is missing"))?;
            let backend = row.plugin_name.rsplit('.').next().unwrap_or_default();
            if backend != SOFTWARE {
                return Err(KeyProblem::OtherBackend(backend.to_owned()));
            }
            let sealed = row.plugin_meta.as_deref().unwrap_or_default().as_bytes();
            let text = self.given.iter().find_map(|key| key.open(sealed).ok()).ok_or(KeyProblem::Unopened)?;
            let key = FernetKey::parse(text.expose())
                .map_err(|_| KeyProblem::Damaged("the key it is sealed under is none"))?;
            if self.opened.len() >= MOST_OPEN {
                self.opened.clear();
            }
            self.opened.insert(id.to_owned(), key);
        }
        self.opened.get(id).ok_or(KeyProblem::Unopened)
    }

    /// Opens a payload.
    pub(super) fn open(&mut self, payload: &PayloadRow) -> Result<KeyMaterial, KeyProblem> {
        let key = self.project_key(payload)?;
        let text = payload.cypher_text.as_deref().unwrap_or_default();
        let token =
            STANDARD.decode(text).map_err(|_| KeyProblem::Damaged("its sealed payload is not base64"))?;
        key.open(&token).map_err(|_| KeyProblem::Damaged("its sealed payload does not open"))
    }
}

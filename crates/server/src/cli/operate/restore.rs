//! `store restore`: a backup takes the place of the store, while no server runs.
//!
//! Refuses a copy that is damaged, of another schema or of another master key, before anything is moved; what was there
//! before is kept under another name.

use std::path::{Path, PathBuf};

use chatelaine_core::keyring::Keyring;
use chatelaine_store::embedded::Restoring;
use chatelaine_store::{Address, EmbeddedStore};
use serde_json::json;

use super::store::not_a_file;
use super::{blocking, control, opening};
use crate::cli::{Exit, Failure, Format, Terminal};
use crate::config::Config;

/// Shown by `store restore --help`.
pub(super) const HELP: &str = "\
Stop the server first. The copy is checked, with SQLite's own check and against the master key, before the files of the
old store are moved aside, its write-ahead log with it; they are kept as NAME.before-restore-1 and so on until you remove
them. Run it as the server's user, then `chatelaine store check`: what the audit trail knows better is named.

Example:
  chatelaine --config /etc/chatelaine/chatelaine.toml store restore /backup/chatelaine-2027-01-31.db";

/// Puts the copy `from` in the place of the configured store.
pub(super) async fn run(config: &Config, from: PathBuf, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let address =
        Address::parse(&config.store_url()).map_err(|error| Failure::usage(format!("store.url: {error}")))?;
    let store = match address {
        Address::Embedded(file) => file,
        Address::Memory => return Err(Failure::usage("store.url: a memory: store cannot be restored")),
        other => return Err(not_a_file(&other)),
    };
    if control::connect(&config.control_path()).await?.is_some() {
        return Err(Failure::new(Exit::Conflict, "the server runs: its store cannot be replaced")
            .advise("stop it first, for example with `systemctl stop chatelaine`"));
    }
    let keyring = opening::keyring(config, terminal).await.map_err(|failure| {
        failure.or_advise("restore the master key first: a copy is only put in place if it belongs to it")
    })?;
    let from = terminal.working_folder.join(from);
    let (copy, place) = (from.clone(), store.clone());
    let restoring = blocking(move || Restoring::begin(&copy, &place)).await?;
    belongs(restoring.path(), &keyring, &from).await?;
    let kept = blocking(move || restoring.finish()).await?;
    match terminal.format {
        Format::Json => terminal.json(&json!({ "file": store, "kept": kept }))?,
        Format::Table => {
            terminal.write(format!("restored to {}\n", store.display()).as_bytes())?;
        }
    }
    if let Some(kept) = kept {
        terminal.note(&format!("the old store is kept as {}", kept.display()));
    }
    terminal.note("run `chatelaine store check`, then start the server");
    Ok(Exit::Done)
}

/// Refuses a copy, taken from the file `from`, that the master key does not open.
async fn belongs(copy: &Path, keyring: &Keyring, from: &Path) -> Result<(), Failure> {
    let copy = copy.to_owned();
    let store = blocking(move || EmbeddedStore::open_read_only(&copy)).await?;
    let problem = match keyring.note(&store, "master_key").await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => "it has no master key's mark: no server has used it".to_owned(),
        Err(error) => format!("it belongs to another master key than {}: {error}", keyring.master_key_id()),
    };
    Err(Failure::new(Exit::Failed, format!("{}: {problem}", from.display()))
        .advise("restore the master key of the same server and time, or name another copy"))
}

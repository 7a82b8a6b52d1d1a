//! What happened to master keys while the audit trail could not be written: its key is sealed with them.
//!
//! Owns a small file of lines (JSON) in the data folder. It is not authenticated; whoever can write to the data folder can
//! write it. When the server has opened its keys, the lines are written to the audit trail and the file is removed.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::manager::Manager;
use serde::{Deserialize, Serialize};

/// Largest file, in bytes; beyond it nothing is added.
const MAX_FILE: u64 = 1024 * 1024;
/// Longest text of an entry, in bytes.
const MAX_TEXT: usize = 4096;

/// The file.
#[derive(Debug)]
pub(crate) struct Diary {
    path: PathBuf,
    /// Where it is while its lines are handed over.
    taken: PathBuf,
    turn: tokio::sync::Mutex<()>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) time: String,
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
}

impl Diary {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join("sealed-events.jsonl"),
            taken: folder.join("sealed-events.taken.jsonl"),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Adds a line. What cannot be written is in the log.
    pub(crate) fn note(&self, action: Action, outcome: Outcome, text: &str) {
        if let Err(error) = self.try_note(action, outcome, text) {
            tracing::error!(%error, file = %self.path.display(), action = action.cadf(), text, "an event could not be written down");
        }
    }

    fn try_note(&self, action: Action, outcome: Outcome, text: &str) -> std::io::Result<()> {
        let mut text = text.to_owned();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let mut line = serde_json::to_vec(&Entry { time: super::now(), action, outcome, text })?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)?;
        if file.metadata()?.len().saturating_add(line.len() as u64) > MAX_FILE {
            return Err(std::io::Error::other(format!("the file is full ({MAX_FILE} bytes)")));
        }
        file.write_all(&line)?;
        file.sync_all()
    }

    /// The lines, as far as they can be read.
    #[cfg(test)]
    pub(crate) fn read(&self) -> std::io::Result<Vec<Entry>> {
        read(&self.path)
    }

    /// Writes the lines to the audit trail and removes them. What is added meanwhile stays for the next time.
    ///
    /// # Errors
    /// The trail's; the lines stay then.
    pub(crate) async fn hand_over(&self, manager: &Manager) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        // What a former process had taken and not finished comes first.
        self.hand_over_taken(manager).await?;
        match std::fs::rename(&self.path, &self.taken) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.hand_over_taken(manager).await
    }

    async fn hand_over_taken(&self, manager: &Manager) -> anyhow::Result<()> {
        for entry in read(&self.taken)? {
            let reason = format!("at {}: {}", entry.time, entry.text);
            manager.note_own_outcome(entry.action, entry.outcome, Some(reason)).await?;
        }
        match std::fs::remove_file(&self.taken) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let mut content = Vec::new();
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
        Ok(file) => file.take(MAX_FILE).read_to_end(&mut content)?,
    };
    // A line that a power cut left unfinished is no entry.
    Ok(content.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

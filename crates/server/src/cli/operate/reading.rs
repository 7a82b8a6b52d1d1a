//! The audit trail opened for reading, beside the server that writes it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chatelaine_core::audit::{AuditError, AuditTrail, ChangeHistory, Durability, Event, HistoryKey};
use chatelaine_crypto::MacKey;

use crate::audit;

/// A trail that takes nothing.
pub(super) struct ReadTrail {
    pub(super) folder: PathBuf,
    pub(super) key: Arc<MacKey>,
}

#[async_trait]
impl AuditTrail for ReadTrail {
    async fn append(&self, _: &[Event], _: Durability) -> Result<(), AuditError> {
        Err(AuditError::Unwritable("it is open for reading only".to_owned()))
    }

    /// Blocks: a command has nothing else to do meanwhile.
    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        audit::histories(&self.folder, &self.key, wanted)
            .map_err(|error| AuditError::Broken(error.to_string()))
    }
}

/// A trail that says nothing, where the real one cannot be believed.
pub(super) struct NoTrail;

#[async_trait]
impl AuditTrail for NoTrail {
    async fn append(&self, _: &[Event], _: Durability) -> Result<(), AuditError> {
        Err(AuditError::Unwritable("there is none".to_owned()))
    }

    async fn histories(
        &self,
        _: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        Ok(HashMap::new())
    }
}

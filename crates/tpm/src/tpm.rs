//! What a host does with its TPM, in calls that wait until the TPM is done: never on an asynchronous executor's thread.
//!
//! Owns: connections and their clean end ([`connection`]), the keys of a host ([`keys`]), sealing ([`seal`], [`blob`]), objects from
//! siblings ([`imported`]), registers ([`registers`]), the endorsement certificate ([`certificates`]), quotes and
//! credentials ([`attestation`]), facts about the TPM ([`facts`]).
//!
//! Invariants: one connection per operation, so that other programs get their turn; whatever an operation loaded is
//! flushed when it ends, however it ends; an operation ends at its deadline.

pub mod attestation;
pub mod blob;
pub mod certificates;
pub mod connection;
pub mod facts;
pub mod imported;
pub mod keys;
pub mod registers;
pub mod seal;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use blob::{Lock, SealedBlob};
pub use connection::Connection;
pub use keys::{EndorsementKind, LoadedKey};

use crate::error::TpmError;
use crate::transport::{Address, Connector};
use crate::types::AuthValue;

/// Time limits, and authorization values of hierarchies that were set by the owner of the machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest wait for a connection.
    pub connect: Duration,
    /// The longest wait for one answer. Chips make keys for seconds.
    pub command: Duration,
    /// The longest an operation may take as a whole.
    pub operation: Duration,
    /// The owner hierarchy's value; needed for keys that are not persistent.
    pub owner: AuthValue,
    /// The endorsement hierarchy's value; needed for attestation and for what siblings sent.
    pub endorsement: AuthValue,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            command: Duration::from_secs(30),
            operation: Duration::from_secs(90),
            owner: AuthValue::default(),
            endorsement: AuthValue::default(),
        }
    }
}

/// A TPM.
pub struct Tpm {
    connector: Arc<dyn Connector>,
    options: Options,
    sent: AtomicU64,
    /// Two connections of one process would only wait for one another.
    turn: Mutex<()>,
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").field("address", &self.describe()).finish_non_exhaustive()
    }
}

impl Tpm {
    /// The TPM at an address. Nothing is sent yet.
    #[must_use]
    pub fn new(address: Address, options: Options) -> Self {
        Self::with_connector(Arc::new(address), options)
    }

    /// The TPM that connections of this kind lead to.
    #[must_use]
    pub fn with_connector(connector: Arc<dyn Connector>, options: Options) -> Self {
        Self { connector, options, sent: AtomicU64::new(0), turn: Mutex::new(()) }
    }

    /// How errors call this TPM.
    #[must_use]
    pub fn describe(&self) -> String {
        self.connector.describe()
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How many commands were sent so far, repetitions included.
    #[must_use]
    pub fn commands_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Runs an operation on a connection of its own. What it leaves in the TPM is flushed afterwards.
    ///
    /// # Errors
    /// Those of `work`; [`TpmError::Transport`] when there is no connection.
    pub fn operation<T>(
        &self,
        work: impl FnOnce(&mut Connection<'_>) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = Connection::open(self, Instant::now() + self.options.operation)?;
        let result = work(&mut connection);
        connection.close();
        result
    }
}

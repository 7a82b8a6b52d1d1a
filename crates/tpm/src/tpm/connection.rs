//! One connection for one operation: sending, repeating, and leaving nothing behind.
//!
//! Invariant: each object or session that an answer names is flushed when the connection closes, whether the answer was
//! believed or not.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Tpm;
use crate::codec::Malformed;
use crate::command::{self, Command, SessionKind};
use crate::error::TpmError;
use crate::session::{Answer, Authorization, Session, Starting, prepare, response_code, returned_handle};
use crate::transport::{Transport, TransportError};
use crate::types::Public;

/// How often a command is sent when the TPM asks for it again.
const MAX_ATTEMPTS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For one flush after the operation's own time is over.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// A connection to a TPM.
pub struct Connection<'t> {
    tpm: &'t Tpm,
    /// None after it broke.
    transport: Option<Box<dyn Transport>>,
    deadline: Instant,
    /// What has to be flushed.
    live: Vec<u32>,
}

impl<'t> Connection<'t> {
    pub(super) fn open(tpm: &'t Tpm, deadline: Instant) -> Result<Self, TpmError> {
        let mut connection = Self { tpm, transport: None, deadline, live: Vec::new() };
        connection.reconnect(tpm.options.connect)?;
        Ok(connection)
    }

    fn reconnect(&mut self, time: Duration) -> Result<(), TpmError> {
        let connected = self.tpm.connector.connect(Instant::now() + time);
        self.transport = Some(connected.map_err(|source| self.unusable(source))?);
        Ok(())
    }

    fn unusable(&self, source: TransportError) -> TpmError {
        TpmError::Transport { address: self.tpm.describe(), source }
    }

    /// The TPM this leads to.
    #[must_use]
    pub fn tpm(&self) -> &'t Tpm {
        self.tpm
    }

    /// Sends a command and checks the answer.
    ///
    /// # Errors
    /// [`TpmError::Response`] when the TPM refuses; [`TpmError::Transport`], [`TpmError::Tampered`],
    /// [`TpmError::Malformed`].
    pub fn run(
        &mut self,
        command: &Command,
        authorizations: &mut [Authorization<'_>],
    ) -> Result<Answer, TpmError> {
        let prepared = prepare(command, authorizations)?;
        let bytes = self.transmit(&prepared.bytes)?;
        if response_code(&bytes)?.0 == 0 {
            self.live.extend(returned_handle(command, &bytes));
            if let Some(flushed) = command.flushes {
                self.live.retain(|handle| *handle != flushed);
            }
        }
        let answer = prepared.accept(&bytes)?;
        self.live.retain(|handle| !answer.ended.contains(handle));
        Ok(answer)
    }

    /// Sends bytes until the TPM does not ask for them again.
    fn transmit(&mut self, bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let answer = self.transmit_once(bytes)?;
            if !response_code(&answer)?.is_transient() || attempt == MAX_ATTEMPTS {
                return Ok(answer);
            }
            if Instant::now() + pause >= self.deadline {
                return Ok(answer);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(self.unusable(TransportError::TimedOut))
    }

    fn transmit_once(&mut self, bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        let Some(transport) = &mut self.transport else {
            let gone = std::io::Error::from(std::io::ErrorKind::NotConnected);
            return Err(self.unusable(TransportError::Broken(gone)));
        };
        let deadline = self.deadline.min(Instant::now() + self.tpm.options.command);
        self.tpm.sent.fetch_add(1, Ordering::Relaxed);
        let answer = transport.transmit(bytes, deadline).and_then(|answer| {
            // What comes next on such a connection could belong to anything.
            response_code(&answer).map_err(|_| TransportError::Garbage("its header is wrong"))?;
            Ok(answer)
        });
        answer.map_err(|source| {
            self.transport = None;
            self.unusable(source)
        })
    }

    /// Starts a session, salted to a key whose public area the caller knows to be the right one.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn start_session(
        &mut self,
        kind: SessionKind,
        salt_key: Option<(u32, &Public)>,
    ) -> Result<Session, TpmError> {
        let (starting, command) = Starting::begin(kind, salt_key)?;
        let answer = self.run(&command, &mut [])?;
        let handle = answer.handle.ok_or_else(|| missing_handle(command.name))?;
        starting.finish(handle, &answer.parameters)
    }

    /// Removes an object or session from the TPM.
    ///
    /// # Errors
    /// Those of [`Connection::run`].
    pub fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        self.run(&command::flush_context(handle), &mut []).map(drop)
    }

    /// Flushes what is left. A TPM that cannot be reached any more keeps it until its next start.
    pub(super) fn close(&mut self) {
        if self.live.is_empty() {
            return;
        }
        if self.transport.is_none() && self.reconnect(FLUSH_TIME).is_err() {
            return;
        }
        self.deadline = Instant::now() + FLUSH_TIME;
        while let Some(handle) = self.live.pop() {
            let flushed = self.run(&command::flush_context(handle), &mut []);
            if matches!(flushed, Err(TpmError::Transport { .. })) {
                return;
            }
        }
    }
}

impl Drop for Connection<'_> {
    /// Also after a panic in the middle of an operation.
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) fn missing_handle(what: &'static str) -> TpmError {
    Malformed { what, problem: "the answer has no handle" }.into()
}

//! Something between us and the TPM: it records, changes, or breaks what passes.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use chatelaine_tpm::transport::{Connector, Transport, TransportError};
use chatelaine_tpm::{Address, Options, Tpm};

/// Sees each command with its number, and may answer itself.
pub type Before = dyn FnMut(u32, &[u8]) -> Option<Vec<u8>> + Send;
/// Sees each command with its number and the answer, and may change the answer.
pub type After = dyn FnMut(u32, &[u8], &mut Vec<u8>) + Send;

struct State {
    count: u32,
    before: Box<Before>,
    after: Box<After>,
}

#[derive(Clone)]
pub struct Interposer {
    address: Address,
    state: Arc<Mutex<State>>,
}

impl Interposer {
    /// A TPM behind something that may answer in its place.
    pub fn before(address: Address, options: Options, before: Box<Before>) -> Tpm {
        let state = State { count: 0, before, after: Box::new(|_, _, _| {}) };
        Tpm::with_connector(Arc::new(Self { address, state: Arc::new(Mutex::new(state)) }), options)
    }

    /// A TPM behind something that may change its answers.
    pub fn after(address: Address, after: Box<After>) -> Tpm {
        let state = State { count: 0, before: Box::new(|_, _| None), after };
        let connector = Self { address, state: Arc::new(Mutex::new(state)) };
        Tpm::with_connector(Arc::new(connector), Options::default())
    }

    /// A TPM behind something that records all that passes.
    pub fn recording(address: Address, options: Options) -> (Tpm, Arc<Mutex<Vec<u8>>>) {
        let record = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&record);
        let after: Box<After> = Box::new(move |_, command, answer| {
            let mut log = log.lock().unwrap();
            log.extend_from_slice(command);
            log.extend_from_slice(answer);
        });
        let state = State { count: 0, before: Box::new(|_, _| None), after };
        let connector = Self { address, state: Arc::new(Mutex::new(state)) };
        (Tpm::with_connector(Arc::new(connector), options), record)
    }
}

impl Connector for Interposer {
    fn connect(&self, deadline: Instant) -> Result<Box<dyn Transport>, TransportError> {
        let inner = self.address.connect(deadline)?;
        Ok(Box::new(Interposed { inner, state: Arc::clone(&self.state) }))
    }

    fn describe(&self) -> String {
        format!("interposer before {}", self.address)
    }
}

struct Interposed {
    inner: Box<dyn Transport>,
    state: Arc<Mutex<State>>,
}

impl Transport for Interposed {
    fn transmit(&mut self, command: &[u8], deadline: Instant) -> Result<Vec<u8>, TransportError> {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let count = state.count;
        if let Some(answer) = (state.before)(count, command) {
            return Ok(answer);
        }
        let mut answer = self.inner.transmit(command, deadline)?;
        (state.after)(count, command, &mut answer);
        Ok(answer)
    }
}

/// The command code of a command.
pub fn code(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}

pub const UNSEAL: u32 = 0x15e;

/// Whether the bytes are somewhere in the record.
pub fn contains(record: &Mutex<Vec<u8>>, wanted: &[u8]) -> bool {
    record.lock().unwrap().windows(wanted.len()).any(|window| window == wanted)
}

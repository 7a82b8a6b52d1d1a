//! Ways to a TPM: the kernel's device, and a software TPM behind a Unix or TCP socket.
//!
//! Owns: addresses, connecting, sending one command and receiving one answer.
//!
//! Invariants: every step ends at a deadline; an answer is never longer than [`MAX_MESSAGE`]. Refuses: answers with an
//! impossible length.

mod device;
mod socket;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use crate::codec::{MAX_MESSAGE, Malformed};

/// Why nothing, or nothing usable, came back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection cannot be made.
    #[error("cannot be reached ({0}); is it there, and may this user open it (group tss)?")]
    Unreachable(std::io::Error),
    /// The connection broke.
    #[error("the connection broke ({0})")]
    Broken(std::io::Error),
    /// It did not answer in time.
    #[error("no answer in time; is another program using it?")]
    TimedOut,
    /// What it sent is no answer.
    #[error("what it sent is no answer: {0}")]
    Garbage(&'static str),
}

impl TransportError {
    fn of(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Broken(error),
        }
    }
}

/// One connection to a TPM.
pub trait Transport: Send {
    /// Sends a command and receives its answer.
    ///
    /// # Errors
    /// [`TransportError`]; the connection is of no use after one.
    fn transmit(&mut self, command: &[u8], deadline: Instant) -> Result<Vec<u8>, TransportError>;
}

/// Makes connections to a TPM.
pub trait Connector: Send + Sync {
    /// Connects.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`], [`TransportError::TimedOut`]
    fn connect(&self, deadline: Instant) -> Result<Box<dyn Transport>, TransportError>;

    /// What errors call the TPM.
    fn describe(&self) -> String;
}

/// Where a TPM is. Written as tpm2-tools write it: `device:/dev/tpmrm0`, `swtpm:path=/run/tpm.sock`,
/// `swtpm:host=127.0.0.1,port=2321`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The kernel's device. `/dev/tpmrm0` shares the TPM with other programs; `/dev/tpm0` does not.
    Device(PathBuf),
    /// A software TPM's Unix socket (`swtpm socket --server type=unixio,path=…`).
    Unix(PathBuf),
    /// A software TPM's TCP port (`swtpm socket --server type=tcp,port=…`).
    Tcp(SocketAddr),
}

fn malformed(problem: &'static str) -> Malformed {
    Malformed { what: "address of a TPM", problem }
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let absolute = |path: &str| {
            let path = Path::new(path);
            if path.is_absolute() {
                Ok(path.to_owned())
            } else {
                Err(malformed("its path does not begin with /"))
            }
        };
        match text.split_once(':') {
            Some(("device", path)) => Ok(Self::Device(absolute(path)?)),
            Some(("swtpm", rest)) => match rest.strip_prefix("path=") {
                Some(path) => Ok(Self::Unix(absolute(path)?)),
                None => tcp(rest).map(Self::Tcp),
            },
            _ => Err(malformed("allowed: device:/dev/tpmrm0, swtpm:path=/…, swtpm:host=127.0.0.1,port=2321")),
        }
    }
}

/// Names of hosts are not looked up: that may take longer than any deadline.
fn tcp(text: &str) -> Result<SocketAddr, Malformed> {
    let (mut host, mut port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("host", "localhost")) => {}
            Some(("host", value)) => {
                host = value.parse().map_err(|_| malformed("its host is no IP address"))?;
            }
            Some(("port", value)) => {
                port = Some(value.parse().map_err(|_| malformed("its port is not in 1 to 65535"))?);
            }
            _ => return Err(malformed("of swtpm, path=, host= and port= are known")),
        }
    }
    match port {
        Some(port) if port != 0 => Ok(SocketAddr::new(host, port)),
        _ => Err(malformed("its port is missing")),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Unix(path) => write!(f, "swtpm:path={}", path.display()),
            Self::Tcp(address) => write!(f, "swtpm:host={},port={}", address.ip(), address.port()),
        }
    }
}

impl Connector for Address {
    fn connect(&self, deadline: Instant) -> Result<Box<dyn Transport>, TransportError> {
        match self {
            Self::Device(path) => Ok(Box::new(device::Device::open(path)?)),
            Self::Unix(path) => Ok(Box::new(socket::connect_unix(path, deadline)?)),
            Self::Tcp(address) => Ok(Box::new(socket::connect_tcp(*address, deadline)?)),
        }
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

/// The length an answer says it has, from its first ten bytes.
fn answer_length(header: [u8; 10]) -> Result<usize, TransportError> {
    let [_, _, a, b, c, d, ..] = header;
    usize::try_from(u32::from_be_bytes([a, b, c, d]))
        .ok()
        .filter(|length| (header.len()..=MAX_MESSAGE).contains(length))
        .ok_or(TransportError::Garbage("its length is not in 10 to 4096 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_displayed() {
        for text in ["device:/dev/tpmrm0", "swtpm:path=/run/tpm.sock", "swtpm:host=127.0.0.1,port=2321"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("swtpm:port=1,host=::1".parse::<Address>().unwrap().to_string(), "swtpm:host=::1,port=1");
        for wrong in [
            "",
            "/dev/tpm0",
            "device:tpm0",
            "swtpm:",
            "swtpm:path=a",
            "swtpm:host=tpm.example,port=1",
            "swtpm:port=0",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}

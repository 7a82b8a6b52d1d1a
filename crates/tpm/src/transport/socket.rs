//! A software TPM behind a stream socket: the TPM's own commands and answers, with nothing around them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{Transport, TransportError, answer_length};

/// How long to wait before asking again whether a full queue of connections has room.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// A stream whose steps can be given a time limit.
pub(super) trait Stream: Read + Write + Send {
    fn limit(&self, time: Duration) -> std::io::Result<()>;
}

impl Stream for UnixStream {
    fn limit(&self, time: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Stream for TcpStream {
    fn limit(&self, time: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

pub(super) struct Socket<S> {
    stream: S,
}

fn left(deadline: Instant) -> Result<Duration, TransportError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(TransportError::TimedOut) } else { Ok(left) }
}

pub(super) fn connect_tcp(
    address: SocketAddr,
    deadline: Instant,
) -> Result<Socket<TcpStream>, TransportError> {
    let stream =
        TcpStream::connect_timeout(&address, left(deadline)?).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => TransportError::TimedOut,
            _ => TransportError::Unreachable(error),
        })?;
    // Commands are small and each waits for its answer.
    stream.set_nodelay(true).map_err(TransportError::Unreachable)?;
    Ok(Socket { stream })
}

/// The standard library's connect waits without limit while the queue is full, so this asks without waiting.
pub(super) fn connect_unix(path: &Path, deadline: Instant) -> Result<Socket<UnixStream>, TransportError> {
    let unreachable = |error: Errno| TransportError::Unreachable(error.into());
    let address = SocketAddrUnix::new(path).map_err(unreachable)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(unreachable)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::AGAIN | Errno::INTR) => {
                std::thread::sleep(QUEUE_PAUSE.min(left(deadline)?));
            }
            Err(error) => return Err(unreachable(error)),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(TransportError::Unreachable)?;
    Ok(Socket { stream })
}

impl<S: Stream> Socket<S> {
    fn read(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<(), TransportError> {
        while !buffer.is_empty() {
            self.stream.limit(left(deadline)?).map_err(TransportError::of)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(TransportError::Broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransportError::of(error)),
            }
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), TransportError> {
        while !bytes.is_empty() {
            self.stream.limit(left(deadline)?).map_err(TransportError::of)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(TransportError::Broken(std::io::ErrorKind::WriteZero.into())),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransportError::of(error)),
            }
        }
        Ok(())
    }
}

impl<S: Stream> Transport for Socket<S> {
    fn transmit(&mut self, command: &[u8], deadline: Instant) -> Result<Vec<u8>, TransportError> {
        self.write(command, deadline)?;
        let mut header = [0; 10];
        self.read(&mut header, deadline)?;
        let mut answer = vec![0; answer_length(header)?];
        let (first, rest) =
            answer.split_first_chunk_mut().ok_or(TransportError::Garbage("it is shorter than ten bytes"))?;
        *first = header;
        self.read(rest, deadline)?;
        Ok(answer)
    }
}

//! TPM section 8.6: TPMs that are busy, slow, gone, or talk nonsense. Every wait ends.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use chatelaine_tpm::response_code::ResponseCode;
use chatelaine_tpm::transport::TransportError;
use chatelaine_tpm::{Address, Options, Tpm, TpmError};

use crate::interposer::Interposer;
use crate::machine::{Swtpm, assert_empty};

fn hasty() -> Options {
    Options {
        connect: Duration::from_millis(400),
        command: Duration::from_millis(400),
        operation: Duration::from_millis(900),
        ..Options::default()
    }
}

fn refusal(code: ResponseCode) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10], code.0.to_be_bytes().as_slice()].concat()
}

#[test]
fn a_busy_tpm_is_asked_again() {
    let machine = Swtpm::blank();
    for code in [ResponseCode::RETRY, ResponseCode::YIELDED, ResponseCode::TESTING, ResponseCode::NV_RATE] {
        let tpm = Interposer::before(
            machine.address(),
            Options::default(),
            Box::new(move |count, _| (count <= 3).then(|| refusal(code))),
        );
        assert_eq!(tpm.random(16).unwrap().len(), 16);
        assert_eq!(tpm.commands_sent(), 4);
        // Any other refusal is one.
        let tpm = Interposer::before(
            machine.address(),
            Options::default(),
            Box::new(|_, _| Some(refusal(ResponseCode::LOCKOUT))),
        );
        assert_eq!(tpm.random(16).unwrap_err().code(), Some(ResponseCode::LOCKOUT));
        assert_eq!(tpm.commands_sent(), 1);
    }
}

#[test]
fn a_tpm_that_is_always_busy_is_given_up() {
    let machine = Swtpm::blank();
    let tpm =
        Interposer::before(machine.address(), hasty(), Box::new(|_, _| Some(refusal(ResponseCode::RETRY))));
    let start = Instant::now();
    let error = tpm.random(16).unwrap_err();
    assert_eq!(error.code(), Some(ResponseCode::RETRY), "{error}");
    assert!(start.elapsed() < Duration::from_secs(6) && tpm.commands_sent() > 2);
}

/// A listener that does `serve` with the first connection, in a thread of its own.
fn fake(
    serve: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static,
) -> (tempfile::TempDir, Tpm, std::thread::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (folder, Tpm::new(Address::Unix(path), hasty()), thread)
}

fn transport_error(tpm: &Tpm) -> TransportError {
    let start = Instant::now();
    let error = tpm.random(16).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    match error {
        TpmError::Transport { source, .. } => source,
        other => panic!("{other}"),
    }
}

/// Reads until the other side gives up.
fn listen(stream: &mut std::os::unix::net::UnixStream) {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

#[test]
fn a_silent_tpm_and_one_that_drips_are_timeouts() {
    let (_folder, tpm, thread) = fake(|mut stream| listen(&mut stream));
    assert!(matches!(transport_error(&tpm), TransportError::TimedOut));
    thread.join().unwrap();
    let (_folder, tpm, thread) = fake(|mut stream| {
        // Each byte comes in time, the answer never.
        for byte in [0x80, 0x01, 0, 0, 0x0f].into_iter().chain(std::iter::repeat(0)) {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    assert!(matches!(transport_error(&tpm), TransportError::TimedOut));
    thread.join().unwrap();
}

#[test]
fn nonsense_is_an_error_before_memory_is_taken_for_it() {
    for (header, garbage) in [
        ([0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], true),
        ([0x80, 0x01, 0, 0, 0x10, 0x01, 0, 0, 0, 0], true),
        ([0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0], true),
        ([0x12, 0x34, 0, 0, 0, 10, 0, 0, 0, 0], true),
        (*b"HTTP/1.1 4", true),
        // It says twelve bytes and hangs up after ten.
        ([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0], false),
    ] {
        let (_folder, tpm, thread) = fake(move |mut stream| {
            let mut command = [0; 12];
            stream.read_exact(&mut command).unwrap();
            stream.write_all(&header).unwrap();
        });
        let error = transport_error(&tpm);
        assert_eq!(matches!(error, TransportError::Garbage(_)), garbage, "{header:?}: {error}");
        thread.join().unwrap();
    }
    // An answer that is well formed outside only.
    let (_folder, tpm, thread) = fake(|mut stream| {
        let mut command = [0; 12];
        stream.read_exact(&mut command).unwrap();
        stream.write_all(&[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0xff, 0xff]).unwrap();
    });
    assert!(matches!(tpm.random(16), Err(TpmError::Malformed(_))));
    thread.join().unwrap();
}

#[test]
fn nobody_there_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let tpm = Tpm::new(Address::Unix(folder.path().join("none")), hasty());
    assert!(matches!(transport_error(&tpm), TransportError::Unreachable(_)));
    let tpm = Tpm::new(Address::Device(folder.path().join("tpmrm0")), hasty());
    let error = tpm.random(16).unwrap_err();
    assert!(error.to_string().contains("group tss"), "{error}");
    // A port that nobody listens on: taken and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(
        transport_error(&Tpm::new(Address::Tcp(port), hasty())),
        TransportError::Unreachable(_)
    ));
}

#[test]
fn a_queue_that_is_full_is_not_waited_for_without_limit() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    // Nobody accepts: the first one fills the queue.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let tpm = Tpm::new(Address::Unix(path), hasty());
    assert!(matches!(transport_error(&tpm), TransportError::TimedOut));
}

/// The software TPM serves one connection at a time.
#[test]
fn another_program_on_the_tpm_is_waited_for_until_the_deadline() {
    let machine = Swtpm::blank();
    let other = std::os::unix::net::UnixStream::connect(machine.socket()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let tpm = Tpm::new(machine.address(), hasty());
    assert!(matches!(transport_error(&tpm), TransportError::TimedOut));
    drop(other);
    assert_eq!(machine.tpm().random(16).unwrap().len(), 16);
    assert_empty(&machine.tpm());
}

#[test]
fn a_software_tpm_is_reached_over_tcp() {
    let mut machine = Swtpm::blank();
    machine.cut_power();
    let address = machine.power_on_tcp();
    let tpm = Tpm::new(Address::Tcp(address), Options::default());
    assert_eq!(tpm.random(16).unwrap().len(), 16);
    assert_eq!(tpm.properties().unwrap().manufacturer, "IBM");
    assert_empty(&tpm);
}

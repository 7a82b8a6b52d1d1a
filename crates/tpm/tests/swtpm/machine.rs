//! Software TPMs: blank ones, and such that a maker gave endorsement keys and certificates.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chatelaine_tpm::types::{HashAlgorithm, PcrSelection};
use chatelaine_tpm::{Address, Options, Tpm};
use tempfile::TempDir;

const INSTALL: &str = "these tests need swtpm and tpm2-tools: apt-get install swtpm swtpm-tools tpm2-tools";

/// A company that makes TPMs: a root and an issuing authority.
pub struct Maker {
    folder: TempDir,
}

impl Maker {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let file = |name: &str, content: String| std::fs::write(folder.path().join(name), content).unwrap();
        file(
            "authority.conf",
            format!(
                "statedir = {path}\nsigningkey = {path}/signkey.pem\nissuercert = {path}/issuercert.pem\n\
                 certserial = {path}/certserial\n"
            ),
        );
        file(
            "authority.options",
            "--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version id:20191023\n\
             --platform-manufacturer Example\n--platform-version 1\n--platform-model Test\n"
                .to_owned(),
        );
        file(
            "setup.conf",
            format!(
                "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {path}/authority.conf\n\
                 create_certs_tool_options = {path}/authority.options\n"
            ),
        );
        Self { folder }
    }

    /// The certificates of root and issuer in DER; there after the first TPM was made.
    pub fn certificates(&self) -> (Vec<u8>, Vec<u8>) {
        let read = |name: &str| der(&std::fs::read_to_string(self.folder.path().join(name)).unwrap());
        (read("swtpm-localca-rootca-cert.pem"), read("issuercert.pem"))
    }

    /// A TPM with persistent endorsement keys (RSA-2048 and P-384) and their certificates.
    pub fn make(&self) -> Swtpm {
        self.manufacture(&["--create-ek-cert"])
    }

    /// A TPM with endorsement keys but without certificates.
    pub fn make_without_certificates(&self) -> Swtpm {
        self.manufacture(&["--createek"])
    }

    fn manufacture(&self, arguments: &[&str]) -> Swtpm {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let mut command = Command::new("swtpm_setup");
        command.arg("--tpm2").arg("--tpm-state").arg(&state);
        command.arg("--config").arg(self.folder.path().join("setup.conf")).args(arguments);
        if std::fs::metadata(&state).unwrap().uid() == 0 {
            // Otherwise it would become another user, who may not enter the folder.
            command.args(["--runas", "root"]);
        }
        let output = command.output().expect(INSTALL);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "swtpm_setup: {text}{errors}");
        Swtpm::start(folder)
    }
}

/// The bytes in a PEM file with one certificate.
pub fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// A software TPM, running.
pub struct Swtpm {
    folder: TempDir,
    child: Child,
}

impl Swtpm {
    /// A TPM as it comes from nowhere: no keys, no certificates.
    pub fn blank() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        Self::start(folder)
    }

    fn start(folder: TempDir) -> Self {
        let child = spawn(folder.path());
        Self { folder, child }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tpm")
    }

    pub fn address(&self) -> Address {
        Address::Unix(self.socket())
    }

    pub fn tpm(&self) -> Tpm {
        Tpm::new(self.address(), Options::default())
    }

    /// Ends the TPM without any warning, as a power cut does.
    pub fn cut_power(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again: registers are reset.
    pub fn power_on(&mut self) {
        self.child = spawn(self.folder.path());
    }

    /// Starts it again, on a TCP port of its own.
    pub fn power_on_tcp(&mut self) -> SocketAddr {
        // Between this and swtpm's bind somebody else could take the port: then it ends, and another is tried.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let server = format!("type=tcp,bindaddr=127.0.0.1,port={}", address.port());
            self.child = command(self.folder.path(), &server).spawn().expect(INSTALL);
            if wait(&mut self.child, || TcpStream::connect(address).is_ok()) {
                return address;
            }
        }
        panic!("swtpm found no port");
    }

    pub fn reboot(&mut self) {
        self.cut_power();
        self.power_on();
    }

    /// Runs one of tpm2-tools on this TPM, in the TPM's folder, and gives what it printed.
    pub fn tool(&self, arguments: &[&str]) -> String {
        let (success, text) = self.try_tool(arguments);
        assert!(success, "{arguments:?}: {text}");
        text
    }

    pub fn try_tool(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(arguments[0])
            .args(&arguments[1..])
            .current_dir(self.folder())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.socket().display()))
            .env("TSS2_LOG", "all+NONE")
            .output()
            .expect(INSTALL);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder().join(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(name)).unwrap()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let socket = folder.join("tpm");
    let _ = std::fs::remove_file(&socket);
    let server = format!("type=unixio,path={}", socket.display());
    let mut child = command(folder, &server).spawn().expect(INSTALL);
    assert!(wait(&mut child, || UnixStream::connect(&socket).is_ok()), "swtpm ended at once");
    child
}

fn command(folder: &Path, server: &str) -> Command {
    let mut command = Command::new("swtpm");
    command
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", folder.join("state").display()))
        .args(["--server", server, "--ctrl"])
        // Where tpm2-tools look for it.
        .arg(format!("type=unixio,path={}", folder.join("tpm.ctrl").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Whether it listens before it ends.
fn wait(child: &mut Child, mut listens: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !listens() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "swtpm does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// What firmware and boot loader of the tests measure.
pub fn registers() -> PcrSelection {
    "sha256:0,2,4,7,8,9".parse().unwrap()
}

/// Measures a boot into a TPM that was just started: its firmware is the only thing that differs.
pub fn boot(tpm: &Tpm, firmware: &str) {
    for register in registers().registers() {
        let what = if register == 0 { firmware.to_owned() } else { format!("part {register}") };
        tpm.pcr_extend(register, HashAlgorithm::Sha256, what.as_bytes()).unwrap();
    }
}

/// A TPM under test leaves nothing behind.
pub fn assert_empty(tpm: &Tpm) {
    assert_eq!(tpm.loaded_counts().unwrap(), (0, 0), "objects and sessions left in the TPM");
}

//! `cargo xtask bench master-key`, its last part: how long a server takes from its start until it is ready.
//!
//! The keys and an empty store are there already, as at every start but the first. The yardstick is the same program from its
//! start to its end with nothing to do (`--version`), in the same rounds.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::median;
use crate::run;

const LONGEST: Duration = Duration::from_secs(30);
/// What is measured into each register that is asked for; any value but zeros will do.
const MEASURED: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
const REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a folder of its own, which is started again and again.
struct Server {
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    settings: Vec<String>,
}

impl Server {
    fn new(root: &Path, name: &str, settings: &[String]) -> Result<Self> {
        let folder = empty(root, name)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut settings = settings.to_vec();
        settings.extend([format!("server.listen={address}"), "log.level=warn".to_owned()]);
        Ok(Self { program: program(root), folder, address, settings })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn start(&self) -> Result<Running> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("server.log"))?;
        let child = self.command(&["serve"]).stderr(log).spawn();
        Ok(Running(child.with_context(|| format!("cannot start {}", self.program.display()))?))
    }

    /// Until `/readyz` is answered with 200.
    fn wait(&self, server: &mut Running) -> Result<()> {
        let deadline = Instant::now() + LONGEST;
        while !self.is_ready() {
            if Instant::now() > deadline || server.0.try_wait()?.is_some() {
                bail!("the server does not get ready; see {}/server.log", self.folder.display());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            Ok(&status == b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }

    /// Ends as a service manager ends it, so that nothing has to be mended at the next start.
    fn stop(&self, mut server: Running) -> Result<()> {
        run(&self.folder, "kill", &["-TERM", &server.0.id().to_string()])?;
        let deadline = Instant::now() + LONGEST;
        while server.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the server does not stop; see {}/server.log", self.folder.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Milliseconds from its start until it is ready.
    fn measure(&self) -> Result<f64> {
        let began = Instant::now();
        let mut server = self.start()?;
        self.wait(&mut server)?;
        let time = began.elapsed();
        self.stop(server)?;
        Ok(time.as_secs_f64() * 1e3)
    }
}

fn program(root: &Path) -> PathBuf {
    root.join("target/release/chatelaine")
}

fn empty(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = root.join("target/bench").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A software TPM with a measured boot, and its address.
fn tpm(folder: &Path) -> Result<(Running, String)> {
    let (state, socket) = (folder.join("state"), folder.join("tpm"));
    std::fs::create_dir(&state)?;
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .args(["--server", &format!("type=unixio,path={}", socket.display())])
        .args(["--ctrl", &format!("type=unixio,path={}.ctrl", socket.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start swtpm")?;
    let tpm = Running(child);
    let deadline = Instant::now() + LONGEST;
    while UnixStream::connect(&socket).is_err() {
        if Instant::now() > deadline {
            bail!("swtpm does not listen on {}", socket.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let address = format!("swtpm:path={}", socket.display());
    for register in REGISTERS {
        let status = Command::new("tpm2_pcrextend")
            .arg(format!("{register}:sha256={MEASURED}"))
            .env("TPM2TOOLS_TCTI", &address)
            .status()
            .context("cannot start tpm2_pcrextend")?;
        if !status.success() {
            bail!("tpm2_pcrextend failed ({status})");
        }
    }
    Ok((tpm, address))
}

/// Measures and prints a table in Markdown.
pub(super) fn bench(root: &Path, rounds: usize) -> Result<()> {
    run(root, "cargo", &["build", "--release", "--quiet", "-p", "chatelaine-server", "--bin", "chatelaine"])?;
    let file = Server::new(root, "start-file", &[])?;
    file.measure()?;
    let folder = empty(root, "start-tpm-state")?;
    let (_tpm, device) = tpm(&folder)?;
    run(
        &folder,
        &program(root).display().to_string(),
        &["master-key", "authority", "--output", "authority"],
    )?;
    let authority = folder.join("authority.pub");
    let sealed = Server::new(
        root,
        "start-tpm",
        &[
            "seal.kind=tpm".to_owned(),
            format!("seal.tpm.device={device}"),
            format!("seal.tpm.authority={}", authority.display()),
        ],
    )?;
    // The first start makes the keys; then its boot state is approved.
    let mut first = sealed.start()?;
    sealed.wait(&mut first)?;
    let private = folder.join("authority").display().to_string();
    let approved = sealed.command(&["master-key", "approve", "--authority", &private]).status()?;
    if !approved.success() {
        bail!("`chatelaine master-key approve` failed ({approved})");
    }
    sealed.stop(first)?;

    let mut times: [Vec<f64>; 3] = Default::default();
    let [bare, by_file, by_tpm] = &mut times;
    for _ in 0..rounds {
        let began = Instant::now();
        let status = Command::new(program(root)).arg("--version").stdout(Stdio::null()).status()?;
        bare.push(began.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            bail!("`chatelaine --version` failed ({status})");
        }
        by_file.push(file.measure()?);
        by_tpm.push(sealed.measure()?);
    }
    let [bare, by_file, by_tpm] = times.map(median);
    println!("| {rounds} starts | p50 ms | p50 to the yardstick |");
    println!("|---|---|---|");
    println!("| `chatelaine --version`, start to end (the yardstick) | {bare:.1} | 1.0 |");
    println!("| server, start to ready, seal `file` | {by_file:.1} | {:.1} |", by_file / bare);
    println!("| server, start to ready, seal `tpm` (swtpm) | {by_tpm:.1} | {:.1} |", by_tpm / bare);
    Ok(())
}

//! The commands end to end: arguments in, a real connection to a small key manager, output and exit code out.

mod fake;
mod import;
mod keys;
mod operate;
mod policy;
mod scopes;
mod secrets;
mod store;
mod surroundings;

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chatelaine_core::keyring::Keyring;
use clap::Parser;

use super::{Cli, Terminal, run};
use crate::config::Config;
use crate::master_key::Keeper;
use crate::startup;
use fake::{Fake, TOKEN};

const ID: &str = "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";

/// The keyring over the master keys of a data folder.
fn keyring(config: &Config) -> Keyring {
    startup::keyring(&Keeper::new(config).unwrap().custody().unseal().unwrap()).unwrap()
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader went away.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Outcome {
    code: u8,
    bytes: Vec<u8>,
    errors: String,
}

impl Outcome {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code, with all that was said when it is another.
    #[track_caller]
    fn ends(self, code: u8) -> Self {
        assert_eq!(
            self.code,
            code,
            "output: {}\nerrors: {}",
            String::from_utf8_lossy(&self.bytes),
            self.errors
        );
        self
    }
}

/// A process's surroundings, without the process.
struct Bench {
    fake: Fake,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    input: Vec<u8>,
    /// Somebody sits before it, who types the input and reads the errors.
    attended: bool,
    output_is_terminal: bool,
    output_is_gone: bool,
}

impl Bench {
    async fn new() -> Self {
        let bench = Self {
            fake: Fake::start().await,
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            input: Vec::new(),
            attended: false,
            output_is_terminal: false,
            output_is_gone: false,
        };
        bench.file("token", format!("{TOKEN}\n"), 0o600);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// Runs with the good token.
    async fn run(&self, arguments: &[&str]) -> Outcome {
        let token = self.path("token").display().to_string();
        let connection = ["--endpoint", self.fake.url.as_str(), "--token-file", token.as_str()];
        self.plain(&[&connection, arguments].concat()).await
    }

    /// Runs with the arguments alone.
    async fn plain(&self, arguments: &[&str]) -> Outcome {
        let cli = Cli::try_parse_from(std::iter::once(&"chatelaine").chain(arguments))
            .unwrap_or_else(|error| panic!("{error}"));
        let (output, errors) = (Buffer::default(), Buffer::default());
        let mut terminal = Terminal {
            format: cli.global.format,
            input: Box::new(io::Cursor::new(self.input.clone())),
            output: if self.output_is_gone { Box::new(Broken) } else { Box::new(output.clone()) },
            errors: Box::new(errors.clone()),
            input_is_terminal: self.attended,
            output_is_terminal: self.output_is_terminal,
            errors_is_terminal: self.attended,
            environment: self.environment.clone(),
            working_folder: self.folder.path().to_path_buf(),
        };
        let code = run(cli, &mut terminal).await;
        let bytes = output.0.lock().unwrap().clone();
        let errors = String::from_utf8(errors.0.lock().unwrap().clone()).unwrap();
        assert!(!errors.contains("canary") && !String::from_utf8_lossy(&bytes).contains("token-canary"));
        Outcome { code, bytes, errors }
    }

    /// Puts a key of 32 bytes under an id.
    async fn put(&self, id: &str) {
        let path = self.file("some-key", [0xa5; 32], 0o600);
        self.run(&["key", "put", id, "--key-string-file", &path]).await.ends(0);
    }
}

/// What is refused before anything runs.
fn refused(arguments: &[&str]) -> String {
    let error = Cli::try_parse_from(std::iter::once(&"chatelaine").chain(arguments)).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

fn numbered(number: usize) -> String {
    format!("00000000-0000-4000-9000-{number:012}")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

//! What a command touches besides the network: its three streams, whether they are terminals, and the environment.
//!
//! Invariants: each result leaves in one write of an unbuffered stream, so that no key byte stays behind in a buffer
//! of the standard library; a reader that went away ends the command quietly with code 1; what a server said reaches a
//! terminal without control characters; nothing is coloured. Commands get these things handed in, so that
//! tests can run them.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use chatelaine_crypto::KeyMaterial;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Cli, Exit, Failure};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// JSON for programs.
    Json,
}

/// Longest answer to a question, in bytes.
const LONGEST_ANSWER: usize = 100;

/// The surroundings of a command.
pub struct Terminal {
    pub(crate) format: Format,
    pub(crate) input: Box<dyn Read + Send>,
    pub(crate) output: Box<dyn Write + Send>,
    pub(crate) errors: Box<dyn Write + Send>,
    pub(crate) input_is_terminal: bool,
    pub(crate) output_is_terminal: bool,
    pub(crate) errors_is_terminal: bool,
    /// The environment's variables, those that are not text left out.
    pub(crate) environment: Vec<(String, String)>,
    /// Where relative names of files begin; empty: where the process is.
    pub(crate) working_folder: PathBuf,
}

impl Terminal {
    /// The process's own.
    pub fn of_process(cli: &Cli) -> Self {
        Self {
            format: cli.global.format,
            input: reader(io::stdin()),
            output: writer(io::stdout()),
            errors: writer(io::stderr()),
            input_is_terminal: io::stdin().is_terminal(),
            output_is_terminal: io::stdout().is_terminal(),
            errors_is_terminal: io::stderr().is_terminal(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            working_folder: PathBuf::new(),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output.write_all(bytes).and_then(|()| self.output.flush()).map_err(|error| {
            let mut failure = Failure::new(Exit::Failed, format!("standard output: {error}"));
            failure.silent = error.kind() == ErrorKind::BrokenPipe;
            failure
        })
    }

    /// Writes a value as JSON, readable and with a line break at the end; the text is wiped afterwards.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let text = pretty(value)?;
        self.write(&text)
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let text = table(header, rows);
        self.write(text.as_bytes())
    }

    /// Tells something beside the result, on standard error.
    pub(crate) fn note(&mut self, text: &str) {
        self.remark("note", text);
    }

    /// Warns of something, on standard error.
    pub fn warn(&mut self, text: &str) {
        self.remark("warning", text);
    }

    fn remark(&mut self, kind: &str, text: &str) {
        let line = match self.format {
            Format::Table => format!("{kind}: {}\n", clean(text)),
            Format::Json => format!("{}\n", json!({ kind: text })),
        };
        self.complain(&line);
    }

    /// Whether there is somebody to ask: programs that want JSON are not asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.input_is_terminal && self.errors_is_terminal && self.format == Format::Table
    }

    /// Asks on standard error; the answer is one line of standard input, without the spaces around it; empty if it is
    /// too long, or no text.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String, Failure> {
        self.complain(&clean(question));
        let mut answer = Vec::new();
        let mut byte = [0];
        // Byte by byte: what comes after the line is for others.
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                // What is too long for an answer is none; it is read all the same, or the shell would run it.
                Ok(_) if answer.len() > LONGEST_ANSWER => {}
                Ok(_) => answer.extend(byte),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::usage(format!("standard input: {error}"))),
            }
        }
        let text =
            if answer.len() > LONGEST_ANSWER { "" } else { std::str::from_utf8(&answer).unwrap_or_default() };
        Ok(text.trim().to_owned())
    }

    /// Asks for a secret: what is typed is not shown. Where nobody can be asked, the first line of standard input is taken.
    /// At most `limit` bytes.
    pub(crate) fn ask_secret(&mut self, question: &str, limit: usize) -> Result<KeyMaterial, Failure> {
        let hidden = self.input_is_terminal.then(Hidden::begin).transpose();
        let hidden = hidden.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        if hidden.is_some() {
            self.complain(&clean(question));
        }
        let mut line = Zeroizing::new(Vec::with_capacity(limit));
        let mut byte = Zeroizing::new([0]);
        let mut too_long = false;
        loop {
            match self.input.read(byte.as_mut_slice()) {
                Ok(0) => break,
                Ok(_) if *byte == *b"\n" => break,
                Ok(_) if line.len() >= limit => too_long = true,
                Ok(_) => line.extend_from_slice(byte.as_slice()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::usage(format!("standard input: {error}"))),
            }
        }
        if hidden.is_some() {
            drop(hidden);
            self.complain("\n");
        }
        if too_long {
            return Err(Failure::usage(format!("standard input: the line has more than {limit} bytes")));
        }
        Ok(KeyMaterial::copy_from(line.strip_suffix(b"\r").unwrap_or(&line)))
    }

    /// Tells of a failure, on standard error.
    pub(crate) fn report(&mut self, failure: &Failure) {
        if !failure.silent {
            let text = match self.format {
                Format::Table => failure.text(),
                Format::Json => format!("{}\n", failure.json()),
            };
            self.complain(&text);
        }
    }

    fn complain(&mut self, text: &str) {
        // When standard error is gone as well, the exit code is all that is left to tell.
        let _ = self.errors.write_all(text.as_bytes()).and_then(|()| self.errors.flush());
    }
}

/// Keeps what is typed on standard input from being shown, until it is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// The stream without the standard library's buffer, which is not wiped.
fn writer(stream: impl AsFd + Write + Send + 'static) -> Box<dyn Write + Send> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(stream),
    }
}

fn reader(stream: impl AsFd + Read + Send + 'static) -> Box<dyn Read + Send> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(stream),
    }
}

/// JSON in a buffer that never grows, because it may hold a key string.
fn pretty<T: Serialize + ?Sized>(value: &T) -> Result<Zeroizing<Vec<u8>>, Failure> {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let failed = |error| Failure::new(Exit::Failed, format!("the result cannot be written as JSON: {error}"));
    let mut size = Count(1);
    serde_json::to_writer_pretty(&mut size, value).map_err(failed)?;
    let mut text = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer_pretty(&mut *text, value).map_err(failed)?;
    text.push(b'\n');
    Ok(text)
}

/// Columns two spaces apart, without lines.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    if !header.is_empty() {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Text of a server made fit for one line of a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_plain_columns() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["long name".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "COUNT"], rows), "NAME       COUNT\na          1\nlong name\n");
        assert_eq!(table(&["NAME"], Vec::new()), "NAME\n");
    }

    /// A name chosen by somebody else cannot move the cursor.
    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let text = table(&[], vec![vec!["a\u{1b}[2J\nb\u{9b}c".to_owned()]]);
        assert_eq!(text, "a [2J b c\n");
    }

    #[test]
    fn json_fits_its_buffer_exactly() {
        let text = pretty(&json!({"a": [1, "ü"]})).unwrap();
        assert_eq!(text.capacity(), text.len());
        assert!(text.ends_with(b"}\n"));
    }
}

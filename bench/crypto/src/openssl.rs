//! The yardstick: `openssl speed`, as a process of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new("openssl").args(arguments).output().context("cannot start openssl")?;
    ensure!(output.status.success(), "openssl {} failed", arguments.join(" "));
    String::from_utf8(output.stdout).context("openssl did not print text")
}

pub(crate) fn version() -> Result<String> {
    Ok(run(&["version"])?.trim().to_owned())
}

/// Bytes per second that one thread encrypts.
pub(crate) fn speed(cipher: &str, size: usize) -> Result<f64> {
    let size = size.to_string();
    // With `-aead` each call is a whole seal with its own nonce and tag, as the candidates do it.
    let mut arguments = vec!["speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", &size, "-evp", cipher];
    if cipher.ends_with("gcm") {
        arguments.insert(1, "-aead");
    }
    let text = run(&arguments)?;
    // One line per cipher: `+F:number:name:bytes per second`.
    let line =
        text.lines().rfind(|line| line.starts_with("+F:")).context("openssl speed printed no result")?;
    line.rsplit(':').next().context("no figure")?.parse().context("the figure is no number")
}

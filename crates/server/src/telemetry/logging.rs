//! The log: text for people or JSON for collectors, on standard error, with a level from the configuration.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Libraries below are quiet unless they are asked for by name.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,rustls=warn,reqwest=warn,tower=warn";

/// The filter of a level or of directives.
///
/// # Errors
/// [`ConfigError`] naming `log.level`.
pub fn filter(level: &str) -> Result<EnvFilter, ConfigError> {
    let is_word = matches!(level, "error" | "warn" | "info" | "debug" | "trace");
    let directives = if is_word { format!("{level},{QUIET}") } else { level.to_owned() };
    EnvFilter::try_new(directives).map_err(|error| ConfigError::Setting {
        setting: "log.level".to_owned(),
        problem: format!(
            "{error}; error, warn, info, debug and trace are allowed, or directives such as info,hyper=debug"
        ),
    })
}

/// Starts the log.
///
/// # Errors
/// [`ConfigError`] naming `log.level`.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level)?)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = match config.format {
        LogFormat::Text => base.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            base.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    // A log that was started already (by a test) goes on.
    drop(started);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a defect: a thread panicked");
    }));
    Ok(())
}

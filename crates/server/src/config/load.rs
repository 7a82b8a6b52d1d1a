//! Putting the layers together: defaults, file, environment (`CHATELAINE_A__B`), `--set a.b=c`; the later wins.

use std::path::{Path, PathBuf};

use super::Config;

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
const PREFIX: &str = "CHATELAINE_";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {problem}", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// The parser's words, with the line.
        problem: String,
    },
    /// An override has no name or value.
    #[error("{place}: write it as section.name=value, for example server.listen=127.0.0.1:9311")]
    Override {
        /// Which one.
        place: String,
    },
    /// A setting is wrong.
    #[error("{setting}: {problem}")]
    Setting {
        /// Its path.
        setting: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl ConfigError {
    pub(super) fn setting(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into() }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// `--set` arguments.
    pub overrides: Vec<String>,
}

/// Loads and checks the configuration.
///
/// # Errors
/// [`ConfigError`] naming the file or setting.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut table = match &sources.file {
        Some(path) => read_file(path)?,
        None => toml::Table::new(),
    };
    let mut variables: Vec<_> =
        sources.environment.iter().filter_map(|(name, value)| Some((path_of(name)?, name, value))).collect();
    variables.sort();
    for (path, name, value) in variables {
        set(&mut table, &path, value).ok_or_else(|| ConfigError::Override { place: name.clone() })?;
    }
    for text in &sources.overrides {
        let wrong =
            || ConfigError::Override { place: format!("--set {}", text.split('=').next().unwrap_or("")) };
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        set(&mut table, &path, value).ok_or_else(wrong)?;
    }
    finish(table)
}

/// The settings of a table, checked.
pub(crate) fn finish(table: toml::Table) -> Result<Config, ConfigError> {
    let config: Config = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let setting = error.path().to_string();
        let problem = error.inner().to_string();
        ConfigError::setting(
            if setting == "." { "configuration".to_owned() } else { setting },
            problem.trim(),
        )
    })?;
    super::check::check(&config)?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(ConfigError::NotToml {
            path: path.to_path_buf(),
            problem: format!("it has {length} bytes, at most {MAX_FILE} are allowed"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|problem| ConfigError::NotToml { path: path.to_path_buf(), problem })
}

/// Parses the text of a configuration file as TOML.
///
/// # Errors
/// The parser's words, with the line.
pub(crate) fn parse(text: &str) -> Result<toml::Table, String> {
    text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())
}

/// The setting that a variable names: `CHATELAINE_SERVER__LISTEN` is `server.listen`.
fn path_of(variable: &str) -> Option<Vec<String>> {
    let rest = variable.strip_prefix(PREFIX)?;
    rest.contains("__").then(|| rest.split("__").map(str::to_ascii_lowercase).collect())
}

/// Puts a value in its place: as TOML if it reads as a number, boolean, list or table, otherwise as text.
fn set(table: &mut toml::Table, path: &[String], text: &str) -> Option<()> {
    let (name, sections) = path.split_last()?;
    if path.len() < 2 || path.iter().any(String::is_empty) {
        return None;
    }
    let mut table = table;
    for section in sections {
        let entry = table.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut()?;
    }
    let parsed =
        format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut read| read.remove("value"));
    let value = match parsed {
        Some(value) if !matches!(value, toml::Value::Datetime(_)) => value,
        _ => toml::Value::String(text.to_owned()),
    };
    table.insert(name.clone(), value);
    Some(())
}

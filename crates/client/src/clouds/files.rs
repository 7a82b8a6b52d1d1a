//! `clouds.yaml` and `secure.yaml`: where they are looked for and how they are read.
//!
//! Invariant: what goes wrong is told by line and column only, because the parser's own messages quote the line,
//! and the line may hold a password. Refuses files over 1 MiB.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Environment;
use super::error::{CloudsError, Origin};
use super::settings::CloudSettings;

const SIZE_LIMIT: u64 = 1 << 20;
const SUFFIXES: [&str; 3] = ["yaml", "yml", "json"];
/// The name under which OpenStack's own tools know the environment's credentials.
const ENVIRONMENT_CLOUD: &str = "envvars";

#[derive(Deserialize)]
struct CloudsFile {
    #[serde(default)]
    clouds: BTreeMap<String, Option<CloudSettings>>,
}

type Clouds = (PathBuf, BTreeMap<String, CloudSettings>);

/// The cloud of this name, from the files.
pub(super) fn named_cloud(
    environment: &Environment,
    working_folder: &Path,
    name: &str,
) -> Result<(CloudSettings, Origin), CloudsError> {
    let Some((path, mut clouds)) = load(environment, working_folder)? else {
        let looked_for: Vec<String> = candidates(environment, working_folder, &CLOUDS)
            .iter()
            .filter(|path| path.extension().is_some_and(|suffix| suffix == "yaml"))
            .map(|path| path.display().to_string())
            .collect();
        return Err(CloudsError::NoFile { cloud: name.into(), looked_for: looked_for.join(", ") });
    };
    match clouds.remove(name) {
        Some(settings) => Ok((settings, Origin::File { path, cloud: name.into() })),
        None => Err(CloudsError::NoSuchCloud { path, cloud: name.into(), available: names(&clouds) }),
    }
}

/// The only cloud of the files.
pub(super) fn only_cloud(
    environment: &Environment,
    working_folder: &Path,
) -> Result<(CloudSettings, Origin), CloudsError> {
    let (path, mut clouds) = load(environment, working_folder)?.ok_or(CloudsError::NothingConfigured)?;
    if clouds.len() > 1 {
        return Err(CloudsError::Ambiguous { path, available: names(&clouds) });
    }
    match clouds.pop_first() {
        Some((cloud, settings)) => Ok((settings, Origin::File { path, cloud })),
        None => Err(CloudsError::NothingConfigured),
    }
}

fn names(clouds: &BTreeMap<String, CloudSettings>) -> String {
    let names: Vec<String> =
        clouds.keys().take(20).map(|name| crate::transport::printable(name, 80)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// `clouds.yaml` with `secure.yaml` laid over it; `None` when there is no `clouds.yaml`.
fn load(environment: &Environment, working_folder: &Path) -> Result<Option<Clouds>, CloudsError> {
    let Some(path) = first_existing(environment, working_folder, &CLOUDS)? else { return Ok(None) };
    let mut clouds = read(&path)?;
    if let Some(secure) = first_existing(environment, working_folder, &SECURE)? {
        for (name, settings) in read(&secure)? {
            clouds.entry(name).or_default().overlay(settings);
        }
    }
    // The name is reserved for the environment in OpenStack's tools; a cloud of that name would mislead.
    if clouds.contains_key(ENVIRONMENT_CLOUD) {
        let reason = "a cloud must not be called `envvars`".to_owned();
        return Err(CloudsError::File { path, reason });
    }
    Ok(Some((path, clouds)))
}

/// A kind of file: its name without suffix and the variable that names one.
struct Kind {
    stem: &'static str,
    variable: &'static str,
}

const CLOUDS: Kind = Kind { stem: "clouds", variable: "OS_CLIENT_CONFIG_FILE" };
const SECURE: Kind = Kind { stem: "secure", variable: "OS_CLIENT_SECURE_FILE" };

fn first_existing(
    environment: &Environment,
    working_folder: &Path,
    kind: &Kind,
) -> Result<Option<PathBuf>, CloudsError> {
    if let Some(path) = environment.text(kind.variable) {
        let mut path = PathBuf::from(path);
        expand_home(&mut path, environment);
        if !path.is_file() {
            let reason = format!("is named by {} but is not a file", kind.variable);
            return Err(CloudsError::File { path, reason });
        }
        return Ok(Some(path));
    }
    Ok(candidates(environment, working_folder, kind).into_iter().find(|path| path.is_file()))
}

fn candidates(environment: &Environment, working_folder: &Path, kind: &Kind) -> Vec<PathBuf> {
    let user = environment
        .text("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| environment.text("HOME").map(|home| Path::new(&home).join(".config")))
        .map(|folder| folder.join("openstack"));
    [Some(working_folder.to_path_buf()), user, Some(PathBuf::from("/etc/openstack"))]
        .into_iter()
        .flatten()
        .flat_map(|folder| SUFFIXES.map(|suffix| folder.join(format!("{}.{suffix}", kind.stem))))
        .collect()
}

fn read(path: &Path) -> Result<BTreeMap<String, CloudSettings>, CloudsError> {
    let failed = |reason: String| CloudsError::File { path: path.to_path_buf(), reason };
    let mut file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let size = file.metadata().map_err(|error| failed(error.to_string()))?.len();
    if size > SIZE_LIMIT {
        return Err(failed(format!("is longer than {SIZE_LIMIT} bytes")));
    }
    // Reserved at once: a growing buffer would leave unwiped copies of passwords behind.
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1)));
    file.by_ref().take(SIZE_LIMIT).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

/// The clouds of a file's text.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, CloudSettings>, String> {
    let document: Option<CloudsFile> = serde_saphyr::from_str(text).map_err(|error| {
        match error.location() {
            Some(at) => format!(
                "cannot be read as clouds (line {}, column {}): not YAML, or a value of another type than expected there",
                at.line(),
                at.column()
            ),
            None => "cannot be read as clouds: not YAML, or of an unexpected form".to_owned(),
        }
    })?;
    let clouds = document.map(|file| file.clouds).unwrap_or_default();
    Ok(clouds.into_iter().map(|(name, settings)| (name, settings.unwrap_or_default())).collect())
}

/// `~/` at the beginning of a path, as shells and OpenStack's tools read it.
pub(super) fn expand_home(path: &mut PathBuf, environment: &Environment) {
    if let Ok(rest) = path.strip_prefix("~")
        && let Some(home) = environment.text("HOME")
    {
        *path = Path::new(&home).join(rest);
    }
}

//! Modules of the process: what PKCS#11 calls the library of a token's vendor.
//!
//! Owns every loaded module: a process has one state per module, however many seals use it, so that they share it here.
//! A module stays loaded until the process ends: libraries that have started threads of their own do not survive being
//! unloaded.
//!
//! Refuses: modules that others than root and the server's user can change.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chatelaine_crypto::KeyMaterial;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::failure::{Failure, describe};
use super::gate::{Gate, GateError};
use crate::SealError;

/// After so many different PINs that a token refused, no other is tried: the fewest attempts that tokens commonly allow.
const MAX_REFUSED_PINS: usize = 3;

/// All modules by their canonical paths.
static MODULES: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

/// A module of the process.
#[derive(Clone)]
pub(super) struct Module(Arc<Gate<Library>>);

/// Which time it is that something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    /// With a module that was started anew.
    Again,
}

impl Module {
    /// The module in the file at `path`; it is loaded when it is first used.
    pub(super) fn at(path: &Path) -> Result<Self, SealError> {
        let invalid = |problem: String| SealError::Invalid { what: "module", problem };
        let path = path.canonicalize().map_err(|error| {
            invalid(format!(
                "there is no PKCS#11 module in {} ({error}); install the token's software, or name its library, such as /usr/lib/softhsm/libsofthsm2.so",
                path.display()
            ))
        })?;
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&path) {
            return Ok(module.clone());
        }
        check_file(&path).map_err(invalid)?;
        let module = Self(Gate::new(Library::new(path.clone())));
        modules.insert(path, module.clone());
        Ok(module)
    }

    /// Does some work with the module, once more where the token was lost, for no longer than `timeout`.
    pub(super) fn call<R: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl Fn(&mut Library, Attempt) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let outcome = self.0.call(timeout, move |library, deadline| {
            let outcome = library.attempt(|library| work(library, Attempt::First));
            match outcome {
                Err(Failure::Lost(_)) if Instant::now() < deadline => {
                    library.attempt(|library| work(library, Attempt::Again))
                }
                other => other,
            }
        });
        outcome.unwrap_or_else(|error| {
            let seconds = timeout.as_secs();
            Err(Failure::Lost(match error {
                GateError::Busy => format!("others use the token since {seconds} s"),
                GateError::Hangs => {
                    "the token has not answered an earlier call; calls are made again when it has, and if it never does, start the server anew".to_owned()
                }
                GateError::TimedOut => format!("the token did not answer within {seconds} s"),
                GateError::Died => "the call into the PKCS#11 module ended without an answer".to_owned(),
                GateError::NoThread(error) => format!("the system gives no thread: {error}"),
            }))
        })
    }
}

/// Whoever can change the module is the server.
fn check_file(path: &Path) -> Result<(), String> {
    let facts =
        std::fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    if !facts.is_file() {
        return Err(format!(
            "{} is not a plain file; name the library of the token's software",
            path.display()
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if facts.uid() != 0 && facts.uid() != user {
        return Err(format!(
            "{} belongs to user {}, not to root or the server's user {user}; install it as root",
            path.display(),
            facts.uid()
        ));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(format!(
            "others can write to {} (mode {:04o}); run `chmod go-w {}`",
            path.display(),
            facts.mode() & 0o7777,
            path.display()
        ));
    }
    Ok(())
}

/// A module's library, and what the process knows of its tokens.
pub(super) struct Library {
    path: PathBuf,
    loaded: Option<Pkcs11>,
    initialized: bool,
    /// PINs that tokens refused, by the token's serial number. They are never tried again.
    refused_pins: BTreeMap<String, Vec<KeyMaterial>>,
}

impl Library {
    fn new(path: PathBuf) -> Self {
        Self { path, loaded: None, initialized: false, refused_pins: BTreeMap::new() }
    }

    fn attempt<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Failure>) -> Result<R, Failure> {
        let outcome = work(self);
        if matches!(outcome, Err(Failure::Lost(_) | Failure::LostAtLogin(_))) {
            self.stop();
        }
        outcome
    }

    /// The module, loaded and initialized.
    pub(super) fn start(&mut self) -> Result<Pkcs11, Failure> {
        let loaded = match &self.loaded {
            Some(loaded) => loaded.clone(),
            None => {
                let loaded = Pkcs11::new(&self.path).map_err(|error| {
                    SealError::Invalid {
                        what: "module",
                        problem: format!(
                            "{} cannot be loaded as a PKCS#11 module ({}); name the library of the token's software for this processor",
                            self.path.display(),
                            describe(&error)
                        ),
                    }
                })?;
                self.loaded.insert(loaded).clone()
            }
        };
        if !self.initialized {
            match loaded.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                Err(error) => return Err(Failure::Lost(describe(&error))),
            }
            self.initialized = true;
        }
        Ok(loaded)
    }

    /// Ends all sessions and forgets all slots: many modules look for tokens only when they start.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.initialized)
            && let Some(loaded) = &self.loaded
        {
            // One that fails had nothing to end; what is wrong shows at the next start.
            let _ = loaded.clone().finalize();
        }
    }

    /// Whether a PIN may be shown to a token.
    pub(super) fn may_try(&self, serial: &str, pin: &KeyMaterial) -> Result<(), Failure> {
        let refused = self.refused_pins.get(serial).map_or(&[][..], Vec::as_slice);
        if refused.iter().any(|refused| refused.ct_eq(pin.expose())) {
            return Err(Failure::refused(
                "the token has refused the PIN in `pin_file`; it is not tried again, as tokens lock after a few wrong PINs",
                "put the right PIN into the file; if it is the token's PIN that was changed meanwhile, start the server anew",
            ));
        }
        if refused.len() >= MAX_REFUSED_PINS {
            return Err(Failure::refused(
                format!("the token has refused {MAX_REFUSED_PINS} PINs; no other is tried"),
                "find the right PIN with the token's own tools, put it into `pin_file` and start the server anew",
            ));
        }
        Ok(())
    }

    /// Remembers a PIN that the token did not take.
    pub(super) fn pin_was_refused(&mut self, serial: &str, pin: &KeyMaterial) {
        self.refused_pins.entry(serial.to_owned()).or_default().push(KeyMaterial::copy_from(pin.expose()));
    }

    /// The token took a PIN: it counts anew.
    pub(super) fn pin_was_right(&mut self, serial: &str) {
        self.refused_pins.remove(serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn pin(text: &str) -> KeyMaterial {
        KeyMaterial::copy_from(text.as_bytes())
    }

    #[test]
    fn a_refused_pin_is_never_shown_to_that_token_again_and_only_few_are_tried() {
        let mut library = Library::new(PathBuf::new());
        library.may_try("a", &pin("1")).unwrap();
        library.pin_was_refused("a", &pin("1"));
        assert!(library.may_try("a", &pin("1")).is_err());
        library.may_try("b", &pin("1")).unwrap();
        library.may_try("a", &pin("2")).unwrap();
        library.pin_was_refused("a", &pin("2"));
        assert!(library.may_try("a", &pin("1")).is_err());
        library.pin_was_refused("a", &pin("3"));
        assert!(library.may_try("a", &pin("4")).is_err());
        library.pin_was_right("a");
        library.may_try("a", &pin("4")).unwrap();
    }

    #[test]
    fn modules_are_plain_files_that_nobody_else_can_change() {
        let folder = crate::testkit::private_folder();
        let refusal = |path: &Path| match Module::at(path) {
            Err(SealError::Invalid { what: "module", problem }) => problem,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken"),
        };
        let path = folder.path().join("module.so");
        assert!(refusal(&path).starts_with("there is no PKCS#11 module in"));
        assert!(refusal(folder.path()).contains("is not a plain file"));
        std::fs::write(&path, "not a library").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(refusal(&path).contains("chmod go-w"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let module = Module::at(&path).unwrap();
        let failure = module.call(Duration::from_secs(30), |library, _| library.start().map(drop));
        let Err(Failure::Other(SealError::Invalid { what: "module", problem })) = failure else {
            panic!("it was loaded")
        };
        assert!(problem.contains("cannot be loaded as a PKCS#11 module"), "{problem}");
    }

    #[test]
    fn seals_share_a_module_whatever_they_call_it() {
        let folder = crate::testkit::private_folder();
        let path = folder.path().join("module.so");
        std::fs::write(&path, "").unwrap();
        let link = folder.path().join("link.so");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let (one, other) = (Module::at(&path).unwrap(), Module::at(&link).unwrap());
        assert!(Arc::ptr_eq(&one.0, &other.0));
    }

    #[test]
    fn a_lost_token_is_tried_once_more_and_a_refused_login_is_not() {
        let folder = crate::testkit::private_folder();
        let path = folder.path().join("module.so");
        std::fs::write(&path, "").unwrap();
        let module = Module::at(&path).unwrap();
        let tries = |failure: fn() -> Failure| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let outcome: Result<(), _> = module.call(Duration::from_secs(30), move |_, attempt| {
                sender.send(attempt).unwrap();
                Err(failure())
            });
            outcome.unwrap_err();
            receiver.iter().collect::<Vec<_>>()
        };
        assert_eq!(tries(|| Failure::Lost(String::new())), [Attempt::First, Attempt::Again]);
        assert_eq!(tries(|| Failure::LostAtLogin(String::new())), [Attempt::First]);
        assert_eq!(tries(|| Failure::refused("", "")), [Attempt::First]);
    }
}

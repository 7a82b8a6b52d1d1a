//! Tokens of SoftHSM in a folder of their own, and a process of its own for each test: SoftHSM reads the environment and
//! has one state per process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chatelaine_seal::pkcs11::{Mechanism, Pkcs11Seal, Pkcs11Settings, TokenSelector};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

/// The folder, told to the process of a test.
const FOLDER: &str = "CHATELAINE_TEST_PKCS11_FOLDER";
/// Where distributions put the module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const MISSING: &str =
    "these tests need SoftHSM 2: install Debian's package softhsm2 (`apt-get install softhsm2`)";

/// The PIN of every token.
pub(crate) const PIN: &str = "correct-4711";
const OFFICER_PIN: &str = "officer-0815";
/// The label of the wrapping key.
pub(crate) const KEY: &str = "chatelaine";

/// Runs a scenario in a process and a place of its own, with a token `castle` in it.
pub(crate) fn alone(test: &str, scenario: impl FnOnce(&Place)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        scenario(&Place { folder: PathBuf::from(folder) });
        return;
    }
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a folder");
    let place = Place { folder: folder.path().to_path_buf() };
    std::fs::create_dir(place.tokens()).unwrap();
    let settings =
        format!("directories.tokendir = {}\nobjectstore.backend = file\n", place.tokens().display());
    std::fs::write(place.configuration(), settings).unwrap();
    place.set_pin(PIN);
    place.add_token("castle");
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", place.configuration())
        .output()
        .unwrap();
    let text = told(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "no test is named {test}: {text}");
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The place of one test.
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    /// The folder of the tokens; each is a folder in it.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// Writes the file of the PIN.
    pub(crate) fn set_pin(&self, pin: &str) {
        std::fs::write(self.path("pin"), format!("{pin}\n")).unwrap();
        self.set_pin_mode(0o600);
    }

    pub(crate) fn set_pin_mode(&self, mode: u32) {
        std::fs::set_permissions(self.path("pin"), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Makes one more token.
    pub(crate) fn add_token(&self, label: &str) {
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", OFFICER_PIN, "--pin", PIN])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .expect(MISSING);
        assert!(output.status.success(), "{}", told(&output));
    }

    pub(crate) fn settings(&self) -> Pkcs11Settings {
        let module = MODULES.iter().map(Path::new).find(|path| path.exists()).expect(MISSING);
        Pkcs11Settings {
            module: module.to_path_buf(),
            token: labelled("castle"),
            pin_file: self.path("pin"),
            key_label: KEY.to_owned(),
            mechanism: Mechanism::AesGcm,
            timeout: Pkcs11Settings::DEFAULT_TIMEOUT,
        }
    }

    pub(crate) fn seal(&self) -> Pkcs11Seal {
        Pkcs11Seal::new(self.settings()).unwrap()
    }

    /// The module itself, which is the one that the seals of this process use.
    pub(crate) fn module(&self) -> Pkcs11 {
        let module = Pkcs11::new(self.settings().module).unwrap();
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => module,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn slot(&self, module: &Pkcs11) -> Slot {
        let slots = module.get_slots_with_initialized_token().unwrap();
        slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == "castle").unwrap()
    }

    /// A session with the token, past the seal.
    pub(crate) fn session(&self) -> Session {
        let module = self.module();
        module.open_rw_session(self.slot(&module)).unwrap()
    }

    /// A session that is logged in.
    pub(crate) fn logged_in(&self) -> Session {
        let session = self.session();
        session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
        session
    }
}

pub(crate) fn labelled(label: &str) -> TokenSelector {
    TokenSelector { label: Some(label.to_owned()), serial: None }
}

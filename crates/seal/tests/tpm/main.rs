//! The TPM seal with real software TPMs.
#![cfg(feature = "tpm")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../tpm/tests/swtpm/machine.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the TPM client, which use all of it")]
mod machine;

mod joining;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_seal::boot::BootState;
use chatelaine_seal::recovery::{RecoveryKey, RecoverySeal};
use chatelaine_seal::tpm::approvals::{
    ApprovalFile, create_release_authority, read_release_authority, with_values,
};
use chatelaine_seal::tpm::{TpmSeal, TpmSettings};
use chatelaine_seal::{Custody, KeyId, KeyIdentity, MasterKey, Seal, SealError, testkit};
use machine::{Swtpm, assert_empty, boot};

const NOW: &str = "2026-01-01T00:00:00Z";

/// A host: a TPM, and a folder for what the seal keeps.
struct Host {
    tpm: Swtpm,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        create_release_authority(&folder.path().join("authority")).unwrap();
        let host = Self { tpm: Swtpm::blank(), folder };
        boot(&host.tpm.tpm(), "firmware 1");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> TpmSettings {
        TpmSettings {
            device: self.tpm.address().to_string(),
            registers: "grub".to_owned(),
            authority: self.path("authority.pub"),
            approvals: self.path("approvals"),
            auth_file: None,
            cap: None,
            name: "host".to_owned(),
            timeout: Duration::from_secs(20),
        }
    }

    fn seal(&self) -> TpmSeal {
        TpmSeal::new(&self.settings()).unwrap()
    }

    fn approve(&self, state: BootState) {
        let authority = read_release_authority(&self.path("authority")).unwrap();
        let file = ApprovalFile::sign(&authority, state, "test".to_owned(), NOW).unwrap();
        file.check(&authority.authority()).unwrap();
        self.seal().approvals().install(&file).unwrap();
    }

    fn custody(&self) -> Custody {
        Custody::new(self.path("sealed-keys.json"), vec![Arc::new(self.seal())])
    }

    fn reboot(&mut self, firmware: &str) {
        self.tpm.reboot();
        boot(&self.tpm.tpm(), firmware);
    }
}

fn not_approved<T: std::fmt::Debug>(outcome: Result<T, SealError>) -> BootState {
    match outcome {
        Err(SealError::NotApproved { state, .. }) => *state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn conforms() {
    /// The suite asks for clusters and epochs that only it knows: each is approved when it comes up.
    struct Approving(Arc<Host>, TpmSeal);
    impl Seal for Approving {
        fn kind(&self) -> &'static str {
            self.1.kind()
        }
        fn name(&self) -> String {
            self.1.name()
        }
        fn describe(&self) -> String {
            self.1.describe()
        }
        fn prepare(&self) -> Result<(), SealError> {
            self.1.prepare()
        }
        fn seal(
            &self,
            key: &chatelaine_crypto::KeyMaterial,
            identity: &KeyIdentity<'_>,
        ) -> Result<serde_json::Value, SealError> {
            self.0.approve(self.1.boot_state(identity)?);
            self.1.seal(key, identity)
        }
        fn open(
            &self,
            sealed: &serde_json::Value,
            identity: &KeyIdentity<'_>,
        ) -> Result<chatelaine_crypto::KeyMaterial, SealError> {
            self.1.open(sealed, identity)
        }
    }
    let host = Arc::new(Host::new());
    testkit::conformance(&|| Box::new(Approving(Arc::clone(&host), host.seal()))).unwrap();
    assert_empty(&host.tpm.tpm());
}

/// The same boot opens, another one waits for an approval, and the document stays as it is.
#[test]
fn a_changed_boot_waits_for_its_approval() {
    let mut host = Host::new();
    let mut unsealed = host.custody().create(NOW).unwrap();
    // The key is there and is used; it does not open again before somebody approves.
    let state = unsealed.pending.pop().unwrap();
    assert_eq!(state.epoch, 1);
    assert!(
        matches!(host.custody().unseal(), Err(SealError::Sealed { pending, .. }) if pending == [state.clone()])
    );
    host.approve(state.clone());
    assert!(host.custody().unseal().unwrap().pending.is_empty());
    let document = std::fs::read(host.path("sealed-keys.json")).unwrap();

    host.reboot("firmware 1");
    host.custody().unseal().unwrap();
    host.reboot("firmware 2");
    let Err(SealError::Sealed { pending, failures, .. }) = host.custody().unseal() else {
        panic!("it opens")
    };
    assert!(failures[0].contains(&pending[0].digest) && failures[0].contains("PCR 0 ="), "{failures:?}");
    assert_ne!(pending[0].values[&0], state.values[&0]);
    assert_eq!(pending[0].values[&4], state.values[&4]);
    host.approve(pending[0].clone());
    host.custody().unseal().unwrap();
    host.reboot("firmware 1");
    host.custody().unseal().unwrap();
    assert_eq!(std::fs::read(host.path("sealed-keys.json")).unwrap(), document);
    assert_empty(&host.tpm.tpm());
}

/// A planned update is approved before it comes.
#[test]
fn a_state_can_be_approved_in_advance() {
    let mut host = Host::new();
    let state = host.custody().create(NOW).unwrap().pending.pop().unwrap();
    host.approve(state.clone());
    host.reboot("firmware 2");
    let seal = host.seal();
    let identity = KeyIdentity { cluster: &state.cluster, id: &KeyId::random().unwrap(), epoch: 1 };
    let expected = seal.boot_state(&identity).unwrap().values[&0].clone();
    assert!(with_values(state.clone(), [(5, expected.clone())]).is_err());
    assert!(with_values(state.clone(), [(0, "zz".to_owned())]).is_err());
    host.approve(with_values(state, [(0, expected)]).unwrap());
    host.custody().unseal().unwrap();
}

/// Approvals are bound to authority, cluster and epoch; a new epoch needs its own before it is used.
#[test]
fn approvals_of_others_count_for_nothing() {
    let host = Host::new();
    let mut unsealed = host.custody().create(NOW).unwrap();
    let state = unsealed.pending.pop().unwrap();
    host.approve(BootState { epoch: 2, ..state.clone() });
    host.approve(BootState { cluster: KeyId::random().unwrap(), ..state.clone() });
    create_release_authority(&host.path("stranger")).unwrap();
    let stranger = read_release_authority(&host.path("stranger")).unwrap();
    let forged = ApprovalFile::sign(&stranger, state.clone(), String::new(), NOW).unwrap();
    let authority = host.seal().authority().unwrap();
    assert!(forged.check(&authority).unwrap_err().to_string().contains("not signed"));
    host.seal().approvals().install(&forged).unwrap();
    assert!(matches!(host.custody().unseal(), Err(SealError::Sealed { .. })));

    let own = read_release_authority(&host.path("authority")).unwrap();
    let mut relabelled =
        ApprovalFile::sign(&own, BootState { epoch: 7, ..state.clone() }, String::new(), NOW).unwrap();
    relabelled.state.epoch = 1;
    assert!(relabelled.check(&authority).unwrap_err().to_string().contains("not what it says"));

    host.approve(state);
    host.custody().unseal().unwrap();
    // Epoch 2 was approved above, epoch 3 was not: the rotation to it is refused and changes nothing.
    host.custody().rotate(&mut unsealed, NOW).unwrap();
    let pending = not_approved(host.custody().rotate(&mut unsealed, NOW));
    assert_eq!(pending.epoch, 3);
    assert_eq!(unsealed.keys.active.epoch, 2);
    host.approve(pending);
    host.custody().rotate(&mut unsealed, NOW).unwrap();
    assert_eq!(host.custody().unseal().unwrap().keys.active.epoch, 3);
}

#[test]
fn boots_that_nobody_measured_are_refused() {
    let mut host = Host::new();
    host.tpm.reboot();
    let error = host.custody().create(NOW).unwrap_err();
    assert!(matches!(error, SealError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("measured boot"), "{error}");
    assert!(!host.path("sealed-keys.json").exists());
}

/// Another machine's TPM, or this one after it was cleared, opens nothing; the recovery key does.
#[test]
fn what_was_sealed_here_opens_nowhere_else() {
    let mut host = Host::new();
    let custody = host.custody();
    let mut unsealed = custody.create(NOW).unwrap();
    host.approve(unsealed.pending.pop().unwrap());
    let key = RecoveryKey::random().unwrap();
    custody.set_recovery(&mut unsealed, Some(key.recipient(NOW, 1, 1).unwrap()), NOW).unwrap();
    custody.unseal().unwrap();
    host.tpm = Swtpm::blank();
    boot(&host.tpm.tpm(), "firmware 1");
    let Err(SealError::Sealed { failures, .. }) = host.custody().unseal() else { panic!("it opens") };
    assert!(failures[0].contains("another TPM, or one that was cleared"), "{failures:?}");
    let seals: Vec<Arc<dyn Seal>> = vec![Arc::new(RecoverySeal::of_key(key).unwrap())];
    let mut recovered = custody.with_seals(seals).unseal().unwrap();
    host.custody().add_seal(&mut recovered, &host.seal(), NOW).unwrap();
    host.custody().unseal().unwrap();
}

/// Another local user who may use the TPM does not have the file.
#[test]
fn the_file_is_needed_beside_the_tpm() {
    let host = Host::new();
    let with_file = TpmSettings { auth_file: Some(host.path("tpm-auth")), ..host.settings() };
    let seal = TpmSeal::new(&with_file).unwrap();
    seal.prepare().unwrap();
    let (cluster, key) = (KeyId::random().unwrap(), MasterKey::random(1).unwrap());
    let identity = key.identity(&cluster);
    host.approve(seal.boot_state(&identity).unwrap());
    let sealed = seal.seal(&key.material, &identity).unwrap();
    assert!(seal.open(&sealed, &identity).unwrap().ct_eq(key.material.expose()));
    assert!(host.seal().open(&sealed, &identity).is_err());
    let file = host.path("tpm-auth");
    let mut content = std::fs::read(&file).unwrap();
    content[0] ^= 1;
    std::fs::write(&file, content).unwrap();
    assert!(seal.open(&sealed, &identity).is_err());
    std::fs::write(&file, [1; 31]).unwrap();
    assert!(matches!(seal.open(&sealed, &identity), Err(SealError::Damaged { .. })));
    assert_empty(&host.tpm.tpm());
}

/// After the cap nobody opens, seals or approves anything in this boot; after a restart all is as before.
#[test]
fn a_capped_boot_opens_nothing_until_the_next_start() {
    let mut host = Host::new();
    let capping = TpmSeal::new(&TpmSettings { cap: Some(9), ..host.settings() }).unwrap();
    let custody = Custody::new(host.path("sealed-keys.json"), vec![Arc::new(host.seal())]);
    let mut unsealed = custody.create(NOW).unwrap();
    let state = unsealed.pending.pop().unwrap();
    host.approve(state.clone());
    custody.unseal().unwrap();
    // Without the setting nothing happens.
    assert_eq!(host.seal().cap().unwrap(), None);
    custody.unseal().unwrap();
    assert!(!capping.is_capped().unwrap());

    let others = host.tpm.tool(&["tpm2_pcrread", "sha256:0,2,4,7,8+sha384:9"]);
    assert_eq!(capping.cap().unwrap(), Some(9));
    assert_eq!(host.tpm.tool(&["tpm2_pcrread", "sha256:0,2,4,7,8+sha384:9"]), others);
    assert!(capping.is_capped().unwrap() && host.seal().is_capped().unwrap());
    let Err(SealError::Sealed { failures, pending, .. }) = custody.unseal() else { panic!("it opens") };
    assert!(failures[0].contains("PCR 9 was capped"), "{failures:?}");
    assert!(pending.is_empty(), "a capped boot is none to be approved");
    let active = &unsealed.keys.active;
    let identity = KeyIdentity { cluster: &state.cluster, id: &active.id, epoch: active.epoch };
    for refused in [
        host.seal().boot_state(&identity).map(drop),
        host.seal().seal(&active.material, &identity).map(drop),
        custody.rotate(&mut unsealed, NOW),
    ] {
        assert!(matches!(refused, Err(SealError::Refused { .. })), "{refused:?}");
    }
    assert_eq!(unsealed.keys.active.epoch, 1);

    host.reboot("firmware 1");
    assert!(!capping.is_capped().unwrap());
    custody.unseal().unwrap();
    // Another boot that nobody approved is still called that.
    host.reboot("firmware 2");
    assert!(matches!(custody.unseal(), Err(SealError::Sealed { pending, .. }) if pending.len() == 1));
    assert_empty(&host.tpm.tpm());
}

#[test]
fn a_tpm_that_is_away_may_come_back() {
    let mut host = Host::new();
    let mut unsealed = host.custody().create(NOW).unwrap();
    host.approve(unsealed.pending.pop().unwrap());
    host.tpm.cut_power();
    let Err(SealError::Sealed { failures, pending, .. }) = host.custody().unseal() else {
        panic!("it opens")
    };
    assert!(failures[0].contains("is not available") && pending.is_empty(), "{failures:?}");
    host.tpm.power_on();
    boot(&host.tpm.tpm(), "firmware 1");
    host.custody().unseal().unwrap();
}

#[test]
fn settings_are_checked() {
    let host = Host::new();
    let settings = host.settings();
    for (wrong, what) in [
        (TpmSettings { device: "tpm0".to_owned(), ..settings.clone() }, "device"),
        (TpmSettings { registers: "everything".to_owned(), ..settings.clone() }, "registers"),
        (TpmSettings { registers: "sha256:24".to_owned(), ..settings.clone() }, "registers"),
        (TpmSettings { name: String::new(), ..settings.clone() }, "name"),
        (TpmSettings { cap: Some(5), ..settings.clone() }, "cap_register"),
        (
            TpmSettings { cap: Some(23), registers: "sha256:0,23".to_owned(), ..settings.clone() },
            "cap_register",
        ),
    ] {
        assert!(matches!(TpmSeal::new(&wrong), Err(SealError::Invalid { what: found, .. }) if found == what));
    }
    let lost = TpmSeal::new(&TpmSettings { authority: host.path("none"), ..settings }).unwrap();
    assert!(lost.prepare().unwrap_err().to_string().contains("release authority"));
    assert!(create_release_authority(&host.path("authority")).is_err());
}

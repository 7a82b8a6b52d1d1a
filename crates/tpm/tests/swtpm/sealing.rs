//! TPM sealing: what opens, what is refused, in how many commands.

use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::tpm::Lock;
use chatelaine_tpm::tpm::keys::{EndorsementKind, STORAGE_ROOT};
use chatelaine_tpm::types::AuthValue;
use chatelaine_tpm::{Approval, ReleaseAuthority, SealedBlob, Tpm, TpmError};

use crate::machine::{Maker, Swtpm, assert_empty, boot, registers};

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const REFERENCE: &[u8] = b"chatelaine/7a3f/mk/1";

/// Approves the boot state that the TPM is in.
pub fn approve(signer: &ReleaseAuthority, tpm: &Tpm) -> Approval {
    signer.approve(&tpm.pcr_read(&registers()).unwrap(), REFERENCE).unwrap()
}

fn commands<T>(tpm: &Tpm, work: impl FnOnce() -> T) -> (u64, T) {
    let before = tpm.commands_sent();
    let result = work();
    (tpm.commands_sent() - before, result)
}

#[test]
fn a_secret_opens_under_an_approved_boot_in_ten_commands() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    assert!(tpm.provision_storage_root().unwrap());
    assert!(!tpm.provision_storage_root().unwrap());
    let signer = ReleaseAuthority::generate().unwrap();
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    let stored = SealedBlob::from_bytes(&blob.to_bytes()).unwrap();
    assert_eq!(stored, blob);
    assert_eq!(stored.parent_name(), tpm.storage_root_name().unwrap());

    let approval = approve(&signer, &tpm);
    let (count, secret) =
        commands(&tpm, || tpm.unseal(&stored, std::slice::from_ref(&approval), None).unwrap());
    assert_eq!((secret.as_slice(), count), (SECRET, 9), "one approval: registers need not be read");

    let older = {
        let values = tpm.pcr_read(&registers()).unwrap();
        let mut other: Vec<Vec<u8>> = values.iter().map(|(_, value)| value.to_vec()).collect();
        other[0] = vec![7; 32];
        let other = chatelaine_tpm::types::PcrValues::new(registers(), other).unwrap();
        signer.approve(&other, REFERENCE).unwrap()
    };
    let (count, secret) = commands(&tpm, || tpm.unseal(&stored, &[older, approval], None).unwrap());
    assert_eq!((secret.as_slice(), count), (SECRET, 10), "the approval that fits is found");
    assert_empty(&tpm);
}

#[test]
fn without_a_persistent_root_the_template_gives_the_same_one() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    let lock = Lock::registers(&tpm.pcr_read(&registers()).unwrap()).unwrap();
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    let (count, secret) = commands(&tpm, || tpm.unseal(&blob, &[], None).unwrap());
    assert_eq!((secret.as_slice(), count), (SECRET, 7));
    // Made persistent later: the blob still opens.
    assert!(tpm.provision_storage_root().unwrap());
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap().as_slice(), SECRET);
    // Sealed under the persistent one, which is then removed: the template's takes its place.
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    machine.tool(&["tpm2_evictcontrol", "-C", "o", "-c", &format!("{STORAGE_ROOT:#x}")]);
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap().as_slice(), SECRET);
    assert_empty(&tpm);
}

#[test]
fn a_value_from_a_file_is_needed_too() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [approve(&signer, &tpm)];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let (right, wrong) = (AuthValue::new(&[5; 32]).unwrap(), AuthValue::new(&[6; 32]).unwrap());
    let blob = tpm.seal(SECRET, &lock, Some(&right)).unwrap();
    assert_eq!(tpm.unseal(&blob, &approvals, Some(&right)).unwrap().as_slice(), SECRET);
    let error = tpm.unseal(&blob, &approvals, Some(&wrong)).unwrap_err();
    assert_eq!(error.code().unwrap().explain().0, "TPM_RC_BAD_AUTH", "{error}");
    assert!(matches!(tpm.unseal(&blob, &approvals, None), Err(TpmError::Invalid { .. })));
    assert_eq!(tpm.properties().unwrap().lockout_counter, 0, "noDA: it does not count");
    assert_empty(&tpm);
}

#[test]
fn endorsement_keys_are_the_makers_and_the_templates_alike() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = machine.tpm();
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let persistent = tpm.operation(|connection| connection.endorsement_key(kind)).unwrap();
        assert!(persistent.is_persistent());
        assert!(tpm.endorsement_certificate(kind).unwrap().is_some());
        machine.tool(&["tpm2_evictcontrol", "-C", "o", "-c", &format!("{:#x}", kind.persistent())]);
        let made = tpm.operation(|connection| connection.endorsement_key(kind)).unwrap();
        assert!(!made.is_persistent());
        assert_eq!(made.public, persistent.public, "{kind:?}");
    }
    tpm.operation(|connection| connection.endorsement_key(EndorsementKind::EccP256)).unwrap();
    assert_eq!(tpm.endorsement_certificate(EndorsementKind::EccP256).unwrap(), None);
    let first = tpm.operation(|connection| connection.attestation_key(None)).unwrap();
    let again = tpm.operation(|connection| connection.attestation_key(None)).unwrap();
    assert_eq!(first.name(), again.name());
    assert_empty(&tpm);
}

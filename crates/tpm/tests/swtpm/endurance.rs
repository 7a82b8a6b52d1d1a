//! TPM section 8.4 and 8.5: reboots, power cuts, and a thousand openings.

use chatelaine_tpm::tpm::Lock;
use chatelaine_tpm::types::AuthValue;
use chatelaine_tpm::{Options, ReleaseAuthority, TpmError};

use crate::interposer::Interposer;
use crate::machine::{Swtpm, assert_empty, boot, registers};
use crate::sealing::{REFERENCE, SECRET, approve};

/// The software TPM has three slots for each: what is left behind shows at once.
#[test]
fn a_thousand_openings_leave_nothing_in_the_tpm() {
    let (machine, other) = (Swtpm::blank(), Swtpm::blank());
    let (tpm, foreign) = (machine.tpm(), other.tpm());
    boot(&tpm, "firmware 1");
    boot(&foreign, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [approve(&signer, &tpm)];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let (value, wrong) = (AuthValue::new(&[1; 32]).unwrap(), AuthValue::new(&[2; 32]).unwrap());
    let plain = tpm.seal(SECRET, &lock, None).unwrap();
    let with_value = tpm.seal(SECRET, &lock, Some(&value)).unwrap();
    let foreign_blob = foreign.seal(SECRET, &lock, None).unwrap();
    let mut elsewhere: Vec<Vec<u8>> =
        tpm.pcr_read(&registers()).unwrap().iter().map(|(_, value)| value.to_vec()).collect();
    elsewhere[1] = vec![3; 32];
    let elsewhere = chatelaine_tpm::types::PcrValues::new(registers(), elsewhere).unwrap();
    let unfit = [signer.approve(&elsewhere, REFERENCE).unwrap()];
    for round in 0..1000 {
        match round % 5 {
            0 => assert_eq!(tpm.unseal(&plain, &approvals, None).unwrap().as_slice(), SECRET),
            1 => assert_eq!(tpm.unseal(&with_value, &approvals, Some(&value)).unwrap().as_slice(), SECRET),
            2 => assert!(tpm.unseal(&with_value, &approvals, Some(&wrong)).unwrap_err().code().is_some()),
            3 => assert!(matches!(
                tpm.unseal(&foreign_blob, &approvals, None),
                Err(TpmError::WrongParent { .. })
            )),
            _ => assert!(matches!(tpm.unseal(&plain, &unfit, None), Err(TpmError::BootNotApproved(_)))),
        }
    }
    assert_empty(&tpm);
    assert_eq!(tpm.properties().unwrap().lockout_counter, 0);
}

#[test]
fn a_reboot_opens_again_and_new_firmware_needs_an_approval_only() {
    let mut machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let mut approvals = vec![approve(&signer, &tpm)];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    machine.reboot();
    assert!(
        matches!(tpm.unseal(&blob, &approvals, None), Err(TpmError::BootNotApproved(_))),
        "nothing measured yet"
    );
    boot(&tpm, "firmware 1");
    assert_eq!(tpm.unseal(&blob, &approvals, None).unwrap().as_slice(), SECRET);
    machine.reboot();
    boot(&tpm, "firmware 2");
    let Err(TpmError::BootNotApproved(state)) = tpm.unseal(&blob, &approvals, None) else {
        panic!("it opened")
    };
    approvals.push(signer.approve(&state, REFERENCE).unwrap());
    assert_eq!(tpm.unseal(&blob, &approvals, None).unwrap().as_slice(), SECRET, "the blob is as it was");
    machine.reboot();
    boot(&tpm, "firmware 1");
    assert_eq!(tpm.unseal(&blob, &approvals, None).unwrap().as_slice(), SECRET, "both are approved");
    // The cap: after it, only a reboot opens again.
    tpm.pcr_extend(9, chatelaine_tpm::types::HashAlgorithm::Sha256, b"cap").unwrap();
    assert!(matches!(tpm.unseal(&blob, &approvals, None), Err(TpmError::BootNotApproved(_))));
}

/// Each command of an opening in turn is the last one before the power goes.
#[test]
fn power_cuts_in_mid_command_are_bounded_errors_and_never_lock_the_tpm() {
    let machine = Swtpm::blank();
    let address = machine.address();
    let honest = machine.tpm();
    boot(&honest, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [approve(&signer, &honest)];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let value = AuthValue::new(&[1; 32]).unwrap();
    let blob = honest.seal(SECRET, &lock, Some(&value)).unwrap();
    let machine = std::sync::Arc::new(std::sync::Mutex::new(machine));
    for cut in 1..=12 {
        let victim = std::sync::Arc::clone(&machine);
        let tpm = Interposer::before(
            address.clone(),
            Options::default(),
            Box::new(move |count, _| {
                if count == cut {
                    victim.lock().unwrap().cut_power();
                }
                None
            }),
        );
        let start = std::time::Instant::now();
        let error = tpm.unseal(&blob, &approvals, Some(&value)).unwrap_err();
        assert!(matches!(error, TpmError::Transport { .. }), "cut at {cut}: {error}");
        assert!(start.elapsed() < std::time::Duration::from_secs(10));
        assert!(matches!(honest.random(8), Err(TpmError::Transport { .. })), "nobody is there");
        machine.lock().unwrap().power_on();
        boot(&honest, "firmware 1");
        assert_eq!(honest.unseal(&blob, &approvals, Some(&value)).unwrap().as_slice(), SECRET);
        let properties = honest.properties().unwrap();
        assert!(!properties.in_lockout && properties.lockout_counter == 0, "{properties:?}");
    }
    assert_empty(&honest);
}

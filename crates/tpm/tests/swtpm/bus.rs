//! TPM section 3, "bus protection": who reads along learns nothing, who changes answers is noticed.

use std::sync::{Arc, Mutex};

use chatelaine_tpm::command::{self, Handle, SessionKind};
use chatelaine_tpm::session::{Authorization, Use};
use chatelaine_tpm::tpm::keys::storage_template;
use chatelaine_tpm::tpm::{Connection, EndorsementKind, Lock};
use chatelaine_tpm::types::{Attributes, AuthValue, HashAlgorithm, KeyParameters, Public};
use chatelaine_tpm::{Options, ReleaseAuthority, Tpm, TpmError};

use crate::interposer::{Interposer, UNSEAL, code, contains};
use crate::machine::{Maker, Swtpm, assert_empty, boot, registers};
use crate::sealing::{REFERENCE, SECRET, approve};

#[test]
fn the_master_key_is_never_on_the_bus_and_a_plain_session_shows_it() {
    let machine = Swtpm::blank();
    let (tpm, record) = Interposer::recording(machine.address(), Options::default());
    boot(&tpm, "firmware 1");
    let value = AuthValue::new(&[0xa5; 32]).unwrap();
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [approve(&signer, &tpm)];
    let approved = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let bare = Lock::registers(&tpm.pcr_read(&registers()).unwrap()).unwrap();
    for lock in [&approved, &bare] {
        for value in [None, Some(&value)] {
            let blob = tpm.seal(SECRET, lock, value).unwrap();
            assert_eq!(tpm.unseal(&blob, &approvals, value).unwrap().as_slice(), SECRET);
        }
    }
    assert!(!contains(&record, &SECRET[..8]), "the master key was on the bus");
    assert!(!contains(&record, &[0xa5; 8]), "the authorization value was on the bus");

    // Control: the same without encryption.
    let opened = tpm.operation(|connection| plain_seal_and_unseal(connection, &bare)).unwrap();
    assert_eq!(opened, SECRET);
    assert!(contains(&record, SECRET), "the tap records nothing");
    assert_empty(&tpm);
}

/// Seals and unseals with a password and a session without salt.
fn plain_seal_and_unseal(connection: &mut Connection<'_>, lock: &Lock) -> Result<Vec<u8>, TpmError> {
    let none = AuthValue::default();
    let parent = connection.create_primary(command::OWNER, &storage_template(), None)?;
    let template = Public {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: Attributes::ADMIN_WITH_POLICY.with(Attributes::FIXED_TPM).with(Attributes::FIXED_PARENT),
        auth_policy: lock.policy(false),
        parameters: KeyParameters::KeyedHash { unique: Vec::new() },
    };
    let create = command::create_sealed(&parent.handle(), &none, SECRET, &template);
    let created = connection.run(&create, &mut [Authorization::Password(&none)])?;
    let created = command::created(&created.parameters)?;
    let load = command::load(&parent.handle(), &created.private, &created.public);
    let handle = connection.run(&load, &mut [Authorization::Password(&none)])?.handle.unwrap();
    let object = Handle::object(handle, created.public.name());
    let mut session = connection.start_session(SessionKind::Policy, None)?;
    connection.run(&command::policy_pcr(session.handle(), &registers()), &mut [])?;
    let unseal = command::unseal(&object);
    let answer = connection.run(&unseal, &mut [Authorization::Session(&mut session, &none, Use::LAST)])?;
    Ok(command::sized_answer(&answer.parameters)?.to_vec())
}

#[test]
fn secrets_of_attestation_and_hierarchies_are_never_on_the_bus() {
    let maker = Maker::new();
    let machine = maker.make();
    machine.tool(&["tpm2_changeauth", "-c", "o", "owner-password"]);
    machine.tool(&["tpm2_changeauth", "-c", "e", "endorsement-password"]);
    let value = |text: &str| AuthValue::new(text.as_bytes()).unwrap();
    let options = Options {
        owner: value("owner-password"),
        endorsement: value("endorsement-password"),
        ..Options::default()
    };
    let (tpm, record) = Interposer::recording(machine.address(), options);
    boot(&tpm, "firmware 1");
    tpm.provision_storage_root().unwrap();
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let opened = tpm
            .operation(|connection| {
                let endorsement = connection.endorsement_key(kind)?;
                let attestation = connection.attestation_key(Some(&endorsement))?;
                let credential = chatelaine_tpm::software::credential::make_credential(
                    &endorsement.public,
                    &attestation.name(),
                    SECRET,
                )?;
                connection.activate_credential(&attestation, &endorsement, &credential)
            })
            .unwrap();
        assert_eq!(opened.as_slice(), SECRET);
    }
    for secret in [SECRET, b"owner-password", b"endorsement-password"] {
        assert!(!contains(&record, secret));
    }
    // Control: the same words are seen where they are sent as a password.
    let wrong = AuthValue::new(b"sent as it is").unwrap();
    let sent = command::evict_control(&Handle::permanent(0x8100_0001), 0x8100_0001);
    let refused = tpm.operation(|connection| connection.run(&sent, &mut [Authorization::Password(&wrong)]));
    assert!(refused.is_err() && contains(&record, b"sent as it is"));
    assert_empty(&tpm);
}

/// Changes the answer to `TPM2_Unseal` in some way.
fn altering(machine: &Swtpm, alter: impl Fn(&mut Vec<u8>) + Send + 'static) -> Tpm {
    Interposer::after(
        machine.address(),
        Box::new(move |_, command, answer| {
            if code(command) == UNSEAL {
                alter(answer);
            }
        }),
    )
}

#[test]
fn an_altered_answer_is_an_error_and_leaves_nothing_behind() {
    let machine = Swtpm::blank();
    let honest = machine.tpm();
    boot(&honest, "firmware 1");
    let lock = Lock::registers(&honest.pcr_read(&registers()).unwrap()).unwrap();
    let blob = honest.seal(SECRET, &lock, None).unwrap();
    type Alter = fn(&mut Vec<u8>);
    let alterations: [(&str, Alter); 5] = [
        ("HMAC", |answer| *answer.last_mut().unwrap() ^= 1),
        ("ciphertext", |answer| answer[20] ^= 1),
        ("length of the ciphertext", |answer| answer[15] ^= 1),
        ("nonce", |answer| {
            let place = answer.len() - 40;
            answer[place] ^= 1;
        }),
        ("no authorization", |answer| {
            // The attacker's own key in place of the sealed one.
            let mut forged = vec![0x80, 0x01, 0, 0, 0, 44, 0, 0, 0, 0, 0, 32];
            forged.extend([0xee; 32]);
            *answer = forged;
        }),
    ];
    for (what, alter) in alterations {
        let error = altering(&machine, alter).unseal(&blob, &[], None).unwrap_err();
        assert!(matches!(error, TpmError::Tampered { command: "TPM2_Unseal", .. }), "{what}: {error}");
        assert_empty(&honest);
    }
    assert_eq!(honest.unseal(&blob, &[], None).unwrap().as_slice(), SECRET);
}

/// Whatever single byte of whatever answer is changed: the right secret comes out, or none.
#[test]
fn no_altered_byte_of_any_answer_gives_another_secret() {
    let mut machine = Swtpm::blank();
    let honest = machine.tpm();
    boot(&honest, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approvals = [approve(&signer, &honest)];
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let blob = honest.seal(SECRET, &lock, None).unwrap();
    let lengths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lengths);
    let observer = Interposer::after(
        machine.address(),
        Box::new(move |_, _, answer| seen.lock().unwrap().push(answer.len())),
    );
    observer.unseal(&blob, &approvals, None).unwrap();
    let lengths = lengths.lock().unwrap().clone();
    assert_eq!(lengths.len(), 11, "commands without a persistent root");
    let mut refused = 0;
    for (place, length) in lengths.iter().enumerate() {
        // Every position would take minutes; these lie in every part of an answer.
        for position in
            [1, 5, 9, 11, 13, 15, 30, 60, length - 1].into_iter().filter(|position| position < length)
        {
            let number = u32::try_from(place).unwrap() + 1;
            let tpm = Interposer::after(
                machine.address(),
                Box::new(move |count, _, answer| {
                    if count == number {
                        answer[position] ^= 0x04;
                    }
                }),
            );
            match tpm.unseal(&blob, &approvals, None) {
                Ok(secret) => assert_eq!(secret.as_slice(), SECRET, "command {number}, byte {position}"),
                Err(_) => refused += 1,
            }
            // Who does not learn the handle cannot flush it: header and handle are the first fourteen bytes.
            if honest.loaded_counts().unwrap() != (0, 0) {
                assert!(position < 14, "command {number}, byte {position}");
                machine.reboot();
                boot(&honest, "firmware 1");
            }
        }
    }
    assert!(refused > 40, "{refused} refused");
}

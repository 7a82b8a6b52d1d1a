//! TPM section 3, "refusals seen": the TPM's own refusals, and what we make of them.

use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::command::{self, Handle, SessionKind};
use chatelaine_tpm::session::{Authorization, Use};
use chatelaine_tpm::software::import::{TRAVELLING, seal_for};
use chatelaine_tpm::software::policy::approval_digest;
use chatelaine_tpm::tpm::{Connection, EndorsementKind, LoadedKey, Lock};
use chatelaine_tpm::types::{AuthValue, EcdsaSignature, HashAlgorithm, PcrSelection};
use chatelaine_tpm::{Approval, Authority, ReleaseAuthority, SealedBlob, TpmError};

use crate::machine::{Maker, Swtpm, assert_empty, boot, registers};
use crate::sealing::{REFERENCE, SECRET, approve};

/// Signature and digest out of an approval.
fn parts(approval: &Approval) -> (Vec<u8>, EcdsaSignature) {
    let bytes = approval.to_bytes();
    let signature = 10 + 2 + 32 + 2 + approval.reference().len();
    (approval.digest().to_vec(), EcdsaSignature::from_bytes(&bytes[signature..]).unwrap())
}

/// Parent, public and private part out of a blob, as tools keep them.
pub fn pieces(blob: &SealedBlob) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let bytes = blob.to_bytes();
    let mut rest = &bytes[10..];
    let mut next = || {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let piece = rest[2..2 + length].to_vec();
        rest = &rest[2 + length..];
        piece
    };
    (next(), next(), next())
}

fn load(connection: &mut Connection<'_>, parent: &LoadedKey, blob: &SealedBlob) -> Result<Handle, TpmError> {
    let (_, public, private) = pieces(blob);
    let public = chatelaine_tpm::types::Public::from_bytes(&public)?;
    let none = AuthValue::default();
    let command = command::load(&parent.handle(), &private, &public);
    let answer = connection.run(&command, &mut [Authorization::Password(&none)])?;
    Ok(Handle::object(answer.handle.unwrap(), public.name()))
}

/// The policy commands as an attacker who has the TPM may send them.
fn authorize(
    connection: &mut Connection<'_>,
    session: u32,
    authority: &Authority,
    approval: &Approval,
    reference: &[u8],
) -> Result<(), TpmError> {
    let (digest, signature) = parts(approval);
    let key = connection.run(&command::load_external(authority.public()), &mut [])?.handle.unwrap();
    let key = Handle::object(key, authority.name());
    let verify = command::verify_signature(&key, &approval_digest(&digest, reference), &signature);
    let ticket = command::ticket(&connection.run(&verify, &mut [])?.parameters)?;
    connection.flush(key.value)?;
    connection.run(&command::policy_pcr(session, &registers()), &mut [])?;
    let authorize = command::policy_authorize(session, &digest, reference, &authority.name(), &ticket);
    connection.run(&authorize, &mut []).map(drop)
}

fn refused<T>(result: Result<T, TpmError>, command: &str, code: u32) {
    match result {
        Err(TpmError::Response { command: found, code: found_code }) => {
            assert_eq!((found, found_code.0), (command, code), "{found_code}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{command} was not refused"),
    }
}

#[test]
fn the_tpm_refuses_by_the_codes_of_the_standard() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let authority = signer.authority();
    let approval = approve(&signer, &tpm);
    let lock = Lock::approved(&authority, REFERENCE).unwrap();
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    let none = AuthValue::default();
    // Runs `work` with the loaded object and a policy session.
    let attempt = |work: &dyn Fn(&mut Connection<'_>, &Handle, u32) -> Result<(), TpmError>| {
        tpm.operation(|connection| {
            let parent = connection.storage_root()?;
            let object = load(connection, &parent, &blob)?;
            connection.release(&parent)?;
            let mut session = connection.start_session(SessionKind::Policy, None)?;
            work(connection, &object, session.handle())?;
            let unseal = command::unseal(&object);
            let usage = Use::LAST;
            connection.run(&unseal, &mut [Authorization::Session(&mut session, &none, usage)]).map(drop)
        })
    };
    // Control: nothing is refused when all is right.
    attempt(&|connection, _, session| authorize(connection, session, &authority, &approval, REFERENCE))
        .unwrap();
    // No policy at all.
    refused(attempt(&|_, _, _| Ok(())), "TPM2_Unseal", 0x99d);
    // The registers alone are not the policy.
    refused(
        attempt(&|connection, _, session| {
            connection.run(&command::policy_pcr(session, &registers()), &mut []).map(drop)
        }),
        "TPM2_Unseal",
        0x99d,
    );
    // A password in place of the policy.
    let by_password = |connection: &mut Connection<'_>, object: &Handle, _| {
        connection
            .run(&command::unseal(object), &mut [Authorization::Password(&AuthValue::default())])
            .map(drop)
    };
    refused(attempt(&by_password), "TPM2_Unseal", 0x12f);
    // An approval of the same state for another epoch, signed and all.
    let other = b"chatelaine/7a3f/mk/2";
    let other_epoch = signer.approve(&tpm.pcr_read(&registers()).unwrap(), other).unwrap();
    refused(
        attempt(&|connection, _, session| authorize(connection, session, &authority, &other_epoch, other)),
        "TPM2_Unseal",
        0x99d,
    );
    // The same passed off as one for this epoch.
    refused(
        attempt(&|connection, _, session| {
            authorize(connection, session, &authority, &other_epoch, REFERENCE)
        }),
        "TPM2_VerifySignature",
        0x2db,
    );
    // Another authority's.
    let stranger = ReleaseAuthority::generate().unwrap();
    let foreign = approve(&stranger, &tpm);
    refused(
        attempt(&|connection, _, session| {
            authorize(connection, session, &stranger.authority(), &foreign, REFERENCE)
        }),
        "TPM2_Unseal",
        0x99d,
    );
    // Other registers than approved.
    tpm.pcr_extend(4, HashAlgorithm::Sha256, b"another loader").unwrap();
    refused(
        attempt(&|connection, _, session| authorize(connection, session, &authority, &approval, REFERENCE)),
        "TPM2_PolicyAuthorize",
        0x1c4,
    );
    assert_empty(&tpm);
}

#[test]
fn unseal_names_the_reason() {
    let (machine, other) = (Swtpm::blank(), Swtpm::blank());
    let (tpm, foreign) = (machine.tpm(), other.tpm());
    boot(&tpm, "firmware 1");
    boot(&foreign, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approval = approve(&signer, &tpm);
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    for persistent in [false, true] {
        if persistent {
            tpm.provision_storage_root().unwrap();
            foreign.provision_storage_root().unwrap();
        }
        let blob = tpm.seal(SECRET, &lock, None).unwrap();
        let approvals = std::slice::from_ref(&approval);
        assert_eq!(tpm.unseal(&blob, approvals, None).unwrap().as_slice(), SECRET);
        // Another TPM: by our check of the parent's name, and by the TPM's own.
        let error = foreign.unseal(&blob, approvals, None).unwrap_err();
        let (ours, theirs) = (tpm.storage_root_name().unwrap(), foreign.storage_root_name().unwrap());
        assert!(
            matches!(&error, TpmError::WrongParent { expected, found } if *expected == ours && *found == theirs),
            "{error}"
        );
        let direct = foreign.operation(|connection| {
            let parent = connection.storage_root()?;
            load(connection, &parent, &blob)
        });
        refused(direct, "TPM2_Load", 0x1df);
        // The file was altered.
        let mut bytes = blob.to_bytes();
        let place = bytes.len() - 200;
        bytes[place] ^= 1;
        match SealedBlob::from_bytes(&bytes) {
            Ok(altered) => assert!(tpm.unseal(&altered, approvals, None).is_err()),
            Err(error) => assert_eq!(error.what, "sealed secret"),
        }
        let (_, _, private) = pieces(&blob);
        let mut bytes = blob.to_bytes();
        let place = bytes.windows(private.len()).position(|window| window == private).unwrap();
        bytes[place + 50] ^= 1;
        let altered = SealedBlob::from_bytes(&bytes).unwrap();
        refused(tpm.unseal(&altered, approvals, None), "TPM2_Load", 0x1df);
        assert_empty(&tpm);
        assert_empty(&foreign);
    }
    // Approvals that are none.
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    let state = tpm.pcr_read(&registers()).unwrap();
    let stranger = ReleaseAuthority::generate().unwrap();
    for useless in [
        Vec::new(),
        vec![stranger.approve(&state, REFERENCE).unwrap()],
        vec![signer.approve(&state, b"chatelaine/7a3f/mk/2").unwrap()],
    ] {
        let error = tpm.unseal(&blob, &useless, None).unwrap_err();
        assert!(matches!(error, TpmError::NoApproval { given } if given == useless.len()), "{error}");
    }
    // Another boot state: with one approval by the TPM, with several before the TPM is asked.
    tpm.pcr_extend(8, HashAlgorithm::Sha256, b"another command line").unwrap();
    let now = tpm.pcr_read(&registers()).unwrap();
    for approvals in [vec![approval.clone()], vec![approval.clone(), approval]] {
        let error = tpm.unseal(&blob, &approvals, None).unwrap_err();
        assert!(matches!(&error, TpmError::BootNotApproved(found) if **found == now), "{error}");
    }
    // Bare registers.
    let bare = tpm.seal(SECRET, &Lock::registers(&now).unwrap(), None).unwrap();
    tpm.unseal(&bare, &[], None).unwrap();
    tpm.pcr_extend(8, HashAlgorithm::Sha256, b"a third").unwrap();
    assert!(matches!(tpm.unseal(&bare, &[], None), Err(TpmError::BootNotApproved(_))));
    assert_empty(&tpm);
    assert_empty(&foreign);
}

#[test]
fn sealing_refuses_what_was_not_measured_and_what_does_not_fit() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = machine.tpm();
    let values = tpm.pcr_read(&registers()).unwrap();
    assert!(matches!(
        Lock::registers(&values),
        Err(TpmError::Unmeasured { bank: "sha256", register: 0, value: "zeros" })
    ));
    let late: PcrSelection = "sha256:17".parse().unwrap();
    let values = tpm.pcr_read(&late).unwrap();
    assert!(matches!(
        Lock::registers(&values),
        Err(TpmError::Unmeasured { register: 17, value: "ones", .. })
    ));
    // Its maker left it with the SHA-256 bank only.
    let missing = tpm.pcr_read(&"sha384:0".parse().unwrap()).unwrap_err();
    assert!(matches!(missing, TpmError::BankMissing { bank: "sha384" }), "{missing}");
    boot(&tpm, "firmware 1");
    // More than one answer's worth, in order.
    let all: PcrSelection =
        "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23".parse().unwrap();
    let many = tpm.pcr_read(&all).unwrap();
    let few = tpm.pcr_read(&registers()).unwrap();
    for (register, value) in few.iter() {
        assert_eq!(many.iter().nth(register.into()).unwrap(), (register, value));
    }
    let lock = Lock::registers(&few).unwrap();
    for secret in [&[][..], &[1; 129]] {
        assert!(matches!(tpm.seal(secret, &lock, None), Err(TpmError::Invalid { .. })));
    }
    let longest = tpm.seal(&[1; 128], &lock, None).unwrap();
    assert_eq!(tpm.unseal(&longest, &[], None).unwrap().as_slice(), [1; 128]);
    assert!(tpm.seal(&[1], &lock, Some(&AuthValue::new(&[0; 32]).unwrap())).is_err());
    assert!(tpm.random(33).is_err());
    assert_eq!(tpm.random(32).unwrap().len(), 32);
    let properties = tpm.properties().unwrap();
    assert_eq!((properties.manufacturer.as_str(), properties.in_lockout), ("IBM", false));
    assert_empty(&tpm);
}

/// An object for one TPM, imported into another or with another name.
#[test]
fn import_refuses_objects_for_others() {
    let (maker, signer) = (Maker::new(), ReleaseAuthority::generate().unwrap());
    let (machine, second) = (maker.make(), maker.make());
    let (tpm, other) = (machine.tpm(), second.tpm());
    boot(&tpm, "firmware 1");
    boot(&other, "firmware 1");
    let lock = Lock::approved(&signer.authority(), REFERENCE).unwrap();
    let approval = approve(&signer, &tpm);
    for kind in EndorsementKind::ALL {
        let key = tpm.operation(|connection| connection.endorsement_key(kind)).unwrap().public;
        let blob = seal_for(&key, &lock.policy(false), SECRET).unwrap();
        let (secret, stored) = tpm.import(kind, &blob, &lock, Some(&approval)).unwrap();
        assert_eq!(secret.as_slice(), SECRET);
        assert_eq!(stored.parent_name(), key.name());
        assert!(other.import(kind, &blob, &lock, Some(&approval)).is_err());
        // With fixedTPM it would not travel; the name covers the attributes.
        let mut changed = blob.clone();
        changed.public.attributes = TRAVELLING.with(chatelaine_tpm::types::Attributes::USER_WITH_AUTH);
        let error = tpm.import(kind, &changed, &lock, Some(&approval)).unwrap_err();
        assert!(error.code().is_some_and(|code| code.is_integrity()), "{error}");
        // A policy that is not the lock's is not even sent.
        let bare = Lock::registers(&tpm.pcr_read(&registers()).unwrap()).unwrap();
        assert!(matches!(tpm.import(kind, &blob, &bare, None), Err(TpmError::Invalid { .. })));
        assert_empty(&tpm);
        assert_empty(&other);
    }
    // A key that does not decrypt gets nothing.
    let key = tpm.operation(|connection| connection.attestation_key(None)).unwrap().public;
    assert!(matches!(seal_for(&key, &lock.policy(false), SECRET), Err(TpmError::Invalid { .. })));
}

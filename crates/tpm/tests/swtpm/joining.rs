//! TPM section 5: a host joins and gets the master key, and every way it must not.

use chatelaine_tpm::attest::{
    Admitted, Answer, Answered, Challenge, Enrolment, Hello, Joiner, Pending, Refusal, challenge,
    check_answer,
};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::software::certificate::{CertificateRefusal, Makers};
use chatelaine_tpm::software::verify::UnfitKey;
use chatelaine_tpm::tpm::EndorsementKind;
use chatelaine_tpm::types::{Attributes, Name, Public};
use chatelaine_tpm::{Approval, Options, ReleaseAuthority, SealedBlob, Tpm, TpmError};

use crate::machine::{Maker, Swtpm, assert_empty, boot, registers};
use crate::sealing::{REFERENCE, SECRET, approve};

pub const CHANNEL: &[u8] = b"exporter value of the channel";

pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A cluster's holder: what it trusts and whom it knows.
pub struct Cluster {
    pub signer: ReleaseAuthority,
    pub makers: Makers,
    pub enrolled: Vec<(Name, Enrolment)>,
    pub approvals: Vec<Approval>,
}

impl Cluster {
    pub fn new(maker: &Maker, tpm: &Tpm, kind: EndorsementKind) -> Self {
        let (root, issuer) = maker.certificates();
        let signer = ReleaseAuthority::generate().unwrap();
        let name = endorsement_name(tpm, kind);
        let approvals = vec![approve(&signer, tpm)];
        Self {
            signer,
            makers: Makers::new([root], [issuer]).unwrap(),
            enrolled: vec![(name, Enrolment::WithCertificate)],
            approvals,
        }
    }

    pub fn challenge(&self, hello: &Hello) -> Result<(Challenge, Pending), Refusal> {
        let enrolled =
            |name: &Name| self.enrolled.iter().find(|(known, _)| known == name).map(|(_, how)| *how);
        challenge(&hello.to_bytes(), enrolled, &self.makers, now(), registers(), CHANNEL)
    }

    pub fn check(&self, pending: Pending, answer: &Answer) -> Result<Admitted, Refusal> {
        check_answer(pending, &answer.to_bytes(), &self.signer.authority(), REFERENCE, &self.approvals)
    }

    /// Up to the answer.
    pub fn answered(&self, tpm: &Tpm, kind: EndorsementKind) -> (Pending, Answered, Answer) {
        let (joiner, hello) = Joiner::hello(tpm, kind, 1).unwrap();
        let (challenge, pending) = self.challenge(&hello).unwrap();
        let (answered, answer) = joiner.answer(tpm, &challenge.to_bytes(), CHANNEL).unwrap();
        (pending, answered, answer)
    }
}

pub fn endorsement_name(tpm: &Tpm, kind: EndorsementKind) -> Name {
    tpm.operation(|connection| connection.endorsement_key(kind)).unwrap().name()
}

pub fn booted(machine: &Swtpm, firmware: &str) -> Tpm {
    let tpm = machine.tpm();
    boot(&tpm, firmware);
    tpm
}

#[test]
fn a_host_joins_with_either_key_and_opens_alone_afterwards() {
    for (kind, most) in [(EndorsementKind::Rsa2048, 28), (EndorsementKind::EccP384, 26)] {
        let maker = Maker::new();
        let mut machine = maker.make();
        let tpm = booted(&machine, "firmware 1");
        let cluster = Cluster::new(&maker, &tpm, kind);
        let before = tpm.commands_sent();
        let (joiner, hello) = Joiner::hello(&tpm, kind, 1).unwrap();
        let (challenge, pending) = cluster.challenge(&hello).unwrap();
        // Another process may go on with what the first one remembered.
        let pending = Pending::from_secret_bytes(&pending.to_secret_bytes()).unwrap();
        let (answered, answer) = joiner.answer(&tpm, &challenge.to_bytes(), CHANNEL).unwrap();
        let admitted = cluster.check(pending, &answer).unwrap();
        assert_eq!((admitted.host(), admitted.epoch()), (endorsement_name(&machine.tpm(), kind), 1));
        assert_eq!(admitted.boot().values, machine.tpm().pcr_read(&registers()).unwrap());
        assert_eq!(admitted.approval(), &cluster.approvals[0]);
        let grant = admitted.grant(SECRET).unwrap();
        assert!(!grant.to_bytes().windows(16).any(|window| window == &SECRET[..16]));
        let received = answered
            .receive(&tpm, &grant.to_bytes(), &cluster.signer.authority(), |reference| reference == REFERENCE)
            .unwrap();
        let count = tpm.commands_sent() - before;
        assert!(count <= most, "{kind:?}: {count} commands");
        assert_eq!(received.secret.as_slice(), SECRET);
        assert_empty(&tpm);

        // Later starts need no sibling, and refuse another boot.
        let stored = SealedBlob::from_bytes(&received.sealed.to_bytes()).unwrap();
        assert!(stored.is_imported());
        machine.reboot();
        boot(&tpm, "firmware 1");
        let approvals = [received.approval];
        assert_eq!(tpm.unseal(&stored, &approvals, None).unwrap().as_slice(), SECRET);
        machine.reboot();
        boot(&tpm, "firmware 2");
        assert!(matches!(tpm.unseal(&stored, &approvals, None), Err(TpmError::BootNotApproved(_))));
        assert_empty(&tpm);
        // Without its persistent key the template gives the same one.
        let update = [approve(&cluster.signer, &tpm)];
        machine.tool(&["tpm2_evictcontrol", "-C", "o", "-c", &format!("{:#x}", kind.persistent())]);
        assert_eq!(tpm.unseal(&stored, &update, None).unwrap().as_slice(), SECRET);
        // And in another TPM it opens never.
        let other = maker.make();
        let foreign = booted(&other, "firmware 2");
        let error = foreign.unseal(&stored, &update, None).unwrap_err();
        assert!(matches!(error, TpmError::WrongParent { .. }), "{error}");
        assert_empty(&foreign);
    }
}

#[test]
fn a_tpm_without_certificates_joins_by_enrolment_alone() {
    let maker = Maker::new();
    let machine = maker.make_without_certificates();
    let tpm = booted(&machine, "firmware 1");
    let with_certificates = maker.make();
    // Only to have the maker's authority made.
    drop(with_certificates);
    for kind in EndorsementKind::ALL {
        let mut cluster = Cluster::new(&maker, &tpm, kind);
        let (_, hello) = Joiner::hello(&tpm, kind, 0).unwrap();
        assert!(hello.certificate.is_empty());
        assert!(matches!(cluster.challenge(&hello), Err(Refusal::CertificateMissing)));
        cluster.enrolled[0].1 = Enrolment::ByNameOnly;
        let (pending, answered, answer) = cluster.answered(&tpm, kind);
        let grant = cluster.check(pending, &answer).unwrap().grant(SECRET).unwrap();
        let authority = cluster.signer.authority();
        let received = answered.receive(&tpm, &grant.to_bytes(), &authority, |_| true).unwrap();
        assert_eq!(received.secret.as_slice(), SECRET);
    }
    assert_empty(&tpm);
}

#[test]
fn an_intermediate_certificate_in_the_tpm_completes_the_chain() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let (root, issuer) = maker.certificates();
    let mut cluster = Cluster::new(&maker, &tpm, EndorsementKind::Rsa2048);
    cluster.makers = Makers::new([root], []).unwrap();
    let (_, hello) = Joiner::hello(&tpm, EndorsementKind::Rsa2048, 1).unwrap();
    assert!(matches!(
        cluster.challenge(&hello),
        Err(Refusal::Certificate(CertificateRefusal::Untrusted(reason))) if reason.contains("UnknownIssuer")
    ));
    // The index is longer than the certificate in it, as in the field.
    machine.write("issuer", &[issuer, vec![0xff; 40]].concat());
    let size = machine.read("issuer").len().to_string();
    machine.tool(&[
        "tpm2_nvdefine",
        "0x1c00100",
        "-C",
        "o",
        "-s",
        &size,
        "-a",
        "ownerread|ownerwrite|authread",
    ]);
    machine.tool(&["tpm2_nvwrite", "0x1c00100", "-C", "o", "-i", "issuer"]);
    let (_, hello) = Joiner::hello(&tpm, EndorsementKind::Rsa2048, 1).unwrap();
    assert_eq!(hello.chain.len(), 1);
    cluster.challenge(&hello).unwrap();
}

/// Section 4, "control": the same make and boot chain is not enough.
#[test]
fn a_genuine_tpm_of_the_same_make_and_boot_is_refused_when_not_enrolled() {
    let maker = Maker::new();
    let (ours, attackers) = (maker.make(), maker.make());
    let tpm = booted(&ours, "firmware 1");
    let cluster = Cluster::new(&maker, &tpm, EndorsementKind::Rsa2048);
    let attacker = booted(&attackers, "firmware 1");
    let (_, hello) = Joiner::hello(&attacker, EndorsementKind::Rsa2048, 1).unwrap();
    let name = hello.endorsement.name();
    assert!(matches!(cluster.challenge(&hello), Err(Refusal::NotEnrolled(found)) if found == name));
    // Control: but for the enrolment it would join.
    let mut open = Cluster { enrolled: vec![(name, Enrolment::WithCertificate)], ..cluster };
    let (pending, _, answer) = open.answered(&attacker, EndorsementKind::Rsa2048);
    open.check(pending, &answer).unwrap();
    open.enrolled.clear();
}

#[test]
fn certificates_of_other_keys_makers_and_altered_ones_are_refused() {
    let (maker, other_maker) = (Maker::new(), Maker::new());
    let (machine, second, foreign) = (maker.make(), maker.make(), other_maker.make());
    let tpm = booted(&machine, "firmware 1");
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let cluster = Cluster::new(&maker, &tpm, kind);
        let (_, hello) = Joiner::hello(&tpm, kind, 1).unwrap();
        cluster.challenge(&hello).unwrap();
        // A genuine certificate of the same maker, for another TPM's key.
        let certificate = second.tpm().endorsement_certificate(kind).unwrap().unwrap();
        let stolen = Hello { certificate, ..hello.clone() };
        assert!(matches!(
            cluster.challenge(&stolen),
            Err(Refusal::Certificate(CertificateRefusal::OtherKey))
        ));
        // One of a maker that is not trusted.
        let certificate = foreign.tpm().endorsement_certificate(kind).unwrap().unwrap();
        let unknown = Hello { certificate, ..hello.clone() };
        assert!(matches!(
            cluster.challenge(&unknown),
            Err(Refusal::Certificate(CertificateRefusal::Untrusted(_)))
        ));
        // Altered in the key, and in the signature.
        for place in [hello.certificate.len() / 2, hello.certificate.len() - 5] {
            let mut altered = hello.clone();
            altered.certificate[place] ^= 1;
            assert!(matches!(cluster.challenge(&altered), Err(Refusal::Certificate(_))), "{place}");
        }
        let cut = Hello { certificate: hello.certificate[..100].to_vec(), ..hello.clone() };
        assert!(matches!(
            cluster.challenge(&cut),
            Err(Refusal::Certificate(CertificateRefusal::Malformed(_)))
        ));
        // Before it was valid.
        let how = |_: &Name| Some(Enrolment::WithCertificate);
        let early = challenge(&hello.to_bytes(), how, &cluster.makers, 86_400, registers(), CHANNEL);
        assert!(matches!(early, Err(Refusal::Certificate(CertificateRefusal::Untrusted(_)))));
    }
}

#[test]
fn keys_that_could_leave_a_tpm_or_sign_anything_are_refused() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let cluster = Cluster::new(&maker, &tpm, EndorsementKind::Rsa2048);
    let (_, hello) = Joiner::hello(&tpm, EndorsementKind::Rsa2048, 1).unwrap();
    let by_name = |hello: &Hello| {
        let how = |_: &Name| Some(Enrolment::ByNameOnly);
        challenge(&hello.to_bytes(), how, &cluster.makers, now(), registers(), CHANNEL)
    };
    let changed = |key: &Public, flip: Attributes| Public {
        attributes: Attributes(key.attributes.0 ^ flip.0),
        ..key.clone()
    };
    for (flip, reason) in [
        (Attributes::FIXED_TPM, UnfitKey::NotBound),
        (Attributes::FIXED_PARENT, UnfitKey::NotBound),
        (Attributes::SENSITIVE_DATA_ORIGIN, UnfitKey::NotBound),
        (Attributes::RESTRICTED, UnfitKey::NotBound),
        (Attributes::SIGN, UnfitKey::Use),
        (Attributes::DECRYPT, UnfitKey::Use),
    ] {
        let endorsement = Hello { endorsement: changed(&hello.endorsement, flip), ..hello.clone() };
        assert!(
            matches!(by_name(&endorsement), Err(Refusal::EndorsementKey(found)) if found == reason),
            "{flip:?}"
        );
        let attestation = Hello { attestation: changed(&hello.attestation, flip), ..hello.clone() };
        assert!(
            matches!(by_name(&attestation), Err(Refusal::AttestationKey(found)) if found == reason),
            "{flip:?}"
        );
    }
    // The storage root is no attestation key, an attestation key no endorsement key.
    let swapped = Hello { endorsement: hello.attestation.clone(), ..hello.clone() };
    assert!(matches!(by_name(&swapped), Err(Refusal::EndorsementKey(_))));
    let swapped = Hello { attestation: hello.endorsement.clone(), ..hello };
    assert!(matches!(by_name(&swapped), Err(Refusal::AttestationKey(_))));
}

/// The endorsement key of one TPM with the attestation key of another.
/// Checks that only somebody with the credential's secret can reach: a holder that lies.
/// Section 5: what was granted cannot be handed on by the TPM, and hierarchies with values work.
#[test]
fn hierarchies_with_authorization_values_are_proven_not_sent() {
    let maker = Maker::new();
    let machine = maker.make();
    let plain = booted(&machine, "firmware 1");
    machine.tool(&["tpm2_changeauth", "-c", "o", "owner-password"]);
    machine.tool(&["tpm2_changeauth", "-c", "e", "endorsement-password"]);
    let value = |text: &str| chatelaine_tpm::types::AuthValue::new(text.as_bytes()).unwrap();
    let options = Options {
        owner: value("owner-password"),
        endorsement: value("endorsement-password"),
        ..Options::default()
    };
    let tpm = Tpm::new(machine.address(), options);
    let properties = tpm.properties().unwrap();
    assert!(properties.owner_auth_set && properties.endorsement_auth_set);
    assert!(plain.storage_root_name().is_err());
    assert!(tpm.provision_storage_root().unwrap());
    assert!(Joiner::hello(&plain, EndorsementKind::Rsa2048, 1).is_err());
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let cluster = Cluster::new(&maker, &tpm, kind);
        let (pending, answered, answer) = cluster.answered(&tpm, kind);
        let grant = cluster.check(pending, &answer).unwrap().grant(SECRET).unwrap();
        let authority = cluster.signer.authority();
        let received = answered.receive(&tpm, &grant.to_bytes(), &authority, |_| true).unwrap();
        assert_eq!(tpm.unseal(&received.sealed, &cluster.approvals, None).unwrap().as_slice(), SECRET);
    }
    assert_empty(&tpm);
}

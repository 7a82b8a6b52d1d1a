//! A host joins and gets the master keys, and every way it must not that is not the exchange's own business.

mod later;

use std::path::Path;
use std::time::Duration;

use chatelaine_crypto::{KeyMaterial, MacKey, derive};
use chatelaine_seal::attest::holder::{MAX_WAITING, ONLINE};
use chatelaine_seal::attest::{
    self, Bundle, Endorsement, Granted, Holder, HolderSettings, JoinError, Joined, Known, Proven, Reason,
    Refused, Said,
};
use chatelaine_seal::document::KeyState;
use chatelaine_seal::file::FileSeal;
use chatelaine_seal::hosts::{EnrolledHost, SERVER};
use chatelaine_seal::tpm::approvals::Approvals;
use chatelaine_seal::{MasterKeys, Unsealed};
use chatelaine_tpm::attest::{Enrolment, Grant, Hello, Pending, Refusal, challenge, check_answer};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::software::certificate::{CertificateRefusal, Makers};
use chatelaine_tpm::tpm::EndorsementKind;

use super::*;
use crate::machine::Maker;

const RSA: Endorsement = Endorsement(EndorsementKind::Rsa2048);

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn private_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A server that has master keys, without any TPM.
struct Site {
    folder: tempfile::TempDir,
    custody: Custody,
    unsealed: Unsealed,
    holder: Holder,
}

impl Site {
    /// With two master keys, a retired and an active one.
    fn new() -> Self {
        let folder = private_folder();
        create_release_authority(&folder.path().join("authority")).unwrap();
        let seal = FileSeal::new(folder.path().join("sealing-key"));
        let custody = Custody::new(folder.path().join("sealed-keys.json"), vec![Arc::new(seal)]);
        let mut unsealed = custody.create(NOW).unwrap();
        custody.rotate(&mut unsealed, NOW).unwrap();
        let holder = holder(folder.path(), Vec::new());
        Self { folder, custody, unsealed, holder }
    }

    fn enrol(&mut self, host: &Host, certificate: bool, key: &str) {
        let keys = attest::endorsement_keys(&host.tpm.tpm()).unwrap();
        let found = keys.iter().find(|key| key.kind == RSA).unwrap();
        let host = EnrolledHost {
            name: "joiner".to_owned(),
            endorsement_name: found.name.clone(),
            certificate,
            keys: vec![key.to_owned()],
            enrolled: NOW.to_owned(),
            has: None,
        };
        self.custody.enrol(&mut self.unsealed, host).unwrap();
    }

    fn challenge(&self, hello: &[u8]) -> Result<attest::Challenged, Box<Refused>> {
        self.holder.challenge(self.unsealed.document(), SERVER, hello, now(), ONLINE)
    }

    fn approve(&self, states: &[BootState]) {
        let authority = read_release_authority(&self.folder.path().join("authority")).unwrap();
        for state in states {
            let file = ApprovalFile::sign(&authority, state.clone(), String::new(), NOW).unwrap();
            Approvals::in_folder(self.folder.path().join("approvals")).install(&file).unwrap();
        }
    }

    /// Up to the keys.
    fn admit(&self, host: &Host) -> (Proven, Result<Granted, Box<Refused>>) {
        let said = Said::hello(&host.tpm.tpm(), RSA).unwrap();
        let challenged = self.challenge(said.message()).unwrap();
        let (proven, answer) = said.answer(&host.tpm.tpm(), &challenged.challenge).unwrap();
        (proven, self.holder.grant(&self.unsealed, &challenged.id, &answer))
    }

    /// The same with the boot state approved.
    fn admit_approved(&self, host: &Host) -> (Proven, Granted) {
        let (_, refused) = self.admit(host);
        self.approve(&states(&refused.unwrap_err()));
        let (proven, granted) = self.admit(host);
        (proven, granted.unwrap())
    }

    fn fingerprint(&self) -> String {
        self.unsealed.document().active().unwrap().fingerprint()
    }
}

fn holder(folder: &Path, makers: Vec<Vec<u8>>) -> Holder {
    Holder::new(HolderSettings {
        registers: "grub".to_owned(),
        authority: folder.join("authority.pub"),
        approvals: folder.join("approvals"),
        makers,
    })
    .unwrap()
}

/// The joiner trusts the site's authority.
fn settings(host: &Host, site: &Site) -> TpmSettings {
    TpmSettings { authority: site.folder.path().join("authority.pub"), ..host.settings() }
}

fn states(refused: &Refused) -> Vec<BootState> {
    match &refused.reason {
        Reason::NotApproved(states) => states.clone(),
        other => panic!("{other:?}"),
    }
}

fn same_keys(one: &MasterKeys, other: &MasterKeys) -> bool {
    one.iter().count() == other.iter().count()
        && one.iter().zip(other.iter()).all(|(one, other)| {
            one.id == other.id && one.epoch == other.epoch && one.material.ct_eq(other.material.expose())
        })
}

#[test]
fn a_host_joins_and_starts_alone_afterwards() {
    let mut site = Site::new();
    let mut host = Host::new();
    site.enrol(&host, false, SERVER);
    // Two keys, none approved for this boot: both states are told at once.
    let (_, refused) = site.admit(&host);
    let refused = refused.unwrap_err();
    assert_eq!(refused.about.host.as_deref(), Some("joiner"));
    assert!(refused.about.reset_count.is_some() && refused.about.firmware_version.is_some());
    assert!(refused.to_string().contains(refused.about.digest.as_deref().unwrap()), "{refused}");
    let waiting = states(&refused);
    assert_eq!(waiting.iter().map(|state| state.epoch).collect::<Vec<_>>(), [2, 1]);
    // One of them is not enough.
    site.approve(&waiting[..1]);
    assert_eq!(states(&site.admit(&host).1.unwrap_err()), waiting[1..]);
    site.approve(&waiting);

    // Every step in a process of its own.
    let tpm = host.tpm.tpm();
    let said = Said::from_secret_bytes(&Said::hello(&tpm, RSA).unwrap().to_secret_bytes()).unwrap();
    let challenged = site.challenge(said.message()).unwrap();
    let (proven, answer) = said.answer(&tpm, &challenged.challenge).unwrap();
    let proven = Proven::from_secret_bytes(&proven.to_secret_bytes()).unwrap();
    let granted = site.holder.grant(&site.unsealed, &challenged.id, &answer).unwrap();
    assert_eq!(granted.epochs, [2, 1]);
    let text = granted.about.to_string();
    assert!(text.contains("host joiner") && text.contains("reset count"), "{text}");
    for key in site.unsealed.keys.iter() {
        let secret = key.material.expose();
        assert!(!granted.bundle.windows(16).any(|window| window == &secret[..16]));
    }

    let seal = Arc::new(TpmSeal::new(&settings(&host, &site)).unwrap());
    let by = |cluster: &KeyId, keys: &MasterKeys| {
        let right = cluster == site.unsealed.cluster() && same_keys(keys, &site.unsealed.keys);
        right.then_some(()).ok_or_else(|| "the store has others".to_owned())
    };
    drop(proven.receive(&seal, &granted.bundle, &Known::By(&by)).unwrap());
    let joined = proven.receive(&seal, &granted.bundle, &Known::Fingerprint(&site.fingerprint())).unwrap();
    let custody = Custody::new(host.path("joined.json"), vec![Arc::clone(&seal) as Arc<dyn Seal>]);
    let taken = custody.take_over(joined, &seal, NOW).unwrap();
    assert!(same_keys(&taken.keys, &site.unsealed.keys));
    let opened = custody.unseal().unwrap();
    assert!(same_keys(&opened.keys, &site.unsealed.keys));
    assert_eq!(opened.cluster(), site.unsealed.cluster());
    assert_eq!(opened.document().keys[1].state, KeyState::Retired);
    // The trail of each server has its own key.
    assert_ne!(opened.audit_key.id, site.unsealed.audit_key.id);
    assert_eq!(opened.audit_key.id, taken.audit_key.id);
    assert_empty(&tpm);

    host.reboot("firmware 1");
    custody.unseal().unwrap();
    host.reboot("firmware 2");
    let Err(SealError::Sealed { pending, .. }) = custody.unseal() else { panic!("it opens") };
    assert_eq!(pending.len(), 1);
    let authority = read_release_authority(&site.folder.path().join("authority")).unwrap();
    for epoch in [1, 2] {
        let state = BootState { epoch, ..pending[0].clone() };
        let file = ApprovalFile::sign(&authority, state, String::new(), NOW).unwrap();
        seal.approvals().install(&file).unwrap();
    }
    assert!(same_keys(&custody.unseal().unwrap().keys, &site.unsealed.keys));
    // It goes on like any other server: its own rotation waits for an approval, as the seal demands.
    let mut opened = custody.unseal().unwrap();
    assert_eq!(not_approved(custody.rotate(&mut opened, NOW)).epoch, 3);
    assert_empty(&host.tpm.tpm());
}

#[test]
fn only_enrolled_hosts_are_challenged_and_only_for_their_keys() {
    let mut site = Site::new();
    let host = Host::new();
    let tpm = host.tpm.tpm();
    let hello = Said::hello(&tpm, RSA).unwrap().message().to_vec();
    let refused = site.challenge(&hello).unwrap_err();
    assert!(matches!(refused.reason, Reason::Exchange(Refusal::NotEnrolled(_))), "{refused}");
    let name = refused.about.endorsement_name.unwrap();
    assert!(refused.about.host.is_none() && refused.reason.to_string().contains(&name));

    site.enrol(&host, false, "swift");
    assert!(
        matches!(site.challenge(&hello).unwrap_err().reason, Reason::KeyNotAllowed(key) if key == SERVER)
    );
    site.custody.withdraw(&mut site.unsealed, "joiner").unwrap();
    site.enrol(&host, false, SERVER);
    site.challenge(&hello).unwrap();
    let other_key = site.holder.challenge(site.unsealed.document(), "swift", &hello, now(), ONLINE);
    assert!(matches!(other_key.unwrap_err().reason, Reason::UnknownKey(key) if key == "swift"));
    // Another endorsement key of the same TPM is not enrolled.
    let other = Said::hello(&tpm, Endorsement(EndorsementKind::EccP256)).unwrap();
    assert!(matches!(
        site.challenge(other.message()).unwrap_err().reason,
        Reason::Exchange(Refusal::NotEnrolled(_))
    ));
    let parsed = Hello::from_bytes(&hello).unwrap();
    let strange = Hello { epoch: 7, ..parsed }.to_bytes();
    assert!(matches!(site.challenge(&strange).unwrap_err().reason, Reason::UnknownEpoch(7)));
    for garbage in [&b""[..], &hello[..50], &[0; 30_000]] {
        let refused = site.challenge(garbage).unwrap_err();
        assert!(matches!(refused.reason, Reason::Exchange(_)), "{refused}");
    }
}

#[test]
fn a_challenge_serves_once_and_for_a_short_time() {
    let mut site = Site::new();
    let host = Host::new();
    let tpm = host.tpm.tpm();
    site.enrol(&host, false, SERVER);
    site.admit_approved(&host);

    let unknown = |outcome: Result<Granted, Box<Refused>>| {
        let refused = outcome.unwrap_err();
        assert!(matches!(refused.reason, Reason::NoChallenge), "{refused}");
    };
    let said = Said::hello(&tpm, RSA).unwrap();
    let hello = said.message().to_vec();
    let challenged = site.challenge(&hello).unwrap();
    let (_, answer) = said.answer(&tpm, &challenged.challenge).unwrap();
    unknown(site.holder.grant(&site.unsealed, "00000000-0000-4000-8000-000000000000", &answer));
    // Another server knows nothing of it.
    unknown(holder(site.folder.path(), Vec::new()).grant(&site.unsealed, &challenged.id, &answer));
    site.holder.grant(&site.unsealed, &challenged.id, &answer).unwrap();
    unknown(site.holder.grant(&site.unsealed, &challenged.id, &answer));
    // The answer does not fit another challenge, and a wrong answer uses it up.
    let second = site.challenge(&hello).unwrap();
    let refused = site.holder.grant(&site.unsealed, &second.id, &answer).unwrap_err();
    assert!(matches!(refused.reason, Reason::Exchange(Refusal::Proof)), "{refused}");
    assert_eq!(refused.about.host.as_deref(), Some("joiner"));
    unknown(site.holder.grant(&site.unsealed, &second.id, &answer));

    let document = site.unsealed.document();
    let expired = site.holder.challenge(document, SERVER, &hello, now(), Duration::ZERO).unwrap();
    let said = Said::hello(&tpm, RSA).unwrap();
    let (_, late) = said.answer(&tpm, &expired.challenge).unwrap();
    unknown(site.holder.grant(&site.unsealed, &expired.id, &late));

    // Who was withdrawn meanwhile gets nothing.
    let said = Said::hello(&tpm, RSA).unwrap();
    let challenged = site.challenge(said.message()).unwrap();
    let (_, answer) = said.answer(&tpm, &challenged.challenge).unwrap();
    site.custody.withdraw(&mut site.unsealed, "joiner").unwrap();
    let refused = site.holder.grant(&site.unsealed, &challenged.id, &answer).unwrap_err();
    assert!(matches!(refused.reason, Reason::Exchange(Refusal::NotEnrolled(_))), "{refused}");
}

#[test]
fn no_more_than_so_many_challenges_wait() {
    let mut site = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    let said = Said::hello(&host.tpm.tpm(), RSA).unwrap();
    let document = site.unsealed.document();
    // Expired ones do not count.
    for _ in 0..MAX_WAITING {
        site.holder.challenge(document, SERVER, said.message(), now(), Duration::ZERO).unwrap();
    }
    for _ in 0..MAX_WAITING {
        site.challenge(said.message()).unwrap();
    }
    assert!(matches!(site.challenge(said.message()).unwrap_err().reason, Reason::Busy));
}

/// Anybody can encrypt to an endorsement key: the joiner must not take just any key.
#[test]
fn keys_of_an_attacker_are_not_taken() {
    let mut site = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    let (proven, granted) = site.admit_approved(&host);
    let seal = TpmSeal::new(&settings(&host, &site)).unwrap();
    let fingerprint = site.fingerprint();
    let known = Known::Fingerprint(&fingerprint);

    // Altered on the way, and with a key left out.
    for place in [20, granted.bundle.len() / 2, granted.bundle.len() - 1] {
        let mut altered = granted.bundle.clone();
        altered[place] ^= 1;
        proven.receive(&seal, &altered, &known).unwrap_err();
    }
    let mut shorter = Bundle::parse(&granted.bundle).unwrap();
    shorter.keys.pop();
    assert!(matches!(proven.receive(&seal, &shorter.to_bytes(), &known), Err(JoinError::NotVouched)));

    // An attacker who knows cluster, ids and epochs, and has the approvals, which are no secrets; but not the keys.
    let mut attacker = Site::new();
    let folder = attacker.folder.path().join("second");
    let forged =
        Custody::new(folder, vec![Arc::new(FileSeal::new(attacker.folder.path().join("sealing-key")))]);
    let active = &site.unsealed.keys.active;
    let key =
        MasterKey { id: active.id.clone(), epoch: active.epoch, material: KeyMaterial::random(256).unwrap() };
    attacker.unsealed = forged.establish(site.unsealed.cluster().clone(), key, NOW).unwrap();
    attacker.custody = forged;
    attacker.holder = holder(site.folder.path(), Vec::new());
    attacker.enrol(&host, false, SERVER);
    let (fooled, forged) = attacker.admit(&host);
    let forged = forged.unwrap();
    let refused = fooled.receive(&seal, &forged.bundle, &known).unwrap_err();
    assert!(matches!(refused, JoinError::Unexpected(_)), "{refused}");
    let by = |_: &KeyId, keys: &MasterKeys| {
        let right = same_keys(keys, &site.unsealed.keys);
        right.then_some(()).ok_or_else(|| "the store has others".to_owned())
    };
    let refused = fooled.receive(&seal, &forged.bundle, &Known::By(&by)).unwrap_err();
    assert!(matches!(refused, JoinError::Unexpected(_)), "{refused}");
    // With the right check beside the wrong key.
    let mut dressed = Bundle::parse(&forged.bundle).unwrap();
    dressed.keys[0].check = Bundle::parse(&granted.bundle).unwrap().keys[0].check;
    assert!(matches!(fooled.receive(&seal, &dressed.to_bytes(), &known), Err(JoinError::NotVouched)));
    // Half a fingerprint is none.
    let half = Known::Fingerprint(&fingerprint[..19]);
    assert!(matches!(proven.receive(&seal, &granted.bundle, &half), Err(JoinError::Seal(_))));
    proven.receive(&seal, &granted.bundle, &known).unwrap();
}

/// Somebody who makes the challenges himself, who knows all that is not secret and has recorded a grant.
struct Impostor {
    pending: Vec<u8>,
}

impl Impostor {
    fn challenge(said: &Said) -> (Self, Vec<u8>) {
        let (makers, registers) = (Makers::new([], []).unwrap(), "sha256:0,2,4,7,8,9".parse().unwrap());
        let enrolled = |_: &_| Some(Enrolment::ByNameOnly);
        let channel = format!("chatelaine master key\0{SERVER}");
        let (challenge, pending) =
            challenge(said.message(), enrolled, &makers, now(), registers, channel.as_bytes()).unwrap();
        (Self { pending: pending.to_secret_bytes().to_vec() }, challenge.to_bytes())
    }

    fn pending(&self) -> Pending {
        Pending::from_secret_bytes(&self.pending).unwrap()
    }

    /// A recorded grant, as if it had been made in this exchange: the secret and the transcript are the impostor's.
    fn renew(&self, recorded: &[u8]) -> Vec<u8> {
        let mut grant = Grant::from_bytes(recorded).unwrap();
        let body = &recorded[..recorded.len() - grant.proof.len()];
        let key = MacKey::new(&KeyMaterial::copy_from(&self.pending[2..34]));
        grant.proof = key.sign(&[b"grant", &self.pending[36..68], body]);
        grant.to_bytes()
    }

    /// A key of the impostor's own, granted to the host as it is quoted and approved.
    fn grant(&self, answer: &[u8], key: &MasterKey, cluster: &KeyId, like: &Grant) -> Vec<u8> {
        let identity = key.identity(cluster);
        let reference = identity.policy_reference();
        let approvals = [like.approval.clone()];
        let admitted =
            check_answer(self.pending(), answer, &like.authority, reference.as_bytes(), &approvals).unwrap();
        let digest = chatelaine_crypto::sha256(&[&identity.associated_data("tpm")]);
        admitted.grant(&[key.material.expose(), &digest[..]].concat()).unwrap().to_bytes()
    }

    fn vouch(&self, mut bundle: Bundle) -> Vec<u8> {
        let bytes = bundle.to_bytes();
        bundle.proof = self.pending().vouch(&bytes[..bytes.len() - bundle.proof.len()]);
        bundle.to_bytes()
    }
}

/// T-JOIN-FOREIGN-KEY: the right active key, recorded, does not bring a key of somebody else's along.
#[test]
fn a_recorded_grant_brings_no_other_keys_along() {
    let mut site = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    let (_, granted) = site.admit_approved(&host);
    let recorded = Bundle::parse(&granted.bundle).unwrap();
    let seal = TpmSeal::new(&settings(&host, &site)).unwrap();
    let fingerprint = site.fingerprint();
    let known = Known::Fingerprint(&fingerprint);

    let tpm = host.tpm.tpm();
    let said = Said::hello(&tpm, RSA).unwrap();
    let (impostor, challenge) = Impostor::challenge(&said);
    let (proven, answer) = said.answer(&tpm, &challenge).unwrap();
    let mut renewed = recorded.clone();
    for key in &mut renewed.keys {
        key.grant = impostor.renew(&key.grant);
    }
    // As it was recorded it is of another exchange; renewed and whole it is the same list of the same keys, which is all
    // that the impostor can make of it.
    let as_recorded = impostor.vouch(recorded.clone());
    let refused = proven.receive(&seal, &as_recorded, &known).unwrap_err();
    assert!(matches!(refused, JoinError::Exchange(Refusal::GrantProof)), "{refused}");
    let joined = proven.receive(&seal, &impostor.vouch(renewed.clone()), &known).unwrap();
    assert!(same_keys(&joined.keys, &site.unsealed.keys));

    // His own key in place of the retired one, under its id and epoch, with the approval that was recorded for it.
    let own = MasterKey {
        id: recorded.keys[1].id.clone(),
        epoch: recorded.keys[1].epoch,
        material: KeyMaterial::random(256).unwrap(),
    };
    let like = Grant::from_bytes(&recorded.keys[1].grant).unwrap();
    let mut forged = renewed.clone();
    forged.keys[1].grant = impostor.grant(&answer, &own, site.unsealed.cluster(), &like);
    let other = |outcome: Result<Joined, JoinError>, id: &KeyId| {
        let refused = outcome.unwrap_err();
        assert!(matches!(&refused, JoinError::OtherKey(key) if key == id), "{refused}");
    };
    // With the recorded check the key is not the one it is said to be.
    other(proven.receive(&seal, &impostor.vouch(forged.clone()), &known), &own.id);
    // With its own check the list is not the one that the active key has authenticated.
    let check = derive(&own.material, "chatelaine master key check", &[], 32).unwrap();
    let identity = own.identity(site.unsealed.cluster());
    forged.keys[1].check = MacKey::new(&check).sign(&[&identity.associated_data("check")]);
    other(proven.receive(&seal, &impostor.vouch(forged), &known), &site.unsealed.keys.active.id);
    // Nor with a key left out.
    let mut shorter = renewed;
    shorter.keys.pop();
    other(proven.receive(&seal, &impostor.vouch(shorter), &known), &site.unsealed.keys.active.id);
    assert_empty(&tpm);
}

/// Another cluster, or another authority's word.
#[test]
fn keys_of_another_cluster_are_not_taken() {
    let mut site = Site::new();
    let mut other = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    other.enrol(&host, false, SERVER);
    let (_, refused) = site.admit(&host);
    let waiting = states(&refused.unwrap_err());
    // What is approved for one cluster, or by another authority, is not approved for this one.
    other.approve(&waiting);
    assert_eq!(states(&other.admit(&host).1.unwrap_err()).len(), 2);
    let foreign = other.folder.path().join("approvals");
    for file in Approvals::in_folder(&foreign).files().unwrap() {
        Approvals::in_folder(site.folder.path().join("approvals")).install(&file).unwrap();
    }
    assert_eq!(states(&site.admit(&host).1.unwrap_err()), waiting);

    let (proven, granted) = other.admit_approved(&host);
    let seal = TpmSeal::new(&settings(&host, &site)).unwrap();
    let fingerprint = other.fingerprint();
    let refused = proven.receive(&seal, &granted.bundle, &Known::Fingerprint(&fingerprint)).unwrap_err();
    assert!(matches!(refused, JoinError::Exchange(Refusal::OtherAuthority(_))), "{refused}");
}

#[test]
fn certificates_are_asked_for_where_the_host_is_enrolled_with_one() {
    let mut site = Site::new();
    let maker = Maker::new();
    let mut host = Host::new();
    host.tpm = maker.make();
    boot(&host.tpm.tpm(), "firmware 1");
    let keys = attest::endorsement_keys(&host.tpm.tpm()).unwrap();
    assert!(keys.iter().any(|key| key.kind == RSA && key.certificate));
    site.enrol(&host, true, SERVER);
    let said = Said::hello(&host.tpm.tpm(), RSA).unwrap();
    let refused = site.challenge(said.message()).unwrap_err();
    assert!(matches!(refused.reason, Reason::NoMakers), "{refused}");
    assert!(refused.to_string().contains("seal.tpm.makers"), "{refused}");

    // A folder of makers, as `seal.tpm.makers` names it.
    let folder = private_folder();
    let pem = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let stranger = Maker::new();
    let _strangers = stranger.make();
    std::fs::write(folder.path().join("stranger.pem"), pem(&stranger.certificates().0)).unwrap();
    site.holder = holder(site.folder.path(), attest::makers(folder.path()).unwrap());
    let refused = site.challenge(said.message()).unwrap_err();
    assert!(
        matches!(refused.reason, Reason::Exchange(Refusal::Certificate(CertificateRefusal::Untrusted(_)))),
        "{refused}"
    );
    let (root, issuer) = maker.certificates();
    std::fs::write(folder.path().join("maker.pem"), pem(&root) + &pem(&issuer)).unwrap();
    let makers = attest::makers(folder.path()).unwrap();
    assert_eq!(makers.len(), 3);
    site.holder = holder(site.folder.path(), makers);
    site.challenge(said.message()).unwrap();

    let hello = Hello::from_bytes(said.message()).unwrap();
    let mut altered = hello.clone();
    let place = altered.certificate.len() - 5;
    altered.certificate[place] ^= 1;
    let refused = site.challenge(&altered.to_bytes()).unwrap_err();
    assert!(matches!(refused.reason, Reason::Exchange(Refusal::Certificate(_))), "{refused}");
    let without = Hello { certificate: Vec::new(), ..hello }.to_bytes();
    let refused = site.challenge(&without).unwrap_err();
    assert!(matches!(refused.reason, Reason::Exchange(Refusal::CertificateMissing)), "{refused}");

    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    assert!(matches!(attest::makers(folder.path()), Err(SealError::Damaged { .. })));
}

/// Where the keys end up.
#[test]
fn nothing_is_overwritten_and_every_configured_seal_has_the_keys() {
    let mut site = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    let (proven, granted) = site.admit_approved(&host);
    let fingerprint = site.fingerprint();
    let settings = settings(&host, &site);
    let seal = Arc::new(TpmSeal::new(&settings).unwrap());
    let receive = |seal: &TpmSeal| -> Joined {
        proven.receive(seal, &granted.bundle, &Known::Fingerprint(&fingerprint)).unwrap()
    };
    // Neither without the TPM seal among the configured ones.
    let file: Arc<dyn Seal> = Arc::new(FileSeal::new(host.path("sealing-key")));
    let alone = Custody::new(host.path("joined.json"), vec![Arc::clone(&file)]);
    assert!(matches!(alone.take_over(receive(&seal), &seal, NOW), Err(SealError::Invalid { .. })));
    assert!(!host.path("joined.json").exists());
    // Nor with other registers than the holder asked for.
    let firmware = TpmSettings { registers: "firmware".to_owned(), ..settings.clone() };
    let firmware = Arc::new(TpmSeal::new(&firmware).unwrap());
    let custody = Custody::new(host.path("joined.json"), vec![Arc::clone(&firmware) as Arc<dyn Seal>]);
    let error = custody.take_over(receive(&firmware), &firmware, NOW).unwrap_err();
    assert!(error.to_string().contains("set both to the same"), "{error}");
    // Nor where there are keys already.
    let both = Custody::new(host.path("joined.json"), vec![Arc::clone(&seal) as Arc<dyn Seal>, file]);
    both.take_over(receive(&seal), &seal, NOW).unwrap();
    assert!(matches!(both.take_over(receive(&seal), &seal, NOW), Err(SealError::Exists { .. })));
    let file: Vec<Arc<dyn Seal>> = vec![Arc::new(FileSeal::new(host.path("sealing-key")))];
    assert!(same_keys(&both.with_seals(file).unseal().unwrap().keys, &site.unsealed.keys));

    // With a file beside the TPM, the keys are sealed anew: what came would open without it.
    let with_file = TpmSettings { auth_file: Some(host.path("tpm-auth")), ..settings };
    let with_file = Arc::new(TpmSeal::new(&with_file).unwrap());
    let custody = Custody::new(host.path("second.json"), vec![Arc::clone(&with_file) as Arc<dyn Seal>]);
    custody.take_over(receive(&with_file), &with_file, NOW).unwrap();
    custody.unseal().unwrap();
    std::fs::write(host.path("tpm-auth"), [1; 32]).unwrap();
    assert!(custody.unseal().is_err());
    assert_empty(&host.tpm.tpm());
}

#[test]
fn the_state_of_a_joiner_is_of_one_step() {
    let mut site = Site::new();
    let host = Host::new();
    site.enrol(&host, false, SERVER);
    let said = Said::hello(&host.tpm.tpm(), RSA).unwrap();
    let first = said.to_secret_bytes();
    assert!(Proven::from_secret_bytes(&first).is_err());
    let challenged = site.challenge(said.message()).unwrap();
    let (proven, _) = said.answer(&host.tpm.tpm(), &challenged.challenge).unwrap();
    let second = proven.to_secret_bytes();
    assert!(Said::from_secret_bytes(&second).unwrap_err().to_string().contains("answered already"));
    for length in 0..second.len() {
        assert!(Proven::from_secret_bytes(&second[..length]).is_err());
    }
    for length in 0..first.len() {
        assert!(Said::from_secret_bytes(&first[..length]).is_err());
    }
}

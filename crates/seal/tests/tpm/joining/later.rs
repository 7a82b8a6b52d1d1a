//! A host that has joined gets the master keys that were made later, and nothing that would take its own back.

use chatelaine_seal::attest::{Challenged, Updated};
use chatelaine_seal::hosts::Has;

use super::*;

/// A host that has joined.
struct Member {
    host: Host,
    seal: Arc<TpmSeal>,
    custody: Custody,
    unsealed: Unsealed,
}

impl Member {
    fn join(site: &mut Site) -> Self {
        let host = Host::new();
        site.enrol(&host, false, SERVER);
        let (proven, granted) = site.admit_approved(&host);
        let seal = Arc::new(TpmSeal::new(&settings(&host, site)).unwrap());
        let joined =
            proven.receive(&seal, &granted.bundle, &Known::Fingerprint(&site.fingerprint())).unwrap();
        let custody = Custody::new(host.path("joined.json"), vec![Arc::clone(&seal) as Arc<dyn Seal>]);
        let unsealed = custody.take_over(joined, &seal, NOW).unwrap();
        Self { host, seal, custody, unsealed }
    }

    /// The whole exchange; the answer may wait for an approval of the new epoch.
    fn ask(&self, site: &Site) -> (Challenged, Proven, Granted) {
        let said = Said::hello(&self.host.tpm.tpm(), RSA).unwrap();
        let challenged = site.challenge(said.message()).unwrap();
        let (proven, answer) = said.answer(&self.host.tpm.tpm(), &challenged.challenge).unwrap();
        match site.holder.grant(&site.unsealed, &challenged.id, &answer) {
            Ok(granted) => (challenged, proven, granted),
            Err(refused) => {
                site.approve(&states(&refused));
                self.ask(site)
            }
        }
    }

    fn receive(&self, proven: &Proven, bundle: &[u8]) -> Result<attest::Update, JoinError> {
        proven.receive_later(&self.seal, bundle, &self.unsealed, None)
    }

    fn update(&mut self, site: &Site) -> (Challenged, Updated) {
        let (challenged, proven, granted) = self.ask(site);
        let update = self.receive(&proven, &granted.bundle).unwrap();
        let updated = self.custody.take_later(&mut self.unsealed, update, &self.seal, NOW).unwrap();
        (challenged, updated)
    }
}

fn stage(site: &mut Site, host: &Host) {
    // The holder has no TPM: what it makes opens there at once.
    let name = attest::endorsement_keys(&host.tpm.tpm()).unwrap()[0].name.clone();
    site.custody.note_granted(&mut site.unsealed, &name, 1, NOW).unwrap();
    site.custody.stage(&mut site.unsealed, Vec::new(), NOW).unwrap();
}

fn document(member: &Member) -> Vec<u8> {
    std::fs::read(member.custody.path()).unwrap()
}

/// A rotation as the holder makes it: the new key is handed out first, and used when the host has said that it has it.
#[test]
fn later_keys_come_before_they_are_used_and_the_hosts_own_stay() {
    let mut site = Site::new();
    let mut member = Member::join(&mut site);
    let audit = member.unsealed.audit_key.id.clone();
    stage(&mut site, &member.host);
    assert_eq!(site.unsealed.document().waits_for().unwrap(), ["joiner"]);

    let (challenged, updated) = member.update(&site);
    let staged = site.unsealed.keys.staged.as_ref().unwrap();
    assert_eq!(updated.added, [(staged.id.clone(), 3, KeyState::Staged)]);
    assert_eq!((updated.activated, updated.left_out), (None, vec![]));
    assert!(member.unsealed.keys.find(&staged.id).unwrap().material.ct_eq(staged.material.expose()));
    assert_eq!(member.unsealed.keys.active.epoch, 2);
    // The holder believes it to who has opened the key, once.
    let refused = |outcome: Result<attest::Kept, Box<Refused>>| outcome.unwrap_err().reason;
    let wrong = site.holder.confirm(&challenged.id, &[0; 32]);
    assert!(matches!(refused(wrong), Reason::Confirmation));
    let gone = site.holder.confirm(&challenged.id, &updated.confirmation);
    assert!(matches!(refused(gone), Reason::NoGrant), "a wrong one uses it up");
    let (challenged, again) = member.update(&site);
    assert!(again.is_nothing());
    assert_ne!(again.confirmation, updated.confirmation, "each is for its exchange");
    let kept = site.holder.confirm(&challenged.id, &again.confirmation).unwrap();
    assert_eq!((kept.epoch, kept.about.host.as_deref()), (3, Some("joiner")));
    assert!(matches!(refused(site.holder.confirm(&challenged.id, &again.confirmation)), Reason::NoGrant));
    let name = kept.about.endorsement_name.unwrap();
    site.custody.note_kept(&mut site.unsealed, &name, kept.epoch, NOW).unwrap();
    let has = site.unsealed.document().hosts[0].has.clone().unwrap();
    assert_eq!(has, Has { granted: 1, kept: 3, changed: NOW.to_owned() });
    assert_eq!(site.unsealed.document().waits_for().unwrap(), [""; 0]);

    site.custody.activate_staged(&mut site.unsealed, "2026-01-02T00:00:00Z").unwrap();
    let (_, updated) = member.update(&site);
    assert_eq!(updated.activated.as_ref(), Some(&site.unsealed.keys.active.id));
    let reopened = member.custody.unseal().unwrap();
    assert!(same_keys(&reopened.keys, &site.unsealed.keys));
    assert_eq!(reopened.document().active().unwrap().activated.as_deref(), Some("2026-01-02T00:00:00Z"));
    assert_eq!((&reopened.audit_key.id, &member.unsealed.audit_key.id), (&audit, &audit));
    // Two rotations at once, and the host starts alone with all of it.
    site.custody.rotate(&mut site.unsealed, NOW).unwrap();
    site.custody.rotate(&mut site.unsealed, NOW).unwrap();
    let (_, updated) = member.update(&site);
    assert_eq!(updated.added.iter().map(|(_, epoch, _)| *epoch).collect::<Vec<_>>(), [5, 4]);
    member.host.reboot("firmware 1");
    let reopened = member.custody.unseal().unwrap();
    assert!(same_keys(&reopened.keys, &site.unsealed.keys));
    assert_eq!(reopened.audit_key.id, audit);
    assert_empty(&member.host.tpm.tpm());
}

/// T-JOIN-REPLAY: nothing that was sent to the host earlier is an answer to what it says now.
#[test]
fn what_was_sent_earlier_is_not_taken_again() {
    let mut site = Site::new();
    let mut member = Member::join(&mut site);
    let (recorded, _, granted) = member.ask(&site);
    // The host itself says the same things; only what must not repeat differs.
    let said = Said::hello(&member.host.tpm.tpm(), RSA).unwrap();
    let (proven, _) = said.answer(&member.host.tpm.tpm(), &recorded.challenge).unwrap();
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(matches!(refused, JoinError::NotVouched), "{refused}");
    let refused = proven.receive(&member.seal, &granted.bundle, &Known::Fingerprint(&site.fingerprint()));
    assert!(matches!(refused.unwrap_err(), JoinError::NotVouched));

    // A key that was destroyed here does not come back by a grant of those who still have it.
    let old = member.unsealed.keys.retired[0].id.clone();
    member.custody.destroy(&mut member.unsealed, &old).unwrap();
    let before = document(&member);
    let (_, updated) = member.update(&site);
    assert!(updated.is_nothing() && updated.left_out == [1], "{updated:?}");
    assert_eq!(document(&member), before);
}

/// T-JOIN-FOREIGN-KEY, T-JOIN-DOWNGRADE: other keys than those that belong to the active one here, and older ones.
#[test]
fn what_would_take_keys_back_or_put_others_in_their_place_is_refused() {
    let mut site = Site::new();
    let mut member = Member::join(&mut site);
    let before = document(&member);

    // A sender who is behind.
    let behind = Member::join_copy(&site);
    site.custody.rotate(&mut site.unsealed, NOW).unwrap();
    member.update(&site);
    let after = document(&member);
    assert_ne!(before, after);
    let (_, proven, granted) = member.ask(&behind);
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(matches!(refused, JoinError::Older { found: 2, own: 3 }), "{refused}");

    // A sender who has made another key of the same epoch.
    let mut split = behind;
    split.custody.rotate(&mut split.unsealed, NOW).unwrap();
    let (_, proven, granted) = member.ask(&split);
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(matches!(refused, JoinError::Conflict { epoch: 3, .. }), "{refused}");
    let expected = split.fingerprint();
    let forced = proven.receive_later(&member.seal, &granted.bundle, &member.unsealed, Some(&expected));
    assert!(matches!(forced, Err(JoinError::Conflict { epoch: 3, .. })), "{forced:?}");

    // Another cluster, though its host is enrolled there and its boot approved.
    let mut other = Site::new();
    other.enrol(&member.host, false, SERVER);
    let (_, proven, granted) = member.ask(&other);
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(matches!(refused, JoinError::OtherCluster { .. }), "{refused}");

    // Somebody who knows ids, epochs and checks, and has the approvals, but none of the keys.
    let mut attacker = Site::new();
    let file = |name: &str| attacker.folder.path().join(name);
    let forged = Custody::new(file("forged.json"), vec![Arc::new(FileSeal::new(file("sealing-key")))]);
    let own = &member.unsealed.keys.active;
    let key = MasterKey { id: own.id.clone(), epoch: own.epoch, material: KeyMaterial::random(256).unwrap() };
    attacker.unsealed = forged.establish(site.unsealed.cluster().clone(), key, NOW).unwrap();
    attacker.custody = forged;
    attacker.holder = holder(site.folder.path(), Vec::new());
    attacker.enrol(&member.host, false, SERVER);
    attacker.custody.rotate(&mut attacker.unsealed, NOW).unwrap();
    let said = Said::hello(&member.host.tpm.tpm(), RSA).unwrap();
    let challenged = attacker.challenge(said.message()).unwrap();
    let (_, answer) = said.answer(&member.host.tpm.tpm(), &challenged.challenge).unwrap();
    site.approve(&states(&attacker.holder.grant(&attacker.unsealed, &challenged.id, &answer).unwrap_err()));
    let (_, proven, granted) = member.ask(&attacker);
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(matches!(refused, JoinError::Conflict { epoch: 3, .. }), "{refused}");
    // Even a person who was given the attacker's fingerprint does not help him: the key of that id is another one.
    let expected = attacker.fingerprint();
    let fooled = proven.receive_later(&member.seal, &granted.bundle, &member.unsealed, Some(&expected));
    assert!(matches!(fooled, Err(JoinError::Conflict { .. })), "{fooled:?}");
    assert_eq!(document(&member), after, "nothing was kept");

    // The active key was destroyed there: only a person can say whose the others are.
    let own = member.unsealed.keys.active.id.clone();
    site.custody.rotate(&mut site.unsealed, NOW).unwrap();
    site.custody.destroy(&mut site.unsealed, &own).unwrap();
    let (_, proven, granted) = member.ask(&site);
    let refused = member.receive(&proven, &granted.bundle).unwrap_err();
    assert!(refused.to_string().contains("--expect"), "{refused}");
    let expected = site.fingerprint();
    let update =
        proven.receive_later(&member.seal, &granted.bundle, &member.unsealed, Some(&expected)).unwrap();
    let updated = member.custody.take_later(&mut member.unsealed, update, &member.seal, NOW).unwrap();
    assert_eq!(updated.activated.as_ref(), Some(&site.unsealed.keys.active.id));
    assert_empty(&member.host.tpm.tpm());
}

impl Member {
    /// A server with the same document as another one, from now on.
    fn join_copy(site: &Site) -> Site {
        let folder = private_folder();
        for name in ["authority", "authority.pub", "sealing-key", "sealed-keys.json"] {
            std::fs::copy(site.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        let seal = FileSeal::new(folder.path().join("sealing-key"));
        let custody = Custody::new(folder.path().join("sealed-keys.json"), vec![Arc::new(seal)]);
        let unsealed = custody.unseal().unwrap();
        let holder = holder(folder.path(), Vec::new());
        Site { folder, custody, unsealed, holder }
    }
}

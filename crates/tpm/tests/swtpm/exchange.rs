//! TPM section 5: every answer and grant that must be refused.

use chatelaine_tpm::attest::{Answer, Grant, Hello, Joiner, Pending, Refusal};
use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::tpm::EndorsementKind;
use chatelaine_tpm::{ReleaseAuthority, TpmError};

use crate::joining::{CHANNEL, Cluster, booted};
use crate::machine::{Maker, assert_empty, boot, registers};
use crate::sealing::{REFERENCE, SECRET};

#[test]
fn lies_replays_and_altered_answers_are_refused() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let kind = EndorsementKind::Rsa2048;
    let cluster = Cluster::new(&maker, &tpm, kind);
    let (pending, _, answer) = cluster.answered(&tpm, kind);
    let state = pending.to_secret_bytes();
    let again = || Pending::from_secret_bytes(&state).unwrap();
    let secret = state[2..34].to_vec();
    let transcript = state[36..68].to_vec();
    // What an attacker who knew the credential's secret could still not do.
    let proven = |mut answer: Answer| {
        let body = answer.to_bytes();
        let body = &body[..body.len() - 32];
        answer.proof = hmac(&secret, &[b"join", transcript.as_slice(), body].concat());
        answer
    };
    assert_eq!(proven(answer.clone()), answer);

    let mut altered = answer.clone();
    altered.proof[3] ^= 1;
    assert!(matches!(cluster.check(again(), &altered), Err(Refusal::Proof)));
    // A lie about a register without the secret, and with it.
    let mut values = answer.values.to_bytes();
    values[20] ^= 1;
    let values = chatelaine_tpm::types::PcrValues::from_bytes(&values).unwrap();
    let lie = Answer { values, ..answer.clone() };
    assert!(matches!(cluster.check(again(), &lie), Err(Refusal::Proof)));
    assert!(matches!(cluster.check(again(), &proven(lie)), Err(Refusal::ValuesDiffer)));
    let mut flipped = answer.clone();
    flipped.signature.s[5] ^= 1;
    assert!(matches!(cluster.check(again(), &proven(flipped)), Err(Refusal::Signature)));
    let mut edited = answer.clone();
    let last = edited.quote.len() - 1;
    edited.quote[last] ^= 1;
    assert!(matches!(cluster.check(again(), &proven(edited)), Err(Refusal::Signature)));
    // The answer to an earlier challenge: without the secret of the new one, and with it.
    let (second, _, _) = cluster.answered(&tpm, kind);
    assert!(matches!(cluster.check(second, &answer), Err(Refusal::Proof)));
    let (second, _, new) = cluster.answered(&tpm, kind);
    let replayed =
        Answer { quote: new.quote, signature: new.signature, values: new.values, proof: new.proof };
    assert!(matches!(cluster.check(again(), &proven(replayed)), Err(Refusal::OtherExchange)));
    drop(second);
    // Registers other than those asked for.
    let (joiner, hello) = Joiner::hello(&tpm, kind, 1).unwrap();
    let (mut asked, pending) = cluster.challenge(&hello).unwrap();
    asked.selection = "sha256:0,2".parse().unwrap();
    let (_, answer) = joiner.answer(&tpm, &asked.to_bytes(), CHANNEL).unwrap();
    assert!(
        matches!(cluster.check(pending, &answer), Err(Refusal::Proof)),
        "the selection is in the transcript"
    );
    // Another channel.
    let (joiner, hello) = Joiner::hello(&tpm, kind, 1).unwrap();
    let (asked, pending) = cluster.challenge(&hello).unwrap();
    let (_, answer) = joiner.answer(&tpm, &asked.to_bytes(), b"another channel").unwrap();
    assert!(matches!(cluster.check(pending, &answer), Err(Refusal::Proof)));
    assert_empty(&tpm);
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    chatelaine_tpm::types::HashAlgorithm::Sha256.hmac(key, &[message]).as_slice().try_into().unwrap()
}

#[test]
fn a_quote_of_fewer_registers_is_refused_even_with_the_secret() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let kind = EndorsementKind::EccP384;
    let cluster = Cluster::new(&maker, &tpm, kind);
    let (pending, _, honest) = cluster.answered(&tpm, kind);
    let state = pending.to_secret_bytes();
    let fewer = "sha256:0,2".parse().unwrap();
    let quoted = tpm
        .operation(|connection| {
            let key = connection.attestation_key(None)?;
            connection.quote(&key, &state[36..68], &fewer)
        })
        .unwrap();
    let mut answer = Answer {
        quote: quoted.attest,
        signature: quoted.signature,
        values: tpm.pcr_read(&fewer).unwrap(),
        proof: honest.proof,
    };
    let body = answer.to_bytes();
    answer.proof = hmac(&state[2..34], &[b"join", &state[36..68], &body[..body.len() - 32]].concat());
    assert!(matches!(cluster.check(pending, &answer), Err(Refusal::OtherRegisters)));
}

#[test]
fn an_unapproved_boot_is_refused_with_all_that_approval_needs() {
    let maker = Maker::new();
    let mut machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let kind = EndorsementKind::Rsa2048;
    let mut cluster = Cluster::new(&maker, &tpm, kind);
    machine.reboot();
    boot(&tpm, "firmware 2");
    let (pending, _, answer) = cluster.answered(&tpm, kind);
    let Err(Refusal::BootNotApproved(state)) = cluster.check(pending, &answer) else { panic!("let in") };
    assert_eq!(state.values, tpm.pcr_read(&registers()).unwrap());
    assert!(state.reset_count > 0 && state.firmware_version > 0);
    // An approval for another epoch, or by somebody else, does not help.
    cluster.approvals.push(cluster.signer.approve(&state.values, b"chatelaine/7a3f/mk/2").unwrap());
    cluster.approvals.push(ReleaseAuthority::generate().unwrap().approve(&state.values, REFERENCE).unwrap());
    let (pending, _, answer) = cluster.answered(&tpm, kind);
    assert!(matches!(cluster.check(pending, &answer), Err(Refusal::BootNotApproved(_))));
    // The refusal carries what the administrator approves.
    cluster.approvals.push(cluster.signer.approve(&state.values, REFERENCE).unwrap());
    let (pending, answered, answer) = cluster.answered(&tpm, kind);
    let grant = cluster.check(pending, &answer).unwrap().grant(SECRET).unwrap();
    let received = answered.receive(&tpm, &grant.to_bytes(), &cluster.signer.authority(), |_| true).unwrap();
    assert_eq!(received.secret.as_slice(), SECRET);
}

#[test]
fn an_unmeasured_boot_is_refused() {
    let maker = Maker::new();
    let mut machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let cluster = Cluster::new(&maker, &tpm, EndorsementKind::Rsa2048);
    machine.reboot();
    let (pending, _, answer) = cluster.answered(&tpm, EndorsementKind::Rsa2048);
    assert!(matches!(
        cluster.check(pending, &answer),
        Err(Refusal::Unmeasured(TpmError::Unmeasured { register: 0, value: "zeros", .. }))
    ));
}

#[test]
fn keys_of_two_tpms_cannot_answer() {
    let maker = Maker::new();
    let (first, second) = (maker.make(), maker.make());
    let (tpm, other) = (booted(&first, "firmware 1"), booted(&second, "firmware 1"));
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let cluster = Cluster::new(&maker, &tpm, kind);
        let (joiner, hello) = Joiner::hello(&tpm, kind, 1).unwrap();
        let (_, others) = Joiner::hello(&other, kind, 1).unwrap();
        let mixed = Hello { attestation: others.attestation, ..hello };
        let (challenge, _) = cluster.challenge(&mixed).unwrap();
        let refused = joiner.answer(&tpm, &challenge.to_bytes(), CHANNEL).unwrap_err();
        let Refusal::Tpm(error) = &refused else { panic!("{refused}") };
        assert!(error.code().is_some(), "{error}");
        // The software TPM answers TPM_RC_FAILURE to RSA here, and is well.
        assert!(tpm.is_well().unwrap());
        assert_empty(&tpm);
    }
}

#[test]
fn a_grant_opens_in_its_tpm_and_as_it_was_made_only() {
    let maker = Maker::new();
    let (first, second) = (maker.make(), maker.make());
    let (tpm, other) = (booted(&first, "firmware 1"), booted(&second, "firmware 1"));
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP384] {
        let cluster = Cluster::new(&maker, &tpm, kind);
        let authority = cluster.signer.authority();
        let grant = || {
            let (pending, answered, answer) = cluster.answered(&tpm, kind);
            (answered, cluster.check(pending, &answer).unwrap().grant(SECRET).unwrap())
        };
        // On another TPM.
        let (answered, granted) = grant();
        let refused = answered.receive(&other, &granted.to_bytes(), &authority, |_| true).unwrap_err();
        assert!(
            matches!(&refused, Refusal::Tpm(TpmError::Response { command: "TPM2_Import", .. })),
            "{refused}"
        );
        assert_empty(&other);
        // Altered on the way.
        let (answered, mut altered) = grant();
        altered.object.duplicate[40] ^= 1;
        let refused = answered.receive(&tpm, &altered.to_bytes(), &authority, |_| true).unwrap_err();
        assert!(matches!(refused, Refusal::GrantProof), "{refused}");
        // From another exchange.
        let ((answered, _), (_, stale)) = (grant(), grant());
        let refused = answered.receive(&tpm, &stale.to_bytes(), &authority, |_| true).unwrap_err();
        assert!(matches!(refused, Refusal::GrantProof), "{refused}");
        // Of an authority or for a cluster this host does not know.
        let (answered, granted) = grant();
        let stranger = ReleaseAuthority::generate().unwrap().authority();
        let refused = answered.receive(&tpm, &granted.to_bytes(), &stranger, |_| true).unwrap_err();
        assert!(matches!(refused, Refusal::OtherAuthority(name) if name == authority.name()));
        let (answered, granted) = grant();
        let refused = answered.receive(&tpm, &granted.to_bytes(), &authority, |_| false).unwrap_err();
        assert!(matches!(refused, Refusal::OtherReference), "{refused}");
        // After a register has changed.
        let (answered, granted) = grant();
        tpm.pcr_extend(9, chatelaine_tpm::types::HashAlgorithm::Sha256, b"later").unwrap();
        let refused = answered.receive(&tpm, &granted.to_bytes(), &authority, |_| true).unwrap_err();
        assert!(matches!(&refused, Refusal::Tpm(TpmError::BootNotApproved(_))), "{refused}");
        assert_empty(&tpm);
    }
}

#[test]
fn a_lying_holder_is_refused_by_the_joiner() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = booted(&machine, "firmware 1");
    let kind = EndorsementKind::EccP384;
    let cluster = Cluster::new(&maker, &tpm, kind);
    let authority = cluster.signer.authority();
    let values = tpm.pcr_read(&registers()).unwrap();
    type Lie<'a> = (&'a dyn Fn(&mut Grant), fn(&Refusal) -> bool);
    let forged = ReleaseAuthority::generate().unwrap().approve(&values, REFERENCE).unwrap();
    let other_epoch = cluster.signer.approve(&values, b"chatelaine/7a3f/mk/2").unwrap();
    let lies: [Lie<'_>; 4] = [
        (&|grant| grant.approval = forged.clone(), |refusal| matches!(refusal, Refusal::Approval)),
        (&|grant| grant.approval = other_epoch.clone(), |refusal| matches!(refusal, Refusal::Approval)),
        (&|grant| grant.object.public.auth_policy[0] ^= 1, |refusal| matches!(refusal, Refusal::Policy)),
        (
            &|grant| grant.object.duplicate[40] ^= 1,
            |refusal| matches!(refusal, Refusal::Tpm(error) if error.code().is_some_and(|code| code.is_integrity())),
        ),
    ];
    for (lie, expected) in lies {
        let (pending, answered, answer) = cluster.answered(&tpm, kind);
        let state = pending.to_secret_bytes();
        let mut grant = cluster.check(pending, &answer).unwrap().grant(SECRET).unwrap();
        lie(&mut grant);
        let body = grant.to_bytes();
        grant.proof = hmac(&state[2..34], &[b"grant", &state[36..68], &body[..body.len() - 32]].concat());
        let refused = answered.receive(&tpm, &grant.to_bytes(), &authority, |_| true).unwrap_err();
        assert!(expected(&refused), "{refused}");
        assert_empty(&tpm);
    }
}

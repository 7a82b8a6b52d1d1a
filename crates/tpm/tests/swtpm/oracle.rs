//! TPM section 8.3: another implementation, tpm2-tools, opens what we make and makes what we open.

use chatelaine_tpm::codec::Wire as _;
use chatelaine_tpm::command::sized_public;
use chatelaine_tpm::software::credential::make_credential;
use chatelaine_tpm::software::import::seal_for;
use chatelaine_tpm::software::policy::approval_digest;
use chatelaine_tpm::tpm::keys::STORAGE_ROOT;
use chatelaine_tpm::tpm::{EndorsementKind, Lock};
use chatelaine_tpm::types::{HashAlgorithm, Public};
use chatelaine_tpm::{Approval, ReleaseAuthority, SealedBlob};

use crate::machine::{Maker, Swtpm, boot, registers};
use crate::refusals::pieces;
use crate::sealing::{REFERENCE, SECRET, approve};

const REGISTERS: &str = "sha256:0,2,4,7,8,9";

fn sized(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

fn root() -> String {
    format!("{STORAGE_ROOT:#x}")
}

#[test]
fn tools_open_what_we_sealed_and_we_open_what_they_sealed() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    tpm.provision_storage_root().unwrap();
    let values = tpm.pcr_read(&registers()).unwrap();

    // The digest of the policy.
    machine.tool(&["tpm2_startauthsession", "-S", "trial"]);
    machine.tool(&["tpm2_policypcr", "-S", "trial", "-l", REGISTERS, "-L", "policy"]);
    machine.tool(&["tpm2_flushcontext", "trial"]);
    assert_eq!(machine.read("policy"), values.policy_digest());

    // Ours, theirs to open.
    let lock = Lock::registers(&values).unwrap();
    let blob = tpm.seal(SECRET, &lock, None).unwrap();
    let (parent, public, private) = pieces(&blob);
    machine.write("ours.pub", &sized(&public));
    machine.write("ours.priv", &sized(&private));
    machine.tool(&["tpm2_load", "-C", &root(), "-u", "ours.pub", "-r", "ours.priv", "-c", "ours.ctx"]);
    machine.tool(&["tpm2_flushcontext", "-t"]);
    machine.tool(&["tpm2_unseal", "-c", "ours.ctx", "-p", &format!("pcr:{REGISTERS}"), "-o", "opened"]);
    assert_eq!(machine.read("opened"), SECRET);

    // Theirs, ours to open.
    machine.write("secret", b"sealed by another program");
    machine.tool(&[
        "tpm2_create",
        "-C",
        &root(),
        "-i",
        "secret",
        "-L",
        "policy",
        "-u",
        "their.pub",
        "-r",
        "their.priv",
        "-a",
        "fixedtpm|fixedparent|adminwithpolicy|noda",
    ]);
    machine.tool(&["tpm2_flushcontext", "-t"]);
    let theirs = [
        b"CHTP\x01\x00".as_slice(),
        &STORAGE_ROOT.to_be_bytes(),
        &sized(&parent),
        &machine.read("their.pub"),
        &machine.read("their.priv"),
        &[0],
        &lock.to_bytes(),
    ]
    .concat();
    let theirs = SealedBlob::from_bytes(&theirs).unwrap();
    assert_eq!(tpm.unseal(&theirs, &[], None).unwrap().as_slice(), b"sealed by another program");
}

/// Satisfies the policy of an approval in the session `session`, with tools alone.
fn approve_with_tools(machine: &Swtpm, signer: &ReleaseAuthority, approval: &Approval) {
    let authority = signer.authority();
    machine.write("authority.pub", &sized_public(authority.public()));
    machine.write("approved", approval.digest());
    machine.write("reference", REFERENCE);
    machine.write("digest", &approval_digest(approval.digest(), REFERENCE));
    let bytes = approval.to_bytes();
    machine.write("signature", &bytes[10 + 2 + 32 + 2 + REFERENCE.len()..]);
    machine.tool(&[
        "tpm2_loadexternal",
        "-C",
        "o",
        "-u",
        "authority.pub",
        "-c",
        "authority.ctx",
        "-n",
        "authority.name",
    ]);
    assert_eq!(machine.read("authority.name"), authority.name().as_bytes());
    machine.tool(&[
        "tpm2_verifysignature",
        "-c",
        "authority.ctx",
        "-d",
        "digest",
        "-s",
        "signature",
        "-t",
        "ticket",
    ]);
    machine.tool(&["tpm2_flushcontext", "-t"]);
    machine.tool(&["tpm2_startauthsession", "--policy-session", "-S", "session"]);
    machine.tool(&["tpm2_policypcr", "-S", "session", "-l", REGISTERS]);
    machine.tool(&[
        "tpm2_policyauthorize",
        "-S",
        "session",
        "-i",
        "approved",
        "-q",
        "reference",
        "-n",
        "authority.name",
        "-t",
        "ticket",
        "-L",
        "final",
    ]);
    assert_eq!(machine.read("final"), authority.policy(REFERENCE), "the digest of the policy");
}

#[test]
fn tools_open_under_our_approvals() {
    let machine = Swtpm::blank();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    tpm.provision_storage_root().unwrap();
    let signer = ReleaseAuthority::generate().unwrap();
    let approval = approve(&signer, &tpm);
    let blob = tpm.seal(SECRET, &Lock::approved(&signer.authority(), REFERENCE).unwrap(), None).unwrap();
    let (_, public, private) = pieces(&blob);
    machine.write("ours.pub", &sized(&public));
    machine.write("ours.priv", &sized(&private));
    approve_with_tools(&machine, &signer, &approval);
    machine.tool(&["tpm2_load", "-C", &root(), "-u", "ours.pub", "-r", "ours.priv", "-c", "ours.ctx"]);
    machine.tool(&["tpm2_flushcontext", "-t"]);
    machine.tool(&["tpm2_unseal", "-c", "ours.ctx", "-p", "session:session", "-o", "opened"]);
    assert_eq!(machine.read("opened"), SECRET);
}

#[test]
fn tools_import_what_we_made_without_a_tpm_and_cannot_hand_it_on() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    let signer = ReleaseAuthority::generate().unwrap();
    let approval = approve(&signer, &tpm);
    let policy = signer.authority().policy(REFERENCE);
    for kind in [EndorsementKind::EccP384, EndorsementKind::Rsa2048] {
        let handle = format!("{:#x}", kind.persistent());
        let key = tpm.operation(|connection| connection.endorsement_key(kind)).unwrap().public;
        let blob = seal_for(&key, &policy, SECRET).unwrap();
        machine.write("object.pub", &sized_public(&blob.public));
        machine.write("object.dup", &sized(&blob.duplicate));
        machine.write("object.seed", &sized(&blob.encrypted_seed));
        let mut import = vec![
            "tpm2_import",
            "-C",
            &handle,
            "-u",
            "object.pub",
            "-i",
            "object.dup",
            "-s",
            "object.seed",
            "-r",
            "object.priv",
        ];
        let mut load =
            vec!["tpm2_load", "-C", &handle, "-u", "object.pub", "-r", "object.priv", "-c", "object.ctx"];
        // Keys of the low range open by the endorsement hierarchy's value.
        let by_policy = kind == EndorsementKind::Rsa2048;
        for command in [&mut import, &mut load] {
            if by_policy {
                machine.tool(&["tpm2_startauthsession", "--policy-session", "-S", "endorsement"]);
                machine.tool(&["tpm2_policysecret", "-S", "endorsement", "-c", "e"]);
                command.extend(["-P", "session:endorsement"]);
            }
            machine.tool(command);
            if by_policy {
                machine.tool(&["tpm2_flushcontext", "endorsement"]);
            }
        }
        machine.tool(&["tpm2_flushcontext", "-t"]);
        approve_with_tools(&machine, &signer, &approval);
        machine.tool(&["tpm2_unseal", "-c", "object.ctx", "-p", "session:session", "-o", "opened"]);
        assert_eq!(machine.read("opened"), SECRET);
        machine.tool(&["tpm2_flushcontext", "session"]);
        // Handing it on to another key needs a policy for that command, which no approval is.
        approve_with_tools(&machine, &signer, &approval);
        machine.tool(&["tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "target.ctx"]);
        let (success, text) = machine.try_tool(&[
            "tpm2_duplicate",
            "-C",
            "target.ctx",
            "-c",
            "object.ctx",
            "-G",
            "null",
            "-p",
            "session:session",
            "-r",
            "onward",
            "-s",
            "onward.seed",
        ]);
        assert!(!success && text.contains("0x99D"), "{text}");
        machine.tool(&["tpm2_flushcontext", "-t"]);
        machine.tool(&["tpm2_flushcontext", "session"]);
    }
}

#[test]
fn tools_activate_our_credential_and_accept_our_quote() {
    let maker = Maker::new();
    let machine = maker.make();
    let tpm = machine.tpm();
    boot(&tpm, "firmware 1");
    machine.tool(&["tpm2_readpublic", "-c", "0x81010001", "-f", "tss", "-o", "ek.pub"]);
    machine.tool(&[
        "tpm2_createak",
        "-C",
        "0x81010001",
        "-c",
        "ak.ctx",
        "-G",
        "ecc",
        "-g",
        "sha256",
        "-s",
        "ecdsa",
        "-u",
        "ak.pub",
        "-n",
        "ak.name",
    ]);
    machine.tool(&["tpm2_flushcontext", "-t"]);
    let read = |name: &str| Public::from_bytes(&machine.read(name)[2..]).unwrap();
    let (ek, ak) = (read("ek.pub"), read("ak.pub"));
    assert_eq!(ak.name().as_bytes(), machine.read("ak.name"), "names are the same");
    let credential = make_credential(&ek, &ak.name(), SECRET).unwrap();
    let file = [
        0xbadc_c0de_u32.to_be_bytes().as_slice(),
        &1_u32.to_be_bytes(),
        &sized(&credential.blob),
        &sized(&credential.encrypted_seed),
    ]
    .concat();
    machine.write("credential", &file);
    machine.tool(&["tpm2_startauthsession", "--policy-session", "-S", "endorsement"]);
    machine.tool(&["tpm2_policysecret", "-S", "endorsement", "-c", "e"]);
    machine.tool(&[
        "tpm2_activatecredential",
        "-c",
        "ak.ctx",
        "-C",
        "0x81010001",
        "-i",
        "credential",
        "-o",
        "activated",
        "-P",
        "session:endorsement",
    ]);
    assert_eq!(machine.read("activated"), SECRET);
    machine.tool(&["tpm2_flushcontext", "endorsement"]);
    machine.tool(&["tpm2_flushcontext", "-t"]);

    let data = HashAlgorithm::Sha256.digest(&[b"extra data"]);
    let (key, quoted) = tpm
        .operation(|connection| {
            let key = connection.attestation_key(None)?;
            let quoted = connection.quote(&key, &data, &registers())?;
            Ok((key, quoted))
        })
        .unwrap();
    machine.write("quote.key", &sized_public(&key.public));
    machine.write("quote.message", &quoted.attest);
    machine.write("quote.signature", &quoted.signature.to_bytes());
    machine.write("quote.data", &data);
    let check = [
        "tpm2_checkquote",
        "-u",
        "quote.key",
        "-m",
        "quote.message",
        "-s",
        "quote.signature",
        "-q",
        "quote.data",
    ];
    machine.tool(&check);
    // Control: it is checked.
    let mut altered = quoted.attest;
    *altered.last_mut().unwrap() ^= 1;
    machine.write("quote.message", &altered);
    assert!(!machine.try_tool(&check).0);
}

use super::shares::{MAX_SHARES, join, split};
use super::*;
use crate::testkit::conformance;

#[test]
fn conforms() {
    let key = RecoveryKey::random().unwrap();
    let text = key.to_text().unwrap();
    conformance(&|| Box::new(RecoverySeal::of_key(RecoveryKey::parse(&text).unwrap()).unwrap())).unwrap();
}

#[test]
fn the_public_half_closes_and_does_not_open() {
    let key = RecoveryKey::random().unwrap();
    let recipient = key.recipient("2026-01-01T00:00:00Z", 1, 1).unwrap();
    let (cluster, master) = (crate::KeyId::random().unwrap(), crate::MasterKey::random(1).unwrap());
    let identity = master.identity(&cluster);
    let sealed = RecoverySeal::of_recipient(&recipient).seal(&master.material, &identity).unwrap();
    let error = RecoverySeal::of_recipient(&recipient).open(&sealed, &identity).unwrap_err();
    assert!(error.to_string().contains("master-key recover"), "{error}");
    let opened = RecoverySeal::of_key(key).unwrap().open(&sealed, &identity).unwrap();
    assert!(opened.ct_eq(master.material.expose()));
}

/// RFC 9180 appendix A.2.1: the suite this seal uses, checked against the first encryption of the published vector.
#[test]
fn the_suite_is_the_published_one() {
    let private = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let encapsulated = hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let aad = hex("436f756e742d30");
    let ciphertext =
        hex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &PrivateKey::from_bytes(&private).unwrap(),
        &<X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&encapsulated).unwrap(),
        &info,
        &ciphertext,
        &aad,
    )
    .unwrap();
    assert_eq!(plain, b"Beauty is truth, truth beauty");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn typing_errors_are_found_and_not_repeated() {
    let text = RecoveryKey::random().unwrap().to_text().unwrap();
    RecoveryKey::parse(&format!("  {}\n", text.to_uppercase())).unwrap();
    for at in 0..text.len() {
        let mut letters: Vec<char> = text.chars().collect();
        letters[at] = if letters[at] == 'q' { 'p' } else { 'q' };
        let wrong: String = letters.into_iter().collect();
        let error = RecoveryKey::parse(&wrong).err().unwrap().to_string();
        assert!(!error.contains(&wrong[25..35]), "{error}");
    }
    for wrong in ["", "chatelaine-recovery-", &text[..text.len() - 1], "passphrase"] {
        assert!(RecoveryKey::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn any_threshold_of_the_shares_gives_the_key() {
    let key = RecoveryKey::random().unwrap();
    let shares = split(&key, 3, 5).unwrap();
    for one in 0..5 {
        for two in one + 1..5 {
            let pair = [shares[one].as_str(), shares[two].as_str(), shares[one].as_str()];
            let error = join(pair).err().unwrap().to_string();
            assert!(error.contains("2 different ones were given, 3 are needed"), "{error}");
            for three in two + 1..5 {
                let joined = join([one, two, three].map(|at| shares[at].as_str())).unwrap();
                assert!(joined.material.ct_eq(key.material.expose()));
            }
        }
    }
    assert!(join(shares.iter().map(|share| share.as_str())).unwrap().material.ct_eq(key.material.expose()));
    // Fewer shares than the threshold interpolate to something else.
    let other = RecoveryKey::random().unwrap();
    assert_ne!(shares, split(&other, 3, 5).unwrap());
}

#[test]
fn shares_that_do_not_belong_together_are_refused() {
    let (one, other) = (RecoveryKey::random().unwrap(), RecoveryKey::random().unwrap());
    let (ones, others) = (split(&one, 2, 3).unwrap(), split(&other, 2, 3).unwrap());
    let refused = |texts: &[&str]| join(texts.iter().copied()).err().unwrap().to_string();
    assert!(refused(&[&ones[0], &others[1]]).contains("not of the same key"));
    assert!(refused(&[]).contains("none was given"));
    assert!(refused(&[&ones[0], "chatelaine-share-1qqqq"]).contains("mistyped"));
    assert!(refused(&[&one.to_text().unwrap()]).contains("chatelaine-share-"));
    // A share with a right check and wrong content.
    let bytes = decode(&ones[1], "chatelaine-share-", "share").unwrap();
    let mut forged = bytes.expose().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = encode(&forged, "chatelaine-share-").unwrap();
    assert!(refused(&[&ones[0], &forged]).contains("do not give the key"));
    forged_lengths(&ones[0]);
}

fn forged_lengths(share: &str) {
    let bytes = decode(share, "chatelaine-share-", "share").unwrap();
    for length in [0, 1, 9, 10, 42] {
        let text = encode(&bytes.expose()[..length], "chatelaine-share-").unwrap();
        assert!(join([text.as_str()]).is_err(), "{length}");
    }
    let mut newer = bytes.expose().to_vec();
    newer[0] = 2;
    let text = encode(&newer, "chatelaine-share-").unwrap();
    assert!(join([text.as_str()]).err().unwrap().to_string().contains("another release"));
}

#[test]
fn impossible_thresholds_are_refused() {
    let key = RecoveryKey::random().unwrap();
    for (threshold, count) in [(0, 0), (0, 3), (1, 1), (1, 3), (4, 3), (2, MAX_SHARES + 1)] {
        assert!(split(&key, threshold, count).is_err(), "{threshold} of {count}");
    }
    assert_eq!(split(&key, MAX_SHARES, MAX_SHARES).unwrap().len(), usize::from(MAX_SHARES));
}

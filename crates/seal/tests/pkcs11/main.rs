//! The PKCS#11 seal with real tokens of SoftHSM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod place;

use std::path::Path;
use std::time::{Duration, Instant};

use chatelaine_seal::pkcs11::{Mechanism, Pkcs11Seal, Pkcs11Settings, TokenSelector};
use chatelaine_seal::testkit::conformance;
use chatelaine_seal::{Custody, KeyId, MasterKey, Seal, SealError};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism as TokenMechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use place::{KEY, PIN, Place, alone, labelled};

/// A master key, and how to have it sealed and opened.
struct Sample {
    key: MasterKey,
    cluster: KeyId,
}

impl Sample {
    fn new() -> Self {
        Self { key: MasterKey::random(1).unwrap(), cluster: KeyId::random().unwrap() }
    }

    fn seal(&self, seal: &dyn Seal) -> Result<serde_json::Value, SealError> {
        seal.seal(&self.key.material, &self.key.identity(&self.cluster))
    }

    /// Opens, and makes sure that it is the key.
    fn open(&self, seal: &dyn Seal, sealed: &serde_json::Value) -> Result<(), SealError> {
        let opened = seal.open(sealed, &self.key.identity(&self.cluster))?;
        assert!(opened.ct_eq(self.key.material.expose()), "another key came out");
        Ok(())
    }
}

fn refusal<T>(outcome: Result<T, SealError>) -> String {
    match outcome {
        Err(error @ SealError::Refused { .. }) => error.to_string(),
        Err(other) => panic!("not refused, but: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

fn unavailability<T>(outcome: Result<T, SealError>) -> String {
    match outcome {
        Err(error @ SealError::Unavailable { .. }) => error.to_string(),
        Err(other) => panic!("not unavailable, but: {other}"),
        Ok(_) => panic!("it was available"),
    }
}

fn keys(session: &Session, label: &str) -> Vec<ObjectHandle> {
    let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&wanted).unwrap()
}

/// Makes a key past the seal; what is given last counts.
fn make_key(session: &Session, label: &str, bytes: std::ffi::c_ulong, changes: &[Attribute]) {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    template.retain(|one| changes.iter().all(|change| change.attribute_type() != one.attribute_type()));
    template.extend_from_slice(changes);
    template.extend([Attribute::ValueLen(bytes.into()), Attribute::Label(label.as_bytes().to_vec())]);
    session.generate_key(&TokenMechanism::AesKeyGen, &template).unwrap();
}

#[test]
fn it_is_a_seal() {
    alone("it_is_a_seal", |place| {
        conformance(&|| Box::new(place.seal())).unwrap();
    });
}

#[test]
fn it_is_a_seal_without_aes_gcm() {
    alone("it_is_a_seal_without_aes_gcm", |place| {
        let settings = || Pkcs11Settings { mechanism: Mechanism::AesKeyWrap, ..place.settings() };
        conformance(&|| Box::new(Pkcs11Seal::new(settings()).unwrap())).unwrap();
    });
}

#[test]
fn it_keeps_the_keys_of_a_custody() {
    alone("it_keeps_the_keys_of_a_custody", |place| {
        let custody =
            || Custody::new(place.path("master-keys.json"), vec![std::sync::Arc::new(place.seal())]);
        let mut made = custody().create("2026-01-01T00:00:00Z").unwrap();
        custody().rotate(&mut made, "2026-01-02T00:00:00Z").unwrap();
        let opened = custody().unseal().unwrap();
        assert_eq!(opened.opened_by.len(), 2);
        for (made, opened) in made.keys.iter().zip(opened.keys.iter()) {
            assert!(made.material.ct_eq(opened.material.expose()));
        }
    });
}

#[test]
fn the_wrapping_key_cannot_leave_the_token_and_is_made_once() {
    alone("the_wrapping_key_cannot_leave_the_token_and_is_made_once", |place| {
        place.seal().prepare().unwrap();
        place.seal().prepare().unwrap();
        let session = place.logged_in();
        let [key] = keys(&session, KEY)[..] else { panic!("there is not one key") };
        let wanted = [
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::AlwaysSensitive,
            AttributeType::Modifiable,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
            AttributeType::Wrap,
            AttributeType::Unwrap,
        ];
        let expected = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Modifiable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
        ];
        assert_eq!(session.get_attributes(key, &wanted).unwrap(), expected);
        assert_eq!(session.get_attributes(key, &[AttributeType::Value]).unwrap(), []);
        let extractable = [Attribute::Extractable(true)];
        session.update_attributes(key, &extractable).unwrap_err();
        make_key(&session, "thief", 32, &[Attribute::Wrap(true)]);
        session.wrap_key(&TokenMechanism::AesKeyWrap, keys(&session, "thief")[0], key).unwrap_err();
    });
}

#[test]
fn a_wrong_pin_is_shown_to_the_token_once() {
    alone("a_wrong_pin_is_shown_to_the_token_once", |place| {
        let (seal, sample) = (place.seal(), Sample::new());
        seal.prepare().unwrap();
        let sealed = sample.seal(&seal).unwrap();

        place.set_pin("wrong-1234");
        let first = refusal(sample.open(&seal, &sealed));
        assert!(first.contains("C_Login failed with PinIncorrect"), "{first}");
        for _ in 0..20 {
            // Whichever seal asks.
            let message = refusal(sample.open(&place.seal(), &sealed));
            assert!(message.contains("is not tried again"), "{message}");
            assert!(!message.contains("wrong-1234"), "{message}");
        }
        // The token would take it now: that it is refused shows that the token is not asked.
        {
            let session = place.logged_in();
            session.set_pin(&AuthPin::new(PIN.into()), &AuthPin::new("wrong-1234".into())).unwrap();
        }
        refusal(sample.open(&seal, &sealed));
        {
            let session = place.session();
            session.login(UserType::User, Some(&AuthPin::new("wrong-1234".into()))).unwrap();
            session.set_pin(&AuthPin::new("wrong-1234".into()), &AuthPin::new(PIN.into())).unwrap();
        }
        place.set_pin(PIN);
        sample.open(&seal, &sealed).unwrap();
    });
}

#[test]
fn a_pin_file_must_be_there_and_private() {
    alone("a_pin_file_must_be_there_and_private", |place| {
        let seal = place.seal();
        place.set_pin_mode(0o644);
        assert!(matches!(seal.prepare(), Err(SealError::Insecure { .. })));
        place.set_pin("");
        assert!(matches!(seal.prepare(), Err(SealError::Damaged { .. })));
        std::fs::remove_file(place.path("pin")).unwrap();
        assert!(matches!(seal.prepare(), Err(SealError::Invalid { what: "pin_file", .. })));
        place.set_pin(PIN);
        seal.prepare().unwrap();
    });
}

#[test]
fn a_token_may_go_and_come_back_while_the_process_runs() {
    alone("a_token_may_go_and_come_back_while_the_process_runs", |place| {
        place.add_token("tower");
        let (seal, sample) = (place.seal(), Sample::new());
        let tower = Pkcs11Seal::new(Pkcs11Settings { token: labelled("tower"), ..place.settings() }).unwrap();
        seal.prepare().unwrap();
        tower.prepare().unwrap();
        let (sealed, in_tower) = (sample.seal(&seal).unwrap(), sample.seal(&tower).unwrap());

        let (there, away) = (token_folder(place), place.path("away"));
        for _ in 0..3 {
            std::fs::rename(&there, &away).unwrap();
            for _ in 0..2 {
                let message = unavailability(sample.open(&seal, &sealed));
                assert!(message.contains("the module knows \"tower\""), "{message}");
                unavailability(sample.seal(&seal));
                unavailability(seal.prepare());
                // The other token goes on.
                sample.open(&tower, &in_tower).unwrap();
            }
            std::fs::rename(&away, &there).unwrap();
            sample.open(&seal, &sealed).unwrap();
        }
        // Without a failure in between, too.
        std::fs::rename(&there, &away).unwrap();
        std::fs::rename(&away, &there).unwrap();
        sample.open(&seal, &sealed).unwrap();
        assert_eq!(keys(&place.logged_in(), KEY).len(), 1);

        // All of the module's tokens, and with them what it needs to start.
        std::fs::rename(place.tokens(), &away).unwrap();
        unavailability(sample.open(&seal, &sealed));
        unavailability(sample.open(&tower, &in_tower));
        std::fs::rename(&away, place.tokens()).unwrap();
        sample.open(&tower, &in_tower).unwrap();
        sample.open(&seal, &sealed).unwrap();
    });
}

/// The folder of the token `castle`: the one that its key is in.
fn token_folder(place: &Place) -> std::path::PathBuf {
    let module = place.module();
    let serial = module.get_token_info(place.slot(&module)).unwrap().serial_number().to_owned();
    let mut folders = std::fs::read_dir(place.tokens()).unwrap().map(|entry| entry.unwrap().path());
    // SoftHSM names the folder by a UUID that ends with the serial number.
    let ends = |path: &Path| path.to_str().unwrap().replace('-', "").ends_with(&serial);
    folders.find(|path| ends(path)).unwrap()
}

#[test]
fn a_token_that_hangs_is_given_up_and_works_again_later() {
    alone("a_token_that_hangs_is_given_up_and_works_again_later", |place| {
        let (patient, sample) = (place.seal(), Sample::new());
        let hasty = Pkcs11Settings { timeout: Duration::from_secs(1), ..place.settings() };
        let hasty = Pkcs11Seal::new(hasty).unwrap();
        patient.prepare().unwrap();
        let sealed = sample.seal(&patient).unwrap();

        // A pipe without a writer: whoever opens it waits.
        let (file, kept) = (token_folder(place).join("generation"), place.path("kept"));
        let pipe = place.path("pipe");
        std::fs::rename(&file, &kept).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let message = unavailability(sample.open(&hasty, &sealed));
        assert!(message.contains("did not answer within 1 s"), "{message}");
        // No other call waits behind it, however much time it would have.
        let before = Instant::now();
        let message = unavailability(sample.open(&patient, &sealed));
        assert!(message.contains("has not answered an earlier call"), "{message}");
        assert!(before.elapsed() < Duration::from_secs(10));

        std::fs::rename(&file, &pipe).unwrap();
        std::fs::rename(&kept, &file).unwrap();
        // The end of the pipe for writing opens as there is a reader; closed, the reader reads on.
        drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(error) = sample.open(&patient, &sealed) {
            assert!(matches!(error, SealError::Unavailable { .. }), "{error}");
            assert!(Instant::now() < end, "{error}");
            std::thread::yield_now();
        }
    });
}

#[test]
fn seals_share_a_module() {
    alone("seals_share_a_module", |place| {
        place.add_token("tower");
        let castle = place.seal();
        let tower = Pkcs11Seal::new(Pkcs11Settings { token: labelled("tower"), ..place.settings() }).unwrap();
        let sample = Sample::new();
        castle.prepare().unwrap();
        tower.prepare().unwrap();
        std::thread::scope(|scope| {
            for seal in [&castle, &tower, &castle, &tower] {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let sealed = sample.seal(seal).unwrap();
                        sample.open(seal, &sealed).unwrap();
                    }
                });
            }
        });
        // Each token has a key of its own.
        let sealed = sample.seal(&castle).unwrap();
        assert!(refusal(sample.open(&tower, &sealed)).contains("there is no key"));
    });
}

#[test]
fn operations_leave_no_session_open() {
    alone("operations_leave_no_session_open", |place| {
        let (seal, sample) = (place.seal(), Sample::new());
        seal.prepare().unwrap();
        make_key(&place.logged_in(), "short", 16, &[]);
        let short = Pkcs11Settings { key_label: "short".to_owned(), ..place.settings() };
        let short = Pkcs11Seal::new(short).unwrap();
        for _ in 0..100 {
            let sealed = sample.seal(&seal).unwrap();
            sample.open(&seal, &sealed).unwrap();
            refusal(sample.seal(&short));
        }
        place.set_pin("wrong-1234");
        refusal(sample.seal(&seal));
        // A token is made anew only when no session with it is open. The wrong PIN keeps it from being made.
        let (module, pin) = (place.module(), AuthPin::new("wrong-1234".into()));
        let made_anew = || match module.init_token(place.slot(&module), &pin, "castle") {
            Err(Error::Pkcs11(code, _)) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(made_anew(), RvError::PinIncorrect);
        // Nor is anybody logged in.
        let session = place.logged_in();
        assert_eq!(made_anew(), RvError::SessionExists);
        drop(session);
    });
}

#[test]
fn keys_that_do_not_protect_are_refused() {
    alone("keys_that_do_not_protect_are_refused", |place| {
        {
            let session = place.logged_in();
            make_key(&session, "extractable", 32, &[Attribute::Extractable(true)]);
            make_key(&session, "readable", 32, &[Attribute::Sensitive(false)]);
            make_key(&session, "short", 16, &[]);
            make_key(&session, "useless", 32, &[Attribute::Encrypt(false)]);
            make_key(&session, "twice", 32, &[]);
            make_key(&session, "twice", 32, &[]);
            let generic = [
                Attribute::Token(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::ValueLen(32.into()),
                Attribute::Label(b"generic".to_vec()),
            ];
            session.generate_key(&TokenMechanism::GenericSecretKeyGen, &generic).unwrap();
        }
        let sample = Sample::new();
        for (label, problem) in [
            ("extractable", "can leave the token"),
            ("readable", "can leave the token"),
            ("short", "does not have 256 bits"),
            ("useless", "may not be used with the mechanism aes-gcm"),
            ("twice", "there are 2 keys with the label"),
            ("generic", "is not an AES key"),
        ] {
            let settings = Pkcs11Settings { key_label: label.to_owned(), ..place.settings() };
            let seal = Pkcs11Seal::new(settings).unwrap();
            for outcome in [seal.prepare(), sample.seal(&seal).map(drop)] {
                let message = refusal(outcome);
                assert!(message.contains(problem), "{label}: {message}");
            }
        }
        let session = place.logged_in();
        assert_eq!(keys(&session, "twice").len(), 2, "none was made");
    });
}

#[test]
fn a_key_that_an_operator_made_will_do_even_without_an_id() {
    alone("a_key_that_an_operator_made_will_do_even_without_an_id", |place| {
        make_key(&place.logged_in(), KEY, 32, &[]);
        let (seal, sample) = (place.seal(), Sample::new());
        seal.prepare().unwrap();
        let sealed = sample.seal(&seal).unwrap();
        assert_eq!(sealed["key_id"], "");
        sample.open(&seal, &sealed).unwrap();
    });
}

#[test]
fn what_is_missing_is_named_with_what_there_is() {
    alone("what_is_missing_is_named_with_what_there_is", |place| {
        let sample = Sample::new();
        // No key is made by sealing.
        let message = refusal(sample.seal(&place.seal()));
        assert!(
            message.contains("there is no key \"chatelaine\" in the token \"castle\" (serial "),
            "{message}"
        );
        assert!(message.contains("correct `key_label`"), "{message}");
        assert_eq!(keys(&place.logged_in(), KEY).len(), 0);

        let other = Pkcs11Settings { token: labelled("tower"), ..place.settings() };
        let message = unavailability(Pkcs11Seal::new(other).unwrap().prepare());
        assert!(message.contains("the module knows \"castle\" (serial "), "{message}");

        // Two of one name, told apart by the serial number.
        place.seal().prepare().unwrap();
        let module = place.module();
        let serial = module.get_token_info(place.slot(&module)).unwrap().serial_number().to_owned();
        place.add_token("castle");
        module.finalize().unwrap();
        let message = refusal(sample.seal(&place.seal()));
        assert!(message.contains("there are 2 tokens like that") && message.contains(&serial), "{message}");
        let token = TokenSelector { serial: Some(serial), ..labelled("castle") };
        let seal = Pkcs11Seal::new(Pkcs11Settings { token, ..place.settings() }).unwrap();
        sample.seal(&seal).unwrap();
    });
}

#[test]
fn old_entries_open_after_another_key_and_mechanism_were_set() {
    alone("old_entries_open_after_another_key_and_mechanism_were_set", |place| {
        let (old, sample) = (place.seal(), Sample::new());
        old.prepare().unwrap();
        let by_old = sample.seal(&old).unwrap();
        let settings = Pkcs11Settings {
            key_label: "chatelaine-2".to_owned(),
            mechanism: Mechanism::AesKeyWrap,
            ..place.settings()
        };
        let new = Pkcs11Seal::new(settings).unwrap();
        new.prepare().unwrap();
        let by_new = sample.seal(&new).unwrap();
        assert_eq!(
            (&by_new["key_label"], &by_new["mechanism"]),
            (&"chatelaine-2".into(), &"aes-key-wrap".into())
        );
        for seal in [&old, &new] {
            sample.open(seal, &by_old).unwrap();
            sample.open(seal, &by_new).unwrap();
        }
        // The wrapping key gone, so is what it wrapped.
        {
            let session = place.logged_in();
            session.destroy_object(keys(&session, KEY)[0]).unwrap();
        }
        let message = refusal(sample.open(&new, &by_old));
        assert!(message.contains("there is no key \"chatelaine\" (id "), "{message}");
        sample.open(&old, &by_new).unwrap();
    });
}

#[test]
fn a_key_with_a_new_label_still_opens() {
    alone("a_key_with_a_new_label_still_opens", |place| {
        let id = Attribute::Id(vec![7, 7]);
        make_key(&place.logged_in(), KEY, 32, &[id, Attribute::Modifiable(true)]);
        let (seal, sample) = (place.seal(), Sample::new());
        let sealed = sample.seal(&seal).unwrap();
        {
            let session = place.logged_in();
            let retired = [Attribute::Label(b"retired".to_vec())];
            session.update_attributes(keys(&session, KEY)[0], &retired).unwrap();
        }
        seal.prepare().unwrap();
        sample.open(&seal, &sealed).unwrap();
        assert_ne!(sample.seal(&seal).unwrap()["key_id"], "0707");
    });
}

#[test]
fn whatever_was_changed_does_not_open() {
    alone("whatever_was_changed_does_not_open", |place| {
        let sample = Sample::new();
        for (mechanism, fields) in
            [(Mechanism::AesGcm, &["iv", "wrapped"]), (Mechanism::AesKeyWrap, &["derivation_key", "wrapped"])]
        {
            let settings =
                Pkcs11Settings { mechanism, key_label: mechanism.name().to_owned(), ..place.settings() };
            let seal = Pkcs11Seal::new(settings).unwrap();
            seal.prepare().unwrap();
            let sealed = sample.seal(&seal).unwrap();
            for field in fields {
                let changed = |change: fn(&mut String)| {
                    let mut text = sealed[field].as_str().unwrap().to_owned();
                    change(&mut text);
                    let mut all = sealed.clone();
                    all[field] = text.into();
                    all
                };
                for other in [
                    changed(|text| text.replace_range(2..3, if &text[2..3] == "A" { "B" } else { "A" })),
                    changed(|text| text.truncate(4)),
                    changed(|text| text.truncate(text.len() / 8 * 4)),
                    changed(String::clear),
                ] {
                    refusal(sample.open(&seal, &other));
                }
            }
            for field in ["token_label", "token_serial", "key_label"] {
                let mut other = sealed.clone();
                other[field] = "elsewhere".into();
                refusal(sample.open(&seal, &other));
            }
            // Another master key's place, with everything else as it was.
            let (id, identity) = (KeyId::random().unwrap(), sample.key.identity(&sample.cluster));
            refusal(seal.open(&sealed, &chatelaine_seal::KeyIdentity { id: &id, ..identity }));
            sample.open(&seal, &sealed).unwrap();
        }
    });
}

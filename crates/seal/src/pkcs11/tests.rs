use super::*;

fn settings() -> Pkcs11Settings {
    Pkcs11Settings {
        module: "/usr/lib/module.so".into(),
        token: TokenSelector { label: Some("castle".to_owned()), serial: None },
        pin_file: "/etc/chatelaine/pin".into(),
        key_label: "chatelaine".to_owned(),
        mechanism: Mechanism::default(),
        timeout: Pkcs11Settings::DEFAULT_TIMEOUT,
    }
}

fn wrapped() -> Wrapped {
    Wrapped {
        mechanism: Mechanism::AesGcm,
        token_label: "castle".to_owned(),
        token_serial: "0123".to_owned(),
        key_label: "chatelaine".to_owned(),
        key_id: "0aff".to_owned(),
        iv: vec![1; 12],
        derivation_key: Vec::new(),
        wrapped: vec![2; 48],
    }
}

#[test]
fn settings_are_checked_and_the_wrong_one_is_named() {
    settings().check().unwrap();
    let long = |length| Some("x".repeat(length));
    let token = |label, serial| TokenSelector { label, serial };
    let cases: [(&str, Pkcs11Settings); 11] = [
        ("module", Pkcs11Settings { module: "module.so".into(), ..settings() }),
        ("token", Pkcs11Settings { token: TokenSelector::default(), ..settings() }),
        ("token.label", Pkcs11Settings { token: token(long(33), None), ..settings() }),
        ("token.label", Pkcs11Settings { token: token(long(0), long(2)), ..settings() }),
        ("token.label", Pkcs11Settings { token: token(Some("a\nb".to_owned()), None), ..settings() }),
        ("token.serial", Pkcs11Settings { token: token(None, long(17)), ..settings() }),
        ("key_label", Pkcs11Settings { key_label: String::new(), ..settings() }),
        ("key_label", Pkcs11Settings { key_label: "x".repeat(65), ..settings() }),
        ("timeout", Pkcs11Settings { timeout: Duration::from_millis(999), ..settings() }),
        ("timeout", Pkcs11Settings { timeout: Duration::from_millis(600_001), ..settings() }),
        ("timeout", Pkcs11Settings { timeout: Duration::MAX, ..settings() }),
    ];
    for (field, settings) in cases {
        match Pkcs11Seal::new(settings) {
            Err(SealError::Invalid { what, .. }) => assert_eq!(what, field),
            Err(other) => panic!("{field}: {other}"),
            Ok(_) => panic!("{field} was taken"),
        }
    }
}

#[test]
fn a_token_is_selected_by_all_that_is_given() {
    let given = |label: Option<&str>, serial: Option<&str>| TokenSelector {
        label: label.map(str::to_owned),
        serial: serial.map(str::to_owned),
    };
    assert!(given(Some("a"), None).selects("a", "1"));
    assert!(given(None, Some("1")).selects("b", "1"));
    assert!(given(Some("a"), Some("1")).selects("a", "1"));
    assert!(!given(Some("a"), Some("1")).selects("a", "2"));
    assert!(!given(Some("a"), Some("1")).selects("b", "1"));
}

#[test]
fn a_seal_is_named_and_described_by_its_token() {
    let seal = Pkcs11Seal::new(settings()).unwrap();
    assert_eq!((seal.kind(), seal.name()), ("pkcs11", "castle".to_owned()));
    assert_eq!(seal.describe(), "PKCS#11 token \"castle\" of /usr/lib/module.so");
    let by_serial = TokenSelector { label: None, serial: Some("0123".to_owned()) };
    let seal = Pkcs11Seal::new(Pkcs11Settings { token: by_serial, ..settings() }).unwrap();
    assert_eq!(seal.name(), "0123");
    assert_eq!(seal.describe(), "PKCS#11 token of serial 0123 of /usr/lib/module.so");
}

#[test]
fn what_is_written_reads_back_and_nothing_else_does() {
    let text = serde_json::json!(wrapped());
    assert_eq!(text["mechanism"], "aes-gcm");
    assert!(text.get("derivation_key").is_none());
    let read: Wrapped = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(read.checked_key_id().unwrap(), [0x0a, 0xff]);
    for (field, value) in [("mechanism", "aes-cbc"), ("iv", "?"), ("more", "")] {
        let mut changed = text.clone();
        changed[field] = serde_json::json!(value);
        assert!(serde_json::from_value::<Wrapped>(changed).is_err(), "{field}");
    }
}

#[test]
fn lengths_that_cannot_be_never_reach_the_token() {
    let key_wrap = Wrapped {
        mechanism: Mechanism::AesKeyWrap,
        iv: Vec::new(),
        derivation_key: vec![3; 40],
        ..wrapped()
    };
    assert!(key_wrap.checked_key_id().is_some());
    for (what, wrong) in [
        ("a short vector", Wrapped { iv: vec![1; 11], ..wrapped() }),
        ("no vector", Wrapped { iv: Vec::new(), ..wrapped() }),
        ("both parameters", Wrapped { derivation_key: vec![3; 40], ..wrapped() }),
        ("the tag alone", Wrapped { wrapped: vec![2; 16], ..wrapped() }),
        ("too much", Wrapped { wrapped: vec![2; MAX_WRAPPED + 1], ..wrapped() }),
        ("an odd id", Wrapped { key_id: "0af".to_owned(), ..wrapped() }),
        ("no derivation key", Wrapped { derivation_key: Vec::new(), ..key_wrap.clone() }),
        ("a vector too many", Wrapped { iv: vec![1; 12], ..key_wrap }),
    ] {
        assert!(wrong.checked_key_id().is_none(), "{what}");
    }
}

#[test]
fn everything_in_plain_form_is_authenticated_without_ambiguity() {
    let mut all = vec![wrapped().associated_data(b"identity"), wrapped().associated_data(b"another")];
    for changed in [
        Wrapped { mechanism: Mechanism::AesKeyWrap, ..wrapped() },
        Wrapped { token_label: "Castle".to_owned(), ..wrapped() },
        Wrapped { token_serial: "0124".to_owned(), ..wrapped() },
        Wrapped { key_label: "chatelainE".to_owned(), ..wrapped() },
        Wrapped { key_id: "0afe".to_owned(), ..wrapped() },
        // The same letters, in other fields.
        Wrapped { token_label: "castle0".to_owned(), token_serial: "123".to_owned(), ..wrapped() },
        Wrapped { token_label: "castle\x004:0123".to_owned(), token_serial: String::new(), ..wrapped() },
    ] {
        all.push(changed.associated_data(b"identity"));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

use std::collections::HashSet;

use super::*;

#[test]
fn names_aliases_and_numbers_are_unique_and_in_lower_case() {
    let mut names = HashSet::new();
    let mut numbers = HashSet::new();
    for entry in ALGORITHMS {
        assert!(numbers.insert(entry.number), "number {}", entry.number);
        for name in std::iter::once(&entry.name).chain(entry.aliases) {
            assert!(names.insert(*name), "name {name}");
            assert_eq!(*name, name.to_ascii_lowercase());
            assert_eq!(Algorithm::lookup(name).unwrap().number, entry.number);
        }
    }
    let mut names = HashSet::new();
    assert!(DATA_CIPHERS.iter().all(|entry| names.insert(entry.name)));
}

/// Envelopes in storage carry these numbers.
#[test]
fn numbers_never_change() {
    let numbers: Vec<(u16, &str)> = ALGORITHMS.iter().map(|entry| (entry.number, entry.name)).collect();
    let first = [
        (1, "aes"),
        (2, "chacha20"),
        (3, "hmac-sha1"),
        (4, "hmac-sha256"),
        (5, "hmac-sha384"),
        (6, "hmac-sha512"),
        (16, "generic"),
        (17, "opaque"),
        (18, "passphrase"),
        (19, "certificate"),
        (32, "rsa"),
        (33, "ec"),
        (34, "ed25519"),
        (35, "x25519"),
    ];
    assert_eq!(numbers[..first.len()], first);
}

#[test]
fn entries_are_consistent() {
    for entry in ALGORITHMS {
        if let Status::Refused(reason) = entry.status {
            assert!(reason.contains("use "), "{}: a refusal says what to use instead", entry.name);
            assert_eq!(entry.bit_lengths, BitLengths::None);
            continue;
        }
        assert_ne!(entry.bit_lengths, BitLengths::None, "{}", entry.name);
        let generated = entry.generated != BitLengths::None;
        assert_eq!(entry.default_bits != 0, generated, "{}", entry.name);
        if generated {
            entry.check_bits(entry.default_bits).unwrap();
            entry.check_generated(entry.default_bits).unwrap();
        }
        for bits in 0..70_000 {
            assert!(entry.check_generated(bits).is_err() || entry.check_bits(bits).is_ok());
            for mode in entry.modes {
                assert!(!mode.bit_lengths.contains(bits) || entry.check_bits(bits).is_ok());
            }
        }
    }
}

#[test]
fn data_ciphers_name_an_algorithm_mode_and_length_of_the_registry() {
    for cipher in DATA_CIPHERS {
        let algorithm = Algorithm::lookup(cipher.algorithm).unwrap();
        if let Status::Refused(reason) = cipher.status {
            assert!(reason.contains("use "), "{}", cipher.name);
            assert!(matches!(DataCipher::find(cipher.name), Err(CryptoError::RefusedAlgorithm { .. })));
        } else {
            validate(algorithm.name, cipher.key_bits, Some(cipher.mode)).unwrap();
            assert_eq!(DataCipher::find(cipher.name).unwrap(), cipher);
            assert!(!(cipher.authenticated && cipher.length_preserving), "{}", cipher.name);
        }
    }
    let default = DataCipher::find(DEFAULT_DATA_CIPHER).unwrap();
    assert!(default.authenticated && default.status == Status::Recommended);
}

#[test]
fn lookup_ignores_case_and_accepts_underscores() {
    for (given, name) in [
        ("AES", "aes"),
        ("Aes", "aes"),
        ("HMAC_SHA256", "hmac-sha256"),
        ("HmacSHA256", "hmac-sha256"),
        ("RSA", "rsa"),
        ("ECDSA", "ec"),
        ("DESede", "3des"),
    ] {
        assert_eq!(Algorithm::lookup(given).unwrap().name, name);
    }
    for given in ["", " aes", "aes ", "ae", "aess", "äes"] {
        assert!(Algorithm::lookup(given).is_none(), "{given:?}");
    }
    assert_eq!(DataCipher::find("AES_256_XTS").unwrap().key_bits, 512);
}

#[test]
fn refusals_say_what_is_allowed() {
    let text = |result: Result<&Algorithm, CryptoError>| result.unwrap_err().to_string();
    let message = text(validate("serpent", 256, None));
    assert!(
        message.contains("serpent") && message.contains("chacha20") && !message.contains("3des"),
        "{message}"
    );
    let message = text(validate("DES", 64, None));
    assert!(message.contains("refused") && message.contains("use aes"), "{message}");
    let message = text(validate("AES", 100, None));
    assert!(message.contains("100") && message.contains("128, 192, 256, 512 bits"), "{message}");
    let message = text(validate("hmac-sha256", 9, None));
    assert!(message.contains("8 to 65536 bits in steps of 8"), "{message}");
    let message = text(validate("aes", 256, Some("ecb")));
    assert!(message.contains("ecb") && message.contains("gcm, ctr, xts, cbc, kw"), "{message}");
    let message = text(validate("aes", 192, Some("xts")));
    assert!(message.contains("256, 512 bits"), "{message}");
    let message = DataCipher::find("aes-512-gcm").unwrap_err().to_string();
    assert!(message.contains("aes-256-gcm") && !message.contains("rc4"), "{message}");
    assert!(matches!(Algorithm::by_number(0), Err(CryptoError::UnknownAlgorithm { .. })));
    assert!(matches!(Algorithm::by_number(65), Err(CryptoError::RefusedAlgorithm { name: "des", .. })));
}

#[test]
fn long_and_odd_names_are_cut_and_escaped_in_messages() {
    let name = format!("\n\u{1b}[31m{}", "x".repeat(10_000));
    let message = Algorithm::find(&name).unwrap_err().to_string();
    assert!(message.len() < 500 && !message.contains('\n') && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn permitted_lengths_are_accepted() {
    for (name, bits, mode) in [
        ("aes", 128, Some("gcm")),
        ("aes", 512, Some("xts")),
        ("aes", 256, Some("XTS")),
        ("aes", 192, Some("kw")),
        ("chacha20", 256, Some("poly1305")),
        ("hmac-sha1", 8, None),
        ("hmac-sha512", 65_536, None),
        ("generic", 2047, None),
        ("opaque", 524_288, None),
        ("rsa", 1024, None),
        ("rsa", 4096, None),
        ("ec", 521, None),
        ("x25519", 256, None),
    ] {
        validate(name, bits, mode).unwrap();
    }
    assert!(Algorithm::find("rsa").unwrap().check_generated(1024).is_err());
    assert!(Algorithm::find("passphrase").unwrap().check_generated(128).is_err());
}

#[test]
fn every_entry_can_be_described_in_words() {
    let mut kinds = HashSet::new();
    for entry in ALGORITHMS {
        kinds.insert(entry.kind.name());
        let refused = entry.status.name() == "refused";
        assert_eq!(entry.status.reason().is_some_and(|reason| reason.contains("use ")), refused);
        assert!(!refused || entry.units.is_empty(), "{}", entry.name);
    }
    assert_eq!(kinds, HashSet::from(["symmetric", "mac", "key-pair", "opaque"]));
    let names: HashSet<&str> = Unit::ALL.into_iter().map(Unit::name).collect();
    assert_eq!(names.len(), Unit::ALL.len());
}

#[test]
fn data_ciphers_run_on_units_of_their_algorithm() {
    for cipher in DATA_CIPHERS.iter().filter(|cipher| cipher.status.reason().is_none()) {
        let algorithm = Algorithm::find(cipher.algorithm).unwrap();
        assert!(!cipher.units.is_empty(), "{}", cipher.name);
        assert!(cipher.units.iter().all(|unit| algorithm.units.contains(unit)), "{}", cipher.name);
        assert_eq!(cipher.algorithm == "aes", cipher.units.contains(&Unit::Aes), "{}", cipher.name);
    }
}

/// The kernel's own list, which shares nothing with the detection.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn acceleration_agrees_with_the_kernel() {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags: HashSet<&str> =
        text.lines().find_map(|line| line.strip_prefix("flags")).unwrap().split_whitespace().collect();
    let found = acceleration();
    for name in &found.names {
        assert!(flags.contains(name), "{name}");
    }
    for (unit, wanted) in [
        (Unit::Aes, &["aes", "pclmulqdq"][..]),
        (Unit::VectorAes, &["vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512dq", "avx512vl"]),
        (Unit::Vector, &["sse4_1"]),
        (Unit::Sha, &["sha_ni"]),
    ] {
        assert_eq!(found.has(unit), wanted.iter().all(|name| flags.contains(name)), "{unit:?}");
    }
    assert_eq!(found, acceleration());
}

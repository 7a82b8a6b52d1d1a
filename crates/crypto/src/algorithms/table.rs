//! The entries of the registry. Add at the end of a group, never change or reuse a number.

use super::{Algorithm, BitLengths, DataCipher, Kind, Mode, Status, Unit};

const AES_BITS: BitLengths = BitLengths::List(&[128, 192, 256]);
const MAC_BITS: BitLengths = BitLengths::Range { minimum: 8, maximum: 65_536, step: 8 };
/// Up to 64 KiB of bytes that mean nothing to the key manager.
const OPAQUE_BITS: BitLengths = BitLengths::Range { minimum: 8, maximum: 524_288, step: 8 };

/// Every algorithm a stored key can be for, refused ones at the end.
pub static ALGORITHMS: &[Algorithm] = &[
    Algorithm {
        number: 1,
        name: "aes",
        aliases: &["rijndael"],
        kind: Kind::Symmetric,
        // 512 bits are the two keys of AES-256-XTS.
        bit_lengths: BitLengths::List(&[128, 192, 256, 512]),
        generated: BitLengths::List(&[128, 192, 256, 512]),
        default_bits: 256,
        modes: &[
            Mode { name: "gcm", bit_lengths: AES_BITS },
            Mode { name: "ctr", bit_lengths: AES_BITS },
            Mode { name: "xts", bit_lengths: BitLengths::List(&[256, 512]) },
            Mode { name: "cbc", bit_lengths: AES_BITS },
            Mode { name: "kw", bit_lengths: AES_BITS },
        ],
        units: &[Unit::Aes, Unit::VectorAes],
        status: Status::Recommended,
    },
    Algorithm {
        number: 2,
        name: "chacha20",
        aliases: &["chacha20-poly1305", "chacha"],
        kind: Kind::Symmetric,
        bit_lengths: BitLengths::List(&[256]),
        generated: BitLengths::List(&[256]),
        default_bits: 256,
        modes: &[Mode { name: "poly1305", bit_lengths: BitLengths::List(&[256]) }],
        units: &[Unit::Vector],
        status: Status::Recommended,
    },
    Algorithm {
        number: 3,
        name: "hmac-sha1",
        aliases: &["hmacsha1"],
        kind: Kind::Mac,
        bit_lengths: MAC_BITS,
        generated: MAC_BITS,
        default_bits: 160,
        modes: &[],
        units: &[Unit::Sha, Unit::Vector],
        status: Status::Allowed,
    },
    Algorithm {
        number: 4,
        name: "hmac-sha256",
        aliases: &["hmacsha256", "hmac", "hmac-sha-256"],
        kind: Kind::Mac,
        bit_lengths: MAC_BITS,
        generated: MAC_BITS,
        default_bits: 256,
        modes: &[],
        units: &[Unit::Sha, Unit::Vector],
        status: Status::Recommended,
    },
    Algorithm {
        number: 5,
        name: "hmac-sha384",
        aliases: &["hmacsha384", "hmac-sha-384"],
        kind: Kind::Mac,
        bit_lengths: MAC_BITS,
        generated: MAC_BITS,
        default_bits: 384,
        modes: &[],
        units: &[Unit::Vector],
        status: Status::Recommended,
    },
    Algorithm {
        number: 6,
        name: "hmac-sha512",
        aliases: &["hmacsha512", "hmac-sha-512"],
        kind: Kind::Mac,
        bit_lengths: MAC_BITS,
        generated: MAC_BITS,
        default_bits: 512,
        modes: &[],
        units: &[Unit::Vector],
        status: Status::Recommended,
    },
    Algorithm {
        number: 16,
        name: "generic",
        aliases: &["generic-secret", "secret", "raw"],
        kind: Kind::Opaque,
        // The generator makes lengths that are no whole number of bytes too.
        bit_lengths: BitLengths::Range { minimum: 8, maximum: 65_536, step: 1 },
        generated: BitLengths::Range { minimum: 8, maximum: 65_536, step: 1 },
        default_bits: 256,
        modes: &[],
        units: &[],
        status: Status::Allowed,
    },
    Algorithm {
        number: 17,
        name: "opaque",
        aliases: &[],
        kind: Kind::Opaque,
        bit_lengths: OPAQUE_BITS,
        generated: BitLengths::None,
        default_bits: 0,
        modes: &[],
        units: &[],
        status: Status::Allowed,
    },
    Algorithm {
        number: 18,
        name: "passphrase",
        aliases: &["password"],
        kind: Kind::Opaque,
        bit_lengths: OPAQUE_BITS,
        generated: BitLengths::None,
        default_bits: 0,
        modes: &[],
        units: &[],
        status: Status::Allowed,
    },
    Algorithm {
        number: 19,
        name: "certificate",
        aliases: &["x509", "x.509"],
        kind: Kind::Opaque,
        bit_lengths: OPAQUE_BITS,
        generated: BitLengths::None,
        default_bits: 0,
        modes: &[],
        units: &[],
        status: Status::Allowed,
    },
    Algorithm {
        number: 32,
        name: "rsa",
        aliases: &[],
        kind: Kind::KeyPair,
        bit_lengths: BitLengths::Range { minimum: 1024, maximum: 4096, step: 8 },
        generated: BitLengths::List(&[2048, 3072, 4096]),
        default_bits: 3072,
        modes: &[],
        units: &[],
        status: Status::Allowed,
    },
    Algorithm {
        number: 33,
        name: "ec",
        aliases: &["ecdsa", "ecdh", "elliptic-curve"],
        kind: Kind::KeyPair,
        // The curves P-256, P-384 and P-521.
        bit_lengths: BitLengths::List(&[256, 384, 521]),
        generated: BitLengths::List(&[256, 384, 521]),
        default_bits: 256,
        modes: &[],
        units: &[],
        status: Status::Recommended,
    },
    Algorithm {
        number: 34,
        name: "ed25519",
        aliases: &["eddsa"],
        kind: Kind::KeyPair,
        bit_lengths: BitLengths::List(&[256]),
        generated: BitLengths::List(&[256]),
        default_bits: 256,
        modes: &[],
        units: &[],
        status: Status::Recommended,
    },
    Algorithm {
        number: 35,
        name: "x25519",
        aliases: &["curve25519"],
        kind: Kind::KeyPair,
        bit_lengths: BitLengths::List(&[256]),
        generated: BitLengths::List(&[256]),
        default_bits: 256,
        modes: &[],
        units: &[],
        status: Status::Recommended,
    },
    refused(
        64,
        "3des",
        &["desede", "des-ede3", "des3", "tripledes", "triple-des", "tdea"],
        Kind::Symmetric,
        "blocks of 64 bits repeat within gigabytes under one key (NIST SP 800-131A disallows it); use aes with 256 bits",
    ),
    refused(
        65,
        "des",
        &["dea"],
        Kind::Symmetric,
        "keys of 56 bits are found by trying all of them; use aes with 256 bits",
    ),
    refused(
        66,
        "rc4",
        &["arcfour", "arc4"],
        Kind::Symmetric,
        "its output is biased and reveals plaintext (RFC 7465); use chacha20 or aes with 256 bits",
    ),
    refused(
        67,
        "rc2",
        &[],
        Kind::Symmetric,
        "short effective keys and blocks of 64 bits; use aes with 256 bits",
    ),
    refused(
        68,
        "blowfish",
        &[],
        Kind::Symmetric,
        "blocks of 64 bits repeat within gigabytes under one key; use aes with 256 bits",
    ),
    refused(69, "hmac-md5", &["hmacmd5"], Kind::Mac, "MD5 is broken; use hmac-sha256"),
    refused(
        70,
        "dsa",
        &[],
        Kind::KeyPair,
        "withdrawn for signing by FIPS 186-5; use ed25519, or ec with 256 bits",
    ),
];

/// The data cipher that is used where nothing else is asked for or set as a default.
pub const DEFAULT_DATA_CIPHER: &str = "aes-256-gcm";

/// Every way to encrypt bulk data, refused ones at the end.
pub static DATA_CIPHERS: &[DataCipher] = &[
    gcm("aes-256-gcm", 256, Status::Recommended),
    gcm("aes-192-gcm", 192, Status::Allowed),
    gcm("aes-128-gcm", 128, Status::Allowed),
    DataCipher {
        name: "chacha20-poly1305",
        algorithm: "chacha20",
        mode: "poly1305",
        key_bits: 256,
        authenticated: true,
        length_preserving: false,
        random_access: true,
        units: &[Unit::Vector],
        status: Status::Recommended,
    },
    length_preserving("aes-256-xts", "xts", 512, &[Unit::Aes, Unit::VectorAes], Status::Recommended),
    length_preserving("aes-128-xts", "xts", 256, &[Unit::Aes, Unit::VectorAes], Status::Allowed),
    length_preserving("aes-256-ctr", "ctr", 256, &[Unit::Aes, Unit::VectorAes], Status::Allowed),
    length_preserving("aes-192-ctr", "ctr", 192, &[Unit::Aes, Unit::VectorAes], Status::Allowed),
    length_preserving("aes-128-ctr", "ctr", 128, &[Unit::Aes, Unit::VectorAes], Status::Allowed),
    cbc("aes-256-cbc", 256),
    cbc("aes-192-cbc", 192),
    cbc("aes-128-cbc", 128),
    refused_cipher(
        "aes-256-ecb",
        "aes",
        256,
        "equal blocks encrypt equally; use aes-256-gcm, or aes-256-xts",
    ),
    refused_cipher(
        "aes-128-ecb",
        "aes",
        128,
        "equal blocks encrypt equally; use aes-256-gcm, or aes-256-xts",
    ),
    refused_cipher("3des-cbc", "3des", 192, "blocks of 64 bits repeat within gigabytes; use aes-256-gcm"),
    refused_cipher("des-cbc", "des", 64, "keys of 56 bits are found by trying all of them; use aes-256-gcm"),
    refused_cipher("rc4", "rc4", 128, "its output is biased and reveals plaintext; use chacha20-poly1305"),
];

const fn refused(
    number: u16,
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    reason: &'static str,
) -> Algorithm {
    Algorithm {
        number,
        name,
        aliases,
        kind,
        bit_lengths: BitLengths::None,
        generated: BitLengths::None,
        default_bits: 0,
        modes: &[],
        units: &[],
        status: Status::Refused(reason),
    }
}

const fn gcm(name: &'static str, key_bits: u32, status: Status) -> DataCipher {
    DataCipher {
        name,
        algorithm: "aes",
        mode: "gcm",
        key_bits,
        authenticated: true,
        length_preserving: false,
        random_access: true,
        units: &[Unit::Aes, Unit::VectorAes],
        status,
    }
}

const fn length_preserving(
    name: &'static str,
    mode: &'static str,
    key_bits: u32,
    units: &'static [Unit],
    status: Status,
) -> DataCipher {
    DataCipher {
        name,
        algorithm: "aes",
        mode,
        key_bits,
        authenticated: false,
        length_preserving: true,
        random_access: true,
        units,
        status,
    }
}

const fn cbc(name: &'static str, key_bits: u32) -> DataCipher {
    DataCipher {
        name,
        algorithm: "aes",
        mode: "cbc",
        key_bits,
        authenticated: false,
        length_preserving: false,
        random_access: true,
        units: &[Unit::Aes],
        status: Status::Allowed,
    }
}

const fn refused_cipher(
    name: &'static str,
    algorithm: &'static str,
    key_bits: u32,
    reason: &'static str,
) -> DataCipher {
    DataCipher {
        name,
        algorithm,
        mode: "",
        key_bits,
        authenticated: false,
        length_preserving: false,
        random_access: false,
        units: &[],
        status: Status::Refused(reason),
    }
}

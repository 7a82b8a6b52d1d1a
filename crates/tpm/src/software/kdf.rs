//! Key derivation (Part 1, 11.4.10): KDFa from a key, KDFe from a point two sides agreed on.

use zeroize::Zeroizing;

use crate::types::HashAlgorithm;

/// KDFa: counter mode of SP 800-108 with HMAC (Part 1, 11.4.10.2). `bits` is a multiple of 8.
#[must_use]
pub fn kdfa(
    hash: HashAlgorithm,
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    blocks(hash, bits, |counter| {
        hash.hmac(
            key,
            &[&counter, label.as_bytes(), &[0], context_u, context_v, &u32::from(bits).to_be_bytes()],
        )
    })
}

/// KDFe: the concatenation derivation of SP 800-56A (Part 1, 11.4.10.3). `bits` is a multiple of 8.
#[must_use]
pub fn kdfe(
    hash: HashAlgorithm,
    shared_x: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    blocks(hash, bits, |counter| {
        Zeroizing::new(hash.digest(&[&counter, shared_x, label.as_bytes(), &[0], party_u, party_v]))
    })
}

fn blocks(
    hash: HashAlgorithm,
    bits: u16,
    block: impl Fn([u8; 4]) -> Zeroizing<Vec<u8>>,
) -> Zeroizing<Vec<u8>> {
    let length = usize::from(bits / 8);
    // Room for the last block as a whole: growing would leave a copy behind.
    let mut output = Zeroizing::new(Vec::with_capacity(length.saturating_add(hash.size())));
    for counter in 1_u32.. {
        if output.len() >= length {
            break;
        }
        output.extend_from_slice(&block(counter.to_be_bytes()));
    }
    output.truncate(length);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::hex;

    /// Vectors of the Go TPM library, which were made with the TPM simulator.
    #[test]
    fn keys_are_derived_as_others_derive_them() {
        let hash = HashAlgorithm::Sha256;
        assert_eq!(
            hex(&kdfa(hash, b"yolo\0", "IDENTITY", b"kek\0", b"yoyo\0", 128)),
            "d2d72cc7a8a5eb09e8c79012e2da9f22"
        );
        assert_eq!(
            hex(&kdfa(hash, b"ca\0", "IDENTITY", b"abc\0", &[], 1024)),
            "1aae7151ac1a5690eda7dcabd56800c11c56a3810ba059826fe4776348d6ae8e5d5d18c7ccf8373f7b942ada8b912b12\
             da56fb37f64b935872841ec07d38e1fb8e7ec86efcbfb444756bc8863f858d2690a621c9afb983cd77e7a1048ae1a759\
             8ac895323d44c10227af0a00144cab55111075dc6b72ad6eb163c7458b878e8c"
        );
        let bytes = |text: &str| hex::decode(text).unwrap();
        assert_eq!(
            hex(&kdfe(
                hash,
                &bytes("6cbfdee9e66367b676"),
                "STORAGE",
                &bytes("c303fe79ff"),
                &bytes("79e34519a8a32f13d400"),
                728
            )),
            "e59560660988b3d66e3a76bcc96110cc199bfa0418dca315f7070619e04fa0b6cdb2912db3786aaa34f2cad7dcee560e\
             ed2b4c3f7566e533e4a3bba9c9364397dd2ce45a0b85dde5c83fea27b4fb20bb0125346d24e5d9321f81b2"
        );
    }
}

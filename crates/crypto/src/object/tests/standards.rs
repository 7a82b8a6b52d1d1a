//! The modes alone against vectors of the standards. Those of GCM and ChaCha20-Poly1305 are Project Wycheproof's.

use super::super::cbc::Cbc;
use super::super::ctr::Ctr;
use super::super::xts::Xts;
use super::*;
use crate::CryptoError;

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// NIST SP 800-38A, appendix F.
const KEYS: [&str; 3] = [
    "2b7e151628aed2a6abf7158809cf4f3c",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
];
const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 \
                     30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710";

#[test]
fn ctr_as_in_nist_sp_800_38a() {
    let texts = [
        "874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff \
         5ae4df3edbd5d35e5b4f09020db03eab 1e031dda2fbe03d1792170a0f3009cee",
        "1abc932417521ca24f2b0459fe7e6e0b 090339ec0aa6faefd5ccc2c6f4ce8e94 \
         1e36b26bd1ebc670d1bd1d665620abf7 4f78a7f6d29809585a97daec58c6b050",
        "601ec313775789a5b7a7f504bbf3d228 f443e3ca4d62b59aca84e990cacaf5c5 \
         2b0930daa23de94ce87017ba2d84988d dfc9c58db67aada613c2dd08457941a6",
    ];
    let first = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").try_into().unwrap();
    for (key, text) in KEYS.into_iter().zip(texts) {
        let ctr = Ctr::new(&unhex(key), first).unwrap();
        let mut output = [0; 64];
        ctr.apply(0, &unhex(PLAIN), &mut output).unwrap();
        assert_eq!(output.to_vec(), unhex(text));
        // From the third block on, and not to the end of the fourth.
        let mut part = [0; 27];
        ctr.apply(2, &unhex(text)[32..59], &mut part).unwrap();
        assert_eq!(part.to_vec(), unhex(PLAIN)[32..59]);
    }
}

#[test]
fn cbc_as_in_nist_sp_800_38a() {
    let texts = [
        "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 \
         73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7",
        "4f021db243bc633d7178183a9fa071e8 b4d9ada9ad7dedf4e5e738763f69145a \
         571b242012fb7ae07fa9baac3df102e0 08b0e27988598881d920a9e64f5615cd",
        "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d \
         39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b",
    ];
    let first = unhex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
    for (key, text) in KEYS.into_iter().zip(texts) {
        let cbc = Cbc::new(&unhex(key), first).unwrap();
        let mut output = [0; 64];
        let mut chain = cbc.first();
        let (plain, text) = (unhex(PLAIN), unhex(text));
        cbc.encrypt(&mut chain, &plain[..16], &mut output[..16]).unwrap();
        cbc.encrypt(&mut chain, &plain[16..], &mut output[16..]).unwrap();
        assert_eq!(output.to_vec(), text);
        let mut chain = cbc.first();
        cbc.decrypt(&mut chain, &text[..48], &mut output[..48]).unwrap();
        cbc.decrypt(&mut chain, &text[48..], &mut output[48..]).unwrap();
        assert_eq!(output.to_vec(), plain);
    }
}

/// IEEE 1619-2018, annex B: vectors 2, 3, 10 and, with ciphertext stealing, 15 to 18.
#[test]
fn xts_as_in_ieee_1619() {
    let counting: Vec<u8> = (0..=255).chain(0..=255).collect();
    let stolen = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0 bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0";
    let cases: [(&str, u64, &[u8], &str); 7] = [
        (
            "11111111111111111111111111111111 22222222222222222222222222222222",
            0x33_3333_3333,
            &[0x44; 32],
            "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0",
        ),
        (
            "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0 22222222222222222222222222222222",
            0x33_3333_3333,
            &[0x44; 32],
            "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89",
        ),
        (
            "2718281828459045235360287471352662497757247093699959574966967627 \
             3141592653589793238462643383279502884197169399375105820974944592",
            0xff,
            &counting,
            "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44\
             680a86ac35adfc3345befecb4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0\
             c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7d\
             e8b062c4500dc4cd120c0f7418dae3d0b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f\
             93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec583e9645e07b8d9670655ba5bbcfecc6\
             dc3966380ad8fecb17b6ba02469a020a84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1\
             505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1bec9de244fbe15992b\
             11b77c040f12bd8f6a975a44a0f90c29a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac\
             6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f645e8b7e9bfdef33943054ff84011493\
             c27b3429eaedb4ed5376441a77ed43851ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa\
             773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151",
        ),
        (stolen, 0x12_3456_789a, &counting[..17], "6c1625db4671522d3d7599601de7ca09ed"),
        (stolen, 0x12_3456_789a, &counting[..18], "d069444b7a7e0cab09e24447d24deb1fedbf"),
        (stolen, 0x12_3456_789a, &counting[..19], "e5df1351c0544ba1350b3363cd8ef4beedbf9d"),
        (stolen, 0x12_3456_789a, &counting[..20], "9d84c813f719aa2c7be3f66171c7c5c2edbf9dac"),
    ];
    for (key, sector, plain, text) in cases {
        let xts = Xts::new(&unhex(key)).unwrap();
        let mut output = vec![0; plain.len()];
        xts.encrypt(sector, plain, &mut output).unwrap();
        assert_eq!(hex::encode(&output), text);
        let mut back = vec![0; plain.len()];
        xts.decrypt(sector, &output, &mut back).unwrap();
        assert_eq!(back, plain);
    }
}

#[test]
fn xts_refuses_equal_halves() {
    for cipher in [Cipher::Aes256Xts, Cipher::Aes128Xts] {
        let key = KeyMaterial::from_vec(vec![7; cipher.key_length()]);
        let refused = ObjectKey::create(&Parameters::new(cipher), &key, b"").unwrap_err();
        assert!(matches!(refused, CryptoError::InvalidFormat(_)), "{refused}");
        // Derived halves differ.
        ObjectKey::create(&Parameters::new(cipher).with_derived_key(), &key, b"").unwrap();
    }
}

#[test]
fn padding_of_cbc_must_be_right_in_each_byte() {
    for length in 0..16_usize {
        let mut block = [16 - length as u8; 16];
        block[..length].fill(0xee);
        assert_eq!(Cbc::unpadded_length(&block), Some(length));
        for at in length..16 {
            let mut wrong = block;
            wrong[at] ^= 0x20;
            assert_eq!(Cbc::unpadded_length(&wrong), None, "{length} {at}");
        }
    }
    assert_eq!(Cbc::unpadded_length(&[0; 16]), None);
    assert_eq!(Cbc::unpadded_length(&[17; 16]), None);
}

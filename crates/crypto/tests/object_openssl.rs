//! The object format against OpenSSL, in both directions, on random input.
//!
//! Here stands only how a body is cut and what is derived, written a second time from the documentation; every cipher is
//! OpenSSL's, asked through `data/openssl.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests, their helpers included")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chatelaine_crypto::object::{Cipher, Header, KeyUse, Mode, ObjectKey, Parameters};
use chatelaine_crypto::{KeyMaterial, derive, random};

/// A process that answers what OpenSSL makes of a text. It ends with its input.
struct OpenSsl {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn start() -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openssl.py");
        let mut process = Command::new("python3")
            .args(["-B", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed, with the OpenSSL it comes with");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    /// Nothing where a tag does not fit.
    fn ask(&mut self, cipher: &str, encrypt: bool, key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let request = serde_json::json!({
            "cipher": cipher,
            "encrypt": encrypt,
            "key": hex::encode(key),
            "iv": hex::encode(iv),
            "data": hex::encode(data),
        });
        writeln!(self.input.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Option<String> = serde_json::from_str(&line).expect("an answer of openssl.py");
        answer.map(|text| hex::decode(text).unwrap())
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The cipher's key and its vector, as `docs/api/object-format.md` has it.
fn keys(header: &Header, data_key: &KeyMaterial, context: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let bytes = header.to_bytes();
    let (head, check) = bytes.split_at(bytes.len() - 32);
    let vector = if header.cipher().is_authenticated() { 0 } else { 16 };
    let key = if header.key_use() == KeyUse::Direct { 0 } else { header.cipher().key_length() };
    let derived = derive(data_key, "chatelaine object v1", &[head, context], 32 + vector + key).unwrap();
    let derived = derived.expose();
    assert_eq!(&derived[..32], check);
    let key = if key == 0 { data_key.expose() } else { &derived[32 + vector..] };
    (key.to_vec(), derived[32..32 + vector].to_vec())
}

/// A body by OpenSSL alone; nothing where it does not authenticate.
fn body_by_openssl(
    openssl: &mut OpenSsl,
    encrypt: bool,
    header: &Header,
    (key, vector): &(Vec<u8>, Vec<u8>),
    text: &[u8],
) -> Option<Vec<u8>> {
    let name = header.cipher().name();
    match header.cipher().mode() {
        Mode::Gcm | Mode::ChaCha => {
            let layout = header.layout();
            let unit = if encrypt { layout.unit_length() } else { layout.encrypted_unit_length() };
            let last = text.len() / unit;
            let mut body = Vec::new();
            for index in 0..=last {
                let mut nonce = [0; 12];
                nonce[3..11].copy_from_slice(&(index as u64).to_be_bytes());
                nonce[11] = u8::from(index == last);
                let chunk = &text[index * unit..text.len().min((index + 1) * unit)];
                body.extend(openssl.ask(name, encrypt, key, &nonce, chunk)?);
            }
            Some(body)
        }
        Mode::Xts => {
            let mut body = Vec::new();
            for (index, sector) in text.chunks(4096).enumerate() {
                if sector.len() < 16 {
                    body.extend(sector.iter().zip(vector).map(|(byte, mask)| byte ^ mask));
                } else {
                    let tweak = (index as u128).to_le_bytes();
                    body.extend(openssl.ask(name, encrypt, key, &tweak, sector)?);
                }
            }
            Some(body)
        }
        Mode::Ctr => openssl.ask(name, encrypt, key, vector, text),
        Mode::Cbc if encrypt => {
            let padding = 16 - text.len() % 16;
            let padded = [text, &vec![padding as u8; padding]].concat();
            openssl.ask(name, true, key, vector, &padded)
        }
        Mode::Cbc => {
            let mut plain = openssl.ask(name, false, key, vector, text)?;
            plain.truncate(plain.len() - usize::from(*plain.last()?));
            Some(plain)
        }
    }
}

#[test]
fn openssl_reads_what_we_write_and_we_read_what_it_writes() {
    let mut openssl = OpenSsl::start();
    for cipher in Cipher::ALL {
        for length in [0, 1, 15, 16, 17, 4095, 4096, 4097, 4111, 4112, 12_345, 65_536, 70_003, 150_000] {
            for derived in [false, true] {
                let key = KeyMaterial::random(cipher.key_length() * 8).unwrap();
                let mut parameters = Parameters::new(cipher);
                if derived {
                    parameters = parameters.with_derived_key();
                } else if cipher.is_authenticated() {
                    parameters = parameters.with_chunk_length(4096).unwrap();
                }
                let mut plain = vec![0; length];
                random::fill_public(&mut plain).unwrap();
                let (header, mut encryptor) = ObjectKey::create(&parameters, &key, b"context").unwrap();
                let mut ours = vec![0; encryptor.output_length(length)];
                encryptor.update(&plain, &mut ours).unwrap();
                let mut end = vec![0; encryptor.finish_length()];
                encryptor.finish(&mut end).unwrap();
                ours.extend(end);

                let keys = keys(&header, &key, b"context");
                let theirs = body_by_openssl(&mut openssl, true, &header, &keys, &plain).unwrap();
                assert!(theirs == ours, "{} {length}", cipher.name());
                let back = body_by_openssl(&mut openssl, false, &header, &keys, &ours);
                assert!(back.as_ref() == Some(&plain), "{} {length}", cipher.name());

                let mut decryptor = ObjectKey::open(&header, &key, b"context").unwrap().decryptor();
                let mut back = vec![0; decryptor.output_length(theirs.len())];
                decryptor.update(&theirs, &mut back).unwrap();
                let mut end = vec![0; decryptor.finish_length()];
                let written = decryptor.finish(&mut end).unwrap();
                back.extend(&end[..written]);
                assert!(back == plain, "{} {length}", cipher.name());
            }
        }
    }
}

/// That the other side is no yes-man: it refuses a body with one bit flipped.
#[test]
fn openssl_refuses_a_changed_chunk() {
    let mut openssl = OpenSsl::start();
    let key = KeyMaterial::random(256).unwrap();
    let (header, encryptor) = ObjectKey::create(&Parameters::new(Cipher::Aes256Gcm), &key, b"").unwrap();
    let mut body = vec![0; encryptor.finish_length()];
    encryptor.finish(&mut body).unwrap();
    let keys = keys(&header, &key, b"");
    assert_eq!(body_by_openssl(&mut openssl, false, &header, &keys, &body), Some(Vec::new()));
    body[3] ^= 1;
    assert_eq!(body_by_openssl(&mut openssl, false, &header, &keys, &body), None);
}

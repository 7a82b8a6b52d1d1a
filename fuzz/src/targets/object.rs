//! The object format.

use chatelaine_crypto::object::{Cipher, Decryptor, Header, ObjectKey, Parameters};
use chatelaine_crypto::{CryptoError, KeyMaterial};

use super::choices;

fn random_key(cipher: Cipher) -> KeyMaterial {
    KeyMaterial::random(cipher.key_length() * 8).expect("random bytes")
}

/// Whatever is accepted has one encoding, as bytes and as text, and no key but its own opens it.
pub(crate) fn object_header(input: &[u8]) {
    if let Some(header) = std::str::from_utf8(input).ok().and_then(|text| Header::from_text(text).ok()) {
        assert_eq!(header.to_text().as_bytes(), input, "one header, one text");
    }
    let Ok(Some((header, length))) = Header::parse_front(input) else {
        assert!(Header::parse(input).is_err());
        return;
    };
    assert!(Header::is_header(input));
    assert_eq!(header.to_bytes(), &input[..length], "one header, one encoding");
    assert_eq!(Header::from_text(&header.to_text()).as_ref(), Ok(&header));
    assert_eq!(Header::parse(input).is_ok(), length == input.len());
    let refused = ObjectKey::open(&header, &random_key(header.cipher()), b"").map(drop);
    assert_eq!(refused, Err(CryptoError::WrongDataKey), "nobody made this with this key");
    for length in [0, 1, 4096, 1 << 20, u64::MAX] {
        let layout = header.layout();
        if let Ok(encrypted) = layout.encrypted_length(length) {
            layout.plain_length(encrypted).expect("a length that is there");
        }
    }
}

/// Feeds pieces of a length that changes; what came out, and how it ended.
fn decrypt(mut decryptor: Decryptor, body: &[u8], piece: usize) -> (Vec<u8>, Result<(), CryptoError>) {
    let mut plain = Vec::new();
    for part in body.chunks(piece) {
        let mut output = vec![0; decryptor.output_length(part.len())];
        match decryptor.update(part, &mut output) {
            Ok(length) => assert_eq!(length, output.len(), "what was foretold"),
            Err(error) => return (plain, Err(error)),
        }
        plain.extend(output);
    }
    let mut output = vec![0; decryptor.finish_length()];
    match decryptor.finish(&mut output) {
        Ok(length) => {
            plain.extend(&output[..length]);
            (plain, Ok(()))
        }
        Err(error) => (plain, Err(error)),
    }
}

/// Any bytes as a body: nothing but an error comes of it in authenticated modes, whatever the range; in the others as many
/// bytes come out as the layout says.
///
/// Choices: cipher, length of the pieces, then two bytes for the range's beginning and two for its length.
pub(crate) fn object_body(input: &[u8]) {
    let Some(([cipher, piece, start_high, start_low, high, low], body)) = choices::<6>(input) else { return };
    let cipher = Cipher::ALL[usize::from(cipher) % Cipher::ALL.len()];
    let mut parameters = Parameters::new(cipher);
    if cipher.is_authenticated() {
        parameters = parameters.with_chunk_length(4096).expect("the least length");
    }
    let (header, encryptor) = ObjectKey::create(&parameters, &random_key(cipher), b"").expect("a new object");
    let piece = usize::from(piece) * 37 + 1;
    let (plain, end) = decrypt(encryptor.key().decryptor(), body, piece);
    let layout = header.layout();
    let length = body.len() as u64;
    if cipher.is_authenticated() {
        assert!(plain.is_empty() && end.is_err(), "nobody made this with this key");
    } else if cipher.preserves_length() {
        assert_eq!((plain.len(), end), (body.len(), Ok(())));
    } else if end.is_ok() {
        layout.plain_length(length).expect("a length that is there");
    }
    let start = u64::from(u16::from_be_bytes([start_high, start_low]));
    let range = start..start + u64::from(u16::from_be_bytes([high, low])) + 1;
    let total = range.end + u64::from(low);
    let needed = layout.encrypted_range(range.clone(), Some(total)).expect("a range inside");
    let decryptor = encryptor.key().range_decryptor(range.clone(), total).expect("a range inside");
    let (plain, end) = decrypt(decryptor, body, piece);
    let wanted = range.end - range.start;
    assert!(plain.len() as u64 <= wanted);
    if end.is_ok() {
        assert_eq!((length, plain.len() as u64), (needed.end - needed.start, wanted));
        assert!(!cipher.is_authenticated(), "nobody made this with this key");
    }
}

/// An honest object comes back whatever its pieces, and after any change no authenticated one does.
///
/// Choices: cipher, length of the pieces, two bytes for the length, two for where the change is, one for what it is.
pub(crate) fn object_change(input: &[u8]) {
    let Some(([cipher, piece, length_high, length_low, high, low, flip], seed)) = choices::<7>(input) else {
        return;
    };
    let cipher = Cipher::ALL[usize::from(cipher) % Cipher::ALL.len()];
    let mut parameters = Parameters::new(cipher);
    if cipher.is_authenticated() {
        parameters = parameters.with_chunk_length(4096).expect("the least length");
    }
    let key = random_key(cipher);
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let plain: Vec<u8> = seed.iter().copied().chain(0..=255).cycle().take(length).collect();
    let piece = usize::from(piece) * 37 + 1;
    let (header, mut encryptor) = ObjectKey::create(&parameters, &key, seed).expect("a new object");
    let mut body = Vec::new();
    for part in plain.chunks(piece) {
        let mut output = vec![0; encryptor.output_length(part.len())];
        encryptor.update(part, &mut output).expect("encryption");
        body.extend(output);
    }
    let mut output = vec![0; encryptor.finish_length()];
    encryptor.finish(&mut output).expect("encryption");
    body.extend(output);
    let object = ObjectKey::open(&header, &key, seed).expect("its own key");
    assert_eq!(decrypt(object.decryptor(), &body, piece.rotate_left(3)), (plain.clone(), Ok(())));
    let at = usize::from(u16::from_be_bytes([high, low])) % body.len().max(1);
    if flip == 0 || body.is_empty() {
        return;
    }
    body[at] ^= flip;
    let (changed, end) = decrypt(object.decryptor(), &body, piece);
    if cipher.is_authenticated() {
        assert!(plain.starts_with(&changed) && end.is_err(), "a changed object");
    } else {
        assert!(changed != plain || end.is_err());
    }
}

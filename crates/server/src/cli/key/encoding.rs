//! Key strings outside of JSON: raw, base64 or hexadecimal.
//!
//! Owns reading one from a file or standard input and writing one as text. Invariants: at most 65,536 bytes; every
//! buffer is wiped; messages hold nothing of what was read. Refuses an empty key string.

use std::path::Path;

use chatelaine_api::KeyString;
use clap::ValueEnum;
use zeroize::Zeroizing;

use super::file;
use crate::cli::{Exit, Failure, Terminal};

/// Longest key string, in bytes.
pub(crate) const LONGEST_KEY_STRING: usize = 65_536;
/// Longest text of one: hexadecimal, with room for a line break after every 16 bytes.
const LONGEST_TEXT: usize = 2 * LONGEST_KEY_STRING + LONGEST_KEY_STRING / 8;

/// How the bytes of a key string are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// The bytes as they are
    Raw,
    /// Base64 (RFC 4648, section 4); line breaks are skipped when reading
    Base64,
    /// Hexadecimal digits; line breaks are skipped when reading
    Hex,
}

/// Reads the key string of a file, or of standard input for `-`.
pub(crate) fn read(path: &Path, encoding: Encoding, terminal: &mut Terminal) -> Result<KeyString, Failure> {
    let limit = match encoding {
        Encoding::Raw => LONGEST_KEY_STRING,
        Encoding::Base64 | Encoding::Hex => LONGEST_TEXT,
    };
    let from_input = path.as_os_str() == "-";
    let name = if from_input { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |exit, reason: &str| Failure::new(exit, format!("the key string in {name}: {reason}"));
    let bytes = if from_input {
        file::read_wiping(&mut *terminal.input, limit)
    } else {
        let mut file = file::open(path).map_err(|error| failed(Exit::Usage, &error.to_string()))?;
        if file::others_can_reach(&file).unwrap_or(false) {
            terminal.warn(&format!("others can read or change {name}: chmod 600 it"));
        }
        file::read_wiping(&mut file, limit)
    };
    let bytes = bytes.map_err(|error| failed(Exit::Invalid, &error.to_string()))?;
    if encoding == Encoding::Raw && looks_like_a_line(&bytes) {
        terminal.note(&format!(
            "the line break at the end of {name} is taken as part of the key string; --encoding base64 or hex skips it"
        ));
    }
    decode(bytes, encoding).map_err(|reason| failed(Exit::Invalid, reason))
}

/// Printable text with a line break at its end: somebody typed it, or `echo` wrote it.
fn looks_like_a_line(bytes: &[u8]) -> bool {
    let Some(line) = bytes.strip_suffix(b"\n") else { return false };
    !line.is_empty() && line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

fn decode(mut bytes: Zeroizing<Vec<u8>>, encoding: Encoding) -> Result<KeyString, &'static str> {
    if encoding != Encoding::Raw {
        bytes.retain(|byte| !byte.is_ascii_whitespace());
    }
    let key_string = match encoding {
        Encoding::Raw => KeyString::new(std::mem::take(&mut *bytes)),
        Encoding::Base64 => {
            let text = std::str::from_utf8(&bytes);
            KeyString::from_base64(text.map_err(|_| "it is not text; is it --encoding raw?")?)
                .map_err(|_| "it is not base64 (RFC 4648, section 4: A-Z a-z 0-9 + / and padding)")?
        }
        Encoding::Hex => {
            let mut decoded = Zeroizing::new(vec![0; bytes.len() / 2]);
            hex::decode_to_slice(&*bytes, &mut decoded)
                .map_err(|_| "it is not hexadecimal: an even number of the digits 0-9 a-f is needed")?;
            KeyString::new(std::mem::take(&mut *decoded))
        }
    };
    match key_string.expose().len() {
        0 => Err("it is empty"),
        length if length > LONGEST_KEY_STRING => Err("it is longer than 65,536 bytes"),
        _ => Ok(key_string),
    }
}

/// The key string as it is written out; a line break follows the forms that are text.
pub(crate) fn encode(key_string: &KeyString, encoding: Encoding) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = key_string.expose();
    match encoding {
        Encoding::Raw => Ok(Zeroizing::new(bytes.to_vec())),
        Encoding::Base64 => {
            let base64 = key_string.to_base64();
            let mut text = Zeroizing::new(Vec::with_capacity(base64.len().saturating_add(1)));
            text.extend_from_slice(base64.as_bytes());
            text.push(b'\n');
            Ok(text)
        }
        Encoding::Hex => {
            let digits = bytes.len().saturating_mul(2);
            let mut text = Zeroizing::new(vec![b'\n'; digits.saturating_add(1)]);
            let place = text.get_mut(..digits).unwrap_or_default();
            hex::encode_to_slice(bytes, place)
                .map_err(|error| Failure::new(Exit::Failed, format!("hexadecimal: {error}")))?;
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8], encoding: Encoding) -> Result<Vec<u8>, &'static str> {
        decode(Zeroizing::new(text.to_vec()), encoding).map(|key| key.expose().to_vec())
    }

    #[test]
    fn texts_may_be_wrapped_and_raw_is_kept() {
        assert_eq!(decoded(b"AAEC\r\nAw==\n", Encoding::Base64).unwrap(), [0, 1, 2, 3]);
        assert_eq!(decoded(b" 00fF\n10 \n", Encoding::Hex).unwrap(), [0, 255, 16]);
        assert_eq!(decoded(b" a\n", Encoding::Raw).unwrap(), b" a\n");
    }

    #[test]
    fn wrong_texts_are_refused_without_quoting_them() {
        for (text, encoding) in [
            (&b"SECRET*="[..], Encoding::Base64),
            (b"SECRE", Encoding::Base64),
            (b"\xff\xfe", Encoding::Base64),
            (b"abc", Encoding::Hex),
            (b"SECRET", Encoding::Hex),
            (b"", Encoding::Raw),
            (b"\n", Encoding::Hex),
            (b"  ", Encoding::Base64),
        ] {
            let error = decoded(text, encoding).unwrap_err();
            assert!(!error.contains("SECRE"), "{error}");
        }
    }

    #[test]
    fn the_length_counts_after_decoding() {
        let longest = vec![b'a'; 2 * LONGEST_KEY_STRING];
        assert_eq!(decoded(&longest, Encoding::Hex).unwrap().len(), LONGEST_KEY_STRING);
        let longer = vec![b'a'; 2 * LONGEST_KEY_STRING + 2];
        assert_eq!(decoded(&longer, Encoding::Hex).unwrap_err(), "it is longer than 65,536 bytes");
    }

    #[test]
    fn lines_of_text_are_noticed() {
        for (bytes, line) in [
            (&b"0123456789abcdef\n"[..], true),
            (b"no line break", false),
            (b"\n", false),
            (b"\x80\x01key\n", false),
        ] {
            assert_eq!(looks_like_a_line(bytes), line, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            for encoding in [Encoding::Raw, Encoding::Base64, Encoding::Hex] {
                let text = encode(&KeyString::new(bytes.clone()), encoding).unwrap();
                prop_assert_eq!(&decoded(&text, encoding).unwrap(), &bytes);
            }
        }
    }
}

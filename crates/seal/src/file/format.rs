//! The text in the key file.
//!
//! ```text
//! chatelaine-sealing-key 1
//! id: 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7
//! state: active
//! key: <32 bytes in base64, RFC 4648 section 4>
//! check: <SHA-256 over a fixed text and all bytes before this line, in hex>
//! ```
//!
//! `id`, `state` and `key` repeat for each key; `state` is `active` for the first one and `retired` for the others. Lines
//! end with a line feed alone.
//!
//! Invariant: there is one way only to write given keys. The check finds accidents, not attacks: who can write the file
//! can write the check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_crypto::{KeyMaterial, sha256};
use zeroize::Zeroizing;

use crate::keys::MASTER_KEY_BITS;
use crate::{KeyId, SealError};

/// The version that is written and read.
pub(super) const VERSION: u32 = 1;
/// Most keys in a file.
const MAX_KEYS: usize = 64;

const TITLE: &str = "chatelaine-sealing-key ";
const CHECK_CONTEXT: &[u8] = b"chatelaine sealing key file, check\n";
const KEY_TEXT: usize = 44;

/// One sealing key.
#[cfg_attr(test, derive(Debug))]
pub(super) struct FileKey {
    pub(super) id: KeyId,
    pub(super) material: KeyMaterial,
}

impl FileKey {
    pub(super) fn random() -> Result<Self, SealError> {
        Ok(Self { id: KeyId::random()?, material: KeyMaterial::random(MASTER_KEY_BITS)? })
    }
}

/// The keys in a file.
#[cfg_attr(test, derive(Debug))]
pub(super) struct FileKeys {
    /// The one that wraps.
    pub(super) active: FileKey,
    /// Those that only open.
    pub(super) retired: Vec<FileKey>,
}

impl FileKeys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &FileKey> {
        std::iter::once(&self.active).chain(&self.retired)
    }
}

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    UnknownVersion,
    Damaged(String),
}

/// The file's content for given keys.
pub(super) fn render(keys: &FileKeys) -> Zeroizing<Vec<u8>> {
    let count = keys.retired.len().saturating_add(1);
    let mut out = Zeroizing::new(Vec::with_capacity(count.saturating_mul(160).saturating_add(256)));
    out.extend_from_slice(format!("{TITLE}{VERSION}\n").as_bytes());
    let states =
        std::iter::once((&keys.active, "active")).chain(keys.retired.iter().map(|key| (key, "retired")));
    for (key, state) in states {
        out.extend_from_slice(format!("id: {}\nstate: {state}\nkey: ", key.id).as_bytes());
        let mut text = Zeroizing::new([0_u8; KEY_TEXT]);
        // A key of 32 bytes has exactly this length; another is refused when the file is read.
        let length = STANDARD.encode_slice(key.material.expose(), text.as_mut_slice()).unwrap_or(0);
        out.extend_from_slice(text.get(..length).unwrap_or_default());
        out.push(b'\n');
    }
    append_check(&mut out);
    out
}

/// Adds the check line over everything before it.
pub(super) fn append_check(out: &mut Vec<u8>) {
    let check = check_of(out);
    out.extend_from_slice(b"check: ");
    out.extend_from_slice(&check);
    out.push(b'\n');
}

fn check_of(bytes: &[u8]) -> Vec<u8> {
    let digest = sha256(&[CHECK_CONTEXT, bytes]);
    let mut text = Vec::with_capacity(64);
    for byte in digest {
        text.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    text
}

/// Reads a file's content.
pub(super) fn parse(content: &[u8]) -> Result<FileKeys, Problem> {
    let damaged = |problem: &str| Problem::Damaged(problem.to_owned());
    let title_end = content
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| damaged("is empty or truncated: the first line does not end"))?;
    let (title, _) = content.split_at(title_end);
    let version =
        title.strip_prefix(TITLE.as_bytes()).ok_or_else(|| damaged("is not a file of sealing keys"))?;
    if version != VERSION.to_string().as_bytes() {
        return Err(Problem::UnknownVersion);
    }
    let checked =
        content.strip_suffix(b"\n").ok_or_else(|| damaged("is truncated: the last line does not end"))?;
    let last = checked.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let (covered, last) = checked.split_at_checked(last).ok_or_else(|| damaged("is truncated"))?;
    let check =
        last.strip_prefix(b"check: ").ok_or_else(|| damaged("is truncated: there is no check line"))?;
    if check != check_of(covered) {
        return Err(damaged("was changed: the check does not fit"));
    }
    let text = std::str::from_utf8(covered).map_err(|_| damaged("is not text"))?;
    let keys = keys(text)?;
    if *render(&keys) != content {
        return Err(damaged(
            "is not as it is written: the active key must come first, and lines must end with a line feed alone",
        ));
    }
    Ok(keys)
}

fn keys(text: &str) -> Result<FileKeys, Problem> {
    let mut active = None;
    let mut retired: Vec<FileKey> = Vec::new();
    let mut lines = text.lines().enumerate().skip(1).peekable();
    let mut field = |name: &str| {
        let (index, line) =
            lines.next().ok_or_else(|| Problem::Damaged(format!("the last key has no {name} line")))?;
        let number = index.saturating_add(1);
        let value = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "))
            .ok_or_else(|| Problem::Damaged(format!("line {number} should be `{name}: …`")))?;
        Ok((number, value, lines.peek().is_none()))
    };
    loop {
        let (number, id, _) = field("id")?;
        let id = KeyId::parse(id).map_err(|error| Problem::Damaged(format!("line {number}: {error}")))?;
        let known = active.iter().chain(&retired).any(|key: &FileKey| key.id == id);
        if known {
            return Err(Problem::Damaged(format!("line {number}: the id occurs twice")));
        }
        let (state_line, state, _) = field("state")?;
        let (key_line, key, last) = field("key")?;
        let material = material(key).ok_or_else(|| {
            Problem::Damaged(format!("line {key_line}: not a key of {MASTER_KEY_BITS} bits in base64"))
        })?;
        let key = FileKey { id, material };
        match state {
            "active" if active.is_none() => active = Some(key),
            "active" => return Err(Problem::Damaged(format!("line {state_line}: a second active key"))),
            "retired" if retired.len() < MAX_KEYS - 1 => retired.push(key),
            "retired" => return Err(Problem::Damaged(format!("more than {MAX_KEYS} keys"))),
            _ => {
                return Err(Problem::Damaged(format!(
                    "line {state_line}: the state must be active or retired"
                )));
            }
        }
        if last {
            break;
        }
    }
    let active = active.ok_or_else(|| Problem::Damaged("there is no active key".to_owned()))?;
    Ok(FileKeys { active, retired })
}

fn material(text: &str) -> Option<KeyMaterial> {
    // Decoding may use up to the rounded-up length.
    let mut bytes = Zeroizing::new([0_u8; KEY_TEXT]);
    let length = STANDARD.decode_slice(text, bytes.as_mut_slice()).ok()?;
    let key = bytes.get(..length)?;
    (length.checked_mul(8) == Some(MASTER_KEY_BITS)).then(|| KeyMaterial::copy_from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a check that fits.
    fn checked(text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        append_check(&mut bytes);
        bytes
    }

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const FIRST: &str = "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
    const SECOND: &str = "0a1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";

    fn entry(id: &str, state: &str, key: &str) -> String {
        format!("id: {id}\nstate: {state}\nkey: {key}\n")
    }

    fn problem(body: &str) -> String {
        match parse(&checked(&format!("{TITLE}1\n{body}"))) {
            Err(Problem::Damaged(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_keys_are_read_back() {
        let keys = FileKeys {
            active: FileKey::random().unwrap(),
            retired: vec![FileKey::random().unwrap(), FileKey::random().unwrap()],
        };
        let read = parse(&render(&keys)).unwrap();
        assert_eq!(read.active.id, keys.active.id);
        assert!(read.active.material.ct_eq(keys.active.material.expose()));
        assert_eq!(read.retired.len(), 2);
        for (one, other) in read.retired.iter().zip(&keys.retired) {
            assert_eq!(one.id, other.id);
            assert!(one.material.ct_eq(other.material.expose()));
        }
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let bytes: Vec<u8> = (0..32).collect();
        let key = FileKey { id: KeyId::parse(FIRST).unwrap(), material: KeyMaterial::copy_from(&bytes) };
        let text = render(&FileKeys { active: key, retired: Vec::new() });
        assert_eq!(*text, checked(&format!("{TITLE}1\n{}", entry(FIRST, "active", KEY))));
    }

    #[test]
    fn wrong_content_is_named() {
        let first = entry(FIRST, "active", KEY);
        assert!(problem("").contains("no id line"));
        assert!(problem(&entry(FIRST, "retired", KEY)).contains("no active key"));
        assert!(problem(&entry(FIRST, "lost", KEY)).contains("line 3: the state"));
        assert!(problem(&entry("x", "active", KEY)).contains("line 2"));
        assert!(problem(&entry(FIRST, "active", "AAEC")).contains("line 4: not a key"));
        assert!(problem(&entry(FIRST, "active", &format!("{KEY}AAAA"))).contains("line 4: not a key"));
        assert!(problem(&format!("{first}{}", entry(SECOND, "active", KEY))).contains("second active"));
        assert!(problem(&format!("{first}{}", entry(FIRST, "retired", KEY))).contains("twice"));
        assert!(problem(&format!("{first}id: {SECOND}\n")).contains("no state line"));
        assert!(problem(&format!("{first}\n")).contains("line 5 should be"));
        let many: String = (0..MAX_KEYS)
            .map(|n| entry(&format!("{n:08x}-3b52-4a53-9a54-0f6c1f5be1a7"), "retired", KEY))
            .collect();
        assert!(problem(&format!("{first}{many}")).contains("more than 64"));
    }

    #[test]
    fn the_same_keys_written_otherwise_are_refused() {
        let (first, second) = (entry(FIRST, "active", KEY), entry(SECOND, "retired", KEY));
        assert!(parse(&checked(&format!("{TITLE}1\n{first}{second}"))).is_ok());
        assert!(problem(&format!("{second}{first}")).contains("active key must come first"));
        assert!(problem(&first.replace("active\n", "active\r\n")).contains("line feed alone"));
        assert!(problem(&first.replace("id: 6", "id: 6\r")).contains("line 2"));
    }

    #[test]
    fn problems_do_not_quote_keys() {
        let text = problem(&entry(FIRST, "active", "c2VjcmV0c2VjcmV0"));
        assert!(!text.contains("c2Vj"), "{text}");
    }

    /// T-KEYFILE-DAMAGED: whatever happened to the file, no wrong key comes out of it.
    #[test]
    fn every_cut_and_every_changed_byte_is_refused() {
        let keys = FileKeys { active: FileKey::random().unwrap(), retired: Vec::new() };
        let whole = render(&keys);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            for change in [1, 0x20, 0x80] {
                let mut edited = whole.to_vec();
                edited[at] ^= change;
                assert!(parse(&edited).is_err(), "byte {at} ^ {change}");
            }
        }
        let mut longer = whole.to_vec();
        longer.push(b'\n');
        assert!(parse(&longer).is_err());
    }

    #[test]
    fn other_versions_are_refused_as_such() {
        let text = format!("{TITLE}2\n{}", entry(FIRST, "active", KEY));
        assert_eq!(parse(&checked(&text)).err(), Some(Problem::UnknownVersion));
    }
}

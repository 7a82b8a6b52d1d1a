//! The wrapped-key format, and the tokens of Barbican's software backend.

use chatelaine_crypto::envelope::{Envelope, KeySpec, LockKind, MasterKey, ScopeKey};
use chatelaine_crypto::fernet::KEY_TEXT_LENGTH;
use chatelaine_crypto::{FernetKey, KeyMaterial};

use super::choices;

const KEY_ID: &str = "5f0c8a3e-6d0b-4c1f-9a54-0d7e2b9c1a10";

/// Keys of these bits under whatever ids the envelope names.
fn keys(envelope: &Envelope, master: &KeyMaterial, scope: &KeyMaterial) -> (MasterKey, Option<ScopeKey>) {
    let accepted = "the id was accepted by the parser";
    let master = MasterKey::new(envelope.master_key_id(), master).expect(accepted);
    (master, envelope.scope_key_id().map(|id| ScopeKey::new(id, scope).expect(accepted)))
}

/// Whatever is accepted has one encoding, and does not open under a key it was not made with.
pub(crate) fn envelope(input: &[u8]) {
    let Ok(envelope) = Envelope::parse(input) else { return };
    assert!(Envelope::is_envelope(input));
    assert_eq!(envelope.to_bytes(), input, "one envelope, one encoding");
    assert_eq!(envelope.scope_key_id().is_some(), envelope.lock_kind() != LockKind::Single);
    let (master, scope) = keys(&envelope, &KeyMaterial::zeroed(32), &KeyMaterial::zeroed(32));
    assert!(envelope.open(&master, scope.as_ref(), KEY_ID).is_err(), "nobody made this with these keys");
    assert!(envelope.rewrap(&master, &master, KEY_ID).is_err(), "nobody made this with these keys");
}

/// An honest envelope opens, and after any change it does not.
///
/// Each run has new keys: the engine sees what is compared, and would plant an honest envelope of an earlier run.
///
/// Choices: lock kind, bit length, then two bytes for where the change begins and one for what it is. The rest of the
/// input is written over the envelope from there on.
pub(crate) fn envelope_change(input: &[u8]) {
    let Some(([lock, bits, high, low, flip], overwrite)) = choices::<5>(input) else { return };
    let random = || KeyMaterial::random(256).expect("random bytes");
    let (master_bits, scope_bits) = (random(), random());
    let master = MasterKey::new("m", &master_bits).expect("a good id");
    let scope = ScopeKey::new("s", &scope_bits).expect("a good id");
    let bits = u32::from(bits) + 8;
    let spec = KeySpec::new("generic", bits).expect("a permitted length");
    let key = KeyMaterial::random(bits as usize).expect("random bytes");
    let (envelope, key) = match lock % 3 {
        0 => (Envelope::seal_single(&master, KEY_ID, spec, &key).expect("sealing"), key),
        1 => (Envelope::seal_dual(&master, &scope, KEY_ID, spec, &key).expect("sealing"), key),
        _ => Envelope::seal_compound(&master, &scope, KEY_ID, spec).expect("sealing"),
    };
    let honest = envelope.to_bytes();
    let parsed = Envelope::parse(&honest).expect("an honest envelope");
    assert!(parsed.open(&master, Some(&scope), KEY_ID).expect("an honest envelope").ct_eq(key.expose()));

    let mut changed = honest.clone();
    let at = usize::from(u16::from_be_bytes([high, low])) % changed.len();
    changed[at] ^= flip;
    for (target, byte) in changed[at..].iter_mut().skip(1).zip(overwrite) {
        *target = *byte;
    }
    if changed == honest {
        return;
    }
    if let Ok(parsed) = Envelope::parse(&changed) {
        let (master, renamed) = keys(&parsed, &master_bits, &scope_bits);
        assert!(
            parsed.open(&master, renamed.as_ref().or(Some(&scope)), KEY_ID).is_err(),
            "a changed envelope"
        );
    }
}

/// A key, then a token: what opens is shorter than its token, and opens no more when the token is one byte shorter.
pub(crate) fn fernet(input: &[u8]) {
    let Some((key, token)) = input.split_first_chunk::<KEY_TEXT_LENGTH>() else { return };
    let Ok(key) = FernetKey::parse(key) else { return };
    let Ok(plain) = key.open(token) else { return };
    assert!(plain.len() < token.len());
    let cut = token.split_last().map_or(&[][..], |(_, rest)| rest);
    assert!(key.open(cut).is_err());
}

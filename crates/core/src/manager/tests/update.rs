//! Updates: a key stays the key it is, and what has expired stays expired.

use chatelaine_crypto::envelope::MasterKey;
use chatelaine_crypto::{Envelope, KeySpec};

use super::*;

fn envelope(master_key: &str, algorithm: &str, bits: u32) -> Vec<u8> {
    let master = MasterKey::new(master_key, &KeyMaterial::random(256).unwrap()).unwrap();
    let spec = KeySpec::new(algorithm, bits).unwrap();
    Envelope::seal_single(&master, "id", spec, &KeyMaterial::random(bits as usize).unwrap())
        .unwrap()
        .to_bytes()
}

fn string(bytes: &[u8]) -> KeyUpdate {
    KeyUpdate { payload: Some(KeyMaterial::copy_from(bytes)), ..KeyUpdate::default() }
}

fn named(master_key: Option<&str>, update: KeyUpdate) -> KeyUpdate {
    KeyUpdate { master_key: Some(master_key.map(str::to_owned)), ..update }
}

/// The field that is refused, if one is.
async fn refused(house: &House, id: SecretId, update: KeyUpdate) -> Option<String> {
    let swift = caller("swift", &["service"]);
    let version = house.manager.metadata(&swift, id).await.unwrap().version;
    match house.manager.update(&swift, id, version, update).await {
        Ok(_) => None,
        Err(Error::Invalid { field, .. }) => Some(field),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_plain_key_keeps_its_length() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(&[1; 32])).await.unwrap().id;
    assert_eq!(refused(&house, id, string(&[2; 32])).await, None);
    assert_eq!(refused(&house, id, string(&[2; 16])).await.as_deref(), Some("key_string"));
    // Wrapped in a form of the service's own it may have any length.
    assert_eq!(refused(&house, id, named(Some("m"), string(&[2; 40]))).await, None);
    assert_eq!(refused(&house, id, string(&[2; 48])).await, None);
    assert_eq!(refused(&house, id, named(None, string(&[2; 48]))).await.as_deref(), Some("key_string"));
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), [2; 48]);
    let opaque = NewKey { algorithm: None, bit_length: None, ..new_key(b"anything") };
    let id = house.manager.put(&swift, None, opaque).await.unwrap().id;
    assert_eq!(refused(&house, id, string(b"something else")).await, None);
}

#[tokio::test]
async fn an_envelope_is_replaced_by_one_of_the_same_key() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let wrapped =
        |master: &str, bytes: &[u8]| NewKey { master_key: Some(master.to_owned()), ..new_key(bytes) };
    let id = house.manager.put(&swift, None, wrapped("m-1", &envelope("m-1", "aes", 256))).await.unwrap().id;
    let field = |text: &str| Some(text.to_owned());
    assert_eq!(refused(&house, id, named(Some("m-2"), string(&envelope("m-2", "aes", 256)))).await, None);
    for (update, expected) in [
        (named(Some("m-3"), string(&envelope("m-3", "aes", 128))), "key_string"),
        (named(Some("m-3"), string(&envelope("m-3", "chacha20", 256))), "key_string"),
        (string(&envelope("m-3", "aes", 256)), "master_key"),
        (named(Some("m-3"), KeyUpdate::default()), "master_key"),
        (named(None, KeyUpdate::default()), "master_key"),
        (string(&[7; 32]), "master_key"),
        (named(Some("m-2"), string(&envelope("m-2", "aes", 256)[..30])), "key_string"),
    ] {
        assert_eq!(refused(&house, id, update).await, field(expected));
    }
    assert_eq!(refused(&house, id, named(None, string(&[7; 32]))).await, None);
    let described = house.manager.metadata(&swift, id).await.unwrap().metadata;
    assert_eq!((described.master_key, described.bit_length), (None, Some(256)));
}

#[tokio::test]
async fn what_only_the_envelope_says_is_taken_from_it() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let foreign = NewKey {
        master_key: Some("m".to_owned()),
        algorithm: None,
        bit_length: None,
        ..new_key(b"wrapped in a form of its own")
    };
    let id = house.manager.put(&swift, None, foreign).await.unwrap().id;
    assert_eq!(refused(&house, id, string(&envelope("m", "aes", 192))).await, None);
    let described = house.manager.metadata(&swift, id).await.unwrap().metadata;
    assert_eq!((described.algorithm.as_deref(), described.bit_length), (Some("aes"), Some(192)));
}

#[tokio::test]
async fn an_expiry_is_checked_as_in_a_put_and_stays_when_it_has_passed() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let hour = Duration::from_secs(3600);
    let now = house.clock.now();
    let key = NewKey {
        activates_at: Some(now.plus(hour)),
        expires_at: Some(now.plus(3 * hour)),
        ..new_key(&[1; 32])
    };
    let id = house.manager.put(&swift, None, key).await.unwrap().id;
    let expiry = |end| KeyUpdate { expires_at: Some(end), ..KeyUpdate::default() };
    for end in [now, now.plus(hour / 2), now.plus(hour)] {
        assert_eq!(refused(&house, id, expiry(Some(end))).await.as_deref(), Some("expires_at"), "{end}");
    }
    assert_eq!(refused(&house, id, expiry(Some(now.plus(2 * hour)))).await, None);
    house.clock.advance(2 * hour);
    for end in [Some(now.plus(9 * hour)), None] {
        let late = house.manager.update(&swift, id, Version::new(2), expiry(end)).await;
        assert!(matches!(late, Err(Error::WrongState { .. })), "{late:?}");
    }
    let rename = KeyUpdate { name: Some(Some("old".to_owned())), ..KeyUpdate::default() };
    assert_eq!(refused(&house, id, rename).await, None);
    assert_eq!(house.manager.metadata(&swift, id).await.unwrap().state, State::Deactivated);
}

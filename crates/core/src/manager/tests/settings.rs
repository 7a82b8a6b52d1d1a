//! Settings: asked of the rules first, changed by version, written down.

use super::*;
use crate::document::DocumentKind;
use crate::policy::rules::{Attributes, Value};

const KIND: DocumentKind = DocumentKind { name: "encryption_default", noun: None, hidden_from_others: false };
const PLACE: Place<'static> =
    Place { kind: KIND, id: "user:u1", project: "settings", what: "an encryption default of user u1" };
const GET: Access = Access { rule: "encryption_default:get", action: Action::GetMetadata };
const PUT: Access = Access { rule: "encryption_default:put", action: Action::Update };
const DELETE: Access = Access { rule: "encryption_default:delete", action: Action::Delete };

struct OfUser(&'static str);

impl Attributes for OfUser {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        (name == "target.encryption_default.user_id").then(|| Value::from(self.0))
    }
}

#[tokio::test]
async fn a_setting_is_changed_by_version() {
    let house = house().await;
    let user = caller("u1", &["member"]);
    let put = async |expected: Option<u64>, text: &str| {
        let content = (expected.map(Version::new), text.to_owned());
        house.manager.put_setting(&user, PLACE, PUT, &OfUser("u1"), content).await
    };
    let get = async || house.manager.setting::<String>(&user, PLACE, GET, &OfUser("u1")).await;
    let remove = async |expected: Option<u64>| {
        let expected = expected.map(Version::new);
        house.manager.remove_setting(&user, PLACE, DELETE, &OfUser("u1"), expected).await
    };
    assert!(matches!(get().await, Err(Error::NotFound { what }) if what == PLACE.what));
    assert!(matches!(put(Some(1), "a").await, Err(Error::NotFound { .. })));
    assert!(matches!(remove(None).await, Err(Error::NotFound { .. })));
    assert_eq!(put(None, "a").await.unwrap().version, Version::FIRST);
    assert!(matches!(put(None, "b").await, Err(Error::Exists { what }) if what == PLACE.what));
    assert!(
        matches!(put(Some(2), "b").await, Err(Error::VersionMismatch { current }) if current == Version::FIRST)
    );
    let changed = put(Some(1), "b").await.unwrap();
    assert_eq!((changed.version, changed.content.as_str()), (Version::new(2), "b"));
    assert_eq!(get().await.unwrap().content, "b");
    assert!(matches!(remove(Some(1)).await, Err(Error::VersionMismatch { .. })));
    remove(Some(2)).await.unwrap();
    assert!(matches!(get().await, Err(Error::NotFound { .. })));
    let done: Vec<_> = house
        .trail
        .events
        .lock()
        .iter()
        .filter(|event| event.outcome == Outcome::Success)
        .map(|event| (event.action, event.target.clone().unwrap()))
        .collect();
    let expected = [Action::Create, Action::Update, Action::GetMetadata, Action::Delete];
    assert_eq!(done, expected.map(|action| (action, PLACE.id.to_owned())));
}

/// Who may not know a setting is refused alike, whether or not there is one.
#[tokio::test]
async fn refusals_tell_nothing() {
    let house = house().await;
    let stranger = caller("u2", &["member"]);
    let set = async |who: &Caller, content: &str| {
        house.manager.put_setting(who, PLACE, PUT, &OfUser("u1"), (None, content.to_owned())).await
    };
    let mut answers = Vec::new();
    for there in [false, true] {
        if there {
            set(&caller("u1", &["member"]), "mine").await.unwrap();
        }
        let got = house.manager.setting::<String>(&stranger, PLACE, GET, &OfUser("u1")).await;
        let put = set(&stranger, "theirs").await;
        let removed = house.manager.remove_setting(&stranger, PLACE, DELETE, &OfUser("u1"), None).await;
        answers
            .push([got.unwrap_err(), put.unwrap_err(), removed.unwrap_err()].map(|error| error.to_string()));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].iter().all(|text| text.starts_with("not allowed")), "{answers:?}");
    let admin = caller("root", &["admin"]);
    assert_eq!(
        house.manager.setting::<String>(&admin, PLACE, GET, &OfUser("u1")).await.unwrap().content,
        "mine"
    );
}

/// Who acts for a user by a trust does not set what is to hold for that user elsewhere.
#[tokio::test]
async fn a_trust_sets_nothing_for_the_trustor() {
    let house = house().await;
    let trust = crate::policy::Trust {
        id: "t".to_owned(),
        trustor_user_id: "u1".to_owned(),
        trustee_user_id: "cinder".to_owned(),
        impersonation: true,
    };
    let identity = Identity { trust: Some(trust), ..caller("u1", &["member"]).identity().clone() };
    let delegate = Caller::authenticated(Arc::new(identity), None, None, RequestId::random());
    let content = (None, "weak".to_owned());
    let refused = house.manager.put_setting(&delegate, PLACE, PUT, &OfUser("u1"), content).await;
    assert!(matches!(refused, Err(Error::Forbidden { .. })));
}

//! Secrets by Barbican's rules, their access lists, and what goes with them.

use serde::{Deserialize, Serialize};

use super::*;
use crate::acl::Acl;
use crate::document::DocumentKind;
use crate::policy::RuleDefaults;

const CONTAINER: DocumentKind =
    DocumentKind { name: "container", noun: Some("container"), hidden_from_others: false };
const CONSUMERS: DocumentKind =
    DocumentKind { name: "secret_consumers", noun: None, hidden_from_others: false };
const READ: Access = Access { rule: "secret:get", action: Action::GetMetadata };
const ACL: Access = Access { rule: "secret_acls:put_patch", action: Action::Update };

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Consumers {
    names: Vec<String>,
}

async fn barbican(defaults: RuleDefaults) -> House {
    let house = house_with(Settings { attached_kinds: vec![CONSUMERS], ..Settings::default() }).await;
    let config = PolicyConfig { defaults, ..PolicyConfig::default() };
    house.manager.set_policy(Policy::build(&BTreeMap::new(), config).unwrap().0);
    house
}

fn of_project(user: &str, project: &str, roles: &[&str]) -> Caller {
    let identity = Identity {
        user_id: user.to_owned(),
        project_id: Some(project.to_owned()),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Identity::default()
    };
    Caller::authenticated(Arc::new(identity), None, None, RequestId::random())
}

fn new_secret(name: &str, payload: Option<&[u8]>) -> NewSecret {
    NewSecret {
        name: Some(name.to_owned()),
        payload: payload.map(KeyMaterial::copy_from),
        content_type: payload.map(|_| "text/plain".to_owned()),
        ..NewSecret::default()
    }
}

const PAGE: SecretFilter<'static> =
    SecretFilter { acl_only: false, matches: None, order: None, offset: 0, limit: 100 };

async fn names(house: &House, caller: &Caller) -> Vec<String> {
    let (page, total) = house.manager.list_secrets(caller, &PAGE).await.unwrap();
    assert_eq!(page.len(), total);
    page.iter().map(|view| view.metadata.name.clone().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_project_shares_its_secrets() {
    let house = barbican(RuleDefaults::Secure).await;
    let [ann, bob] = ["ann", "bob"].map(|user| of_project(user, "demo", &["member"]));
    let stranger = of_project("eve", "other", &["member"]);
    let view = house.manager.create_secret(&ann, new_secret("a", Some(b"text"))).await.unwrap();
    assert_eq!(house.manager.release_secret(&bob, view.id).await.unwrap().payload(), b"text");
    assert_eq!(house.manager.secret(&bob, view.id, READ).await.unwrap(), view);
    let refused = house.manager.secret(&stranger, view.id, READ).await.unwrap_err();
    assert!(matches!(refused, Error::Forbidden { .. }), "{refused:?}");
    let unknown = house.manager.secret(&stranger, SecretId::random(), READ).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    assert_eq!(names(&house, &bob).await, ["a"]);
    assert!(names(&house, &stranger).await.is_empty());
}

#[tokio::test]
async fn a_payload_comes_once() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let view = house.manager.create_secret(&ann, new_secret("a", None)).await.unwrap();
    assert!(!view.has_payload);
    assert!(house.manager.release_secret(&ann, view.id).await.unwrap().payload().is_empty());
    let payload = KeyMaterial::copy_from(b"later");
    let filled = house.manager.fill_secret(&ann, view.id, &payload, "text/plain").await.unwrap();
    assert!(filled.has_payload);
    let twice = house.manager.fill_secret(&ann, view.id, &payload, "text/plain").await.unwrap_err();
    assert!(matches!(twice, Error::WrongState { .. }), "{twice:?}");
    assert_eq!(house.manager.secret(&ann, view.id, READ).await.unwrap(), filled);
}

#[tokio::test]
async fn expired_and_deleted_secrets_are_not_there() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let end = house.clock.now().plus(Duration::from_secs(60));
    let mortal = NewSecret { expires_at: Some(end), ..new_secret("mortal", Some(b"x")) };
    let mortal = house.manager.create_secret(&ann, mortal).await.unwrap();
    house.clock.advance(Duration::from_micros(1));
    let other = house.manager.create_secret(&ann, new_secret("other", Some(b"x"))).await.unwrap();
    assert_eq!(names(&house, &ann).await, ["mortal", "other"]);
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(names(&house, &ann).await, ["other"]);
    assert_eq!(house.manager.count_secrets("demo").await.unwrap(), 1);
    assert!(matches!(house.manager.secret(&ann, mortal.id, READ).await, Err(Error::NotFound { .. })));
    assert!(matches!(house.manager.release_secret(&ann, mortal.id).await, Err(Error::NotFound { .. })));
    house.manager.delete_secret::<Consumers>(&ann, other.id, CONSUMERS, |_| Ok(())).await.unwrap();
    assert!(matches!(house.manager.secret(&ann, other.id, READ).await, Err(Error::NotFound { .. })));
    assert!(names(&house, &ann).await.is_empty());
}

/// T-FOREIGN-SERVICE: what a service put by the native interface is that service's here too.
#[tokio::test]
async fn keys_of_services_are_seen_by_their_owner_alone() {
    let house = barbican(RuleDefaults::Secure).await;
    let roles = ["service", "member", "admin"];
    let [cinder, swift] = ["cinder", "swift"].map(|user| of_project(user, "service", &roles));
    let key = house.manager.put(&cinder, None, new_key(b"wrapped")).await.unwrap();
    assert_eq!(house.manager.release_secret(&cinder, key.id).await.unwrap().payload(), b"wrapped");
    assert!(matches!(house.manager.release_secret(&swift, key.id).await, Err(Error::NotFound { .. })));
    assert!(matches!(house.manager.secret(&swift, key.id, READ).await, Err(Error::NotFound { .. })));
    let list = |caller| house.manager.list_secrets(caller, &PAGE);
    assert_eq!(list(&cinder).await.unwrap().1, 1);
    assert_eq!(list(&swift).await.unwrap().1, 0);
    // Still so when memory has to follow a change.
    let key = house.manager.put(&cinder, None, new_key(b"another")).await.unwrap();
    assert_eq!((list(&cinder).await.unwrap().1, list(&swift).await.unwrap().1), (2, 0));
    assert!(matches!(house.manager.secret(&swift, key.id, READ).await, Err(Error::NotFound { .. })));
}

fn private(users: &[&str]) -> impl Fn(&mut Metadata) -> Result<()> {
    let users = users.iter().map(|user| (*user).to_owned()).collect();
    let acl = Acl { project_access: false, users, created: Timestamp::EPOCH, updated: Timestamp::EPOCH };
    move |metadata| {
        metadata.acl = Some(acl.clone());
        Ok(())
    }
}

/// T-ACL-TAKEOVER: nobody gives himself access to another user's private secret, in either set of rules.
#[tokio::test]
async fn a_private_secret_stays_private() {
    for (defaults, role) in [(RuleDefaults::Secure, "member"), (RuleDefaults::Legacy, "creator")] {
        let house = barbican(defaults).await;
        let [ann, bob] = ["ann", "bob"].map(|user| of_project(user, "demo", &[role]));
        let guest = of_project("guest", "other", &[]);
        let view = house.manager.create_secret(&ann, new_secret("a", Some(b"text"))).await.unwrap();
        house.manager.edit_secret(&ann, view.id, ACL, private(&["guest"])).await.unwrap();
        for refused in [
            house.manager.release_secret(&bob, view.id).await.unwrap_err(),
            house.manager.edit_secret(&bob, view.id, ACL, private(&["bob"])).await.unwrap_err(),
        ] {
            assert!(matches!(refused, Error::Forbidden { .. }), "{refused:?}");
        }
        assert_eq!(house.manager.release_secret(&guest, view.id).await.unwrap().payload(), b"text");
        let open = SecretFilter { acl_only: true, ..PAGE };
        let reader = of_project("guest", "other", &[role, "observer"]);
        assert_eq!(house.manager.list_secrets(&reader, &open).await.unwrap().1, 1);
        house.manager.edit_secret(&ann, view.id, ACL, private(&["bob"])).await.unwrap();
        assert_eq!(house.manager.list_secrets(&reader, &open).await.unwrap().1, 0);
        assert!(matches!(house.manager.release_secret(&guest, view.id).await, Err(Error::Forbidden { .. })));
        assert_eq!(house.manager.release_secret(&bob, view.id).await.unwrap().payload(), b"text");
    }
}

#[tokio::test]
async fn access_lists_do_not_grow_beyond_their_limit() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let view = house.manager.create_secret(&ann, new_secret("a", None)).await.unwrap();
    let names: Vec<String> = (0..=2 * MAX_ACL_USERS).map(|number| format!("u{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let edit = async |users: &[&str]| house.manager.edit_secret(&ann, view.id, ACL, private(users)).await;
    edit(&names[..MAX_ACL_USERS]).await.unwrap();
    // One more, and as many at once as a step could add.
    for longer in [&names[..=MAX_ACL_USERS], &names[1..]] {
        let refused = edit(longer).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field, .. } if field == "users"));
    }
    // All of them replaced in one step.
    edit(&names[MAX_ACL_USERS..2 * MAX_ACL_USERS]).await.unwrap();
    edit(&[]).await.unwrap();
}

#[tokio::test]
async fn what_goes_with_a_secret_goes_with_it() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let view = house.manager.create_secret(&ann, new_secret("a", Some(b"text"))).await.unwrap();
    house.manager.edit_secret(&ann, view.id, ACL, private(&["bob"])).await.unwrap();
    let access = Access { rule: "secret_consumers:post", action: Action::Update };
    for name in ["one", "two"] {
        let add = |found: Option<Consumers>| {
            let mut consumers = found.unwrap_or_default();
            consumers.names.push(name.to_owned());
            Ok(consumers)
        };
        house.manager.edit_attached(&ann, CONSUMERS, view.id, access, add).await.unwrap();
    }
    let kept = house.manager.peek_document::<Consumers>(CONSUMERS, &view.id.to_string()).await.unwrap();
    assert_eq!(kept.unwrap().content.names, ["one", "two"]);
    house.manager.delete_secret::<Consumers>(&ann, view.id, CONSUMERS, |_| Ok(())).await.unwrap();
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap().purged, 1);
    let kinds = house.store.kinds().await.unwrap();
    assert_eq!(kinds.iter().map(Kind::as_str).collect::<Vec<_>>(), ["mark", "scope_key"]);
}

#[tokio::test]
async fn documents_live_by_the_rules_of_their_noun() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let eve = of_project("eve", "other", &["member"]);
    let new = NewDocument {
        kind: CONTAINER,
        id: "c".to_owned(),
        name: Some("box".to_owned()),
        class: Some("generic".to_owned()),
        parent: None,
        reference: None,
        content: serde_json::json!({"names": ["x"]}),
    };
    let post = Access { rule: "containers:post", action: Action::Create };
    house.manager.create_objects(&ann, post, Vec::new(), vec![new]).await.unwrap();
    let read = Access { rule: "container:get", action: Action::GetMetadata };
    let found = house.manager.document::<Consumers>(&ann, CONTAINER, "c", read).await.unwrap();
    assert_eq!((found.owner.as_str(), found.content.names.len()), ("ann", 1));
    assert!(matches!(
        house.manager.document::<Consumers>(&eve, CONTAINER, "c", read).await,
        Err(Error::Forbidden { .. })
    ));
    let remove = Access { rule: "container:delete", action: Action::Delete };
    assert!(house.manager.remove_document(&eve, CONTAINER, "c", remove).await.is_err());
    let filter =
        DocumentFilter::<Consumers> { class: None, matches: None, everywhere: false, offset: 0, limit: 10 };
    let count = async |caller| {
        house.manager.list_documents(caller, CONTAINER, "containers:get", &filter).await.unwrap().1
    };
    assert_eq!((count(&ann).await, count(&eve).await), (1, 0));
    house.manager.remove_document(&ann, CONTAINER, "c", remove).await.unwrap();
    assert_eq!(count(&ann).await, 0);
}

/// Memory says what the store holds, whatever was done and however much of it may be remembered.
#[tokio::test]
async fn memory_agrees_with_the_store() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member", "service"]);
    let mut ids = Vec::new();
    for round in 0..60_u64 {
        match round % 6 {
            0 | 1 => ids.push(house.manager.create_secret(&ann, new_secret("a", None)).await.unwrap().id),
            2 => ids.push(house.manager.put(&ann, None, new_key(b"k")).await.unwrap().id),
            3 => house
                .manager
                .delete_secret::<Consumers>(&ann, ids[ids.len() / 2], CONSUMERS, |_| Ok(()))
                .await
                .unwrap_or(()),
            4 => {
                let _ = house.manager.undelete(&ann, ids[ids.len() / 2]).await;
            }
            _ => {
                let payload = KeyMaterial::copy_from(b"later");
                let _ = house.manager.fill_secret(&ann, ids[0], &payload, "text/plain").await;
            }
        }
        house.clock.advance(Duration::from_secs(1));
        let remembered = house.manager.list_secrets(&ann, &PAGE).await.unwrap();
        house.manager.directory.doubt("demo");
        house.manager.directory.forgive("demo");
        for id in &ids {
            let kept = house.manager.may(&ann, *id, READ).await.ok();
            let stored = house.manager.find_secret(&ann, *id, READ).await.ok();
            assert_eq!(kept.as_deref(), stored.map(|secret| secret.view()).as_ref(), "round {round}, {id}");
        }
        let read = house.manager.list_secrets(&ann, &PAGE).await.unwrap();
        assert_eq!(remembered, read, "round {round}");
    }
}

#[tokio::test]
async fn an_operator_sees_and_takes_back_but_destroys_late() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let admin = of_project("root", "admin", &["admin"]);
    let view = house.manager.create_secret(&ann, new_secret("a", Some(b"text"))).await.unwrap();
    let all = OperatorFilter { deleted: true, ..OperatorFilter::default() };
    assert!(matches!(house.manager.operator_list(&ann, &all).await, Err(Error::Forbidden { .. })));
    assert!(matches!(house.manager.operator_purge(&admin, view.id).await, Err(Error::WrongState { .. })));
    house.manager.delete_secret::<Consumers>(&ann, view.id, CONSUMERS, |_| Ok(())).await.unwrap();
    assert_eq!(house.manager.operator_list(&admin, &all).await.unwrap().0.len(), 1);
    house.manager.operator_undelete(&admin, view.id).await.unwrap();
    assert_eq!(names(&house, &ann).await, ["a"]);
    house.manager.delete_secret::<Consumers>(&ann, view.id, CONSUMERS, |_| Ok(())).await.unwrap();
    assert!(matches!(house.manager.operator_purge(&admin, view.id).await, Err(Error::WrongState { .. })));
    house.clock.advance(Duration::from_secs(24 * 3600));
    assert!(matches!(house.manager.operator_purge(&ann, view.id).await, Err(Error::Forbidden { .. })));
    house.manager.operator_purge(&admin, view.id).await.unwrap();
    assert!(matches!(house.manager.operator_show(&admin, view.id).await, Err(Error::NotFound { .. })));
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport::default());
}

/// A secret whose consumers changed since somebody looked is not deleted by what he saw.
#[tokio::test]
async fn what_was_seen_must_still_be_so_when_a_secret_goes() {
    let house = barbican(RuleDefaults::Secure).await;
    let ann = of_project("ann", "demo", &["member"]);
    let view = house.manager.create_secret(&ann, new_secret("a", Some(b"text"))).await.unwrap();
    let access = Access { rule: "secret_consumers:post", action: Action::Update };
    let add = |_: Option<Consumers>| Ok(Consumers { names: vec!["one".to_owned()] });
    house.manager.edit_attached(&ann, CONSUMERS, view.id, access, add).await.unwrap();
    let secret = house.manager.find_secret(&ann, view.id, READ).await.unwrap();
    let none = Change::Require { kind: CONSUMERS.kind(), id: view.id.to_string(), expected: None };
    let refused = house.manager.bury(&Actor::of(&ann), &secret, vec![none]).await.unwrap_err();
    assert!(matches!(refused, Error::Exists { .. }), "{refused:?}");
    assert_eq!(names(&house, &ann).await, ["a"]);
    let used = |found: Option<&Consumers>| match found {
        Some(_) => Err(Error::WrongState { reason: "used".to_owned() }),
        None => Ok(()),
    };
    let refused = house.manager.delete_secret(&ann, view.id, CONSUMERS, used).await.unwrap_err();
    assert!(matches!(refused, Error::WrongState { .. }), "{refused:?}");
    // And what goes with a secret is not made when the secret is gone.
    house.manager.delete_secret::<Consumers>(&ann, view.id, CONSUMERS, |_| Ok(())).await.unwrap();
    let late = house.manager.edit_attached(&ann, CONSUMERS, view.id, access, add).await.unwrap_err();
    assert!(matches!(late, Error::NotFound { .. }), "{late:?}");
}

#[tokio::test]
async fn a_key_that_is_not_active_yet_is_not_released_here_either() {
    let house = barbican(RuleDefaults::Secure).await;
    let cinder = of_project("cinder", "service", &["service", "member"]);
    let start = house.clock.now().plus(Duration::from_secs(60));
    let key = NewKey { activates_at: Some(start), ..new_key(b"wrapped") };
    let key = house.manager.put(&cinder, None, key).await.unwrap();
    let early = house.manager.release_secret(&cinder, key.id).await.unwrap_err();
    assert!(matches!(early, Error::WrongState { .. }), "{early:?}");
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.manager.release_secret(&cinder, key.id).await.unwrap().payload(), b"wrapped");
}

/// In the legacy set an admin is one of a project; operators have a role of their own.
#[tokio::test]
async fn operators_have_the_role_of_their_set() {
    for (defaults, role, other) in [
        (RuleDefaults::Secure, "admin", "key-manager:service-admin"),
        (RuleDefaults::Legacy, "key-manager:service-admin", "admin"),
    ] {
        let house = barbican(defaults).await;
        let all = OperatorFilter::default();
        let [may, may_not] = [role, other].map(|role| of_project("root", "admin", &[role]));
        assert!(house.manager.operator_list(&may, &all).await.is_ok());
        let refused = house.manager.operator_list(&may_not, &all).await;
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{defaults:?}");
    }
}

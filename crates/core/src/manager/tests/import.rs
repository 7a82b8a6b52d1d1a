//! Import: everything comes in as it was, once, and touches nothing else.

use serde_json::{Value, json};

use super::*;
use crate::acl::Acl;
use crate::check::{Knowledge, check};
use crate::document::{Document, DocumentKind};
use crate::secret::{Origin, SecretType};

const CONSUMERS: DocumentKind =
    DocumentKind { name: "secret_consumers", noun: None, hidden_from_others: false };
const CONTAINER: DocumentKind =
    DocumentKind { name: "container", noun: Some("container"), hidden_from_others: false };

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn document(id: &str, content: Value) -> Document<Value> {
    Document {
        id: id.to_owned(),
        version: Version::FIRST,
        project: "demo".to_owned(),
        owner: "ann".to_owned(),
        created: time(3),
        updated: time(4),
        name: Some("a container".to_owned()),
        class: Some("generic".to_owned()),
        parent: None,
        reference: None,
        acl: None,
        content,
    }
}

fn imported(id: SecretId, payload: &[u8]) -> ImportedSecret {
    let acl = Acl {
        project_access: false,
        users: ["bob".to_owned(), "eve".to_owned()].into(),
        created: time(1),
        updated: time(2),
    };
    let consumers = Document { parent: Some(id.to_string()), ..document(&id.to_string(), json!({"a": [1]})) };
    ImportedSecret {
        id,
        metadata: Metadata {
            owner: "ann".to_owned(),
            project: "demo".to_owned(),
            name: Some("old".to_owned()),
            algorithm: Some("AES".to_owned()),
            bit_length: Some(7),
            origin: Origin::Barbican,
            secret_type: Some(SecretType::Private),
            mode: Some("cbc".to_owned()),
            content_type: Some("application/pkcs8".to_owned()),
            acl: Some(acl),
            scope: Scope::Entity,
            scope_id: None,
            master_key: None,
            attributes: [("rack".to_owned(), "7".to_owned())].into(),
            created: time(0),
            updated: time(5),
            activates_at: None,
            expires_at: None,
            revocation: None,
            deletion: None,
        },
        payload: (!payload.is_empty()).then(|| KeyMaterial::copy_from(payload)),
        attached: vec![(CONSUMERS, Some(consumers))],
    }
}

fn member(user: &str) -> Caller {
    let identity = Identity {
        user_id: user.to_owned(),
        project_id: Some("demo".to_owned()),
        roles: vec!["member".to_owned()],
        ..Identity::default()
    };
    Caller::authenticated(Arc::new(identity), None, None, RequestId::random())
}

const COMPARE: Existing = Existing::Compare;

#[tokio::test]
async fn a_secret_is_what_it_was() {
    let house = house().await;
    let id = SecretId::random();
    let secret = imported(id, b"payload");
    assert_eq!(house.manager.import_secret(&secret, COMPARE).await.unwrap(), Standing::Absent);
    let released = house.manager.release_secret(&member("ann"), id).await.unwrap();
    assert_eq!((&released.metadata, released.payload()), (&secret.metadata, &b"payload"[..]));
    // The list is in force, and its entries lead there.
    assert!(house.manager.release_secret(&member("bob"), id).await.is_ok());
    assert!(house.manager.release_secret(&member("dan"), id).await.is_err());
    let filter = SecretFilter { acl_only: true, matches: None, order: None, offset: 0, limit: 10 };
    let (listed, _) = house.manager.list_secrets(&member("eve"), &filter).await.unwrap();
    assert_eq!(listed.iter().map(|view| view.id).collect::<Vec<_>>(), [id]);
    let consumers: Document<Value> =
        house.manager.peek_document(CONSUMERS, &id.to_string()).await.unwrap().unwrap();
    assert_eq!(Some(&consumers), secret.attached[0].1.as_ref());

    let events: Vec<_> =
        house.trail.events.lock().iter().map(|event| (event.action, event.outcome)).collect();
    let both = |outcome| [(Action::Import, outcome); 2];
    assert_eq!(events[..4], [both(Outcome::Pending), both(Outcome::Success)].concat());
    let House { manager, store, trail, .. } = &house;
    let report = check(&**store, &manager.keyring, &**trail, Knowledge::Whole, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let house = house().await;
    let id = SecretId::random();
    for expected in [Standing::Absent, Standing::Present, Standing::Present] {
        let standing = house.manager.import_secret(&imported(id, b"payload"), COMPARE).await.unwrap();
        assert_eq!(standing, expected);
    }
    let container = ImportedDocument { kind: CONTAINER, document: document("c", json!({"n": 1})) };
    for expected in [Standing::Absent, Standing::Present] {
        assert_eq!(house.manager.import_document(&container, COMPARE).await.unwrap(), expected);
    }
    assert_eq!(house.trail.events.lock().len(), 6, "what is there already is not written down as imported");
}

/// Whatever differs is told, and stays as it is.
#[tokio::test]
async fn what_differs_is_left_alone() {
    let house = house().await;
    let id = SecretId::random();
    house.manager.import_secret(&imported(id, b"payload"), COMPARE).await.unwrap();
    let mut renamed = imported(id, b"payload");
    renamed.metadata.name = None;
    let mut alone = imported(id, b"payload");
    alone.attached[0].1 = None;
    let mut more = imported(id, b"payload");
    more.attached.push((CONTAINER, Some(document("x", json!(null)))));
    let other = [imported(id, b"changed"), imported(id, b""), renamed, alone, more];
    for (number, secret) in other.iter().enumerate() {
        let standing = house.manager.import_secret(secret, COMPARE).await.unwrap();
        assert!(matches!(standing, Standing::Conflict(_)), "{number}: {standing:?}");
        let skipped = house.manager.import_secret(secret, Existing::PassOver).await.unwrap();
        assert_eq!(skipped, Standing::Present, "{number}");
    }
    let released = house.manager.release_secret(&member("ann"), id).await.unwrap();
    assert_eq!(released.payload(), b"payload");

    let container = ImportedDocument { kind: CONTAINER, document: document("c", json!({"n": 1})) };
    house.manager.import_document(&container, COMPARE).await.unwrap();
    let changed = ImportedDocument { kind: CONTAINER, document: document("c", json!({"n": 2})) };
    let standing = house.manager.import_document(&changed, COMPARE).await.unwrap();
    assert!(matches!(standing, Standing::Conflict(_)));
    let kept: Document<Value> = house.manager.peek_document(CONTAINER, "c").await.unwrap().unwrap();
    assert_eq!(kept, container.document);
}

/// What was deleted here does not come back by another run.
#[tokio::test]
async fn a_deletion_is_not_undone() {
    let house = house().await;
    let id = SecretId::random();
    house.manager.import_secret(&imported(id, b"payload"), COMPARE).await.unwrap();
    house.manager.delete_secret::<Value>(&member("ann"), id, CONSUMERS, |_| Ok(())).await.unwrap();
    let standing = house.manager.import_secret(&imported(id, b"payload"), COMPARE).await.unwrap();
    assert!(matches!(standing, Standing::Conflict(problem) if problem.contains("deleted here")));
}

#[tokio::test]
async fn limits_hold() {
    let house = house().await;
    let now = house.clock.now();
    let id = SecretId::random();
    let mut expired = imported(id, b"x");
    expired.metadata.expires_at = Some(now);
    let mut popular = imported(id, b"x");
    popular.metadata.acl.as_mut().unwrap().users = (0..=MAX_ACL_USERS).map(|n| n.to_string()).collect();
    let mut empty = imported(id, b"x");
    empty.payload = Some(KeyMaterial::copy_from(b""));
    let mut talkative = imported(id, b"x");
    talkative.metadata.attributes = [("k".to_owned(), "v".repeat(3 << 20))].into();
    let mut homeless = imported(id, b"x");
    homeless.metadata.project = "p".repeat(250);
    let mut nameless = imported(id, b"x");
    nameless.metadata.name = Some("n".repeat(1025));
    let mut laden = imported(id, b"x");
    laden.attached[0].1.as_mut().unwrap().content = json!("v".repeat(3 << 20));
    for (secret, field) in [
        (imported(id, &[0; 65_537]), "payload"),
        (expired, "expiration"),
        (popular, "users"),
        (empty, "payload"),
        (talkative, "metadata and payload"),
        (homeless, "project"),
        (nameless, "owner or name"),
        (laden, "content"),
    ] {
        let refused = house.manager.import_secret(&secret, COMPARE).await;
        assert!(
            matches!(&refused, Err(Error::Invalid { field: found, .. }) if found == field),
            "{field}: {refused:?}"
        );
    }
    assert_eq!(house.store.count(&Query::of(Kind::SECRET)).await.unwrap(), 0);
    assert_eq!(house.trail.events.lock().len(), 0);
}

/// T-AUDIT-SKIPPED: without a line in the trail nothing comes in.
#[tokio::test]
async fn nothing_comes_in_unseen() {
    let house = house().await;
    house.trail.full.store(true, Ordering::SeqCst);
    let id = SecretId::random();
    let refused = house.manager.import_secret(&imported(id, b"payload"), COMPARE).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(house.store.count(&Query::of(Kind::SECRET)).await.unwrap(), 0);
}

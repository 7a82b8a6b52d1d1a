//! What rows become, and which stay out. Whole databases that a Barbican wrote are in `tests/interop`.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::document::Document;
use chatelaine_core::secret::SecretType;
use chatelaine_store::barbican::{
    AclRow, ContainerConsumerRow, ContainerSecretRow, KekRow, PayloadRow, QuotaRow, SecretConsumerRow,
};
use serde_json::{Value, json};

use super::*;
use crate::barbican::content::{ConsumersContent, ContainerContent, QuotaContent};

const ID: &str = "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7";
const OTHER: &str = "0b6cbbbc-77a7-4a8e-8f5d-0d7ac0c0d2d3";
/// The key-encryption key of 32 bytes `K`, and under it a project's key of 32 bytes `P`.
const KEK: &str = "S0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0s=";
const PROJECT_KEY: &str = "gAAAAABlU_EAaWlpaWlpaWlpaWlpaWlpaf5Ipfycv0Ns_KNFAr1XAa117D2liMgWRBGYQ284S7B3NVyokOGFQVgty2h8iEi3jY-WKsCPA2xUXlvsYJ39u9CoVI9BOGVredo-2z291c7J";
/// Under the project's key: `the payload`, and nothing.
const PAYLOAD: &str = "Z0FBQUFBQmxVX0VBYW1wcWFtcHFhbXBxYW1wcWFtcHFhanYwQkZReVdEOEc0TEx4bFZWOXlUVlNhVnRyTFpNVC0zcTlVTllfRURiNklpWmNvOGhqUnZTc1ZNQUtjUWh4d3c9PQ==";
const EMPTY: &str = "Z0FBQUFBQmxVX0VBYW1wcWFtcHFhbXBxYW1wcWFtcHFhcHFrTWp0b2NjYVRmR3NGQmswY3FOTTFQQ3BwRlRNbHRNOUMxZUtsMjlvZllHRDROWHNWdGQ2MnhLalE4cG1HSWc9PQ==";
const OTHER_KEK: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn now() -> Timestamp {
    at(1_000_000)
}

fn keys(given: &[&str]) -> Keys {
    let row = |name: &str, meta: &str| KekRow {
        plugin_name: format!("barbican.plugin.crypto.{name}"),
        plugin_meta: Some(meta.to_owned()),
    };
    let sealed = [
        ("k".to_owned(), row("simple_crypto.SimpleCryptoPlugin", PROJECT_KEY)),
        ("hsm".to_owned(), row("p11_crypto.P11CryptoPlugin", "{}")),
    ];
    let given = given.iter().map(|text| FernetKey::parse(text.as_bytes()).unwrap()).collect();
    Keys::new(given, sealed.into())
}

fn payload(kek: &str, text: &str) -> PayloadRow {
    PayloadRow {
        kek_id: Some(kek.to_owned()),
        cypher_text: Some(text.to_owned()),
        content_type: Some("text/plain".to_owned()),
    }
}

fn acl() -> AclRow {
    AclRow {
        operation: "read".to_owned(),
        project_access: false,
        users: vec!["bob".to_owned(), "ann".to_owned()],
        created: at(5),
        updated: at(6),
    }
}

fn row() -> SecretRow {
    SecretRow {
        id: ID.to_owned(),
        project: Some("demo".to_owned()),
        name: Some("old".to_owned()),
        secret_type: Some("passphrase".to_owned()),
        expiration: Some(at(2_000_000)),
        algorithm: Some("AES".to_owned()),
        bit_length: Some(7),
        mode: Some("cbc".to_owned()),
        creator: Some("ann".to_owned()),
        created: at(1),
        updated: at(2),
        deleted: false,
        status: "ACTIVE".to_owned(),
        payloads: vec![payload("k", PAYLOAD)],
        store_metadata: [
            ("plugin_name".to_owned(), "barbican.plugin.store_crypto.StoreCryptoAdapterPlugin".to_owned()),
            ("content_type".to_owned(), "application/octet-stream".to_owned()),
        ]
        .into(),
        user_metadata: [("rack".to_owned(), "7".to_owned())].into(),
        acls: vec![acl()],
        consumers: vec![SecretConsumerRow {
            service: "volume".to_owned(),
            resource_type: "disk".to_owned(),
            resource_id: "d-1".to_owned(),
            created: at(3),
            updated: at(4),
        }],
    }
}

fn converted(row: SecretRow, given: &[&str]) -> Result<ImportedSecret, Omission> {
    convert::open(convert::secret(row, now())?, &mut keys(given), now(), 65_536)
}

#[test]
fn a_secret_keeps_everything() {
    let secret = converted(row(), &[OTHER_KEK, KEK]).unwrap();
    assert_eq!(secret.id.to_string(), ID);
    assert_eq!(secret.payload.as_ref().unwrap().expose(), b"the payload");
    let metadata = &secret.metadata;
    assert_eq!((metadata.owner.as_str(), metadata.project.as_str()), ("ann", "demo"));
    assert_eq!(
        (metadata.created, metadata.updated, metadata.expires_at),
        (at(1), at(2), Some(at(2_000_000)))
    );
    assert_eq!((metadata.bit_length, metadata.secret_type), (Some(7), Some(SecretType::Passphrase)));
    assert_eq!((metadata.algorithm.as_deref(), metadata.mode.as_deref()), (Some("AES"), Some("cbc")));
    // What Barbican shows is the type beside the store's name.
    assert_eq!(metadata.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(metadata.attributes["rack"], "7");
    let acl = metadata.acl.as_ref().unwrap();
    assert_eq!((acl.project_access, acl.users.len(), acl.created, acl.updated), (false, 2, at(5), at(6)));
    let [(_, Some(document))] = secret.attached.as_slice() else { panic!("{:?}", secret.attached) };
    assert_eq!((document.id.as_str(), document.parent.as_deref()), (ID, Some(ID)));
    let content: ConsumersContent = serde_json::from_value(document.content.clone()).unwrap();
    assert_eq!(content.consumers.first().unwrap().resource_id, "d-1");
}

#[test]
fn a_secret_may_be_nearly_nothing() {
    let bare = SecretRow {
        name: None,
        secret_type: None,
        expiration: None,
        algorithm: None,
        bit_length: None,
        mode: None,
        creator: None,
        payloads: Vec::new(),
        store_metadata: [].into(),
        user_metadata: [].into(),
        acls: Vec::new(),
        consumers: Vec::new(),
        ..row()
    };
    let secret = converted(bare, &[]).unwrap();
    assert!(
        secret.payload.is_none() && secret.metadata.content_type.is_none() && secret.metadata.acl.is_none()
    );
    assert_eq!(secret.metadata.secret_type, Some(SecretType::Opaque));
    assert!(matches!(secret.attached.as_slice(), [(_, None)]));
}

#[test]
fn what_stays_out_has_its_reason() {
    let vault =
        [("plugin_name".to_owned(), "barbican.plugin.vault_secret_store.VaultSecretStore".to_owned())];
    let with_payload = |row: PayloadRow| vec![row];
    for (row, reason) in [
        (SecretRow { deleted: true, status: "ERROR".to_owned(), ..row() }, Reason::Deleted),
        (SecretRow { expiration: Some(now()), ..row() }, Reason::Expired),
        (SecretRow { status: "ERROR".to_owned(), ..row() }, Reason::NotActive),
        (SecretRow { status: "PENDING".to_owned(), ..row() }, Reason::NotActive),
        (SecretRow { project: None, ..row() }, Reason::Damaged),
        (SecretRow { store_metadata: vault.into(), payloads: Vec::new(), ..row() }, Reason::OtherBackend),
        (SecretRow { payloads: with_payload(payload("hsm", PAYLOAD)), ..row() }, Reason::OtherBackend),
        (SecretRow { payloads: with_payload(payload("lost", PAYLOAD)), ..row() }, Reason::Damaged),
        (SecretRow { payloads: with_payload(payload("k", "%")), ..row() }, Reason::Damaged),
        (SecretRow { payloads: with_payload(payload("k", "Z0FB")), ..row() }, Reason::Damaged),
        (SecretRow { payloads: with_payload(payload("k", EMPTY)), ..row() }, Reason::Limit),
        (SecretRow { payloads: Vec::new(), ..row() }, Reason::Damaged),
        (
            SecretRow { payloads: vec![payload("k", PAYLOAD), payload("k", PAYLOAD)], ..row() },
            Reason::Damaged,
        ),
        (SecretRow { id: ID.to_uppercase(), ..row() }, Reason::Unsupported),
        (SecretRow { secret_type: Some("puzzle".to_owned()), ..row() }, Reason::Unsupported),
        (SecretRow { bit_length: Some(-1), ..row() }, Reason::Unsupported),
        (SecretRow { project: Some("p".repeat(250)), ..row() }, Reason::Limit),
    ] {
        let told = format!("{row:?}");
        match converted(row, &[KEK]) {
            Err((found, detail)) => assert_eq!(found, reason, "{detail}: {told}"),
            Ok(_) => panic!("{reason:?}: {told}"),
        }
    }
    assert_eq!(converted(row(), &[OTHER_KEK]).unwrap_err().0, Reason::Unopened);
    assert_eq!(converted(row(), &[]).unwrap_err().0, Reason::Unopened);
    let sealed = convert::secret(row(), now()).unwrap();
    assert_eq!(convert::open(sealed, &mut keys(&[KEK]), now(), 10).unwrap_err().0, Reason::Limit);
}

fn container() -> ContainerRow {
    ContainerRow {
        id: OTHER.to_owned(),
        project: Some("demo".to_owned()),
        name: Some("pair".to_owned()),
        container_type: Some("generic".to_owned()),
        creator: Some("ann".to_owned()),
        created: at(1),
        updated: at(2),
        deleted: false,
        status: "ACTIVE".to_owned(),
        secrets: vec![ContainerSecretRow { name: None, secret_id: ID.to_owned() }],
        acls: vec![acl()],
        consumers: vec![ContainerConsumerRow {
            name: "lb".to_owned(),
            url: "http://lb".to_owned(),
            created: at(3),
            updated: at(4),
        }],
    }
}

#[test]
fn containers_and_quotas_keep_everything() {
    let ImportedDocument { kind, document } = convert::container(container()).unwrap();
    assert_eq!(
        (kind.name, document.id.as_str(), document.class.as_deref()),
        ("container", OTHER, Some("generic"))
    );
    assert_eq!((document.name.as_deref(), document.owner.as_str()), (Some("pair"), "ann"));
    assert_eq!((document.created, document.updated), (at(1), at(2)));
    assert_eq!(document.acl.as_ref().unwrap().users.len(), 2);
    assert_eq!(
        document.content,
        json!({
            "secret_refs": [{"secret": ID}],
            "consumers": [{"name": "lb", "url": "http://lb", "created": at(3), "updated": at(4)}],
        })
    );
    let read: ContainerContent = serde_json::from_value(document.content).unwrap();
    assert_eq!(read.secret_refs.first().unwrap().secret.to_string(), ID);
    for (row, reason) in [
        (ContainerRow { deleted: true, ..container() }, Reason::Deleted),
        (ContainerRow { status: "PENDING".to_owned(), ..container() }, Reason::NotActive),
        (ContainerRow { container_type: None, ..container() }, Reason::Unsupported),
        (ContainerRow { id: "x".to_owned(), ..container() }, Reason::Unsupported),
        (ContainerRow { project: None, ..container() }, Reason::Damaged),
        (
            ContainerRow {
                secrets: vec![ContainerSecretRow { name: None, secret_id: "x".to_owned() }],
                ..container()
            },
            Reason::Unsupported,
        ),
    ] {
        assert_eq!(convert::container(row).unwrap_err().0, reason);
    }

    let quota = QuotaRow {
        id: OTHER.to_owned(),
        project: Some("demo".to_owned()),
        secrets: Some(5),
        orders: None,
        containers: Some(-1),
        consumers: Some(0),
        cas: None,
        created: at(1),
        updated: at(2),
    };
    let document: Document<Value> = convert::quota(quota.clone()).unwrap().document;
    assert_eq!((document.id.as_str(), document.project.as_str()), ("demo", "demo"));
    let content: QuotaContent = serde_json::from_value(document.content).unwrap();
    assert_eq!((content.secrets, content.orders, content.containers), (Some(5), None, Some(-1)));
    assert_eq!(convert::quota(QuotaRow { project: None, ..quota }).unwrap_err().0, Reason::Damaged);
}

/// However many there are, the report stays readable and its counts exact.
#[test]
fn a_report_names_the_first_of_many() {
    let mut report = Report::default();
    for _ in 0..10_500 {
        report.leave_out(Sort::Secret, ID, (Reason::Deleted, "it was deleted".to_owned()));
    }
    assert_eq!((report.left_out.len(), report.secrets.all_left_out()), (10_000, 10_500));
    assert!(report.has(Reason::Deleted) && !report.has(Reason::Damaged));
}

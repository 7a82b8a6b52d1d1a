//! Keys of users, projects and domains: who puts them, and whom a trust lets read them.

use super::*;
use crate::policy::Trust;

const KEYSTONE: [&str; 2] = ["service", "identity_service"];

fn of(scope: Scope, scope_id: &str, payload: &[u8]) -> NewKey {
    NewKey { scope, scope_id: Some(scope_id.to_owned()), ..new_key(payload) }
}

/// A request by a trust of demo's in project `p1` of domain `d1` to cinder.
#[derive(Clone)]
struct ByTrust {
    user: &'static str,
    project: &'static str,
    domain: &'static str,
    roles: &'static [&'static str],
    service: Option<(&'static str, &'static [&'static str])>,
    expires_at: Option<Timestamp>,
}

const BY_TRUST: ByTrust = ByTrust {
    user: "demo",
    project: "p1",
    domain: "d1",
    roles: &["member"],
    service: Some(("cinder", &["service"])),
    expires_at: None,
};

impl ByTrust {
    fn caller(&self) -> Caller {
        let roles = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        let identity = Identity {
            user_id: self.user.to_owned(),
            project_id: Some(self.project.to_owned()),
            project_domain_id: Some(self.domain.to_owned()),
            roles: roles(self.roles),
            trust: Some(Trust {
                id: "t1".to_owned(),
                trustor_user_id: "demo".to_owned(),
                trustee_user_id: "cinder".to_owned(),
                impersonation: self.user == "demo",
            }),
            expires_at: self.expires_at,
            ..Identity::default()
        };
        let service = self.service.map(|(user, own)| {
            Arc::new(Identity {
                user_id: user.to_owned(),
                project_id: Some("service".to_owned()),
                roles: roles(own),
                ..Identity::default()
            })
        });
        Caller::authenticated(Arc::new(identity), service, None, RequestId::random())
    }
}

/// Keys of `p1`, `d1` and demo, with those ids.
async fn house_with_keys() -> (House, [SecretId; 3]) {
    let house = house().await;
    let keystone = caller("keystone", &KEYSTONE);
    let mut ids = [SecretId::random(); 3];
    let whose = [(Scope::Project, "p1"), (Scope::Domain, "d1"), (Scope::User, "demo")];
    for (place, (scope, id)) in ids.iter_mut().zip(whose) {
        *place = house.manager.put(&keystone, None, of(scope, id, id.as_bytes())).await.unwrap().id;
    }
    (house, ids)
}

#[tokio::test]
async fn only_the_identity_service_puts_them_and_says_whose() {
    let house = house().await;
    let keystone = caller("keystone", &KEYSTONE);
    for roles in [&["service"][..], &["identity_service"], &["admin"]] {
        let refused = house.manager.put(&caller("x", roles), None, of(Scope::Project, "p1", b"k")).await;
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{roles:?}");
        let refused = house.manager.authorize_put(&caller("x", roles), None, Scope::User).await;
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{roles:?}");
    }
    let wrong = [
        NewKey { scope: Scope::Project, ..new_key(b"k") },
        NewKey { scope_id: Some("p1".to_owned()), ..new_key(b"k") },
        of(Scope::User, "", b"k"),
        of(Scope::User, "a.b", b"k"),
        of(Scope::Domain, &"x".repeat(65), b"k"),
    ];
    for key in wrong {
        let told = format!("{key:?}");
        let refused = house.manager.put(&keystone, None, key).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "scope_id"), "{told}");
    }
    let put = house.manager.put(&keystone, None, of(Scope::Domain, &"x".repeat(64), b"k")).await.unwrap();
    assert_eq!(put.metadata.index().parent, put.metadata.scope_id);
}

/// The newest active one is for new data; the others still open what is there.
#[tokio::test]
async fn the_newest_active_one_is_found() {
    let house = house().await;
    let keystone = caller("keystone", &KEYSTONE);
    let get = async || house.manager.scope_key(&keystone, Scope::Project, "p1").await;
    assert!(matches!(get().await, Err(Error::NotFound { .. })));
    let later = house.clock.now().plus(Duration::from_secs(3600));
    let mut ids = Vec::new();
    for payload in [b"one", b"two", b"six"] {
        ids.push(house.manager.put(&keystone, None, of(Scope::Project, "p1", payload)).await.unwrap().id);
        house.clock.advance(Duration::from_micros(1));
    }
    let waiting = NewKey { activates_at: Some(later), ..of(Scope::Project, "p1", b"later") };
    house.manager.put(&keystone, None, waiting).await.unwrap();
    house.manager.put(&keystone, None, of(Scope::User, "p1", b"a user's")).await.unwrap();
    assert_eq!(get().await.unwrap().1.payload(), b"six");
    let metadata = house.manager.scope_key_metadata(&keystone, Scope::Project, "p1").await.unwrap();
    assert_eq!(metadata.id, ids[2]);
    house.manager.revoke(&keystone, ids[2], RevocationReason::Superseded).await.unwrap();
    assert_eq!(get().await.unwrap().1.payload(), b"two");
    house.manager.delete(&keystone, ids[1], None).await.unwrap();
    assert_eq!(get().await.unwrap().1.payload(), b"one");
    assert_eq!(house.manager.get(&keystone, ids[0], false).await.unwrap().1.payload(), b"one");
    house.clock.advance(Duration::from_secs(3600));
    assert_eq!(get().await.unwrap().1.payload(), b"later");
}

/// T-SCOPE-FOREIGN, T-SCOPE-STOLEN: what it takes to read a customer's key by a trust, one thing missing at a time.
#[tokio::test]
async fn a_trust_opens_what_it_speaks_for() {
    let (house, [project, domain, user]) = house_with_keys().await;
    let keys = [(Scope::Project, "p1", project), (Scope::Domain, "d1", domain), (Scope::User, "demo", user)];
    let without_impersonation = ByTrust { user: "cinder", ..BY_TRUST };
    for by_trust in [BY_TRUST, without_impersonation] {
        let caller = by_trust.caller();
        for (scope, scope_id, id) in keys {
            let (found, secret) = house.manager.scope_key(&caller, scope, scope_id).await.unwrap();
            assert_eq!((found.id, secret.payload()), (id, scope_id.as_bytes()));
            assert_eq!(house.manager.get(&caller, id, false).await.unwrap().1.payload(), scope_id.as_bytes());
            assert_eq!(house.manager.metadata(&caller, id).await.unwrap().id, id);
        }
        // A trust changes and lists nothing.
        assert!(matches!(house.manager.delete(&caller, project, None).await, Err(Error::Forbidden { .. })));
        assert!(matches!(
            house.manager.list_scope_keys(&caller, &KeyFilter::default()).await,
            Err(Error::Forbidden { .. })
        ));
    }

    // Who is not let in at all is refused alike, whatever is there.
    let past = Some(house.clock.now());
    for (what, stranger) in [
        ("a stolen token of the trust", ByTrust { service: None, ..BY_TRUST }),
        ("another service", ByTrust { service: Some(("glance", &["service"])), ..BY_TRUST }),
        ("no service", ByTrust { service: Some(("cinder", &["member"])), ..BY_TRUST }),
        ("a compute node", ByTrust { service: Some(("cinder", &["service", "compute"])), ..BY_TRUST }),
        ("a compute node's roles", ByTrust { roles: &["member", "compute"], ..BY_TRUST }),
        ("an expired token", ByTrust { expires_at: past, ..BY_TRUST }),
    ] {
        let caller = stranger.caller();
        for (scope, scope_id, id) in keys {
            for there in [scope_id, "nobody"] {
                let refused = house.manager.scope_key(&caller, scope, there).await;
                assert!(matches!(refused, Err(Error::Forbidden { .. })), "{what}");
            }
            for id in [id, SecretId::random()] {
                let refused = house.manager.get(&caller, id, false).await;
                assert!(matches!(refused, Err(Error::Forbidden { .. })), "{what}");
                let refused = house.manager.metadata(&caller, id).await;
                assert!(matches!(refused, Err(Error::Forbidden { .. })), "{what}");
            }
        }
    }

    // For what it does not speak for, nothing is found.
    let elsewhere = ByTrust { project: "p2", domain: "d2", ..BY_TRUST }.caller();
    for (scope, scope_id, id) in keys {
        let reads = scope == Scope::User;
        assert_eq!(house.manager.scope_key(&elsewhere, scope, scope_id).await.is_ok(), reads);
        let got = house.manager.get(&elsewhere, id, false).await;
        assert!(if reads { got.is_ok() } else { matches!(got, Err(Error::NotFound { .. })) }, "{scope:?}");
    }
    for (scope, scope_id) in [(Scope::Domain, "p1"), (Scope::Project, "d1"), (Scope::User, "cinder")] {
        let got = house.manager.scope_key(&BY_TRUST.caller(), scope, scope_id).await;
        assert!(matches!(got, Err(Error::NotFound { .. })));
    }
    let entity = house.manager.put(&caller("cinder", &["service"]), None, new_key(b"e")).await.unwrap().id;
    assert!(matches!(
        house.manager.get(&BY_TRUST.caller(), entity, false).await,
        Err(Error::NotFound { .. })
    ));
}

/// By default no end user reaches a service's key, not even with a service that vouches.
#[tokio::test]
async fn a_vouched_user_is_no_service() {
    let (house, [project, ..]) = house_with_keys().await;
    let demo = caller("demo", &["member"]);
    let cinder = Identity {
        user_id: "cinder".to_owned(),
        project_id: Some("service".to_owned()),
        roles: vec!["service".to_owned()],
        ..Identity::default()
    };
    let own = house.manager.put(&caller("cinder", &["service"]), None, new_key(b"k")).await.unwrap().id;
    let vouched = Caller::authenticated(
        Arc::new(demo.identity().clone()),
        Some(Arc::new(cinder)),
        None,
        RequestId::random(),
    );
    for id in [project, own] {
        assert!(matches!(house.manager.get(&vouched, id, false).await, Err(Error::Forbidden { .. })));
    }
    let refused = house.manager.scope_key(&vouched, Scope::Project, "p1").await;
    assert!(matches!(refused, Err(Error::Forbidden { .. })));
}

/// Rules can narrow what a trust opens, and see all of it; they cannot widen it.
#[tokio::test]
async fn rules_narrow_and_never_widen() {
    let (house, [project, domain, _]) = house_with_keys().await;
    let with = |rule: &str| {
        let text = format!("\"scope_key:get\": \"{rule}\"\n");
        let overrides = crate::policy::rules::parse_policy_file(&text).unwrap();
        house.manager.set_policy(Policy::build(&overrides, PolicyConfig::default()).unwrap().0);
    };
    let caller = BY_TRUST.caller();
    with(
        "'project':%(target.scope_key.scope)s and user_id:%(target.trust.trustee_user_id)s and \
          'demo':%(target.trust.trustor_user_id)s and 'd1':%(target.trust.project_domain_id)s and \
          'keystone':%(target.key.owner)s and trust_id:%(target.trust.id)s",
    );
    house.manager.get(&caller, project, false).await.unwrap();
    assert!(matches!(house.manager.get(&caller, domain, false).await, Err(Error::NotFound { .. })));
    with("@");
    let elsewhere = ByTrust { project: "p2", ..BY_TRUST }.caller();
    assert!(matches!(house.manager.get(&elsewhere, project, false).await, Err(Error::NotFound { .. })));
    let stolen = ByTrust { service: None, ..BY_TRUST }.caller();
    assert!(matches!(house.manager.get(&stolen, project, false).await, Err(Error::Forbidden { .. })));
}

/// What a trust opened is written down with the trust, before it is released.
#[tokio::test]
async fn the_trail_names_the_trust() {
    let (house, [project, ..]) = house_with_keys().await;
    house.manager.scope_key(&BY_TRUST.caller(), Scope::Project, "p1").await.unwrap();
    let event = house.trail.events.lock().last().unwrap().clone();
    let trust = event.initiator.trust.clone().unwrap();
    assert_eq!((event.action, event.outcome), (Action::Get, Outcome::Success));
    assert_eq!(event.target, Some(project.to_string()));
    assert_eq!((trust.id.as_str(), trust.trustor.as_str(), trust.trustee.as_str()), ("t1", "demo", "cinder"));
    assert_eq!(event.initiator.service.as_deref(), Some("cinder"));
    house.trail.full.store(true, Ordering::SeqCst);
    let unaudited = house.manager.scope_key(&BY_TRUST.caller(), Scope::Project, "p1").await;
    assert!(matches!(unaudited, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn listings_show_the_own_ones_of_wider_scopes() {
    let (house, [project, domain, user]) = house_with_keys().await;
    let keystone = caller("keystone", &KEYSTONE);
    house.manager.put(&keystone, None, new_key(b"an entity's")).await.unwrap();
    house.manager.put(&caller("other", &KEYSTONE), None, of(Scope::Project, "p1", b"o")).await.unwrap();
    let list = async |filter: KeyFilter| {
        let list = house.manager.list_scope_keys(&keystone, &filter).await.unwrap();
        list.keys.iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(list(KeyFilter::default()).await.len(), 3);
    for (scope, id, key) in
        [(Scope::Project, "p1", project), (Scope::Domain, "d1", domain), (Scope::User, "demo", user)]
    {
        let filter = KeyFilter { scope_id: Some(id.to_owned()), ..KeyFilter::default() };
        assert_eq!(list(filter.clone()).await, [key]);
        assert_eq!(list(KeyFilter { scope: Some(scope), ..filter }).await, [key]);
    }
    house.manager.delete(&keystone, domain, None).await.unwrap();
    assert_eq!(list(KeyFilter { deleted: true, ..KeyFilter::default() }).await, [domain]);
    let refused = house.manager.list_scope_keys(&caller("cinder", &["service"]), &KeyFilter::default()).await;
    assert!(matches!(refused, Err(Error::Forbidden { .. })));
}

/// A newer key that cannot be read is not passed over; strangers do not learn of it.
#[tokio::test]
async fn damage_hands_out_no_older_key() {
    let house = house().await;
    let keystone = caller("keystone", &KEYSTONE);
    house.manager.put(&keystone, None, of(Scope::Project, "p1", b"old")).await.unwrap();
    house.clock.advance(Duration::from_micros(1));
    let id = house.manager.put(&keystone, None, of(Scope::Project, "p1", b"new")).await.unwrap().id;
    let mut record = house.store.read(&Kind::SECRET, &id.to_string()).await.unwrap().unwrap();
    let (before, body) = (record.body.clone(), &mut record.body);
    *body.last_mut().unwrap() ^= 1;
    house.store.apply(vec![Change::Reseal { before, record }]).await.unwrap();
    for reader in [&keystone, &BY_TRUST.caller()] {
        let got = house.manager.scope_key(reader, Scope::Project, "p1").await;
        assert!(matches!(got, Err(Error::Corrupt(_))), "{got:?}");
    }
    for stranger in [caller("glance", &["service"]), ByTrust { project: "p2", ..BY_TRUST }.caller()] {
        let got = house.manager.scope_key(&stranger, Scope::Project, "p1").await;
        assert!(matches!(got, Err(Error::NotFound { .. })), "{got:?}");
    }
    // A newer one that can be read is as good as ever.
    house.clock.advance(Duration::from_micros(1));
    house.manager.put(&keystone, None, of(Scope::Project, "p1", b"newest")).await.unwrap();
    let (_, secret) = house.manager.scope_key(&BY_TRUST.caller(), Scope::Project, "p1").await.unwrap();
    assert_eq!(secret.payload(), b"newest");
}

#[tokio::test]
async fn no_customer_has_any_number_of_keys() {
    let house = house().await;
    let keystone = caller("keystone", &KEYSTONE);
    let mut last = None;
    for _ in 0..MOST_SCOPE_KEYS {
        house.clock.advance(Duration::from_micros(1));
        last = Some(house.manager.put(&keystone, None, of(Scope::Project, "p1", b"k")).await.unwrap().id);
    }
    let refused = house.manager.put(&keystone, None, of(Scope::Project, "p1", b"k")).await;
    assert!(matches!(refused, Err(Error::WrongState { .. })), "{refused:?}");
    house.manager.put(&keystone, None, of(Scope::Project, "p2", b"k")).await.unwrap();
    let (newest, _) = house.manager.scope_key(&keystone, Scope::Project, "p1").await.unwrap();
    assert_eq!(Some(newest.id), last);
    house.manager.delete(&keystone, newest.id, None).await.unwrap();
    house.manager.put(&keystone, None, of(Scope::Project, "p1", b"k")).await.unwrap();
}

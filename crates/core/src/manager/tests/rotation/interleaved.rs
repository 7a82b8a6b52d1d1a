//! Two servers of one store at work while one of them rotates everything: whatever the order, no read fails, nothing is
//! lost, and at the end the retired keys are unused. In half of the plans one server alone makes master keys, and the other
//! holds them long before it follows.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::testkit::FrailStore;

#[derive(Debug, Clone)]
enum Work {
    Put,
    Update,
    Delete,
    Undelete,
    Note,
    /// The memory of scope keys is gone, as after a restart.
    Forget,
}

#[derive(Debug, Clone)]
enum Rotate {
    Master,
    /// What another server has made the store's becomes active here.
    Follow,
    RewrapMaster,
    Scope,
    RewrapScopes,
    Reap,
}

#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    /// The first server makes all master keys, and the other one is only given them to hold.
    lags: bool,
    workers: Vec<Vec<Work>>,
    rotations: Vec<Vec<Rotate>>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let work = prop_oneof![
        4 => Just(Work::Put),
        4 => Just(Work::Update),
        2 => Just(Work::Delete),
        2 => Just(Work::Undelete),
        1 => Just(Work::Note),
        1 => Just(Work::Forget),
    ];
    let rotate = prop_oneof![
        2 => Just(Rotate::Master),
        1 => Just(Rotate::Follow),
        2 => Just(Rotate::RewrapMaster),
        3 => Just(Rotate::Scope),
        3 => Just(Rotate::RewrapScopes),
        1 => Just(Rotate::Reap),
    ];
    let workers = proptest::collection::vec(proptest::collection::vec(work, 3..14), 4);
    let rotations = proptest::collection::vec(proptest::collection::vec(rotate, 2..9), 2);
    (any::<u64>(), any::<bool>(), workers, rotations).prop_map(|(seed, lags, workers, rotations)| Plan {
        seed,
        lags,
        workers,
        rotations,
    })
}

/// What a key holds, and what it will if the change that is under way is made. Every worker has keys of its own.
#[derive(Debug, Clone)]
struct Held {
    possible: Vec<Option<Vec<u8>>>,
    version: Version,
}

type Model = RefCell<BTreeMap<SecretId, Held>>;

/// A refusal that asks for another attempt; anything else is a defect.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Unavailable(reason) if reason.contains("rotated at the same moment"))
}

/// Makes a change of a key, as often as it takes.
async fn change<T>(
    model: &Model,
    id: SecretId,
    to: Option<Vec<u8>>,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> T {
    model
        .borrow_mut()
        .entry(id)
        .or_insert_with(|| Held { possible: vec![None], version: Version::new(0) })
        .possible
        .push(to);
    for _ in 0..20 {
        match attempt().await {
            Ok(done) => {
                let mut model = model.borrow_mut();
                let held = model.get_mut(&id).unwrap();
                held.possible = held.possible.split_off(held.possible.len() - 1);
                held.version = held.version.next();
                return done;
            }
            Err(error) => assert!(is_refusal(&error), "{id}: {error:?}"),
        }
    }
    panic!("{id}: refused again and again");
}

async fn work(server: &Server, plan: &[Work], worker: usize, model: &Model) {
    let who = swift();
    let manager = &server.manager;
    let mut own: Vec<(SecretId, bool)> = Vec::new();
    for (step, work) in plan.iter().enumerate() {
        let text = format!("{worker}.{step}").into_bytes();
        let last = own.last().copied();
        match (work, last) {
            (Work::Put, _) => {
                let id = SecretId::random();
                change(model, id, Some(text.clone()), async || {
                    manager.put(&who, Some(id), any_key(&text)).await
                })
                .await;
                own.push((id, true));
            }
            (Work::Update, Some((id, true))) => {
                let version = model.borrow()[&id].version;
                change(model, id, Some(text.clone()), async || {
                    let payload = Some(KeyMaterial::copy_from(&text));
                    manager.update(&who, id, version, KeyUpdate { payload, ..KeyUpdate::default() }).await
                })
                .await;
            }
            (Work::Delete, Some((id, true))) => {
                change(model, id, None, async || manager.delete(&who, id, None).await).await;
                own.last_mut().unwrap().1 = false;
            }
            (Work::Undelete, Some((id, false))) => {
                let store = &manager.store;
                let record = store.read(&Kind::SECRET, &id.to_string()).await.unwrap().unwrap();
                let payload = manager.unseal(&record).await.unwrap().payload().to_vec();
                change(model, id, Some(payload), async || manager.undelete(&who, id).await).await;
                own.last_mut().unwrap().1 = true;
            }
            (Work::Note, _) => manager.set_note(&format!("note {worker}"), &text).await.unwrap(),
            (Work::Forget, _) => manager.keyring.forget(),
            _ => {}
        }
        tokio::task::yield_now().await;
    }
}

/// Reads everything, over and over, until the others are done.
async fn read(server: &Server, model: &Model, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        let ids: Vec<SecretId> = model.borrow().keys().copied().collect();
        for id in ids {
            let before = model.borrow()[&id].possible.clone();
            let found = match server.manager.get(&swift(), id, false).await {
                Ok((_, secret)) => Some(secret.payload().to_vec()),
                Err(Error::NotFound { .. }) => None,
                Err(error) => panic!("a read failed: {error:?}"),
            };
            let after = model.borrow()[&id].clone();
            // Where it was changed more than once meanwhile, it may have been anything in between.
            if after.possible == before {
                assert!(before.contains(&found), "{id} is {found:?}, not one of {before:?}");
            }
        }
        server.manager.list(&swift(), &KeyFilter::default()).await.unwrap();
        assert_eq!(server.check().await.findings, []);
        tokio::task::yield_now().await;
    }
}

/// Makes the store's master key the active one where it is held for that.
async fn follow(server: &Server, keys: &RefCell<Vec<(String, KeyMaterial)>>) {
    let id = server.manager.store_master_key().await.unwrap();
    if server.manager.staged_master_keys().contains(&id) {
        let material =
            keys.borrow().iter().find(|(known, _)| *known == id).map(|(_, key)| copy(key)).unwrap();
        server.manager.activate_master_key(&id, &material).await.unwrap();
    }
}

fn copy(key: &KeyMaterial) -> KeyMaterial {
    KeyMaterial::copy_from(key.expose())
}

async fn rotate(
    servers: &[&Server],
    plan: &[Rotate],
    (rotator, lags): (usize, bool),
    keys: &RefCell<Vec<(String, KeyMaterial)>>,
) {
    let go_on = &mut |_: Progress| ControlFlow::Continue(());
    let own = servers[rotator];
    for (step, rotation) in plan.iter().enumerate() {
        match rotation {
            Rotate::Follow if lags => follow(own, keys).await,
            Rotate::Follow => {}
            // One server alone makes new ones, since the other does not know which of two would be the newer.
            Rotate::Master if lags && rotator > 0 => {}
            Rotate::Master if lags => {
                let (id, material) = (format!("m{rotator}.{step}"), key());
                keys.borrow_mut().push((id.clone(), copy(&material)));
                for server in servers {
                    server
                        .manager
                        .hold_master_key(&id, &material, crate::keyring::Held::Staged)
                        .await
                        .unwrap();
                    tokio::task::yield_now().await;
                }
                own.manager.activate_master_key(&id, &material).await.unwrap();
            }
            Rotate::Master => {
                let (id, material) = (format!("m{rotator}.{step}"), key());
                // Every server is given the new key before one of them makes the store follow.
                for server in servers {
                    server.manager.activate_master_key(&id, &material).await.unwrap();
                }
                keys.borrow_mut().push((id, material));
            }
            Rotate::RewrapMaster => match own.manager.rewrap_master(NO_PAUSE, go_on).await {
                Ok(report) => assert_eq!(report.failed, 0),
                // The other one has begun the next rotation, or this one has not followed yet.
                Err(Error::WrongState { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            Rotate::Scope => match own.manager.rotate_scope_key("service").await {
                Ok(_) | Err(Error::NotFound { .. } | Error::VersionMismatch { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            Rotate::RewrapScopes => {
                assert_eq!(own.manager.rewrap_scopes(NO_PAUSE, go_on).await.unwrap().failed, 0);
            }
            Rotate::Reap => {
                let report = own.manager.reap().await.unwrap();
                assert_eq!((report.corrupt, report.restored, report.purged), (0, 0, 0));
            }
        }
    }
}

async fn run(plan: &Plan) {
    let site = Site::new();
    let first_key = key();
    let frail = |salt: u64| Arc::new(FrailStore::new(site.store.clone()).mixed(plan.seed ^ salt));
    let one = site.try_server(frail(0), ("m", &first_key), &[]).await.unwrap();
    let two = site.try_server(frail(0x9E37_79B9), ("m", &first_key), &[]).await.unwrap();
    let servers = [&one, &two];
    let model = Model::default();
    let keys = RefCell::new(vec![("m".to_owned(), first_key)]);
    let done = AtomicBool::new(false);
    let busy = async {
        tokio::join!(
            work(&one, &plan.workers[0], 0, &model),
            work(&two, &plan.workers[1], 1, &model),
            work(&one, &plan.workers[2], 2, &model),
            work(&two, &plan.workers[3], 3, &model),
            rotate(&servers, &plan.rotations[0], (0, plan.lags), &keys),
            rotate(&servers, &plan.rotations[1], (1, plan.lags), &keys),
        );
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(busy, read(&one, &model, &done), read(&two, &model, &done));

    // The end of it: one more rotation of both, by one server that is started anew with all keys.
    let keys = keys.into_inner();
    let last = key();
    let held: Vec<_> = keys.iter().map(|(id, material)| (id.as_str(), material)).collect();
    let server = site.server(("last", &last), &held).await;
    let report = server.rewrap_master().await;
    assert!(report.failed == 0 && report.in_use.values().all(|uses| *uses == 0), "{report:?}");
    for (id, _) in &held {
        server.manager.forget_master_key(id).await.unwrap();
    }
    if !model.borrow().is_empty() {
        server.manager.rotate_scope_key("service").await.unwrap();
    }
    let report = server.rewrap_scopes().await;
    assert_eq!((report.failed, report.in_use), (0, 0));
    let server = site.server(("last", &last), &[]).await;
    assert_eq!(server.check().await.findings, []);
    for (id, held) in &model.into_inner() {
        let found = match server.manager.get(&swift(), *id, false).await {
            Ok((_, secret)) => Some(secret.payload().to_vec()),
            Err(Error::NotFound { .. }) => None,
            Err(error) => panic!("{id} is lost: {error:?}"),
        };
        assert_eq!(held.possible, [found]);
        assert_eq!(site.secret(*id).await.version, held.version, "a rewrap is no change");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_whatever_the_order(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(&plan));
    }
}

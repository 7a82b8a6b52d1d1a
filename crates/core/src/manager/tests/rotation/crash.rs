//! A process that dies at any of its writes, with that write made or not, leaves a store that the next one goes on with.

use super::*;
use crate::testkit::FrailStore;
use crate::testkit::frail::LastWrite;

/// What was acknowledged, and what may have become of the rest.
#[derive(Default)]
struct Model {
    /// What each key may hold now; `None`: it is deleted or not there.
    keys: BTreeMap<SecretId, Vec<Option<&'static [u8]>>>,
}

impl Model {
    /// A change of a key, whatever came of it.
    fn changed<T>(&mut self, id: SecretId, to: Option<&'static [u8]>, result: Result<T>) -> Result<T> {
        let possible = self.keys.entry(id).or_insert_with(|| vec![None]);
        if result.is_ok() {
            possible.clear();
        }
        possible.push(to);
        result
    }

    async fn holds(&self, server: &Server, place: &str) {
        for (id, possible) in &self.keys {
            let found = match server.manager.get(&swift(), *id, false).await {
                Ok((_, secret)) => Some(secret.payload().to_vec()),
                Err(Error::NotFound { .. }) => None,
                Err(error) => panic!("{place}: {id} cannot be read: {error}"),
            };
            assert!(
                possible.iter().any(|one| one.map(<[u8]>::to_vec) == found),
                "{place}: {id} is {found:?}"
            );
        }
    }
}

const IDS: usize = 4;

/// A life of a server, until it dies. The new master key is kept by the seal before it is made active.
async fn life(
    server: &Server,
    ids: &[SecretId; IDS],
    model: &mut Model,
    new: &KeyMaterial,
    activated: &mut bool,
) -> Result<()> {
    let manager = &server.manager;
    let [a, b, c, d] = *ids;
    let who = swift();
    let update = |text: &'static [u8]| KeyUpdate {
        payload: Some(KeyMaterial::copy_from(text)),
        ..KeyUpdate::default()
    };
    let go_on = &mut |_: Progress| ControlFlow::Continue(());
    model.changed(a, Some(b"a1"), manager.put(&who, Some(a), any_key(b"a1")).await)?;
    model.changed(b, Some(b"b1"), manager.put(&who, Some(b), any_key(b"b1")).await)?;
    model.changed(c, Some(b"c1"), manager.put(&who, Some(c), any_key(b"c1")).await)?;
    model.changed(a, Some(b"a2"), manager.update(&who, a, Version::FIRST, update(b"a2")).await)?;
    model.changed(b, None, manager.delete(&who, b, None).await)?;
    manager.set_note("head", b"noted").await?;

    *activated = true;
    manager.activate_master_key("m2", new).await?;
    manager.set_note("head", b"noted again").await?;
    manager.rewrap_master(NO_PAUSE, go_on).await?;
    manager.rotate_scope_key("service").await?;
    model.changed(d, Some(b"d1"), manager.put(&who, Some(d), any_key(b"d1")).await)?;
    manager.rewrap_scopes(NO_PAUSE, go_on).await?;
    model.changed(c, Some(b"c2"), manager.update(&who, c, Version::FIRST, update(b"c2")).await)?;
    manager.rotate_scope_key("service").await?;
    model.changed(b, Some(b"b1"), manager.undelete(&who, b).await)?;
    manager.rewrap_scopes(NO_PAUSE, go_on).await?;
    manager.rewrap_scopes(NO_PAUSE, go_on).await?;
    model.changed(d, None, manager.delete(&who, d, None).await)?;
    manager.reap().await?;
    Ok(())
}

/// Everything that was begun is brought to its end, and the former keys are gone.
async fn finish(site: &Site, server: &Server, model: &Model, (new, place): (&KeyMaterial, &str)) {
    model.holds(server, place).await;
    assert_eq!(server.check().await.findings, [], "{place}");
    let report = server.rewrap_master().await;
    assert_eq!((report.failed, report.in_use["m1"]), (0, 0), "{place}");
    server.manager.forget_master_key("m1").await.unwrap();
    let report = server.rewrap_scopes().await;
    assert_eq!((report.failed, report.in_use), (0, 0), "{place}");
    let last = site.server(("m2", new), &[]).await;
    model.holds(&last, place).await;
    assert_eq!(last.check().await.findings, [], "{place}");
    let keys = crate::keyring::scope_keys(&*site.store, "service").await.unwrap();
    assert_eq!(keys.values().filter(|record| record.version == OPEN).count(), usize::from(!keys.is_empty()));
    assert!(keys.len() <= 2 && keys.values().all(|record| record.version != CLOSED), "{place}: {keys:?}");
    last.put(b"and it goes on").await;
}

#[tokio::test]
async fn every_death_can_be_survived() {
    let ids = [(); IDS].map(|()| SecretId::random());
    let mut survived = 0;
    'lives: for write in 1.. {
        for last_write in [LastWrite::Lost, LastWrite::Made] {
            let place = format!("died at write {write}, {last_write:?}");
            let site = Site::new();
            let (old, new) = (key(), key());
            let frail = Arc::new(FrailStore::new(site.store.clone()).dying_at(write, last_write));
            let (mut model, mut activated) = (Model::default(), false);
            let ended = match site.try_server(frail.clone(), ("m1", &old), &[]).await {
                Ok(server) => life(&server, &ids, &mut model, &new, &mut activated).await,
                Err(error) => Err(error),
            };
            assert_eq!(ended.is_err(), frail.is_dead(), "{place}: {ended:?}");
            let server = if activated {
                site.server(("m2", &new), &[("m1", &old)]).await
            } else {
                let server = site.server(("m1", &old), &[]).await;
                server.manager.activate_master_key("m2", &new).await.unwrap();
                server
            };
            finish(&site, &server, &model, (&new, &place)).await;
            if !frail.is_dead() {
                break 'lives;
            }
            survived += 1;
        }
    }
    assert!(survived >= 40, "the life has many writes: {survived}");
}

use std::sync::atomic::Ordering;

use chatelaine_api::AgentCreateRequest;
use chatelaine_crypto::KeyMaterial;

use super::*;
use crate::keyring::ServiceKeys;
use crate::keys::Peer;
use crate::testing::FakeManager;

async fn filled(count: usize) -> (Arc<FakeManager>, Arc<Agent>, Vec<(String, KeyMaterial)>) {
    let fake = FakeManager::start().await;
    let (agent, old) = fake.open_agent().await;
    let mut keys = Vec::new();
    for _ in 0..count {
        let request = AgentCreateRequest { algorithm: "aes".to_owned(), ..AgentCreateRequest::default() };
        let made = agent.create(request, Peer::default()).await.unwrap();
        keys.push((made.document.id.clone(), KeyMaterial::copy_from(made.key.expose())));
    }
    let new = KeyMaterial::random(256).unwrap();
    agent.keyring().open(ServiceKeys::new(("m-2", &new), [("m-1", &old)]).unwrap());
    (fake, agent, keys)
}

#[tokio::test]
async fn every_key_is_wrapped_anew_and_stays_the_same_key() {
    let (fake, agent, keys) = filled(250).await;
    assert!(agent.unused_master_keys().await.unwrap().is_empty());
    let report = agent.rewrap_all(Duration::ZERO).await.unwrap();
    assert_eq!((report.done, report.passed_over, report.failed, report.running), (250, 0, 0, false));
    assert_eq!(report.master_key, "m-2");
    for (id, key) in &keys {
        assert_eq!(fake.envelope(id).master_key_id(), "m-2");
        agent.forget(id);
        assert!(agent.get(id, Peer::default()).await.unwrap().key.ct_eq(key.expose()));
    }
    assert_eq!(agent.unused_master_keys().await.unwrap(), ["m-1"]);
    assert_eq!(agent.rewrap_all(Duration::ZERO).await.unwrap().done, 0);
}

#[tokio::test]
async fn what_is_broken_off_is_gone_on_with() {
    let (fake, agent, keys) = filled(30).await;
    let running = {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move { agent.rewrap_all(Duration::from_millis(1)).await })
    };
    while agent.rotation().is_none_or(|shown| shown.done < 5) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(agent.rewrap_all(Duration::ZERO).await, Err(AgentError::Conflict(_))));
    fake.fail.store(500, Ordering::SeqCst);
    let _ = running.await.unwrap();
    assert!(agent.rotation().unwrap().problem.is_some() || agent.rotation().unwrap().failed > 0);
    fake.fail.store(0, Ordering::SeqCst);
    let report = agent.rewrap_all(Duration::ZERO).await.unwrap();
    assert!(report.done > 0 && report.problem.is_none());
    assert!(keys.iter().all(|(id, _)| fake.envelope(id).master_key_id() == "m-2"));
}

#[tokio::test]
async fn deleted_keys_and_damaged_ones_keep_their_master_key() {
    let (fake, agent, keys) = filled(3).await;
    agent.delete(&keys[0].0, Peer::default()).await.unwrap();
    // Of another key: it does not open.
    let foreign = fake.keys.lock()[&keys[2].0]["key_string"].clone();
    fake.keys.lock().get_mut(&keys[1].0).unwrap()["key_string"] = foreign;
    let report = agent.rewrap_all(Duration::ZERO).await.unwrap();
    assert_eq!((report.done, report.failed), (1, 1));
    assert!(agent.unused_master_keys().await.unwrap().is_empty());
    fake.keys.lock().remove(&keys[1].0);
    // Only the deleted one is left, which can be undeleted.
    assert!(agent.unused_master_keys().await.unwrap().is_empty());
    fake.keys.lock().remove(&keys[0].0);
    assert_eq!(agent.unused_master_keys().await.unwrap(), ["m-1"]);
}

use std::sync::atomic::Ordering;

use chatelaine_api::State;

use super::*;
use crate::testing::{FakeManager, is_unavailable};

fn aes() -> AgentCreateRequest {
    AgentCreateRequest { algorithm: "aes".to_owned(), ..AgentCreateRequest::default() }
}

fn on_behalf(token: &str) -> Peer {
    Peer { token: Some(SecretText::new(token)), whose: None }
}

#[tokio::test]
async fn the_key_manager_sees_envelopes_only_and_the_key_comes_back() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    for (algorithm, bits) in
        [("aes", 256), ("AES", 128), ("hmac-sha512", 512), ("generic", 2047), ("chacha20", 256)]
    {
        let request = AgentCreateRequest { algorithm: algorithm.to_owned(), bit_length: Some(bits), ..aes() };
        let made = agent.create(request, Peer::default()).await.unwrap();
        assert_eq!((made.document.bit_length, made.document.state), (bits, State::Active));
        let id = made.document.id.clone();
        assert_eq!(fake.envelope(&id).master_key_id(), "m-1");
        let stored = fake.keys.lock()[&id]["key_string"].as_str().unwrap().to_owned();
        let stored = KeyString::from_base64(&stored).unwrap();
        let plain = made.key.expose();
        assert!(!stored.expose().windows(plain.len()).any(|window| window == plain));
        // Not from memory.
        agent.forget(&id);
        let read = agent.get(&id, Peer::default()).await.unwrap();
        assert!(read.key.ct_eq(plain));
        assert_eq!(read.document, made.document);
    }
}

#[tokio::test]
async fn given_keys_of_any_kind_are_kept() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    for (algorithm, key, bits) in
        [("passphrase", &b"correct horse"[..], 104), ("certificate", b"DER", 24), ("aes", &[7; 32], 256)]
    {
        let request = AgentCreateRequest {
            algorithm: algorithm.to_owned(),
            key_string: Some(KeyString::new(key.to_vec())),
            ..aes()
        };
        let made = agent.create(request, Peer::default()).await.unwrap();
        assert_eq!(made.document.bit_length, bits);
        agent.forget(&made.document.id);
        assert!(agent.get(&made.document.id, Peer::default()).await.unwrap().key.ct_eq(key));
    }
    let pair = AgentPairRequest { algorithm: "ec".to_owned(), ..AgentPairRequest::default() };
    let pair = agent.create_pair(pair, Peer::default()).await.unwrap();
    assert_eq!(pair.private_key.attributes[PAIR_ATTRIBUTE], format!("private-of:{}", pair.public_key.id));
    assert_eq!(pair.public_key.attributes[PAIR_ATTRIBUTE], format!("public-of:{}", pair.private_key.id));
}

#[tokio::test]
async fn wrong_requests_are_refused_by_field_and_nothing_is_sent() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let project = Some("p".to_owned());
    for (request, field) in [
        (AgentCreateRequest { algorithm: "rot13".to_owned(), ..aes() }, "algorithm"),
        (AgentCreateRequest { algorithm: "des".to_owned(), ..aes() }, "algorithm"),
        (AgentCreateRequest { algorithm: "rsa".to_owned(), ..aes() }, "algorithm"),
        (AgentCreateRequest { bit_length: Some(100), ..aes() }, "bit_length"),
        (AgentCreateRequest { id: Some("1".to_owned()), ..aes() }, "id"),
        (AgentCreateRequest { id: Some("6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7".to_owned()), ..aes() }, "id"),
        (AgentCreateRequest { scope: Some(Scope::Project), scope_id: project.clone(), ..aes() }, "lock"),
        (AgentCreateRequest { lock: Lock::Dual, scope_id: project.clone(), ..aes() }, "scope"),
        (
            AgentCreateRequest { lock: Lock::Dual, scope: Some(Scope::Entity), scope_id: project, ..aes() },
            "scope",
        ),
        (AgentCreateRequest { lock: Lock::Compound, scope: Some(Scope::User), ..aes() }, "scope_id"),
        (
            AgentCreateRequest {
                key_string: Some(KeyString::new(vec![1; 5])),
                bit_length: Some(256),
                ..aes()
            },
            "key_string",
        ),
    ] {
        match agent.create(request, Peer::default()).await {
            Err(AgentError::Invalid { field: found, problem }) => {
                assert_eq!(found, field);
                assert!(problem.len() > 10, "{problem}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(fake.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_sealed_agent_gives_nothing() {
    let fake = FakeManager::start().await;
    let agent = fake.agent(Settings::default());
    assert_eq!(agent.create(aes(), Peer::default()).await.unwrap_err(), AgentError::Sealed);
    assert_eq!(agent.get("k", Peer::default()).await.unwrap_err(), AgentError::Sealed);
    assert_eq!(fake.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn cached_keys_are_served_while_the_key_manager_is_away_and_nothing_else() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let known = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    let other = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    agent.forget(&other);
    fake.fail.store(503, Ordering::SeqCst);
    assert!(agent.get(&known, Peer::default()).await.is_ok());
    assert!(is_unavailable(&agent.get(&other, Peer::default()).await.unwrap_err()));
    assert!(is_unavailable(&agent.create(aes(), Peer::default()).await.unwrap_err()));
    fake.fail.store(0, Ordering::SeqCst);
    assert!(agent.get(&other, Peer::default()).await.is_ok());
}

#[tokio::test]
async fn a_hanging_key_manager_is_given_up() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let id = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    agent.forget(&id);
    fake.hang.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert!(is_unavailable(&agent.get(&id, Peer::default()).await.unwrap_err()));
    assert!(began.elapsed() < Duration::from_secs(15));
    fake.hang.store(false, Ordering::SeqCst);
    assert!(agent.get(&id, Peer::default()).await.is_ok());
}

#[tokio::test]
async fn a_deleted_key_is_forgotten_at_once_even_if_the_deletion_fails() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let id = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    agent.delete(&id, Peer::default()).await.unwrap();
    assert_eq!(agent.get(&id, Peer::default()).await.unwrap_err(), AgentError::NotFound(id.clone()));
    let id = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    fake.fail.store(503, Ordering::SeqCst);
    assert!(agent.delete(&id, Peer::default()).await.is_err());
    assert!(is_unavailable(&agent.get(&id, Peer::default()).await.unwrap_err()));
}

#[tokio::test]
async fn what_a_users_token_fetches_is_asked_for_each_time() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let id = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    let before = fake.requests.load(Ordering::SeqCst);
    // In the service's own memory, and yet not for a stranger.
    let error = agent.get(&id, on_behalf("a-stranger")).await.unwrap_err();
    assert!(matches!(&error, AgentError::Forbidden(text) if text.contains("Forbidden")), "{error:?}");
    for _ in 0..3 {
        agent.get(&id, on_behalf("a-user")).await.unwrap();
    }
    assert_eq!(fake.requests.load(Ordering::SeqCst), before + 4);
}

#[tokio::test]
async fn a_key_that_was_moved_to_another_id_does_not_open() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let one = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    let two = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    let string = fake.keys.lock()[&one]["key_string"].clone();
    fake.keys.lock().get_mut(&two).unwrap()["key_string"] = string;
    agent.forget(&two);
    assert_eq!(agent.get(&two, Peer::default()).await.unwrap_err(), AgentError::Corrupt(two));
}

#[tokio::test]
async fn another_service_with_the_whole_store_opens_nothing() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let (other, _) = fake.open_agent().await;
    let material = KeyMaterial::random(256).unwrap();
    let id = agent.create(aes(), Peer::default()).await.unwrap().document.id.clone();
    // It names its own master key alike.
    assert_eq!(other.get(&id, Peer::default()).await.unwrap_err(), AgentError::Corrupt(id.clone()));
    other.keyring().open(crate::keyring::ServiceKeys::new(("m-2", &material), []).unwrap());
    assert!(matches!(other.get(&id, Peer::default()).await, Err(AgentError::NotHere(_))));
}

#[tokio::test]
async fn keys_are_kept_no_longer_than_they_last() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let ended = AgentCreateRequest { expires_at: Some("2020-01-01T00:00:00Z".to_owned()), ..aes() };
    agent.create(ended, Peer::default()).await.unwrap();
    let later = AgentCreateRequest { activates_at: Some("2100-01-01T00:00:00Z".to_owned()), ..aes() };
    agent.create(later, Peer::default()).await.unwrap();
    assert_eq!(agent.counts().entries, 0);
    agent.create(aes(), Peer::default()).await.unwrap();
    assert_eq!(agent.counts().entries, 1);
}

#[tokio::test]
async fn the_end_in_memory_is_the_earliest_of_all() {
    let fake = FakeManager::start().await;
    let (agent, _) = fake.open_agent().await;
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    let expiry =
        |seconds: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    assert_eq!(agent.end(now, None, None), after(300));
    assert_eq!(agent.end(now, Some(after(60)), None), after(60));
    assert_eq!(agent.end(now, Some(after(600)), None), after(300));
    let end = agent.end(now, Some(after(60)), Some(&expiry(20)));
    assert!(after(18) < end && end <= after(20));
    assert!(agent.end(now, None, Some(&expiry(-5))) <= now);
    assert_eq!(agent.end(now, None, Some("nonsense")), now);
}

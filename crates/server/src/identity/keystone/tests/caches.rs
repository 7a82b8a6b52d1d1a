//! What is remembered, for how long, and what is not.

use super::super::validator::{CALLERS_WAITING, CONCURRENT_QUESTIONS};
use super::*;

fn unavailable(result: &Result<Caller, AuthenticationError>) -> bool {
    matches!(result, Err(AuthenticationError::Unavailable { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_with_one_token_are_one_question() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 600, |_| ());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    bench.fake.set(Mode::Gated(Arc::clone(&gate)));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let identities = Arc::clone(&bench.identities);
            tokio::spawn(async move { ask(&identities, "user", None, "GET", "/").await })
        })
        .collect();
    until("all wait", || bench.identities.counters().misses == 50 && bench.fake.under_way() == 1).await;
    gate.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().identity().user_id, "user-of-user");
    }
    assert_eq!(bench.fake.asked(), 1);
    assert_eq!(bench.identities.counters().upstream_validations, 1);
}

/// T-TOKEN-REVOKED: a revoked token is good for the cache's time and no longer.
#[tokio::test]
async fn a_good_token_is_believed_for_the_configured_time() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 3600, |_| ());
    bench.ask("user", None).await.unwrap();
    bench.advance(299);
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.fake.asked(), 1);
    bench.advance(1);
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.fake.asked(), 2, "asked again after 300 seconds");
    bench.fake.revoke("user");
    bench.advance(299);
    bench.ask("user", None).await.unwrap();
    bench.advance(1);
    assert_eq!(bench.refusal("user", None).await, "the token is not valid");
    let counters = bench.identities.counters();
    assert_eq!((counters.cache_hits, counters.misses, counters.upstream_validations), (2, 3, 3));
}

/// The lapsed entry goes and one question replaces it, for any number of callers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_token_is_one_question_too() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 3600, |_| ());
    bench.ask("user", None).await.unwrap();
    bench.advance(300);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    bench.fake.set(Mode::Gated(Arc::clone(&gate)));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let identities = Arc::clone(&bench.identities);
            tokio::spawn(async move { ask(&identities, "user", None, "GET", "/").await.is_ok() })
        })
        .collect();
    until("all wait", || bench.identities.counters().misses == 21 && bench.fake.under_way() == 1).await;
    gate.add_permits(1);
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(bench.fake.asked(), 2);
}

/// T-TOKEN-EXPIRED: the cache never carries a token past its end.
#[tokio::test]
async fn no_token_is_believed_past_its_expiry() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 60, |_| ());
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.inner().validator.kept_for("user").await, Some(Duration::from_secs(60)));
    bench.advance(59);
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.fake.asked(), 1);
    bench.fake.set(Mode::Down);
    bench.advance(1);
    assert!(unavailable(&bench.ask("user", None).await), "not even while Keystone is down");
    bench.fake.set(Mode::Up);
    assert_eq!(bench.refusal("user", None).await, "the token is not valid");
    bench.fake.set(Mode::Timeless);
    bench.fake.issue("late", 60, |_| ());
    bench.advance(60);
    assert!(bench.refusal("late", None).await.contains("by our clock it has expired"));
}

#[tokio::test]
async fn a_cache_of_no_seconds_asks_each_time() {
    let bench = Bench::with(|settings| {
        settings.cache_seconds = 0;
        settings.negative_cache_seconds = 0;
    })
    .await;
    bench.fake.issue("user", 600, |_| ());
    for count in 1..=3 {
        bench.ask("user", None).await.unwrap();
        bench.refusal("bad", None).await;
        assert_eq!(bench.fake.asked(), 2 * count);
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_briefly() {
    let bench = Bench::new().await;
    bench.refusal("user", None).await;
    bench.fake.issue("user", 600, |_| ());
    bench.advance(9);
    bench.refusal("user", None).await;
    assert_eq!((bench.fake.asked(), bench.identities.counters().negative_hits), (1, 1));
    bench.advance(1);
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.fake.asked(), 2);
}

#[tokio::test]
async fn without_keystone_known_tokens_go_on_until_they_lapse() {
    let bench = Bench::new().await;
    bench.fake.issue("known", 3600, |_| ());
    bench.fake.issue("new", 3600, |_| ());
    bench.ask("known", None).await.unwrap();
    bench.fake.set(Mode::Down);
    bench.ask("known", None).await.unwrap();
    let error = bench.ask("new", None).await.unwrap_err();
    let AuthenticationError::Unavailable { reason, retry_after } = &error else { panic!("{error:?}") };
    assert!(reason.contains("503") && *retry_after == RETRY_AFTER, "{reason}");
    assert_eq!(bench.identities.counters().upstream_failures, 1);
    bench.fake.set(Mode::Up);
    bench.ask("new", None).await.expect("a failure is not remembered as a refusal");
    bench.fake.set(Mode::Down);
    bench.advance(300);
    assert!(unavailable(&bench.ask("known", None).await));
}

#[tokio::test]
async fn a_hung_keystone_costs_one_timeout() {
    let bench = Bench::with(|settings| settings.timeout = 1).await;
    bench.fake.set(Mode::Hung);
    let start = std::time::Instant::now();
    assert!(unavailable(&bench.ask("user", None).await));
    let took = start.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(bench.identities.health().await.unwrap_err().contains("Keystone"));
}

/// A flood of bad tokens neither pushes good ones out nor floods Keystone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_tokens_does_no_harm() {
    let bench = Bench::with(|settings| settings.cache_entries = 2).await;
    bench.fake.issue("one", 600, |_| ());
    bench.fake.issue("two", 600, |_| ());
    for token in ["one", "two"] {
        bench.ask(token, None).await.unwrap();
    }
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    bench.fake.set(Mode::Gated(Arc::clone(&gate)));
    let flood: Vec<_> = (0..300)
        .map(|number| {
            let identities = Arc::clone(&bench.identities);
            tokio::spawn(async move { ask(&identities, &format!("bad-{number}"), None, "GET", "/").await })
        })
        .collect();
    let full = CONCURRENT_QUESTIONS;
    until("the flood is there", || {
        bench.identities.counters().misses == 302 && bench.fake.under_way() == full
    })
    .await;
    bench.ask("one", None).await.expect("good tokens do not stand in line with the flood");
    gate.add_permits(300);
    for bad in flood {
        assert!(matches!(bad.await.unwrap(), Err(AuthenticationError::Refused { .. })));
    }
    assert_eq!(bench.fake.most_under_way(), full);
    bench.inner().validator.settle().await;
    let asked = bench.fake.asked();
    for token in ["one", "two"] {
        bench.ask(token, None).await.unwrap();
    }
    assert_eq!(bench.fake.asked(), asked, "both are still remembered");
    assert_eq!(bench.identities.counters().entries, 2);
}

/// However many ask, a bounded number waits; the rest is sent away at once, and nothing is lost for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_of_those_who_wait_has_an_end() {
    let bench = Bench::with(|settings| settings.timeout = 60).await;
    bench.fake.issue("known", 600, |_| ());
    bench.ask("known", None).await.unwrap();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    bench.fake.set(Mode::Gated(Arc::clone(&gate)));
    let waiting: Vec<_> = (0..CALLERS_WAITING)
        .map(|number| {
            let identities = Arc::clone(&bench.identities);
            tokio::spawn(async move { ask(&identities, &format!("bad-{number}"), None, "GET", "/").await })
        })
        .collect();
    let all = u64::try_from(CALLERS_WAITING).unwrap() + 1;
    until("all wait", || bench.identities.counters().misses == all).await;
    let error = bench.ask("one-more", None).await.unwrap_err();
    let AuthenticationError::Unavailable { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("too many"), "{reason}");
    bench.ask("known", None).await.expect("whoever is known does not wait");
    // Going away does not make room: the questions are still to be asked.
    for caller in &waiting {
        caller.abort();
    }
    assert!(unavailable(&bench.ask("one-more", None).await));
    gate.add_permits(CALLERS_WAITING + 1);
    for caller in waiting {
        assert!(caller.await.is_err());
    }
    let upstream = || bench.identities.counters().upstream_validations;
    until("the line is gone", || upstream() == all && bench.fake.under_way() == 0).await;
    assert_eq!(bench.refusal("bad-0", None).await, "the token is not valid");
}

/// Whoever goes away does not take the others' answer along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_kept_though_the_caller_went_away() {
    let bench = Bench::new().await;
    bench.fake.issue("user", 600, |_| ());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    bench.fake.set(Mode::Gated(Arc::clone(&gate)));
    let identities = Arc::clone(&bench.identities);
    let caller = tokio::spawn(async move { ask(&identities, "user", None, "GET", "/").await });
    until("the question is asked", || bench.fake.under_way() == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    bench.ask("user", None).await.unwrap();
    assert_eq!(bench.fake.asked(), 1);
}

/// A token never shows in what people see of a refusal, though Keystone's own message holds it.
#[tokio::test]
async fn no_token_shows_in_errors() {
    let bench = Bench::new().await;
    for mode in [Mode::Up, Mode::Down] {
        bench.fake.set(mode);
        let error = bench.ask("token-canary", Some("service-canary")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("canary"), "{text}");
    }
}

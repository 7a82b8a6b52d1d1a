//! The servers that are asked for master keys that were made later.
//!
//! Owns when they are asked: at the start, now and then, and at once when the store is found to belong to a master key that
//! is not here. Whether there is anything new is asked first, by a request that costs nobody anything; only then this host
//! proves its TPM and its boot. Every wait has a limit, pauses grow after failures, and none is exactly like another's.
//!
//! Invariant: nothing that a sibling says is believed but what [`super::later`] has checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, HeldKeysDocument, HelloRequest,
    SiblingDocument, SiblingsDocument,
};
use chatelaine_client::TransportOptions;
use chatelaine_client::clouds::{self, Choice};
use chatelaine_client::http::{Authentication, HttpMethod, Request, Session};
use chatelaine_core::Error;
use chatelaine_seal::attest::{Endorsement, Said};
use chatelaine_seal::hosts::SERVER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::{Keeper, later, now};
use crate::config::SiblingsConfig;
use crate::http::App;
use crate::identity::read_secret;

/// The whole exchange with one server, with the TPM's work.
const LONGEST: Duration = Duration::from_secs(180);
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(45);
/// Longest answer, in bytes: all keys in base64.
const MAX_BODY: usize = 1024 * 1024;
/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The pauses grow to so many times the configured one.
const LONGEST_PAUSE: u32 = 16;
/// Most bytes of a problem that is shown: the servers' own words are among it.
const MAX_PROBLEM: usize = 2048;

/// How the servers have answered.
pub(crate) struct Siblings {
    seen: parking_lot::Mutex<BTreeMap<String, Seen>>,
    /// The last words about what each sender sent.
    refusals: parking_lot::Mutex<BTreeMap<String, String>>,
    /// Which master keys were missing when that was looked at last.
    missing: parking_lot::Mutex<Option<String>>,
    wanted: Notify,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Seen {
    answered: Option<String>,
    problem: Option<String>,
    /// That server knows what this one has.
    confirmed: bool,
}

/// What a server answered.
enum Asked {
    Nothing,
    Changed,
}

impl Siblings {
    pub(super) fn new(config: &SiblingsConfig) -> Self {
        let seen = config.endpoints.iter().map(|endpoint| (endpoint.clone(), Seen::default())).collect();
        Self {
            seen: parking_lot::Mutex::new(seen),
            refusals: parking_lot::Mutex::default(),
            missing: parking_lot::Mutex::default(),
            wanted: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How they have answered so far.
    pub(crate) fn document(&self) -> SiblingsDocument {
        let seen = self.seen.lock();
        let siblings = seen.iter().map(|(endpoint, seen)| SiblingDocument {
            endpoint: endpoint.clone(),
            answered: seen.answered.clone(),
            problem: seen.problem.clone(),
        });
        SiblingsDocument { siblings: siblings.collect() }
    }

    /// Whether this was not the last word about what this sender sent. Senders are those of the configuration, and files.
    pub(super) fn is_new_refusal(&self, from: &str, text: &str) -> bool {
        let before = self.refusals.lock().insert(from.to_owned(), text.to_owned());
        before.is_none_or(|before| before != text)
    }

    fn note(&self, endpoint: &str, outcome: Result<&Asked, String>) {
        let mut all = self.seen.lock();
        let seen = all.entry(endpoint.to_owned()).or_default();
        match outcome {
            Ok(_) => {
                if seen.problem.take().is_some() {
                    tracing::info!(endpoint, "the server answers again");
                }
                seen.answered = Some(now());
            }
            Err(mut problem) => {
                problem.truncate(problem.floor_char_boundary(MAX_PROBLEM));
                if seen.problem.as_ref() != Some(&problem) {
                    tracing::warn!(endpoint, problem, "no later master keys could be got");
                }
                seen.problem = Some(problem);
            }
        }
    }
}

/// A pause within a fifth of what is said, so that servers that were started together do not ask together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    if chatelaine_crypto::random::fill_public(&mut random).is_err() {
        return pause;
    }
    let share = u32::from(u16::from_be_bytes(random)) % 400;
    pause.saturating_mul(800_u32.saturating_add(share)) / 1000
}

/// The pause after so many failures in a row.
fn pause_after(failures: u32, every: Duration) -> Duration {
    match failures {
        0 => every,
        _ => FIRST_PAUSE
            .saturating_mul(1_u32.checked_shl(failures.min(20).saturating_sub(1)).unwrap_or(u32::MAX))
            .min(every.saturating_mul(LONGEST_PAUSE)),
    }
}

fn session(config: &SiblingsConfig, endpoint: &str) -> Result<Session, String> {
    let transport = TransportOptions {
        connect_timeout: CONNECT,
        request_timeout: REQUEST,
        body_limit: MAX_BODY,
        ca_file: Some(config.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        ..TransportOptions::default()
    };
    let (authentication, transport) = if config.cloud.is_empty() {
        let token =
            read_secret("siblings.token_file", &config.token_file).map_err(|error| error.to_string())?;
        (Authentication::StaticToken(token), transport)
    } else {
        let file = config.clouds_file.to_string_lossy().into_owned();
        let choice = Choice { cloud: Some(config.cloud.clone()), ..Choice::default() };
        let environment = [("OS_CLIENT_CONFIG_FILE".to_owned(), file)];
        let cloud = clouds::resolve(environment, &choice).map_err(|error| error.to_string())?;
        let transport = cloud.transport_options(&transport);
        (cloud.into_authentication(&transport).map_err(|error| error.to_string())?, transport)
    };
    Session::new(endpoint.trim_end_matches('/'), authentication, &transport)
        .map_err(|error| error.to_string())
}

async fn send<T: DeserializeOwned>(
    session: &Session,
    path: &str,
    request: &impl Serialize,
) -> Result<T, String> {
    let said = |error: chatelaine_client::http::ClientError| error.to_string();
    let request = Request::new(HttpMethod::POST, path).json(request).map_err(said)?;
    session.request(request).await.map_err(said)?.json().map_err(said)
}

fn decoded(what: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("the {what} is not base64"))
}

/// Whether a server has what this one has not.
fn has_news(theirs: &HeldKeysDocument, own: &HeldKeysDocument) -> bool {
    let active = |held: &HeldKeysDocument| held.keys.first().map(|key| (key.epoch, key.id.clone()));
    let (Some(their_active), Some(own_active)) = (active(theirs), active(own)) else { return false };
    if their_active.0 < own_active.0 {
        return false;
    }
    let unknown = theirs
        .keys
        .iter()
        .any(|key| key.epoch >= own_active.0 && !own.keys.iter().any(|known| known.id == key.id));
    unknown || their_active != own_active
}

/// Whether that server is behind, so that an exchange with it would be refused.
fn is_behind(theirs: &HeldKeysDocument, own: &HeldKeysDocument) -> bool {
    let epoch = |held: &HeldKeysDocument| held.keys.first().map_or(0, |key| key.epoch);
    epoch(theirs) < epoch(own)
}

async fn ask(keeper: &Arc<Keeper>, app: Option<&Arc<App>>, endpoint: &str) -> Result<Asked, String> {
    let config = &keeper.config().siblings;
    let session = session(config, endpoint)?;
    let question = Request::new(HttpMethod::GET, "/v1/attestation/keys");
    let theirs = session.request(question).await.map_err(|error| error.to_string())?;
    let theirs: HeldKeysDocument = theirs.json().map_err(|error| error.to_string())?;
    let own = keeper.held_keys().await.map_err(|error| error.to_string())?;
    if theirs.cluster != own.cluster {
        let found: String = theirs.cluster.chars().take(36).filter(char::is_ascii_graphic).collect();
        return Err(format!("it belongs to cluster {found}, and this host to {}", own.cluster));
    }
    let confirmed = keeper.siblings.seen.lock().get(endpoint).is_some_and(|seen| seen.confirmed);
    if !has_news(&theirs, &own) && (confirmed || is_behind(&theirs, &own)) {
        return Ok(Asked::Nothing);
    }
    exchange(keeper, app, &session, endpoint).await
}

async fn exchange(
    keeper: &Arc<Keeper>,
    app: Option<&Arc<App>>,
    session: &Session,
    endpoint: &str,
) -> Result<Asked, String> {
    let kind: Endorsement = keeper.config().siblings.endorsement.parse()?;
    let seal = keeper.tpm().map(Arc::clone).ok_or("what gets later master keys is a TPM")?;
    let tpm = Arc::clone(seal.tpm());
    let said = tokio::task::spawn_blocking(move || Said::hello(&tpm, kind)).await;
    let said = said.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let request = HelloRequest { key: SERVER.to_owned(), hello: STANDARD.encode(said.message()) };
    let challenged: ChallengeDocument = send(session, "/v1/attestation/challenge", &request).await?;
    let challenge = decoded("challenge", &challenged.challenge)?;
    let tpm = Arc::clone(seal.tpm());
    let answered = tokio::task::spawn_blocking(move || said.answer(&tpm, &challenge)).await;
    let (proven, answer) = answered.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let request = AnswerRequest { id: challenged.id.clone(), answer: STANDARD.encode(answer) };
    let granted: BundleDocument = send(session, "/v1/attestation/release", &request).await?;
    let bundle = decoded("bundle", &granted.bundle)?;
    let updated = later::take(keeper, app, (proven, bundle), None, endpoint).await;
    let updated = updated.map_err(|error| error.to_string())?;
    let confirmation = STANDARD.encode(&updated.confirmation);
    let request = ConfirmRequest { id: challenged.id, confirmation };
    let _: chatelaine_api::ConfirmedDocument = send(session, "/v1/attestation/confirm", &request).await?;
    if let Some(seen) = keeper.siblings.seen.lock().get_mut(endpoint) {
        seen.confirmed = true;
    }
    Ok(if updated.is_nothing() { Asked::Nothing } else { Asked::Changed })
}

/// Asks all of them, one after the other. Whether each has answered as it should.
pub(crate) async fn ask_all(keeper: &Arc<Keeper>, app: Option<&Arc<App>>) -> bool {
    let _turn = keeper.siblings.turn.lock().await;
    let mut good = true;
    for endpoint in &keeper.config().siblings.endpoints {
        let outcome = tokio::time::timeout(LONGEST, ask(keeper, app, endpoint)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("not done within {} s", LONGEST.as_secs())));
        if matches!(outcome, Ok(Asked::Changed)) {
            // The others do not know yet what is here now.
            for (other, seen) in keeper.siblings.seen.lock().iter_mut() {
                seen.confirmed &= other == endpoint;
            }
        }
        good &= outcome.is_ok();
        keeper.siblings.note(endpoint, outcome.as_ref().map_err(Clone::clone));
    }
    good
}

/// Looks whose the store is: follows what another server has made it, and has the siblings asked where that key is missing.
///
/// # Errors
/// Why the server cannot work with the store now.
pub(crate) async fn look(app: &Arc<App>) -> Result<(), String> {
    let outcome = app.manager().store_master_key().await;
    let siblings = &app.keeper.siblings;
    match &outcome {
        Ok(id) => {
            *siblings.missing.lock() = None;
            if let Err(error) = later::follow(app, id).await {
                tracing::error!(%error, "the store's master key could not be made the active one here");
            }
        }
        Err(Error::WrongState { reason }) => {
            // Once for each key; after that the pauses count.
            let new = siblings.missing.lock().replace(reason.clone()).is_none_or(|before| before != *reason);
            if new {
                siblings.wanted.notify_one();
            }
        }
        Err(_) => {}
    }
    outcome.map(drop).map_err(|error| error.to_string())
}

/// Asks again and again.
pub(crate) async fn schedule(app: Arc<App>) {
    let every = Duration::from_secs(app.keeper.config().siblings.every_seconds);
    let configured = !app.keeper.config().siblings.endpoints.is_empty();
    let (mut failures, mut pause) = (0_u32, Duration::ZERO);
    loop {
        let notified = tokio::time::timeout(pause, app.keeper.siblings.wanted.notified()).await.is_ok();
        if notified {
            tracing::info!("a master key is missing: siblings are asked now");
        }
        if configured {
            failures = if ask_all(&app.keeper, Some(&app)).await { 0 } else { failures.saturating_add(1) };
        }
        // What is wrong with the store is told by `/readyz`.
        let _ = look(&app).await;
        pause = jittered(pause_after(failures, every));
    }
}

/// Asks until the master key has come that the store belongs to. `is_there` looks for it.
pub(crate) async fn wait_for(keeper: &Arc<Keeper>, id: &str, is_there: impl AsyncFn() -> bool) {
    let every = Duration::from_secs(keeper.config().siblings.every_seconds);
    let problem = format!(
        "the store belongs to master key {id}, which this server does not have; its siblings are asked for it"
    );
    tracing::error!(master_key = id, "{problem}");
    let mut failures = 0_u32;
    loop {
        ask_all(keeper, None).await;
        if is_there().await {
            keeper.set_problem(None);
            return;
        }
        let said: Vec<_> = keeper
            .siblings
            .document()
            .siblings
            .into_iter()
            .map(|sibling| match sibling.problem {
                Some(problem) => format!("{}: {problem}", sibling.endpoint),
                None => format!("{}: it does not have it", sibling.endpoint),
            })
            .collect();
        keeper.set_problem(Some(format!("{problem}: {}", said.join("; "))));
        failures = failures.saturating_add(1);
        tokio::time::sleep(jittered(pause_after(failures, every))).await;
    }
}

#[cfg(test)]
mod tests {
    use chatelaine_api::HeldKeyDocument;

    use super::*;

    fn held(keys: &[(u32, &str)]) -> HeldKeysDocument {
        let key = |(epoch, id): &(u32, &str)| HeldKeyDocument {
            id: (*id).to_owned(),
            epoch: *epoch,
            state: String::new(),
        };
        HeldKeysDocument { cluster: String::new(), keys: keys.iter().map(key).collect() }
    }

    #[test]
    fn an_exchange_is_made_only_for_what_is_new() {
        let own = held(&[(2, "b"), (1, "a")]);
        assert!(!has_news(&own, &own));
        assert!(!has_news(&held(&[(1, "a")]), &own), "behind");
        assert!(!has_news(&held(&[(1, "a"), (2, "b")]), &own), "behind: it has not followed");
        assert!(!has_news(&held(&[(2, "b"), (0, "z")]), &own), "what is older was destroyed here");
        assert!(has_news(&held(&[(2, "b"), (3, "c"), (1, "a")]), &own), "staged");
        assert!(has_news(&held(&[(3, "c"), (2, "b")]), &own), "active");
        let staged = held(&[(2, "b"), (3, "c")]);
        assert!(has_news(&held(&[(3, "c"), (2, "b")]), &staged), "it is used now");
        assert!(has_news(&held(&[(2, "x")]), &own), "another key of that epoch is looked at, and refused");
        assert!(!has_news(&held(&[]), &own));
        assert!(is_behind(&held(&[(1, "a"), (2, "b")]), &own) && !is_behind(&own, &own));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let every = Duration::from_secs(60);
        let pauses: Vec<_> = (0..8).map(|failures| pause_after(failures, every).as_secs()).collect();
        assert_eq!(pauses, [60, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(pause_after(u32::MAX, every), every * LONGEST_PAUSE);
        let some: std::collections::BTreeSet<_> = (0..50).map(|_| jittered(every)).collect();
        assert!(some.len() > 10, "{some:?}");
        assert!(some.iter().all(|pause| (48..72).contains(&pause.as_secs())), "{some:?}");
    }
}

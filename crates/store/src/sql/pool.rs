//! The connections of a store: bounded, each used by one task at a time, and never used again once a call on it did not
//! end as it should.
//!
//! An address may name several servers. They are tried in their order, so that all servers of a key manager prefer the same
//! one; one that did not answer comes last for a while.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::dialect::{Dialect, Statement};
use super::error::{Class, Failure};
use super::session::{Place, Row, Session};

/// A connection is not used for longer, so that a server that was preferred is found again.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Nor when it was idle for longer: something on the way may have forgotten it.
const IDLE: Duration = Duration::from_secs(120);
/// How long one server has to take a connection, where others could.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a server that did not is tried last.
const AVOIDED: Duration = Duration::from_secs(10);

struct Idle {
    session: Session,
    since: Instant,
    used: Instant,
}

struct Shared {
    places: Vec<Place>,
    /// For each place, until when it is tried last.
    avoided: Mutex<Vec<Option<Instant>>>,
    /// The one used last is taken first.
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

/// All connections.
pub(super) struct Pool(Arc<Shared>);

/// A connection in use. Unless it is settled, it is closed when dropped: what is under way on it is not known.
pub(super) struct Lease {
    session: Option<Session>,
    since: Instant,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(places: Vec<Place>, connections: usize, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            avoided: Mutex::new(vec![None; places.len()]),
            places,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(connections.max(1))),
            timeout,
        }))
    }

    /// A connection of one's own.
    pub(super) async fn take(&self, deadline: Instant) -> Result<Lease, Failure> {
        let shared = &self.0;
        let seconds = shared.timeout.as_secs_f32();
        let permit = match timeout_at(deadline, Arc::clone(&shared.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => {
                return Err(Failure::slow(format!(
                    "no connection was free within {seconds} s: the database is too slow, or store.connections too small"
                )));
            }
        };
        let kept = loop {
            match shared.idle.lock().pop() {
                Some(idle) if idle.since.elapsed() > LIFETIME || idle.used.elapsed() > IDLE => {
                    tokio::spawn(idle.session.close());
                }
                other => break other,
            }
        };
        let (session, since) = match kept {
            Some(idle) => (idle.session, idle.since),
            None => (shared.connect(deadline).await?, Instant::now()),
        };
        Ok(Lease { session: Some(session), since, shared: Arc::clone(shared), _permit: permit })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.0.idle.lock());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            for one in idle {
                runtime.spawn(one.session.close());
            }
        }
    }
}

impl Shared {
    /// Connects to the first place that takes it.
    async fn connect(&self, deadline: Instant) -> Result<Session, Failure> {
        let now = Instant::now();
        let avoided = self.avoided.lock().clone();
        let is_avoided =
            |index: &usize| avoided.get(*index).copied().flatten().is_some_and(|until| until > now);
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(is_avoided);
        let mut problems = Vec::new();
        let mut class = Class::Lost;
        for index in order {
            let Some(place) = self.places.get(index) else { continue };
            let until = deadline.min(Instant::now() + CONNECT);
            let problem = match timeout_at(until, Session::open(place)).await {
                Ok(Ok(session)) => {
                    self.avoid(index, None);
                    return Ok(session);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::slow("it does not answer"),
            };
            self.avoid(index, Some(Instant::now() + AVOIDED));
            // What all of them refuse is not tried again and again.
            class =
                if problem.may_pass() || problem.class == Class::Slow { Class::Lost } else { problem.class };
            problems.push(format!("{}: {problem}", place.name));
        }
        Err(Failure::new(class, problems.join("; ")))
    }

    fn avoid(&self, index: usize, until: Option<Instant>) {
        if let Some(avoided) = self.avoided.lock().get_mut(index) {
            *avoided = until;
        }
    }
}

impl Lease {
    fn session(&mut self) -> Result<&mut Session, Failure> {
        self.session.as_mut().ok_or_else(|| Failure::lost("the connection was given back"))
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.session.as_ref().map_or(Dialect::Postgres, Session::dialect)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_cluster)
    }

    pub(super) async fn risk(&mut self) -> Result<Option<&'static str>, Failure> {
        self.session()?.risk().await
    }

    pub(super) async fn run(&mut self, text: &str) -> Result<(), Failure> {
        self.session()?.run(text).await
    }

    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Failure> {
        self.session()?.execute(statement).await
    }

    pub(super) async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Failure> {
        self.session()?.fetch(statement).await
    }

    /// Gives the connection back after a good end, outside any transaction. After a failure it is closed; where it was lost,
    /// so are the idle ones, which most likely were, too.
    pub(super) fn settle<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        match &result {
            Ok(_) => {
                if let Some(session) = self.session.take() {
                    let idle = Idle { session, since: self.since, used: Instant::now() };
                    self.shared.idle.lock().push(idle);
                }
            }
            Err(failure) if failure.class == Class::Lost => {
                let lost = std::mem::take(&mut *self.shared.idle.lock());
                drop(lost);
            }
            Err(_) => {}
        }
        result
    }
}

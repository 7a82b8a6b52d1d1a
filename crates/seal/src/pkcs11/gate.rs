//! One call at a time, on a thread of its own, for no longer than somebody is willing to wait.
//!
//! Invariant: a call that hangs holds one thread and nobody else: until it ends, further calls are turned away at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What is behind the gate, and who is inside.
pub(super) struct Gate<T> {
    inside: Mutex<Inside>,
    left: Condvar,
    thing: Mutex<T>,
}

#[derive(Default)]
struct Inside {
    /// How many calls there were, to tell one from another.
    calls: u64,
    /// The call that runs.
    running: Option<u64>,
    /// Whether nobody waits for it any longer.
    abandoned: bool,
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum GateError {
    /// Another call takes all of the time.
    Busy,
    /// A call that nobody waits for any longer still runs.
    Hangs,
    /// The call takes longer; it goes on.
    TimedOut,
    /// The call ended without an answer.
    Died,
    /// The system gives no thread.
    NoThread(std::io::Error),
}

impl<T: Send + 'static> Gate<T> {
    pub(super) fn new(thing: T) -> Arc<Self> {
        Arc::new(Self { inside: Mutex::default(), left: Condvar::new(), thing: Mutex::new(thing) })
    }

    /// Does some work on the thing, after those who came before. The work is told until when somebody waits for it.
    pub(super) fn call<R: Send + 'static>(
        self: &Arc<Self>,
        timeout: Duration,
        work: impl FnOnce(&mut T, Instant) -> R + Send + 'static,
    ) -> Result<R, GateError> {
        let deadline = Instant::now() + timeout;
        let permit = self.enter(deadline)?;
        let call = permit.call;
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || {
                let result =
                    work(&mut permit.gate.thing.lock().unwrap_or_else(PoisonError::into_inner), deadline);
                // Before the answer: whoever has it may call again at once.
                drop(permit);
                // Nobody may be waiting any longer; what was made is wiped where it is secret.
                let _ = sender.send(result);
            })
            .map_err(GateError::NoThread)?;
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => Ok(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(GateError::Died),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let mut inside = self.inside();
                if inside.running == Some(call) {
                    inside.abandoned = true;
                    self.left.notify_all();
                }
                Err(GateError::TimedOut)
            }
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, deadline: Instant) -> Result<Permit<T>, GateError> {
        let mut inside = self.inside();
        while inside.running.is_some() {
            if inside.abandoned {
                return Err(GateError::Hangs);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(GateError::Busy);
            }
            (inside, _) = self.left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
        inside.calls = inside.calls.wrapping_add(1);
        inside.running = Some(inside.calls);
        Ok(Permit { call: inside.calls, gate: Arc::clone(self) })
    }
}

/// To be inside; whoever drops it leaves.
struct Permit<T: Send + 'static> {
    call: u64,
    gate: Arc<Gate<T>>,
}

impl<T: Send + 'static> Drop for Permit<T> {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        inside.running = None;
        inside.abandoned = false;
        drop(inside);
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn calls_come_one_after_another() {
        let gate = Gate::new(0_u32);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    gate.call(LONG, |count, _| {
                        let before = *count;
                        thread::yield_now();
                        *count = before + 1;
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(gate.call(LONG, |count, _| *count).unwrap(), 8);
    }

    #[test]
    fn a_call_that_hangs_turns_others_away_until_it_ends() {
        let gate = Gate::new(());
        let (release, held) = mpsc::channel::<()>();
        let hanging = gate.call(SHORT, move |(), _| held.recv());
        assert!(matches!(hanging, Err(GateError::TimedOut)));
        // At once, and not after the time it would have had.
        let before = Instant::now();
        assert!(matches!(gate.call(LONG, |(), _| ()), Err(GateError::Hangs)));
        assert!(before.elapsed() < LONG);
        drop(release);
        // It ends on a thread of its own, soon.
        let ended = Instant::now() + LONG;
        while matches!(gate.call(LONG, |(), _| ()), Err(GateError::Hangs)) {
            assert!(Instant::now() < ended);
            thread::yield_now();
        }
        gate.call(LONG, |(), _| ()).unwrap();
    }

    #[test]
    fn whoever_waits_for_a_call_that_hangs_is_turned_away_too() {
        let gate = Gate::new(());
        let (release, held) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                gate.call(Duration::from_millis(300), move |(), _| {
                    entered.send(()).unwrap();
                    held.recv()
                })
            });
            inside.recv().unwrap();
            assert!(matches!(gate.call(SHORT, |(), _| ()), Err(GateError::Busy)));
            assert!(matches!(gate.call(LONG, |(), _| ()), Err(GateError::Hangs)));
            assert!(matches!(first.join().unwrap(), Err(GateError::TimedOut)));
        });
        drop(release);
    }

    #[test]
    fn a_call_that_dies_leaves_the_gate_open() {
        let gate = Gate::new(());
        let died = gate.call(LONG, |(), _| {
            std::panic::resume_unwind(Box::new("without a message on the terminal"));
        });
        assert!(matches!(died, Err(GateError::Died)));
        gate.call(LONG, |(), _| ()).unwrap();
    }
}

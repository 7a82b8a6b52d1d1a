//! The kernel's device: one write is one command, one read is one answer.
//!
//! Opened without blocking: the driver then works in the background (Linux 5.0 and later) and the answer is waited for
//! until the deadline.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};

use super::{Transport, TransportError, answer_length};
use crate::codec::MAX_MESSAGE;

const NOT_YET: Duration = Duration::from_millis(1);

pub(super) struct Device {
    file: OwnedFd,
}

impl Device {
    pub(super) fn open(path: &Path) -> Result<Self, TransportError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            open(path, flags, Mode::empty()).map_err(|error| TransportError::Unreachable(error.into()))?;
        Ok(Self { file })
    }

    fn wait(&self, flags: PollFlags, deadline: Instant) -> Result<(), TransportError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TransportError::TimedOut);
            }
            match poll(&mut [PollFd::new(&self.file, flags)], Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(TransportError::Broken(error.into())),
            }
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

impl Transport for Device {
    fn transmit(&mut self, command: &[u8], deadline: Instant) -> Result<Vec<u8>, TransportError> {
        loop {
            match write(&self.file, command) {
                Ok(count) if count == command.len() => break,
                Ok(_) => return Err(TransportError::Garbage("the driver took a part of a command")),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(error) => return Err(TransportError::Broken(error.into())),
            }
            if Instant::now() >= deadline {
                return Err(TransportError::TimedOut);
            }
        }
        let mut answer = vec![0; MAX_MESSAGE];
        let count = loop {
            self.wait(PollFlags::IN, deadline)?;
            match read(&self.file, &mut answer) {
                // Some kernels say that there is an answer before the work has begun.
                Ok(0) => std::thread::sleep(NOT_YET),
                Ok(count) => break count,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(TransportError::Broken(error.into())),
            }
        };
        answer.truncate(count);
        let header = answer.first_chunk().ok_or(TransportError::Garbage("it is shorter than ten bytes"))?;
        if answer_length(*header)? != count {
            return Err(TransportError::Garbage("it is not as long as it says"));
        }
        Ok(answer)
    }
}

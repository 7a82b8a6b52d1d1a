"""HTTP/1.1 over a Unix socket: connections that are kept and shared.

Owns the pool of one socket's connections. It is for threads, for greenthreads (everything that waits goes through the standard
library's ``socket``, ``threading`` and ``time`` as they are at the time of the call, so eventlet's patches hold) and for processes
that fork: a child starts with no connections and fresh locks.

Invariants: a call ends within its timeout, waiting for a free connection included; an answer is bounded; a connection goes back
into the pool only after its answer was read to the end; nothing is sent twice unless nothing had arrived of the first attempt, or
the method is safe.
"""

from __future__ import annotations

import collections
import http.client
import io
import os
import socket
import threading
import time
import weakref
from typing import Any, NamedTuple

from chatelaine.errors import UnavailableError, UnexpectedAnswerError

#: Longest body of an answer, in bytes: a page of keys with all their attributes fits.
MAX_ANSWER = 8 << 20
#: Connections that nobody used for so many seconds are closed.
IDLE_SECONDS = 30.0
_SAFE_METHODS = frozenset({'GET', 'HEAD'})
#: Pauses while the agent's queue of connections is full.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _Stream:
    """A socket as ``http.client`` uses it, with one deadline for everything."""

    def __init__(self, connected: Any):
        self.socket = connected
        self.deadline = 0.0
        self.sent = 0

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError('the time is over')
        self.socket.settimeout(left)

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            self._limit()
            count = self.socket.send(view)
            self.sent += count
            view = view[count:]

    def receive_into(self, buffer: Any) -> int:
        self._limit()
        return int(self.socket.recv_into(buffer))

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == 'rb', mode  # noqa: S101 - what http.client does
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        self.socket.close()


class _Reader(io.RawIOBase):
    """What ``http.client`` reads answers from. Closing it leaves the connection open."""

    def __init__(self, stream: _Stream):
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.receive_into(buffer)


class _Connection(http.client.HTTPConnection):
    """One connection to a Unix socket."""

    auto_open = 0

    def __init__(self, path: str):
        super().__init__('localhost')
        self._path = path
        self.stream: _Stream | None = None
        self.idle_since = 0.0

    def open(self, deadline: float) -> None:
        """Connects. A full queue at the other end is waited for."""
        pause = _FIRST_PAUSE
        while True:
            connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError('the time is over')
                connecting.settimeout(left)
                connecting.connect(self._path)
            except BlockingIOError:
                connecting.close()
            except BaseException:
                connecting.close()
                raise
            else:
                self.stream = _Stream(connecting)
                self.sock = self.stream
                return
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def is_stale(self) -> bool:
        """Whether the other end has closed it, or sent what nobody asked for."""
        if self.stream is None or time.monotonic() - self.idle_since > IDLE_SECONDS:
            return True
        try:
            self.stream.socket.setblocking(False)
            self.stream.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True


class Pool:
    """The connections to one Unix socket; at most ``max_connections`` at a time, further calls wait for one."""

    def __init__(self, path: str, max_connections: int):
        self.path = path
        self._max_connections = max_connections
        self._idle: collections.deque[_Connection] = collections.deque()
        self._renew()
        _pools.add(self)

    def __del__(self) -> None:
        self.close()

    def _renew(self) -> None:
        self.close()
        self._free = threading.BoundedSemaphore(self._max_connections)
        # The one used last is used next: what is not needed gets idle and is closed. Append and pop are atomic.
        self._idle = collections.deque()

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes | None, timeout: float) -> Answer:
        """One call. ``UnavailableError`` where there is no answer in time, ``UnexpectedAnswerError`` where it is none."""
        deadline = time.monotonic() + timeout
        free = self._free
        if not free.acquire(timeout=timeout):
            raise UnavailableError(
                f'all {self._max_connections} connections to the agent were in use for {timeout:g} s; '
                'allow more (max_connections), or find out why the agent is slow'
            )
        try:
            return self._call(method, path, headers, body, deadline)
        except (TimeoutError, socket.timeout) as error:  # Two classes in Python 3.9.
            raise UnavailableError(f'the agent at {self.path} gave no answer within {timeout:g} s') from error
        except (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError) as error:
            done = '' if method in _SAFE_METHODS else '; what was asked for may have been done'
            raise UnavailableError(f'the agent at {self.path} ended before it had answered{done}') from error
        except http.client.HTTPException as error:
            raise UnexpectedAnswerError(
                f'the answer of {self.path} is not HTTP ({type(error).__name__}): is it the socket of an agent?'
            ) from error
        except OSError as error:
            raise UnavailableError(
                f'the agent at {self.path} cannot be reached: {error.strerror or error}; '
                'see that it runs, and that this process may open its socket'
            ) from error
        finally:
            free.release()

    def _call(self, method: str, path: str, headers: dict[str, str], body: bytes | None, deadline: float) -> Answer:
        connection = self._kept()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, headers, body, deadline)
            except ConnectionError:
                # Closed by the agent at the moment of use.
                stream = connection.stream
                if method not in _SAFE_METHODS and (stream is None or stream.sent > 0):
                    raise
        connection = _Connection(self.path)
        connection.open(deadline)
        return self._exchange(connection, method, path, headers, body, deadline)

    def _kept(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.is_stale():
                return connection
            connection.close()

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        deadline: float,
    ) -> Answer:
        idle = self._idle
        done = False
        try:
            if connection.stream is not None:
                connection.stream.deadline = deadline
                connection.stream.sent = 0
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            received = answer.read(MAX_ANSWER + 1)
            if len(received) > MAX_ANSWER:
                raise UnexpectedAnswerError(f'an answer of {self.path} is longer than {MAX_ANSWER} bytes')
            if answer.length:
                # `read` with a length says nothing of it.
                raise http.client.IncompleteRead(b'', answer.length)
            done = not answer.will_close and answer.isclosed()
            return Answer(answer.status, answer.headers, received)
        finally:
            # Whatever ended it, a timeout of greenthreads included: half an answer must not be somebody else's.
            if done and idle is self._idle:
                connection.idle_since = time.monotonic()
                idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Closes the connections that nobody uses now."""
        while self._idle:
            self._idle.pop().close()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _forget_connections() -> None:
    # What a child inherits is its parent's: it is closed here, never used. Locks may be held by threads the child has not.
    for pool in list(_pools):
        pool._renew()


os.register_at_fork(after_in_child=_forget_connections)

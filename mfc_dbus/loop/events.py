"""Callbacks of the event loop, guarded: an error in one is logged, and ends nothing else."""

import asyncio
import logging
import select
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from mfc_dbus.loop.slices import on_the_floor

log = logging.getLogger(__name__)

_ERRORS = 3  # in a row, after which a file descriptor is left alone for some time
_LONG = 0.001  # seconds of one reading


class Guard:
    """A context in which an unexpected error is logged whole; the same error once in a row."""

    def __init__(self, what: str) -> None:
        """what: the work that goes on after an error, as a noun for the log."""
        self._what = what
        self._last = ""
        self.failed = False  # whether the last time ended in an error

    def __enter__(self) -> None:
        self.failed = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            self._last = ""
            return False
        if not isinstance(error, Exception):
            return False
        self.failed = True
        described = "".join(traceback.format_exception_only(error))
        if described != self._last:
            log.error("Internal error: %s goes on", self._what, exc_info=error)
        self._last = described
        return True


class Pulse:
    """Tells whether work that is done in steps still makes progress; the watchdog asks it."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """patience: the most seconds that may pass without a sign of progress."""
        self._patience = patience
        self._clock = clock
        self._last = clock()
        self._queued = False

    def beat(self) -> None:
        """Note that a step has ended."""
        self._last = self._clock()

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Make the context of a step that waits in the queue: the progress of others counts."""
        self._queued = True
        try:
            yield
        finally:
            self._queued = False

    def go_on(self) -> None:
        """Note that the changes in the queue make progress."""
        if self._queued:
            self.beat()

    @property
    def alive(self) -> bool:
        return self._clock() - self._last < self._patience


class Readers:
    """The file descriptors that the event loop watches.

    One that stays in error is always readable: it would keep the loop busy for ever. So it is left
    alone after some errors in a row, and tried again with each `retry`. One that takes long to read
    goes on in slices, as all long work does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._readers: dict[int, _Reader] = {}
        self._resting: set[int] = set()
        self._queued: set[int] = set()  # for their next slice

    def add(self, fd: int, what: str, callback: Callable[[], object]) -> None:
        """Call back when there is something to read. what: names the reader in the log."""
        self._readers[fd] = _Reader(fd, callback, Guard(what))
        self._leave(fd)
        self._loop.add_reader(fd, self._read, fd)

    def remove(self, fd: int) -> None:
        """Stop watching a file descriptor; one that is not watched is no error."""
        if self._readers.pop(fd, None) is not None:
            self._leave(fd)
            self._loop.remove_reader(fd)

    def close(self) -> None:
        for fd in list(self._readers):
            self.remove(fd)

    def retry(self) -> None:
        """Read the file descriptors that were left alone, and watch them again."""
        resting, self._resting = self._resting, set()
        for fd in resting:
            if fd in self._readers:  # which another one of these may have removed
                self._readers[fd].errors = 0
                self._loop.add_reader(fd, self._read, fd)
                self._read(fd)

    def _read(self, fd: int) -> None:
        reader = self._readers[fd]
        begin = time.monotonic()
        reader.read()
        if fd not in self._readers:
            return
        if reader.errors >= _ERRORS:
            self._loop.remove_reader(fd)
            self._resting.add(fd)
        elif time.monotonic() - begin > _LONG:
            self._loop.remove_reader(fd)
            self._queued.add(fd)
            on_the_floor(partial(self._go_on, fd))

    def _go_on(self, fd: int) -> None:
        if fd in self._queued:
            self._queued.discard(fd)
            self._loop.add_reader(fd, self._read, fd)
            self._read(fd)

    def _leave(self, fd: int) -> None:
        self._resting.discard(fd)
        self._queued.discard(fd)


class _Reader:
    def __init__(self, fd: int, callback: Callable[[], object], guard: Guard) -> None:
        self.errors = 0  # in a row
        self._callback = callback
        self._guard = guard
        self._state = select.poll()
        self._state.register(fd, 0)  # with no event asked for, poll tells of errors alone

    def read(self) -> None:
        with self._guard:
            self._callback()
        self.errors = self.errors + 1 if self._guard.failed or self._state.poll(0) else 0

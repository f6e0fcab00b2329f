"""What the event loop calls: whatever goes wrong there is logged, and ends nothing."""

import asyncio
import logging
import select
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

log = logging.getLogger(__name__)

_ERRORS = 3  # in a row, after which a file descriptor is left alone for some time


class Guard:
    """A context in which an unexpected error is logged whole; the same error once in a row."""

    def __init__(self, what: str) -> None:
        """what: goes on after the error, as a noun."""
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
    """Whether work that comes in steps still gets through them."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """patience: seconds that a step may take, at the most, while nothing before it goes on."""
        self._patience = patience
        self._clock = clock
        self._last = clock()
        self._queued = False

    def beat(self) -> None:
        """Say that a step has ended."""
        self._last = self._clock()

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Do a step that waits behind the changes of others for its turn."""
        self._queued = True
        try:
            yield
        finally:
            self._queued = False

    def go_on(self) -> None:
        """Say that these changes go on."""
        if self._queued:
            self.beat()

    @property
    def alive(self) -> bool:
        return self._clock() - self._last < self._patience


class Readers:
    """The file descriptors that the event loop watches.

    One that stays in error is always readable: it would keep the loop busy for ever. So it is left
    alone after some errors in a row, and tried again with each `retry`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._readers: dict[int, _Reader] = {}
        self._resting: set[int] = set()

    def add(self, fd: int, what: str, callback: Callable[[], object]) -> None:
        """Call back when there is something to read. what: does so, as a noun for the log."""
        self._readers[fd] = _Reader(fd, callback, Guard(what))
        self._resting.discard(fd)
        self._loop.add_reader(fd, self._read, fd)

    def remove(self, fd: int) -> None:
        """Call back no more, if that was so."""
        if self._readers.pop(fd, None) is not None:
            self._resting.discard(fd)
            self._loop.remove_reader(fd)

    def close(self) -> None:
        for fd in list(self._readers):
            self.remove(fd)

    def retry(self) -> None:
        """Read what was left alone, and watch it again."""
        resting, self._resting = self._resting, set()
        for fd in resting:
            self._readers[fd].errors = 0
            self._loop.add_reader(fd, self._read, fd)
            self._read(fd)

    def _read(self, fd: int) -> None:
        reader = self._readers[fd]
        reader.read()
        if reader.errors >= _ERRORS and fd in self._readers:
            self._loop.remove_reader(fd)
            self._resting.add(fd)


class _Reader:
    def __init__(self, fd: int, callback: Callable[[], object], guard: Guard) -> None:
        self.errors = 0  # in a row
        self._callback = callback
        self._guard = guard
        self._state = select.poll()
        self._state.register(fd, 0)  # then it tells of errors alone

    def read(self) -> None:
        with self._guard:
            self._callback()
        self.errors = self.errors + 1 if self._guard.failed or self._state.poll(0) else 0

"""Threads that work for the event loop, which serves others meanwhile.

Where the system lets no thread start, the work is done at once, and others wait for it. An executor
of the standard library keeps what it could not start for a later thread, and needs one more thread
to end. It also costs twice as much, since it answers any thread, and that one hands the answer on.
"""

import _thread
import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from mfc_dbus.loop.outcome import Outcome

T = TypeVar("T")


class _Job(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    work: Callable[[], Any]

    def do(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits
            self.loop.call_soon_threadsafe(_outcome(self.work).answer, self.future)
        del self  # an error of the work holds this frame: see outcome.py


def aside(work: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Have work done in a thread of its own. The future has its result or its error."""
    return _give(_begin, work, arguments)


class Worker:
    """A thread that does one thing after the other; each change of a route waits for one.

    A context manager; its end waits until all is done that the thread was given.

    The thread starts with its first work: none may run yet when the process gives up capabilities.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        if self._thread:
            self._jobs.put(None)
            self._thread.join()

    def do(self, work: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Have work done. The future, of the running event loop, has its result or its error.

        Raises RuntimeError after the end, when nobody would do it.
        """
        if self._ended:
            raise RuntimeError(f"The thread {self._name} has ended")
        return _give(self._take, work, arguments)

    def _take(self, job: _Job) -> bool:
        if self._thread is None:
            self._thread = _start(self._run, self._name)
        if self._thread:
            self._jobs.put(job)
        return self._thread is not None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()
            del job  # which may hold much, and would until the next one comes


def _give(
    take: Callable[[_Job], bool], work: Callable[..., Any], arguments: Sequence[Any]
) -> asyncio.Future[Any]:
    """Give work to a thread, or do it where none takes it. Return its future."""
    loop = asyncio.get_running_loop()
    job = _Job(loop, loop.create_future(), partial(work, *arguments))
    try:
        if not take(job):
            job.do()
        return job.future
    finally:
        del job  # as in `_Job.do`


def _begin(job: _Job) -> bool:
    """Do a job in a new thread. Return whether the system lets it start."""
    try:
        # Thread.start would wait until the thread runs: on a busy machine others wait for that.
        _thread.start_new_thread(job.do, ())
    except RuntimeError:
        return False
    return True


def _start(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a thread, and return it; None where the system lets none start."""
    thread = threading.Thread(target=run, name=name)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def _outcome(work: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(work())
    except BaseException as error:  # noqa: BLE001 - it is for the one who waits
        return Outcome(error=error)

"""Long work on the event loop, in slices: others are served in between.

All such work shares one floor: a slice of one, a rest for everybody else, then a slice of the next.
So it is the same to a caller how many works there are.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

SLICE = 0.005  # seconds in which nobody else is served
_BATCH = 32  # items, of some microseconds each
_PAUSE = 0.001  # seconds for the others: a call takes several turns of the event loop


class Slices:
    """The clock of one piece of long work, which awaits `pause` wherever its state is whole.

    end: when the present slice is used up, on the monotonic clock.
    """

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self.end = time.monotonic() + seconds

    async def pause(self) -> None:
        """Serve everybody else, if the slice is used up."""
        if time.monotonic() >= self.end:
            waiter = asyncio.get_running_loop().create_future()

            def wake_up() -> None:
                if not waiter.done():
                    waiter.set_result(None)

            on_the_floor(wake_up)
            await waiter
            self.end = time.monotonic() + self._seconds


def on_the_floor(begin: Callable[[], object]) -> None:
    """Have long work begin its next slice when all that wait for the floor have had theirs.

    begin: does the slice, or wakes up the task that does.
    """
    loop = asyncio.get_running_loop()
    if loop not in _floors:
        _floors[loop] = _Floor()
    _floors[loop].queue(begin)


class _Floor:
    """Whose slice it is, of the long works of an event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._taken = False  # by a slice, or by the rest after one

    def queue(self, begin: Callable[[], object]) -> None:
        self._waiting.append(begin)
        if not self._taken:
            self._rest()

    def _rest(self) -> None:
        self._taken = bool(self._waiting)
        if self._taken:
            asyncio.get_running_loop().call_later(_PAUSE, self._begin)

    def _begin(self) -> None:
        try:
            self._waiting.popleft()()
        finally:
            asyncio.get_running_loop().call_soon(self._rest)  # after the task that was woken up


_floors: WeakKeyDictionary[asyncio.AbstractEventLoop, _Floor] = WeakKeyDictionary()


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield each item, and pause between them. The iterable must not change meanwhile."""
    slices, now = Slices(), time.monotonic
    for item in items:
        if now() >= slices.end:  # looked at here, since to await costs more than most items do
            await slices.pause()
        yield item


async def in_batches(items: Iterable[T]) -> AsyncIterator[list[T]]:
    """Yield some items at a time, and pause between them. The iterable must not change meanwhile.

    For items that take a microsecond each: to yield one by one would take half as much again.
    """
    slices, now = Slices(), time.monotonic
    coming = iter(items)
    while batch := list(islice(coming, _BATCH)):
        if now() >= slices.end:
            await slices.pause()
        yield batch


async def let_go(items: list[Any] | dict[Any, Any]) -> None:
    """Empty a collection that nobody else uses, and pause between its items.

    To free 100,000 routes keeps others waiting as any other work on them does.
    """
    drop_one = items.popitem if isinstance(items, dict) else items.pop
    slices, now = Slices(), time.monotonic
    while items:
        drop_one()
        if now() >= slices.end:
            await slices.pause()


class Bell:
    """Wakes up everybody who waits for it; each then checks its own condition."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return when it rings the next time."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

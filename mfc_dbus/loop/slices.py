"""Long work on the event loop, in slices: others are served in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.005  # seconds in which nobody else is served
_REST = 0.001  # seconds for the others: a call takes several turns of the event loop


class Slices:
    """One piece of long work, which calls `pause` wherever others may look at what it has done."""

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    async def pause(self) -> None:
        """Serve everybody else, if the slice is used up."""
        if time.monotonic() >= self._until:
            await asyncio.sleep(_REST)
            self._until = time.monotonic() + self._seconds


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Go through items, and pause between them. What is gone through must not change meanwhile."""
    slices = Slices()
    for item in items:
        await slices.pause()
        yield item


class Bell:
    """Wakes up all who wait for it to ring; whether that is what they waited for, they look."""

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

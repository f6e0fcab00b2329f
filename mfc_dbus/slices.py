"""Long work on the event loop, in slices: others are served in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.005  # seconds in which nobody else is served


class Slices:
    """One piece of long work, which calls `pause` wherever others may look at what it has done."""

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    async def pause(self) -> None:
        """Serve everybody else once, if the slice is used up."""
        if time.monotonic() >= self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + self._seconds


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Go through items, and pause between them. What is gone through must not change meanwhile."""
    slices = Slices()
    for item in items:
        await slices.pause()
        yield item

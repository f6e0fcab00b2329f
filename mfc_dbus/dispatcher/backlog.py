"""The events that wait for their turn: in order, none merged, and not without bound."""

import asyncio
from collections import deque
from collections.abc import Callable

from mfc_dbus.dispatcher.comparison import Comparison
from mfc_dbus.dispatcher.events import Event

LIMIT = 10_000


class Backlog:
    """What is to be dispatched. Where it is too much it is forgotten, and all is compared instead.

    Then what has no comparison is lost: streams without a route, which are told of again.
    """

    def __init__(self, compare: Callable[[], Comparison], limit: int = LIMIT) -> None:
        """compare: makes the comparison with how all is now."""
        self._compare = compare
        self._limit = limit
        self._waiting: deque[Event | Comparison] = deque()
        self._overflowed = False
        self._closed = False
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + self._overflowed

    def put(self, item: Event | Comparison) -> None:
        if not self._overflowed and len(self._waiting) == self._limit:
            self._waiting.clear()
            self._overflowed = True
        if not self._overflowed:
            self._waiting.append(item)
        self._filled.set()

    def close(self) -> None:
        """Have `get` return None when nothing waits any more."""
        self._closed = True
        self._filled.set()

    async def get(self) -> Event | Comparison | None:
        while not len(self):
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        if self._overflowed:
            self._overflowed = False
            return self._compare()
        return self._waiting.popleft()

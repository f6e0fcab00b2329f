"""The events that wait for their turn: in order, none merged, and not without bound."""

import asyncio
from collections import deque
from collections.abc import Callable

from mfc_dbus.dispatcher.comparison import Comparison
from mfc_dbus.dispatcher.events import Event

LIMIT = 10_000
_MOST_COMPARISONS = 10  # since each has all routes


class Backlog:
    """What is to be dispatched. Where it is too much it is forgotten, and all is compared instead.

    Then what has no comparison is lost: streams without a route, which are told of again.
    """

    def __init__(self, compare: Callable[[], Comparison], limit: int = LIMIT) -> None:
        """compare: makes the comparison with how all is now."""
        self._compare = compare
        self._limit = limit
        self._waiting: deque[Event | Comparison] = deque()
        self._comparisons = 0
        self._overflowed = False
        self._closed = False
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + self._overflowed

    def put(self, item: Event | Comparison) -> None:
        self._filled.set()
        if self._overflowed:
            return
        self._comparisons += isinstance(item, Comparison)
        if len(self._waiting) == self._limit or self._comparisons > _MOST_COMPARISONS:
            self._waiting.clear()
            self._comparisons = 0
            self._overflowed = True
        else:
            self._waiting.append(item)

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
        item = self._waiting.popleft()
        self._comparisons -= isinstance(item, Comparison)
        return item

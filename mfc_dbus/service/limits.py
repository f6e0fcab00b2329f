"""Calls that wait: how many may, of one caller, of one user and in all; and whose turn it is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from mfc_dbus.model.errors import LimitExceeded


class Waiting:
    """Who waits, and with how much."""

    def __init__(self, what_for: str) -> None:
        self._what_for = what_for
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def limited(self, who: str, key: str, limit: int, size: int | None = None) -> Iterator[None]:
        """Count one more under a key, for the time of the context. Raises LimitExceeded.

        size: count so many bytes instead.
        """
        weight = 1 if size is None else size
        if self._waiting[key] + weight > limit:
            what = f"{limit} calls" if size is None else f"{self._waiting[key]} bytes"
            raise LimitExceeded(f"{what} of {who} wait for {self._what_for} already")
        self._waiting[key] += weight
        try:
            yield
        finally:
            self._waiting[key] -= weight
            if not self._waiting[key]:
                del self._waiting[key]


class OneByOne:
    """Users are served in turn: who asks a lot keeps each of the others waiting for one answer."""

    def __init__(self) -> None:
        self._all = asyncio.Lock()
        self._own: WeakValueDictionary[int | None, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, uid: int | None) -> AsyncIterator[None]:
        """Wait for this user's turn. uid: None for those of whom the bus does not tell it."""
        own = self._own.setdefault(uid, asyncio.Lock())
        async with own, self._all:
            yield

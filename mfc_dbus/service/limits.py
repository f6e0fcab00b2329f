"""How many calls may wait, of one caller, of one user and in all; and whose turn is next."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from mfc_dbus.model.errors import LimitExceeded


class Quota:
    """Counts the calls that wait for one thing, or their bytes."""

    def __init__(self, what_for: str) -> None:
        """what_for: names the thing in the sentence of LimitExceeded."""
        self._what_for = what_for
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def limited(self, who: str, key: str, limit: int, size: int | None = None) -> Iterator[None]:
        """Count one call more under a key while the context lasts. Raises LimitExceeded.

        who: names whoever the key stands for. size: count so many bytes, and not one call.
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

    @contextmanager
    def of_user(self, uid: int | None, most: int, most_of_all: int) -> Iterator[None]:
        """Count one call more of a user while the context lasts. Raises LimitExceeded.

        most: of one user. most_of_all: of all users, beside the first one of each: others cannot
        have all places.
        """
        user = f"uid {uid}"
        is_first = not self._waiting[user]
        with ExitStack() as stack:
            stack.enter_context(self.limited("this user", user, most))
            if not is_first:
                stack.enter_context(self.limited("all users", "all", most_of_all))
            yield


class OneByOne:
    """Serves users in turn: one who asks a lot keeps each of the others waiting for one answer."""

    def __init__(self) -> None:
        self._all = asyncio.Lock()
        self._own: WeakValueDictionary[int | None, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, uid: int | None) -> AsyncIterator[None]:
        """Wait for the turn of a user. uid: None for all users whom the bus does not name."""
        own = self._own.setdefault(uid, asyncio.Lock())
        async with own, self._all:
            yield

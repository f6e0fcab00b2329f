"""The events that wait for their turn: in order, none merged, and not without bound.

What streams do, which strangers send, waits apart, and for all else: a flood of them neither holds
up what becomes of routes nor has it forgotten.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from mfc_dbus.dispatcher.comparison import Comparison, HeardSoFar
from mfc_dbus.dispatcher.events import Event, Kind

LIMIT = 10_000
_MOST_COMPARISONS = 10  # since each has all routes


class Backlog:
    """What is to be dispatched."""

    def __init__(
        self,
        compare: Callable[[], Comparison],
        compare_streams: Callable[[], Comparison],
        limit: int = LIMIT,
    ) -> None:
        """compare: makes the comparison of all but streams with how it is now."""
        self._streams = _Queue(compare_streams, limit)
        self._others = _Queue(compare, limit)
        self._closed = False
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._others) + len(self._streams)

    def put(self, item: Event | Comparison) -> None:
        """Add what has happened. A comparison is of streams alone, or of all else."""
        kinds = item.known if isinstance(item, Comparison) else [item.kind]
        (self._streams if Kind.STREAM in kinds else self._others).put(item)
        self._filled.set()

    def close(self) -> None:
        """Have `wait` end when nothing waits any more."""
        self._closed = True
        self._filled.set()

    def next(self, heard: HeardSoFar) -> Event | None:
        """Take the event whose turn it is; None where none waits.

        Scripts must have heard of one before the next one is taken.
        """
        event = self._others.next(heard)
        return self._streams.next(heard) if event is None else event

    async def wait(self) -> bool:
        """Wait until there may be an event. Return whether any may still come."""
        while not len(self):
            if self._closed:
                return False
            self._filled.clear()
            await self._filled.wait()
        return True


class _Queue:
    """Where it is too much it is forgotten, and all is compared instead.

    Then what has no comparison is lost: streams without a route, which are told of again.
    """

    def __init__(self, compare: Callable[[], Comparison], limit: int) -> None:
        self._compare = compare
        self._limit = limit
        self._waiting: deque[Event | Comparison] = deque()
        self._comparisons = 0
        self._overflowed = False
        self._found: Iterator[Event] = iter(())  # by the comparison whose turn it is

    def __len__(self) -> int:
        return len(self._waiting) + self._overflowed

    def put(self, item: Event | Comparison) -> None:
        if self._overflowed:
            return
        self._comparisons += isinstance(item, Comparison)
        if len(self._waiting) == self._limit or self._comparisons > _MOST_COMPARISONS:
            self._waiting.clear()
            self._comparisons = 0
            self._overflowed = True
        else:
            self._waiting.append(item)

    def next(self, heard: HeardSoFar) -> Event | None:
        while (event := next(self._found, None)) is None and len(self):
            item = self._take()
            self._found = item.events(heard) if isinstance(item, Comparison) else iter([item])
        return event

    def _take(self) -> Event | Comparison:
        if self._overflowed:
            self._overflowed = False
            return self._compare()
        item = self._waiting.popleft()
        self._comparisons -= isinstance(item, Comparison)
        return item

"""What the kernel asks about streams, in all tables: some are learned, and others are told of."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from mfc_dbus.config.settings import Config
from mfc_dbus.model.route import Route, TableId
from mfc_dbus.routing.table import Table
from mfc_dbus.streams.learning import Learning
from mfc_dbus.streams.unrouted import Stream, Unrouted

# The most at one time, so that others are served in between.
_MOST = 64
_LOOKS = 500


class Discoverer(Protocol):
    """Who is told of what the routes have no part in."""

    def arrived(self, stream: Stream) -> None:
        """A stream arrives that no route covers; how often this is told is bounded."""

    def watched(self) -> None:
        """The interfaces that have VIFs, and that no route uses, are others now."""


class Upcalls:
    """Answers by the routes that there are, also while a long change goes on."""

    def __init__(self, tables: Mapping[TableId, Table], config: Config) -> None:
        self.config = config
        self.discoverer: Discoverer | None = None
        self._tables = tables
        self._learning = {id_: Learning(table) for id_, table in tables.items()}
        self._unrouted = Unrouted()

    def hear(self, id_: TableId) -> None:
        """Read what a table's kernel asks, some of it at a time, and answer."""
        now, learning = _now(), self._learning[id_]
        for other in learning.hear(self._tables[id_].upcalls(_MOST), now, self.config):
            if not self._unrouted.has_room(now) or learning.covers(other):
                continue
            if self.discoverer and self._unrouted.admit(other, now):
                self.discoverer.arrived(other)

    def answer(self, table: Table, routes: Sequence[Route]) -> None:
        """Learn what the kernel had asked for before there were these routes."""
        self._learning[table.id].answer(routes, _now(), self.config)

    def take_up(self, table: Table, unresolved: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin to look at what was learned by an earlier process, and answer what it was asked.

        unresolved: see `Held`.
        """
        self._learning[table.id].take_up(unresolved, _now(), self.config)

    def look(self, now: int) -> None:
        """Look whether what was learned is used, some of it at a time."""
        for learning in self._learning.values():
            learning.look(now, self.config, _LOOKS)

    @property
    def next_look(self) -> int | None:
        """When `look` has something to do, in nanoseconds since boot."""
        looks = (learning.next_look(self.config) for learning in self._learning.values())
        return min((when for when in looks if when is not None), default=None)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

"""What the kernel asks about streams, in all tables: some are learned, and others are told of."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mfc_dbus.config import Config
from mfc_dbus.kernel.abi import Upcall
from mfc_dbus.learning import Learning
from mfc_dbus.model import Route, TableId
from mfc_dbus.table import Table
from mfc_dbus.unrouted import Stream, Unrouted

# The most at one time, so that others are served in between.
_MOST = 64
_MOST_WAITING = 100  # times as many, during a long change
_LOOKS = 500


class Discoverer(Protocol):
    """Who is told of what the routes have no part in."""

    def arrived(self, stream: Stream) -> None:
        """A stream arrives that no route covers; how often this is told is bounded."""

    def watched(self) -> None:
        """The interfaces that have VIFs, and that no route uses, are others now."""


class _Waiting(NamedTuple):
    """Upcalls of a table, and the names that its VIF numbers had when they were read."""

    table: TableId
    upcalls: Sequence[Upcall]
    names: Mapping[int, str]


class Upcalls:
    """Answers as long as nobody changes routes; what is asked meanwhile waits."""

    def __init__(self, tables: Mapping[TableId, Table], config: Config) -> None:
        self.config = config
        self.discoverer: Discoverer | None = None
        self._tables = tables
        self._learning = {id_: Learning(table) for id_, table in tables.items()}
        self._unrouted = Unrouted()
        self._waiting: list[_Waiting] = []

    def hear(self, id_: TableId, *, later: bool) -> None:
        """Read what a table's kernel asks, some of it at a time, and answer, or do it later."""
        upcalls = self._tables[id_].upcalls(_MOST)
        if not later:
            self._take(id_, upcalls)
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(_Waiting(id_, upcalls, self._names(id_)))

    def catch_up(self) -> None:
        """Answer what was to be answered later."""
        waiting, self._waiting = self._waiting, []
        for id_, upcalls, names in waiting:
            now = self._names(id_)
            self._take(id_, [each for each in upcalls if names.get(each.vif) == now.get(each.vif)])

    def answer(self, table: Table, routes: Sequence[Route]) -> None:
        """Learn what the kernel had asked for before there were these routes."""
        self._learning[table.id].answer(routes, _now(), self.config)

    def take_up(self, table: Table) -> None:
        """Begin to look at what was learned by an earlier process."""
        self._learning[table.id].take_up(_now())

    def look(self, now: int) -> None:
        """Look whether what was learned is used, some of it at a time."""
        for learning in self._learning.values():
            learning.look(now, self.config, _LOOKS)

    @property
    def next_look(self) -> int | None:
        """When `look` has something to do, in nanoseconds since boot."""
        looks = (learning.next_look(self.config) for learning in self._learning.values())
        return min((when for when in looks if when is not None), default=None)

    def _names(self, id_: TableId) -> Mapping[int, str]:
        return {vif.number: vif.name for vif in self._tables[id_].vifs}

    def _take(self, id_: TableId, upcalls: Sequence[Upcall]) -> None:
        now, learning = _now(), self._learning[id_]
        for other in learning.hear(upcalls, now, self.config):
            if not self._unrouted.has_room(now) or learning.covers(other):
                continue
            if self.discoverer and self._unrouted.admit(other, now):
                self.discoverer.arrived(other)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

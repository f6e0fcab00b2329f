"""Reads the upcalls of all tables: some streams are learned, and of others somebody is told."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from mfc_dbus.config.settings import CurrentSettings
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.route import Route, TableId
from mfc_dbus.model.status import Sighting, UnroutedStream
from mfc_dbus.routing.table import Table
from mfc_dbus.streams.learning import Learning
from mfc_dbus.streams.sightings import Sightings
from mfc_dbus.streams.unrouted import Unrouted

# At one time, so that others are served in between.
_MOST = 64  # messages
_LOOKS = 500  # counters of entries


class Discoverer(Protocol):
    """Is told of streams that no route covers, and of interfaces that no route uses."""

    def arrived(self, stream: UnroutedStream) -> None:
        """Hear of a stream that no route covers; `Unrouted` limits how often."""

    def watched(self) -> None:
        """Hear that other interfaces now have a VIF that no route uses."""


class Upcalls:
    """Answers upcalls by the present routes, also while a long change goes on."""

    def __init__(self, tables: Mapping[TableId, Table], settings: CurrentSettings) -> None:
        self.discoverer: Discoverer | None = None
        self._tables = tables
        self._learning = {id_: Learning(table, settings) for id_, table in tables.items()}
        self._sightings = {id_: Sightings() for id_ in tables}
        self._unrouted = Unrouted()

    def read(self, id_: TableId) -> None:
        """Read some of a table's upcalls, and answer them."""
        now, learning = since_boot(), self._learning[id_]
        table = self._tables[id_]
        upcalls = table.upcalls(_MOST)
        self._sightings[id_].note(upcalls, {vif.number: vif.name for vif in table.vifs}, now)
        for other in learning.hear(upcalls, now):
            if not self._unrouted.has_room(now) or learning.covers(other):
                continue
            if self.discoverer and self._unrouted.admit(other, now):
                self.discoverer.arrived(other)

    def seen(self, id_: TableId, group: bytes) -> Sequence[Sighting]:
        """Return the streams of a packed group that the kernel asked about lately."""
        return self._sightings[id_].of(group, since_boot())

    def answer(self, table: Table, routes: Sequence[Route]) -> None:
        """Learn streams of these routes that the kernel had asked about before they were there."""
        self._learning[table.id].answer(routes, since_boot())

    def resume(self, table: Table, unresolved: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the learned streams of an earlier process, and answer its open upcalls.

        unresolved: see `Held`.
        """
        self._learning[table.id].resume(unresolved, since_boot())

    def inherit(self, table: Table, source: bytes, group: bytes, iif: str) -> bool:
        """Go on with an entry that an earlier process has learned, if a route covers its stream.

        Return whether that is done.
        """
        return self._learning[table.id].inherit(source, group, iif, since_boot())

    def do_due(self, now: int) -> None:
        """Read counters of some learned entries, and delete or move those that are unused."""
        for learning in self._learning.values():
            learning.do_due(now, _LOOKS)

    @property
    def next_due(self) -> int | None:
        """When `do_due` has something to do, in nanoseconds since boot; None is never."""
        times = (learning.next_due() for learning in self._learning.values())
        return min((when for when in times if when is not None), default=None)

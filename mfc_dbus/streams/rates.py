"""How fast packets use the entries of the kernel: by two looks at their counters.

The counters are read only when somebody asks, and each look is for all who ask until the next one
may come. What was read is forgotten when nobody asks any more. Times are nanoseconds since boot.
"""

from collections import Counter
from collections.abc import Mapping

from mfc_dbus.kernel.mroute import SGCount
from mfc_dbus.loop.slices import in_slices, let_go
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.route import Route, RouteKey, TableId
from mfc_dbus.model.status import Flow
from mfc_dbus.routing.placement import Learned, LearnedRoute
from mfc_dbus.routing.table import Table

_SECOND = 1_000_000_000
_APART = _SECOND  # two looks, from the end of one to the beginning of the next
# So many times as long as a look takes is nothing read after it: 100,000 entries take a second.
_REST = 3
# When nobody asks: a rate over a longer time would be taken for that of now.
_KEPT = 10 * _SECOND
_FORGOTTEN = 5_000  # at one time


class Rates:
    """The counters of all tables' entries, by the last look at them.

    looked: when that ended.
    """

    def __init__(self, tables: Mapping[TableId, Table]) -> None:
        self._tables = tables
        self._flows: dict[RouteKey, Flow] = {}
        # The any-source entries of which the kernel tells the counters of one alone.
        self._several: set[RouteKey] = set()
        self.looked = 0
        self._rests_until = 0
        self._asked = 0

    async def look(self) -> None:
        """Read the counters of all entries, unless that was done just now.

        Others are served in between. One task at a time may call this.
        """
        self._asked = began = since_boot()
        if self._flows and began < self._rests_until:
            return
        entries = [
            (table, [*table.installed.values(), *table.learned])
            for table in self._tables.values()
            if table.owned
        ]
        several: Counter[RouteKey] = Counter()
        flows: dict[RouteKey, Flow] = {}
        for _, there in entries:
            async for entry in in_slices(there):
                if isinstance(entry, Route) and not entry.is_sg:
                    several[_of_group(entry)] += 1
        self._several = {key async for key in in_slices(several) if several[key] > 1}
        await let_go(several)
        for table, there in entries:
            async for entry in in_slices(there):
                if not isinstance(entry, LearnedRoute):
                    flow = self._read(table, entry)
                    if flow is not None:
                        flows[entry.key] = flow
        before, self._flows = self._flows, flows
        self._asked = self.looked = ended = since_boot()
        self._rests_until = ended + max(_APART, _REST * (ended - began))
        await let_go(before)

    def of(self, table: Table, entry: Route | Learned) -> Flow | None:
        """Return the counters of an entry by the last look; of a new one they are read now.

        None where the kernel does not tell them.
        """
        flow = self._flows.get(entry.key)
        if flow is None:
            flow = self._read(table, entry)
            if flow is not None:
                self._flows[entry.key] = flow
        return flow

    @property
    def next_due(self) -> int | None:
        """When `do_due` has something to forget, None for never."""
        return self._asked + _KEPT if self._flows else None

    def do_due(self, now: int) -> None:
        """Forget some of what was read, if nobody has asked for it for long."""
        if self.next_due is not None and self.next_due <= now:
            for _ in range(min(_FORGOTTEN, len(self._flows))):
                self._flows.popitem()
            self._several = set()

    def _read(self, table: Table, entry: Route | Learned) -> Flow | None:
        if not table.owned or (entry.key.iif and _of_group(entry) in self._several):
            return None
        try:
            count = table.kernel.sg_count(entry.source.address, entry.group.address)
        except OSError:  # it was deleted, by somebody else or since this began
            return None
        return _flow(count, self._flows.get(entry.key), since_boot())


def _of_group(entry: Route | Learned) -> RouteKey:
    """Return a key that all any-source entries of a group have, whatever their iif."""
    return entry.key._replace(iif="*")


def _flow(count: SGCount, before: Flow | None, now: int) -> Flow:
    """Compare the counters with those of the look before."""
    packets, octets, wrong_if = count
    if before is None or packets < before.packets:
        return Flow(packets, octets, wrong_if, now)  # an entry that is new, or was written anew
    all_packets = packets - before.packets
    more = max(all_packets - (wrong_if - before.wrong_if), 0)
    seen = now if more else before.seen
    if now - before.read < _APART:  # it was new shortly before
        return Flow(packets, octets, wrong_if, now, seen=seen)
    seconds = (now - before.read) / _SECOND
    bits = 8 * (octets - before.bytes) * more / all_packets if all_packets else 0
    return Flow(packets, octets, wrong_if, now, more / seconds, bits / seconds, seen)

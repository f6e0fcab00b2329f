"""How packets use the entries of learned streams, as far as the kernel's counters tell.

Nothing is decided here. Times are nanoseconds.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from mfc_dbus.kernel.mroute import SGCount
from mfc_dbus.model.route import RouteKey
from mfc_dbus.routing.table import Table

_LOOKS = 4  # at an entry, in the time after which an unused one expires
_TRIES = 16  # entries that are looked at to find one that no packet has used


class Use(NamedTuple):
    """The packets of an entry, as far as they are known.

    packets: how many have used it, by arriving on its iif. since: when it was first seen that they
        were so many.
    others: how many have come by other interfaces since then.
    brought: whether any packet has used the entry since it was written for its iif. If not, it is a
        guess that the stream arrives there.
    counted: the counters when `packets` were first seen.
    """

    packets: int
    others: int
    since: int
    brought: bool
    counted: SGCount


class Usage:
    """Reads the counters of one table's entries: of each now and then, and when somebody asks."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._uses: dict[RouteKey, Use] = {}
        # When each entry was looked at last. This one and the next two are in the order of time.
        self._looks: OrderedDict[RouteKey, int] = OrderedDict()
        # Entries that no packet is known to have used; and entries that were only used by packets
        # that had waited until the entry was written.
        self._never: OrderedDict[RouteKey, None] = OrderedDict()
        self._once: OrderedDict[RouteKey, None] = OrderedDict()

    def begin(self, stream: RouteKey, now: int) -> None:
        """Begin to look at an entry that was written, be it a new one or for another interface."""
        before = self._uses.get(stream)
        count = self._count(stream) or _NONE
        packets = count.packets - count.wrong_if
        # Packets that had waited for the entry have used it by now. The kernel counts from 0 again
        # in an entry that was deleted with its route and has been written once more.
        known = before.packets if before is not None else 0
        brought = packets > (known if known <= packets else 0)
        self._uses[stream] = Use(packets, 0, now, brought, count)
        if before is None:
            self._looks[stream] = now
            (self._once if brought else self._never)[stream] = None

    def resume(self, stream: RouteKey, now: int) -> None:
        """Begin to look at an entry of an earlier process, without reading its counters now."""
        if stream not in self._uses:
            self._uses[stream] = Use(0, 0, now, False, _NONE)
            self._looks[stream] = now
            self._once[stream] = None

    def read(self, stream: RouteKey, now: int) -> Use | None:
        """Read the counters of an entry. None: it is not in the kernel, or not known here."""
        use, count = self._uses.get(stream), self._count(stream)
        if use is None or count is None:
            return None
        packets = count.packets - count.wrong_if
        if packets != use.packets:
            use = Use(packets, 0, now, True, count)
            self._never.pop(stream, None)
            self._once.pop(stream, None)
        else:
            use = use._replace(others=count.wrong_if - use.counted.wrong_if)
        self._uses[stream] = use
        return use

    def forget(self, stream: RouteKey) -> None:
        """Forget an entry that was deleted."""
        self._uses.pop(stream, None)
        self._looks.pop(stream, None)
        self._never.pop(stream, None)
        self._once.pop(stream, None)

    def unused(self, now: int, *, for_packets: bool) -> RouteKey | None:
        """Find the oldest entry that no packet has used since it was written.

        for_packets: also one that was used only by packets that had waited for it.
        """
        for entries in (self._never, self._once) if for_packets else (self._never,):
            for _ in range(min(_TRIES, len(entries))):
                stream, _ = entries.popitem(last=False)
                if stream in self._table.learned:
                    before, after = self._uses[stream], self.read(stream, now)
                    if after is None or after.packets == before.packets:
                        return stream
        return None

    def next_due(self, expiry: int) -> int | None:
        """Return when `expired` has something to look at, None for never."""
        when = next(iter(self._looks.values()), None)
        return when + expiry // _LOOKS if when is not None else None

    def expired(self, now: int, expiry: int, most: int) -> Iterator[RouteKey]:
        """Look at entries whose time it is, at most so many, and yield those unused for so long."""
        for _ in range(most):
            when = self.next_due(expiry)
            if when is None or when > now:
                break
            stream, _ = self._looks.popitem(last=False)
            if stream not in self._table.learned:
                self.forget(stream)
                continue
            use = self.read(stream, now)
            if use is not None and now - use.since < expiry:
                self._looks[stream] = now
            else:
                self.forget(stream)
                yield stream

    def _count(self, stream: RouteKey) -> SGCount | None:
        if not self._table.owned:
            return None
        try:
            return self._table.kernel.sg_count(stream.source.address, stream.group.address)
        except OSError:  # somebody else has deleted it
            return None


_NONE = SGCount(0, 0, 0)

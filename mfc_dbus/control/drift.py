"""What the kernel holds against what we wrote: what others did there is found out, and undone.

Others tell nobody. So the kernel's own notifications are read, and where some were missed, or
somebody asks for it, a table is looked at whole. Either gives the keys of entries that are suspect;
each of them is written, or deleted, as it should be by then. That changes nothing where it was
right after all: counters stay, and no packet is lost. So whatever happens in between, no suspicion
can do harm, and all of it is done in slices.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import Slices, in_slices
from mfc_dbus.model.addresses import Prefix, exactly, of_source, stream
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId, family_of
from mfc_dbus.routing.placement import Learned, Placement, Wide
from mfc_dbus.routing.steps import AddEntry, AddVif, DelOrphan, DelVif, Step, entry
from mfc_dbus.routing.table import Table

log = logging.getLogger(__name__)

_MAX_LOGGED = 10  # of what is found at once
_MANY = 1000  # of our own changes at once
_LOOKS = 3  # at a table, until nothing is deleted meanwhile
_REPAIRS = 50  # at one time


class Reader(Protocol):
    """Tells what tables of ours hold; each raises OSError."""

    def read_vifs(self, id_: TableId) -> Mapping[int, int]:
        """Find ifindexes by VIF number."""

    def read_entries(self, id_: TableId) -> AsyncIterator[Iterable[HeldEntry]]:
        """Go through the entries, some at a time. Deletions meanwhile make it skip others."""


class _Key(NamedTuple):
    """What the kernel finds an entry by; iif is the ifindex for any source, and 0 for others."""

    table: TableId
    source: bytes
    group: bytes
    iif: int

    @classmethod
    def of(cls, id_: TableId, held: HeldEntry) -> "_Key":
        return cls(id_, held.source, held.group, 0 if any(held.source) else held.iif)


class Drift:
    """Finds and undoes what others did to the tables that are ours."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        present: Mapping[str, Link],
        changes: Callable[[], Iterable[EntryChange | None]],
        reader: Reader,
    ) -> None:
        """changes: of entries since the last time; None where some were missed."""
        self._tables = tables
        self._present = present
        self._changes = changes
        self._reader = reader
        self._doubted: dict[TableId, None] = {}  # tables that are to be looked at whole
        self._suspects: dict[_Key, HeldEntry | None] = {}  # what was seen last, None: nothing
        self._told: set[_Key] = set()  # of what something was told during this look
        self._deletions = 0
        self._written = 0
        self._lock = asyncio.Lock()  # who asks for a look waits for it, though another goes on

    async def verify(self, ids: Collection[TableId] = ()) -> None:
        """Look at what has changed since the last time, and at these tables whole, and repair it.

        What cannot be read now is read the next time.
        """
        async with self._lock:
            self._doubted |= dict.fromkeys(ids)
            await self._hear()
            for id_ in list(self._doubted):
                del self._doubted[id_]
                try:
                    await self._look_at(self._tables[id_])
                except OSError as error:
                    log.error("What the kernel holds cannot be read: %s", error)
                    self._doubted[id_] = None
            await self._repair()
            self._told.clear()

    async def _hear(self) -> None:
        """Take in what was changed. When this returns, there is nothing more to take in."""
        missed = False
        slices = Slices()
        for change in self._changes():
            if change is None:
                missed = True
            else:
                self._judge_change(change)
            await slices.pause()
        before, self._written = self._written, sum(each.written for each in self._owned())
        if missed and self._written - before <= _MANY:
            log.info("Not all changes of multicast routes were told: looking at all of them")
            self._doubted |= {table.id: None for table in self._owned()}
        # Else so many of our own had no room, and to look at all that there is would take long.

    def _judge_change(self, change: EntryChange) -> None:
        held, deleted = change
        table = self._tables.get(TableId(family_of(held.source), held.table))
        if table is None or not table.owned:
            return
        key = _Key.of(table.id, held)
        self._told.add(key)
        self._deletions += deleted
        if deleted and not held.iif and not any(held.source):
            self._forget_orphans(table, key)
        else:
            self._judge(table, key, None if deleted else held)

    def _judge(self, table: Table, key: _Key, held: HeldEntry | None) -> None:
        """Suspect an entry, or suspect it no more."""
        self._suspects.pop(key, None)
        expected = _expected(table, key)
        if held == expected:
            return
        if held is None or expected is None or held != _without_lost(table, expected):
            self._suspects[key] = held

    def _forget_orphans(self, table: Table, gone: _Key) -> None:
        """Follow the deletion of an any-source entry whose device has gone: nobody knows which."""
        for key in [key for key in self._suspects if key[:3] == gone[:3]]:
            if not _has_device(table, key.iif):
                del self._suspects[key]

    def _is_known(self, table: Table, key: _Key) -> bool:
        """Whether something newer was told of an entry than what a dump shows."""
        return key in self._told or (
            not any(key.source)
            and key._replace(iif=0) in self._told
            and not _has_device(table, key.iif)
        )

    async def _look_at(self, table: Table) -> None:
        """Look at all that a table holds, VIFs first: without them no entry can be repaired."""
        for _ in range(_LOOKS):
            if not table.owned:
                return
            self._repair_vifs(table)
            await self._hear()
            deletions = self._deletions
            await self._look_at_entries(table)
            if self._deletions == deletions:
                return

    async def _look_at_entries(self, table: Table) -> None:
        seen: set[int] = set()  # of what is ours, by identity
        self._told.clear()
        slices = Slices()
        async for some in self._reader.read_entries(table.id):
            for held in some:
                key = _Key.of(table.id, held)
                seen.add(id(_ours(table, key)))
                if not self._is_known(table, key):
                    self._judge(table, key, held)
                await slices.pause()
            await self._hear()
        written: list[Placement | Learned] = [*table.installed.values(), *table.learned]
        async for placed in in_slices(written):
            if isinstance(placed, Wide) or id(placed) in seen:
                continue
            ours = _key(table, placed)
            if ours is None or _ours(table, ours) is not placed:
                continue  # it is another by now
            if not _exists(table, ours):
                self._judge(table, ours, None)
            else:  # it was skipped, or it is another any-source entry that exists
                _restore(table, ours)
        await self._hear()

    def _repair_vifs(self, table: Table) -> None:
        """Make the VIFs what they should be, but for those of devices that have gone."""
        found = self._reader.read_vifs(table.id)
        ours = {vif.number: vif.ifindex for vif in table.vifs}
        done = [
            _try(table, DelVif(number, ifindex))
            for number, ifindex in found.items()
            if ours.get(number) != ifindex
        ]
        there = {link.ifindex for link in self._present.values()}
        done += [
            _try(table, AddVif(number, ifindex))
            for number, ifindex in ours.items()
            if ifindex in there and found.get(number) != ifindex
        ]
        if any(done):
            log.warning("Somebody else changed the VIFs of the %s table", table.id)

    async def _repair(self) -> None:
        logged: Counter[TableId] = Counter()
        slices = Slices()
        while self._suspects:
            await self._hear()
            for key in list(self._suspects)[:_REPAIRS]:
                held = self._suspects.pop(key)
                table = self._tables[key.table]
                if not table.owned or held == _expected(table, key):
                    continue
                logged[key.table] += 1
                if logged[key.table] <= _MAX_LOGGED:
                    name = stream(of_source(key.source), exactly(key.group))
                    log.warning("Somebody else changed %s in the %s table", name, table.id)
                try:
                    _restore(table, key)
                except OSError as error:
                    log.error("It stays so for now: %s", error)
                    self._doubted[table.id] = None
            await slices.pause()
        for count in logged.values():
            if count > _MAX_LOGGED:
                log.warning("and %d more", count - _MAX_LOGGED)

    def _owned(self) -> Iterator[Table]:
        return (table for table in self._tables.values() if table.owned)


def _ours(table: Table, key: _Key) -> Route | Learned | None:
    """What we wrote under a key."""
    ours: object
    if any(key.source):
        name = RouteKey(exactly(key.source), exactly(key.group), "", table.id.number)
        ours = table.installed.get(name)
        if not isinstance(ours, Route):  # a route of just this stream may be learned, too
            ours = table.learned.get(name)
    else:
        iif = next((vif.name for vif in table.vifs if vif.ifindex == key.iif), "")
        source = Prefix(key.source, 0)
        ours = table.installed.get(RouteKey(source, exactly(key.group), iif, table.id.number))
    return ours if isinstance(ours, Route | Learned) else None


def _key(table: Table, placed: Route | Learned) -> _Key | None:
    """What the kernel finds by what we wrote; None where it is not on its iif any more."""
    iif = 0
    if not placed.source.length:
        if placed.iif not in table.vifs:
            return None
        iif = table.vifs[placed.iif].ifindex
    return _Key(table.id, placed.source.address, placed.group.address, iif)


def _expected(table: Table, key: _Key) -> HeldEntry | None:
    """What we wrote under a key, in terms of devices."""
    ours = _ours(table, key)
    if ours is None:
        return None
    iif = table.vifs[ours.iif].ifindex
    oifs = {table.vifs[oif.name].ifindex: oif.ttl for oif in ours.oifs}
    if not any(key.source):
        oifs[iif] = 1
    return HeldEntry(key.source, key.group, iif, oifs, table.id.number)


def _without_lost(table: Table, expected: HeldEntry) -> HeldEntry:
    """Leave out devices that have gone while nobody has heard of it, as the kernel does."""
    lost = {table.vifs[name].ifindex for name in table.lost_vifs()}
    oifs = {ifindex: ttl for ifindex, ttl in expected.oifs.items() if ifindex not in lost}
    return expected._replace(iif=0 if expected.iif in lost else expected.iif, oifs=oifs)


def _has_device(table: Table, ifindex: int) -> bool:
    return any(vif.ifindex == ifindex for vif in table.vifs)


def _try(table: Table, step: Step) -> bool:
    """Do a step; whether that was possible. It is not where a device has just gone."""
    try:
        step.do(table.kernel)
    except OSError as error:
        log.debug("%s is not done: %s", step, error)
        return False
    return True


def _exists(table: Table, key: _Key) -> bool:
    """Whether the kernel has an entry that a dump has not shown."""
    try:
        table.kernel.sg_count(key.source, key.group)
    except OSError:
        return False
    return True


def _restore(table: Table, key: _Key) -> None:
    """Write an entry as it should be, or delete it. Raises OSError."""
    ours = _ours(table, key)
    steps: list[Step]
    if ours is not None:
        steps = [AddEntry(entry(ours, table.vifs))]
    elif any(key.source):
        steps = [DelOrphan(MFCEntry(key.source, key.group, 0, ()))]
    else:
        # It is found by its parent only, whose device may have gone.
        held = {vif.number: vif.ifindex for vif in table.vifs}
        steps = [
            DelOrphan(MFCEntry(key.source, key.group, number, ()))
            for number in range(MAX_VIFS)
            if held.get(number, key.iif) == key.iif
        ]
    for step in steps:
        step.do(table.kernel)
        table.written += 1

"""What the kernel holds against what we wrote: what others did there is found out, and undone.

Others tell nobody. So the kernel's own notifications are read: those of what others write and of
all deletions. What we write ourselves is only heard of during a look at a whole table, since the
look may show what was there before. A table is looked at whole where notifications were missed, or
where somebody asks for it. Either gives the keys of entries that are suspect; each of them is
written, or deleted, as it should be by then. That changes nothing where it was right after all:
counters stay, and at most a packet is lost that is forwarded in the nanoseconds in which it is
written (see `MRoute.add_mfc`). So whatever happens in between, a suspicion does no more harm than
that, and all of it is done in slices.

A look also finds what an earlier process left in a table, where that was too much to be read at the
start (`Table.unseen`): an entry of a stream that a route covers was learned, and is taken over with
its packets and counters; any other that is not ours is deleted. Nobody else did that.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from mfc_dbus.control.drift_sources import Hearing, Heir, Reader
from mfc_dbus.control.written_entries import (
    Key,
    Written,
    as_held,
    exists,
    find_written,
    key_of,
    restore,
    without_lost,
)
from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.loop.slices import Slices, in_slices
from mfc_dbus.model.addresses import (
    family_of,
    format_source,
    format_stream,
    host_prefix,
    source_prefix,
)
from mfc_dbus.model.journal import Message, about, about_table
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.placement import Learned, LearnedRoute, Placement
from mfc_dbus.routing.steps import AddVif, DelVif, Step
from mfc_dbus.routing.table import Table

log = logging.getLogger(__name__)

_MAX_LOGGED = 10  # of what is found at once
_MANY = 1000  # of our own changes at once
_MAX_WAITS = 60  # for such changes to end, a second each
_MAX_HEARD = 20_000  # notifications at once: the kernel keeps fewer, but more may come meanwhile
_LOOKS = 3  # at a table in one turn, at most: a look is enough if nothing is deleted meanwhile
_MAX_TURNS = 10  # in a row whose looks may all have skipped entries: then all count as seen
_REPAIRS = 50  # at one time


class _Seen(NamedTuple):
    """What a look at a whole table has shown of streams without an entry.

    whole: whether nothing was deleted and no notification lost meanwhile, so that it has skipped
    nothing. losses: how often notifications had been lost when it began.
    """

    whole: bool
    losses: int
    unresolved: Sequence[tuple[bytes, bytes]]


class DriftDetector:
    """Finds and undoes what others did to the tables that are ours."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        present: Mapping[str, Link],
        hearing: Hearing,
        reader: Reader,
        heir: Heir,
    ) -> None:
        self._tables = tables
        self._present = present
        self._hearing = hearing
        self._reader = reader
        self._heir = heir
        self._doubted: dict[TableId, None] = {}  # tables that are to be looked at whole
        # What was seen last, None: nothing. A plain dictionary finds its first ever more slowly.
        self._suspects: OrderedDict[Key, HeldEntry | None] = OrderedDict()
        self._told: set[Key] = set()  # of what something was told during this look
        self._deletions = 0
        self._losses = 0  # of notifications
        self._missed = False  # whether some notification was, since all was looked at
        self._waits = 0  # in a row, for an end of our own changes
        self._turns: Counter[TableId] = Counter()  # of looks that may have skipped entries
        self._written = sum(each.written for each in self._owned())
        self._lock = asyncio.Lock()  # who asks for a look waits for it, though another goes on

    async def verify(self, ids: Collection[TableId] = ()) -> None:
        """Look at what has changed since the last time, and at these tables whole, and repair it.

        What cannot be read now is read the next time.
        """
        async with self._lock:
            self._doubted |= dict.fromkeys(ids)
            self._doubted |= {table.id: None for table in self._owned() if table.unseen}
            await self._hear()
            self._doubt_what_was_missed()
            seen: dict[TableId, _Seen] = {}
            for id_ in list(self._doubted):
                del self._doubted[id_]
                try:
                    seen[id_] = await self._look_at(self._tables[id_])
                except OSError as error:
                    log.error("What the kernel holds cannot be read: %s", error)
                    self._doubted[id_] = None
            await self._repair()
            self._told.clear()
            if seen:
                self._hearing.hear_owners(False)
            await self._end_looks(seen)

    async def _hear(self) -> bool:
        """Read the notifications that there are, and note the entries that they make suspect.

        Return whether these were all. One that still waits may take a suspicion back; so may one
        that was lost, but then all tables are looked at.
        """
        slices = Slices()
        heard = 0
        for change in islice(self._hearing.read(), _MAX_HEARD):
            heard += 1
            if change is None:
                self._missed = True
                self._losses += 1
                self._suspects.clear()
            else:
                self._judge_change(change)
            await slices.pause()
        return heard < _MAX_HEARD

    def _doubt_what_was_missed(self) -> None:
        """Have all tables looked at, unless we have just written so much that there was no room.

        That look would not be the last: it waits until the change is over, but not for ever, since
        strangers may have us learn streams without an end.
        """
        before, self._written = self._written, sum(each.written for each in self._owned())
        if not self._missed:
            return
        self._waits += 1
        if self._written - before <= _MANY or self._waits > _MAX_WAITS:
            self._missed, self._waits = False, 0
            log.info("Not all changes of multicast routes were told: looking at all of them")
            self._doubted |= {table.id: None for table in self._owned()}

    def _judge_change(self, change: EntryChange) -> None:
        held, deleted = change
        table = self._tables.get(TableId(family_of(held.source), held.table))
        if table is None or not table.owned:
            return
        key = Key.of(table.id, held)
        self._told.add(key)
        self._deletions += deleted
        written = find_written(table, key)
        if deleted and not held.iif and not any(held.source):
            self._forget_orphans(table, key)
        elif deleted and written is not None and any(held.source) and exists(table, key):
            # It was written again since then: by us, or we shall hear by whom.
            self._suspects.pop(key, None)
        else:
            self._judge(table, key, written, None if deleted else held)

    def _judge(
        self, table: Table, key: Key, written: Written | None, held: HeldEntry | None
    ) -> None:
        """Note that an entry is suspect, or that it is not any more."""
        self._suspects.pop(key, None)
        expected = as_held(table, key, written)
        if held == expected:
            return
        if held is None or expected is None or held != without_lost(table, expected):
            self._suspects[key] = held

    def _forget_orphans(self, table: Table, gone: Key) -> None:
        """Follow the deletion of an any-source entry whose device has gone: nobody knows which."""
        for key in [key for key in self._suspects if key[:3] == gone[:3]]:
            if table.vifs.name_of(key.iif) is None:
                del self._suspects[key]

    def _is_known(self, table: Table, key: Key) -> bool:
        """Return whether something newer was told of an entry than what a dump shows."""
        return key in self._told or (
            not any(key.source)
            and key._replace(iif=0) in self._told
            and table.vifs.name_of(key.iif) is None
        )

    async def _look_at(self, table: Table) -> _Seen:
        """Look at all that a table holds, VIFs first: without them no entry can be repaired."""
        seen = _Seen(False, self._losses, ())
        for _ in range(_LOOKS):
            if not table.owned:
                break
            self._hearing.hear_owners(True)
            self._repair_vifs(table)
            await self._hear()
            deletions, losses = self._deletions, self._losses
            unresolved = await self._look_at_entries(table)
            whole = self._deletions == deletions and self._losses == losses
            seen = _Seen(whole, losses, unresolved)
            if whole:
                break
        return seen

    async def _look_at_entries(self, table: Table) -> Sequence[tuple[bytes, bytes]]:
        """Judge all entries. Return the streams that are not resolved, if the table is unseen.

        Once something is lost nothing is judged by the dump any more, since it may be older.
        """
        losses = self._losses
        seen: set[int] = set()  # of what is ours, by identity
        unresolved: list[tuple[bytes, bytes]] = []
        self._told.clear()
        slices = Slices()
        async for some in self._reader.read_entries(table.id):
            for held in some:
                if not held.resolved:
                    if table.unseen:  # strangers make thousands, and nobody else asks for them
                        unresolved.append((held.source, held.group))
                    await slices.pause()
                    continue
                key = Key.of(table.id, held)
                written = find_written(table, key)
                if losses != self._losses or self._is_known(table, key):
                    pass  # something newer was told of it, or may have been
                elif written is None and self._inherit(table, held):
                    written = find_written(table, key)
                else:
                    self._judge(table, key, written, held)
                seen.add(id(written))
                await slices.pause()
            await self._hear()
        ours: list[Placement | Learned] = [*table.installed.values(), *table.learned]
        async for placed in in_slices(ours):
            if isinstance(placed, LearnedRoute) or id(placed) in seen:
                continue
            lacking = key_of(table, placed)
            if lacking is None or find_written(table, lacking) is not placed:
                continue  # it is another by now
            if not exists(table, lacking):
                self._judge(table, lacking, placed, None)
            else:  # it was skipped, or it is another any-source entry that exists
                restore(table, lacking, placed)
        await self._hear()
        return unresolved

    def _inherit(self, table: Table, held: HeldEntry) -> bool:
        """Take over an entry that an earlier process has learned. Return whether it is one."""
        if not table.unseen or not any(held.source):
            return False
        iif = table.vifs.name_of(held.iif)
        return iif is not None and self._heir.inherit(table, held.source, held.group, iif)

    async def _end_looks(self, seen: Mapping[TableId, _Seen]) -> None:
        """Note which tables hold nothing unseen any more; the others are looked at again.

        Where notifications were lost since a look began, it may have been no longer known what was
        to be deleted. Where streams come and go without an end, each look may skip some entries;
        that all skip the same is not to be feared after many of them.
        """
        for id_, (whole, losses, unresolved) in seen.items():
            table = self._tables[id_]
            if not table.unseen:
                continue
            self._turns[id_] += not whole
            seen_all = whole or self._turns[id_] >= _MAX_TURNS
            if seen_all and losses == self._losses and id_ not in self._doubted:
                del self._turns[id_]
                try:
                    await self._heir.finish_adoption(table, unresolved)
                except OSError as error:
                    log.error("What an earlier process left is not taken over: %s", error)

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
            log.warning(
                "Somebody else changed the VIFs of the %s table",
                table.id,
                extra=about_table(Message.FOREIGN_CHANGE, table.id),
            )

    async def _repair(self) -> None:
        """Write suspect entries as they should be.

        Others are blamed only where no notification waits that may take the suspicion back.
        """
        logged: Counter[TableId] = Counter()
        slices = Slices()
        while self._suspects:
            heard_all = await self._hear()
            for _ in range(min(_REPAIRS, len(self._suspects))):
                key, held = self._suspects.popitem(last=False)
                table = self._tables[key.table]
                written = find_written(table, key) if table.owned else None
                if not table.owned or held == as_held(table, key, written):
                    continue
                left = table.unseen and written is None  # by an earlier process
                blamed = heard_all and not left
                logged[key.table] += blamed
                if blamed and logged[key.table] <= _MAX_LOGGED:
                    _blame(key, table)
                try:
                    restore(table, key, written)
                except OSError as error:
                    if table.id not in self._doubted:
                        log.error(
                            "What the kernel holds stays as it is for now: %s",
                            error,
                            extra=about_table(Message.KERNEL_REFUSED, table.id, reason=str(error)),
                        )
                    self._doubted[table.id] = None
            await slices.pause()
        for count in logged.values():
            if count > _MAX_LOGGED:
                rest = count - _MAX_LOGGED
                log.warning("and %d more", rest, extra=about(Message.LEFT_OUT, left_out=rest))

    def _owned(self) -> Iterator[Table]:
        return (table for table in self._tables.values() if table.owned)


def _blame(key: Key, table: Table) -> None:
    """Log that somebody else changed an entry."""
    source = source_prefix(key.source)
    group = host_prefix(key.group)
    log.warning(
        "Somebody else changed %s in the %s table",
        format_stream(source, group),
        table.id,
        extra=about_table(
            Message.FOREIGN_CHANGE, table.id, source=format_source(source), group=str(group)
        ),
    )


def _try(table: Table, step: Step) -> bool:
    """Do a step. Return whether it was possible: not where a device has just gone."""
    try:
        step.do(table.kernel)
    except OSError as error:
        log.debug("%s is not done: %s", step, error)
        return False
    return True

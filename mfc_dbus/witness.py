"""Whether the kernel holds what we wrote: others that may write there are found out (pure)."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from mfc_dbus.addresses import Prefix, exactly, of_source, stream
from mfc_dbus.kernel.changes import EntryChange
from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.model import Route, RouteKey, TableId, family_of
from mfc_dbus.placement import Learned, Wide
from mfc_dbus.table import Table

log = logging.getLogger(__name__)

_MAX_LOGGED = 10  # of what is found at once
_MANY = 1000  # of our own changes at once


class Witness:
    """Holds what changes in the kernel against what is in our tables."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        read: Callable[[], Sequence[EntryChange] | None],
    ) -> None:
        """read: the changes of entries since the last time; None: some were missed."""
        self._tables = tables
        self._read = read
        self._written = 0

    def differing(self) -> set[TableId]:
        """Find the tables of ours that are not what we made of them."""
        owned = {id_: table for id_, table in self._tables.items() if table.owned}
        changes = self._read()
        before, self._written = self._written, sum(each.written for each in owned.values())
        if changes is None:
            # So many of our own had no room, and to look at all that there is would take long.
            return set() if self._written - before > _MANY else set(owned)
        found: dict[TableId, list[HeldEntry]] = {}
        # An entry is now as the last change left it.
        for entry, deleted in _last(changes):
            id_ = TableId(family_of(entry.source), entry.table)
            table = owned.get(id_)
            if table is not None and (None if deleted else entry) != _expected(table, entry):
                found.setdefault(id_, []).append(entry)
        for id_, entries in found.items():
            for entry in entries[:_MAX_LOGGED]:
                name = stream(of_source(entry.source), exactly(entry.group))
                log.warning("Somebody else changed %s in the %s table", name, id_)
            if len(entries) > _MAX_LOGGED:
                log.warning("and %d more", len(entries) - _MAX_LOGGED)
        return set(found)


def _last(changes: Iterable[EntryChange]) -> Iterable[EntryChange]:
    last: dict[tuple[object, ...], EntryChange] = {}
    for change in changes:
        entry = change.entry
        iif = 0 if any(entry.source) else entry.iif
        last[entry.table, entry.source, entry.group, iif] = change
    return last.values()


def _expected(table: Table, entry: HeldEntry) -> HeldEntry | None:
    """What we wrote under this entry's key, in terms of devices."""
    if any(entry.source):
        stream = RouteKey(exactly(entry.source), exactly(entry.group), "", entry.table)
        ours = table.installed.get(stream) or table.learned.get(stream)
    else:
        iif = next((vif.name for vif in table.vifs if vif.ifindex == entry.iif), "")
        source = Prefix(entry.source, 0)
        ours = table.installed.get(RouteKey(source, exactly(entry.group), iif, entry.table))
    return None if ours is None or isinstance(ours, Wide) else _as_held(ours, table)


def _as_held(ours: Route | Learned, table: Table) -> HeldEntry:
    iif = table.vifs[ours.iif].ifindex
    oifs = {table.vifs[oif.name].ifindex: oif.ttl for oif in ours.oifs}
    if not ours.source.length:
        oifs[iif] = 1
    return HeldEntry(ours.source.address, ours.group.address, iif, oifs, ours.key.table)

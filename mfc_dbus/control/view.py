"""What there is, as values for whoever tells others of it: reads, and changes nothing."""

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping

from mfc_dbus.control.status_changes import StatusChanges
from mfc_dbus.kernel.links import Link
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.route import Route, RouteKey, TableId
from mfc_dbus.model.states import InterfaceState, TableState
from mfc_dbus.model.status import (
    InterfaceCounters,
    InterfaceStatus,
    MembershipStatus,
    RouteCounters,
    Status,
    Stream,
    TableStatus,
)
from mfc_dbus.routing.placement import Learned
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.vifs import Vif
from mfc_dbus.streams.rates import Rates


class View:
    """The tables and memberships, as they are when they are asked about."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        memberships: Memberships,
        status_changes: StatusChanges,
        rates: Rates,
        present: Callable[[], Mapping[str, Link]],
    ) -> None:
        """present: finds the interfaces that there are."""
        self._tables = tables
        self._memberships = memberships
        self._status_changes = status_changes
        self._rates = rates
        self._present = present

    @property
    def routes(self) -> Mapping[RouteKey, Status]:
        """The routes as everybody was told of them last: never a half of a change."""
        return self._status_changes.signalled

    @property
    def memberships(self) -> Iterator[MembershipStatus]:
        return iter(self._memberships)

    @property
    def tables(self) -> Iterator[TableStatus]:
        for table in self._tables.values():
            state = TableState.ACTIVE if table.owned else TableState.UNAVAILABLE
            reason = "" if table.owned else table.reason
            yield TableStatus(table.id, state, reason, len(table.routes), len(table.vifs))

    @property
    def interfaces(self) -> Iterator[InterfaceStatus]:
        """The interfaces with a VIF, by table and number."""
        present = self._present()
        for table in self._tables.values():
            for vif in sorted(table.vifs):
                yield _interface(table, vif, present.get(vif.name))

    def counters(self, route: Route) -> RouteCounters | None:
        """Read what a route's entry of the kernel has counted; None where it has none."""
        table = self._tables[route.table_id]
        if not table.owned or not isinstance(table.installed.get(route.key), Route):
            return None
        try:
            return RouteCounters(*table.kernel.sg_count(route.source.address, route.group.address))
        except OSError:  # it has gone meanwhile
            return None

    async def look_at_streams(self) -> None:
        """Have the counters of all entries read, where that was not done just now: see `Rates`."""
        await self._rates.look()

    @property
    def streams_version(self) -> Hashable:
        """Changes with what `streams` yields, if not with every part of it."""
        tables = self._tables.values()
        entries = [(table.written, len(table.installed), len(table.learned)) for table in tables]
        return self._rates.looked, *entries

    async def streams(self, *, counted: bool = True) -> AsyncIterator[Stream]:
        """Yield what each of the kernel's entries is for, as it was when this began.

        The counters are those of the last look; without `counted` there are none. Others are served
        in between.
        """
        there = [
            (table, [*table.installed.values()], [*table.learned])
            for table in self._tables.values()
        ]
        for table, placed, learned in there:
            async for route in in_slices(placed):
                if isinstance(route, Route):
                    yield self._stream(table, route, route, route.key, counted)
            async for each in in_slices(learned):
                owner = table.routes.get(each.owner)
                yield self._stream(table, each, owner, each.owner, counted)

    def _stream(
        self,
        table: Table,
        entry: Route | Learned,
        owner: Route | None,
        owner_key: RouteKey,
        counted: bool,
    ) -> Stream:
        return Stream(
            table.id.number,
            entry.source,
            entry.group,
            entry.iif,
            entry.oifs,
            isinstance(entry, Learned),
            owner_key,
            owner.iif if owner is not None else owner_key.iif,
            owner.comment if owner is not None else "",
            self._rates.of(table, entry) if counted else None,
        )


def _interface(table: Table, vif: Vif, link: Link | None) -> InterfaceStatus:
    is_up = link is not None and link.up
    state = InterfaceState.ACTIVE if is_up else InterfaceState.DOWN
    try:
        counters = _counters(table, vif)
    except OSError:  # the device has gone, and took its VIF with it
        state, counters = InterfaceState.MISSING, None
    return InterfaceStatus(
        vif.name, table.id, vif.number, vif.ifindex, vif.references, state, counters
    )


def _counters(table: Table, vif: Vif) -> InterfaceCounters | None:
    return InterfaceCounters(*table.kernel.vif_count(vif.number))

"""A controller on kernels and interfaces in memory, and what became of them."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from lab.fake import FakeGroups, FakeKeeper, FakeKernel, FakeLinks, FakeReader, Oifs
from lab.listening import Listening
from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.drift import DriftDetector
from mfc_dbus.control.status_changes import Change
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import FAMILIES, Family, parse_group_prefix, parse_stream
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.route import Route, RouteName, TableId, parse_route
from mfc_dbus.model.route_change import change_route
from mfc_dbus.routing.table import Table

T = TypeVar("T")
INTERFACES = [f"eth{number}" for number in range(6)]


def run(change: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(change)


class Ground:
    """A controller over fake kernels, and what it has told."""

    def __init__(self, *interfaces: str, go_on: Callable[[], None] = lambda: None) -> None:
        self.links = FakeLinks(*(interfaces or INTERFACES), silent=("lo",))
        self.kernels = {family: FakeKernel(self.links) for family in FAMILIES}
        self.keeper = FakeKeeper()
        self.groups = FakeGroups()
        self._go_on = go_on
        self.begin([])

    def begin(
        self,
        routes: Sequence[Route],
        *,
        kept_sockets: bool = False,
        read: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Start a controller, with routes that were kept, and sockets that were.

        read: how many entries of each kernel it reads first; None for all.
        """
        held = {TableId(family): kernel.held(read) for family, kernel in self.kernels.items()}
        self.changes: list[Change] = []
        self.controller = Controller(
            [Table(TableId(family), kernel) for family, kernel in self.kernels.items()],
            self.links,
            self.keeper,
            settings,
            memberships=Memberships(Joins(self.groups.open, self.groups.held)),
            go_on=self._go_on,
        )
        self.controller.status_changes.listener = Listening(self.changes)
        self.controller.takeover.restore(routes, held if kept_sockets else None)
        self.reader = FakeReader({TableId(family): each for family, each in self.kernels.items()})
        self.drift = DriftDetector(
            self.controller.tables,
            self.controller.present,
            self.reader,
            self.reader,
            self.controller.takeover,
        )

    def verify(self, *tables: TableId) -> None:
        """Have what others did undone, and look at these tables whole."""
        self.controller.follow()
        run(self.drift.verify(tables))

    def add(
        self,
        source: str,
        group: str,
        iif: str = "eth0",
        oifs: str = "eth1",
        *,
        replace: bool = False,
        wait: bool = False,
        ttls: dict[str, int] | None = None,
        hairpin: bool = False,
        enabled: bool = True,
    ) -> Route:
        route = parse_route(
            source, group, iif, oifs.split(), ttls, hairpin=hairpin, enabled=enabled
        )
        run(self.controller.add(route, replace=replace, wait=wait))
        return route

    def change(
        self, source: str, group: str, iif: str | None = None, *, wait: bool = False, **changes: Any
    ) -> Route | None:
        """Change a part of a route, by the names of the client's parameters."""
        return run(self.changing(source, group, iif, wait=wait, **changes))

    def changing(
        self, source: str, group: str, iif: str | None = None, *, wait: bool = False, **changes: Any
    ) -> Coroutine[Any, Any, Route | None]:
        given = {name.replace("_", "-"): value for name, value in changes.items()}
        return self.controller.change(
            RouteName(*parse_stream(source, group), iif),
            lambda route: change_route(route, given, since_boot()),
            wait=wait,
        )

    def delete(self, source: str, group: str, iif: str | None = None) -> None:
        run(self.controller.delete(RouteName(*parse_stream(source, group), iif)))

    def configure(self, *tables: Family, max_routes: int = 100) -> None:
        run(self.controller.documents.configure(Settings(tuple(map(TableId, tables)), max_routes)))

    def flush(self, group: str | None = None, iif: str | None = None) -> int:
        prefix = parse_group_prefix(group) if group else None
        return run(self.controller.flush(prefix, iif))

    def apply(
        self, *routes: Route, merge: bool = False, wait: bool = False, dry_run: bool = False
    ) -> tuple[int, ...]:
        applying = self.controller.documents.apply(
            [*routes], merge=merge, wait=wait, dry_run=dry_run
        )
        return tuple(run(applying))

    def states(self) -> dict[str, str]:
        return {str(route): state for route, state, _ in self.controller.view.routes.values()}

    def held(self) -> set[tuple[object, ...]]:
        return {row for kernel in self.kernels.values() for row in kernel.named(self.links.links)}

    def routes(self) -> set[Route]:
        return {route for table in self.controller.tables.values() for route in table.routes}

    def arrive(self, source: str, group: str, iif: str = "eth0") -> Oifs | None:
        """Have a packet arrive, and the controller hear of it; where it, or the next, leaves."""
        sources, groups = parse_stream(source, group)
        kernel = self.kernels[groups.family]
        oifs = kernel.arrive(sources.address, groups.address, iif)
        if oifs is not None:
            return oifs
        while kernel.waiting:
            self.controller.read_upcalls(TableId(groups.family))
        return kernel.decide(sources.address, groups.address, iif).oifs

    def snapshot(self) -> tuple[object, ...]:
        """All that there is, to be compared later."""
        return (
            [(dict(kernel.vifs), kernel.entries) for kernel in self.kernels.values()],
            [sorted(table.vifs) for table in self.controller.tables.values()],
            self.routes(),
            dict(self.keeper.routes),
            len(self.changes),
        )


def expected(route: Route) -> tuple[object, ...]:
    oifs = frozenset(tuple(oif) for oif in route.oifs)
    return (route.source.address, route.group.address, route.iif, oifs)

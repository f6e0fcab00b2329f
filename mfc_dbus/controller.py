"""One change at a time: plan it, do it in the kernel, keep it, tell it.

Knows neither D-Bus nor sockets: it is given a kernel and the network interfaces.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mfc_dbus.errors import (
    InterfaceNotMulticast,
    InvalidArgs,
    KernelError,
    NoSuchInterface,
    NoSuchRoute,
    RouteExists,
)
from mfc_dbus.kernel.links import Link
from mfc_dbus.model import Family, Prefix, Route, RouteKey, join, quote, stream
from mfc_dbus.plan import Step, plan
from mfc_dbus.table import Kernel, Table
from mfc_dbus.vifs import Vifs


class LinkLookup(Protocol):
    """The network interfaces; ENODEV where there is none of the name."""

    def lookup(self, name: str) -> Link: ...


class Change(NamedTuple):
    """What one change did to the routes."""

    added: Sequence[Route] = ()
    changed: Sequence[Route] = ()
    removed: Sequence[Route] = ()


class _Transition(NamedTuple):
    """A table's way from some routes to others: planned, not done."""

    table: Table
    kernel: Kernel
    old: Sequence[Route]
    new: Sequence[Route]
    vifs: Vifs
    steps: Sequence[Step]


class Controller:
    """The routes of all tables.

    Each change exists twice: `check_…` raises what can be told beforehand, and changes nothing;
    the change itself raises the same, or KernelError, and is done whole or not at all.
    """

    def __init__(
        self, tables: Sequence[Table], links: LinkLookup, on_change: Callable[[Change], None]
    ) -> None:
        self.tables: Mapping[Family, Table] = {table.family: table for table in tables}
        self._links = links
        self._on_change = on_change

    def routes(self) -> Iterator[Route]:
        for table in self.tables.values():
            yield from table.routes

    def find(self, key: RouteKey) -> Route | None:
        return self.tables[key.family].routes.get(key)

    def check_add(self, route: Route, *, replace: bool) -> Route | None:
        """Find the route that this one would replace."""
        return next(iter(self._plan_add(route, replace).old), None)

    def add(self, route: Route, *, replace: bool) -> None:
        """Add a route. RouteExists where there is one of its key; with `replace`, change that."""
        self._commit([self._plan_add(route, replace)])

    def check_delete(self, source: bytes, group: bytes, iif: str | None) -> Route:
        """Find the one route of this stream; where any source has several, `iif` says which."""
        table = self.tables[RouteKey(source, group, "").family]
        found = table.routes.of_stream(source, group)
        chosen = [route for route in found if iif in (None, route.iif)]
        if not chosen:
            where = f" from {quote(iif)}" if iif else ""
            raise NoSuchRoute(f"There is no route {stream(source, group)}{where}")
        if len(chosen) > 1:
            iifs = join(route.iif for route in chosen)
            raise InvalidArgs(f"Route {chosen[0]} exists from {iifs}: say which by 'iif'")
        return chosen[0]

    def delete(self, source: bytes, group: bytes, iif: str | None) -> None:
        route = self.check_delete(source, group, iif)
        self._commit([self._plan(self.tables[route.family], [route], [])])

    def flush(self, group: Prefix | None = None, iif: str | None = None) -> int:
        """Delete all routes, or those of a group prefix or an iif; their number."""
        transitions = []
        for table in self.tables.values():
            doomed = [
                route
                for route in table.routes
                if (iif is None or route.iif == iif) and (group is None or route.group in group)
            ]
            if doomed:
                transitions.append(self._plan(table, doomed, []))
        self._commit(transitions)
        return sum(len(transition.old) for transition in transitions)

    def _plan_add(self, route: Route, replace: bool) -> _Transition:
        table = self.tables[route.family]
        present = table.routes.get(route.key)
        if present is not None and not replace:
            where = f" from {quote(route.iif)}" if route.any_source else ""
            raise RouteExists(f"Route {route}{where} exists already")
        self._check_conflict(table, route)
        return self._plan(table, [present] if present else [], [route])

    def _plan(self, table: Table, old: Sequence[Route], new: Sequence[Route]) -> _Transition:
        ifindexes = {name: self._ifindex(table, name) for route in new for name in route.interfaces}
        vifs = table.vifs.copy()
        steps = plan(vifs, ifindexes, old, new)
        return _Transition(table, table.kernel, old, new, vifs, steps)

    def _ifindex(self, table: Table, name: str) -> int:
        try:
            link = self._links.lookup(name)
        except OSError:
            raise NoSuchInterface(f"Interface {quote(name)} not found") from None
        if not link.multicast:
            raise InterfaceNotMulticast(f"Interface {quote(name)} does not carry multicast")
        if name in table.vifs and table.vifs[name].ifindex != link.ifindex:
            raise KernelError(
                f"Interface {quote(name)} is not the one that other routes were made for: "
                "delete those first"
            )
        return link.ifindex

    def _check_conflict(self, table: Table, route: Route) -> None:
        # The kernel looks an any-source entry up by group and by any VIF in it: of two where the
        # iif of one is an oif of the other, it takes the newer for what arrives on that interface.
        if not route.any_source:
            return
        for other in table.routes.of_stream(route.source, route.group):
            if other.iif == route.iif:
                continue
            for one, two in ((route, other), (other, route)):
                if one.iif in two.interfaces:
                    raise KernelError(
                        f"Route {route} from {quote(route.iif)} and the one from "
                        f"{quote(other.iif)} cannot both be in the kernel: {quote(one.iif)} is "
                        "the iif of one and an oif of the other"
                    )

    def _commit(self, transitions: Sequence[_Transition]) -> None:
        done: list[tuple[Kernel, Step]] = []
        try:
            for transition in transitions:
                for step in transition.steps:
                    step.do(transition.kernel)
                    done.append((transition.kernel, step))
        except OSError as error:
            raise _take_back(done, error) from error

        added, changed, removed = [], [], []
        for table, _, old, new, vifs, _ in transitions:
            table.vifs = vifs
            before = {route.key: route for route in old}
            for route in new:
                present = before.pop(route.key, None)
                if present is None:
                    added.append(route)
                elif present != route:
                    changed.append(route)
                table.routes.put(route)
            for route in before.values():
                table.routes.remove(route)
                removed.append(route)
        if added or changed or removed:
            self._on_change(Change(added, changed, removed))


def _take_back(done: list[tuple[Kernel, Step]], error: OSError) -> KernelError:
    sentence = f"The kernel refused: {os.strerror(error.errno or 0)}"
    for kernel, step in reversed(done):
        try:
            step.undo(kernel)
        except OSError as second:
            # The one after it may still succeed, and each one that does is one less that is wrong.
            cause = os.strerror(second.errno or 0)
            sentence += f"; and it refused to take back {step}: {cause}"
    return KernelError(sentence)

"""Keeps the kernel at what is desired, as far as the interfaces and its room allow."""

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice

from mfc_dbus.adopt import adopt
from mfc_dbus.errors import KernelError, RequestError
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed, Turned
from mfc_dbus.model import MAX_VIFS, Route, RouteKey, TableId
from mfc_dbus.placement import place
from mfc_dbus.quoting import join
from mfc_dbus.table import Table
from mfc_dbus.transition import Transition, install
from mfc_dbus.watching import Watching, lose

log = logging.getLogger(__name__)

_RETRIES = 16  # at one time
_RETRYING = 0.01  # seconds, in which nobody else is served
_MAX_LOGGED = 10  # of what fails at once


class Upkeep:
    """The interfaces that there are, and what the kernel lacks that it should have."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        note: Callable[[Iterable[RouteKey]], None],
        installed: Callable[[Table, Sequence[Route]], None],
        watched: Sequence[str],
    ) -> None:
        """note: keeps in mind routes that may be in another state now.

        installed: is told of routes when what there can be of them is in the kernel. watched: see
        `Config`.
        """
        self.present: dict[str, Link] = {}
        self._tables = tables
        self._note = note
        self._installed = installed
        # What the kernel had no room for, or refused: ordered sets.
        self._starved: dict[TableId, dict[RouteKey, None]] = {}
        # The interfaces that had VIFs when that was tried last.
        self._used: dict[TableId, frozenset[str]] = {}
        self._watching = Watching(watched)
        self._watched = False  # others than before

    def install(
        self, transitions: Sequence[Transition], within: Container[str] | None = None
    ) -> None:
        """Desire routes, and put into the kernel what can be there; raises as the function does.

        within: on no other interfaces than these.
        """
        present = self.present
        if within is not None:
            present = {name: link for name, link in present.items() if name in within}
        self._install(transitions, present, evicting=within is None)

    def see(self, event: Event) -> None:
        """Take in what happened to an interface."""
        self._watching.see(event, self._tables.values())
        if isinstance(event, Came | Turned):
            self.present[event.link.name] = event.link
        elif isinstance(event, Gone):
            self.present.pop(event.link.name, None)

    def follow(self, event: Event) -> None:
        """Do what it asks for, after it was seen."""
        if isinstance(event, Missed):
            self._find_lost_vifs()
            return
        for table in self._tables.values():
            self._settle(table, table.routes.naming(event.link.name))
        self.feed()
        self.watch()

    def turn(self, event: Turned) -> None:
        """Look at the states of the routes that name an interface; the kernel is not touched."""
        for table in self._tables.values():
            self._note(route.key for route in table.routes.naming(event.link.name))

    def take_tables(self) -> None:
        """Try to get the tables that are not ours, and put the routes in."""
        for table in self._tables.values():
            if table.take():
                self._settle(table, list(table.routes))
                self.watch()

    def own(self, ids: Container[TableId]) -> None:
        """Give up the tables that are not among these, and try to get those that are.

        Raises KernelError.
        """
        for id_, table in self._tables.items():
            table.wanted = table.opened and id_ in ids
            if table.owned and not table.wanted:
                try:
                    table.leave()
                except OSError as error:
                    raise KernelError(f"The kernel refused: {error.strerror}") from error
                self._note(route.key for route in table.routes)
        self.take_tables()

    def begin(self, table: Table) -> None:
        """Put the routes in, if the table can be had now; nobody is told."""
        if table.take():
            self._try(table, list(table.routes))

    def adopt(self, table: Table, held: Held) -> None:
        """Repair what differs from the desired routes, and touch nothing else.

        Where that fails it is not ours any more.
        """
        try:
            table.take_up()
            if not table.wanted:
                table.leave()
                return
            adoption = adopt(held.vifs, held.entries, table.routes, self.present)
            for step in adoption.steps:
                step.do(table.kernel)
                table.written += 1
        except OSError as error:
            log.error("What the kernel holds cannot be taken up (%s): it begins anew", error)
            table.leave()
            return
        table.vifs = adoption.vifs
        table.installed = adoption.installed
        table.learned.clear()
        for learned in adoption.learned:
            table.learned.put(learned)
        table.doubtful = adoption.doubtful
        native = table.routes.kinds.native
        possible = ((r, place(r, self.present, native=native(r))) for r in table.routes)
        self._try(table, [r for r, now in possible if now != table.installed.get(r.key)])
        self.watch()

    def watch(self) -> None:
        """Give the VIFs that no route uses to the interfaces that are watched."""
        settled = [self._watching.settle(table) for table in self._tables.values()]
        self._watched = self._watched or any(settled)

    def watch_others(self, patterns: Sequence[str]) -> None:
        self._watching.configure(patterns, self.present)
        self.watch()

    def take_watched(self) -> bool:
        """Whether other interfaces are watched since the last time."""
        watched, self._watched = self._watched, False
        return watched

    def feed(self) -> None:
        """Try again what had no room in the kernel, where there is more of it than before."""
        for table in self._tables.values():
            used, before = table.vifs.used, self._used.get(table.id, frozenset())
            if not table.owned or used == before:
                continue
            starved = self._starved.setdefault(table.id, {}) | dict.fromkeys(table.left_out)
            if starved and len(used) >= len(before):
                now_there = (table.routes.naming(name) for name in used - before)
                keys = (route.key for routes in now_there for route in routes)
                starved = {key: None for key in keys if key in starved}
            self._try_again(table, starved)
            self._used[table.id] = table.vifs.used

    def retry(self) -> None:
        """Try some of it again in any case: what was refused once may not be now."""
        until = time.monotonic() + _RETRYING
        for table in self._tables.values():
            if table.owned:
                for key in list(islice(self._starved.get(table.id, {}), _RETRIES)):
                    if time.monotonic() < until:
                        self._try_again(table, [key])

    def want(self, table: Table, routes: Sequence[Route]) -> None:
        """Desire routes, and put into the kernel what it takes of them, now or later."""
        for route in routes:
            table.routes.put(route)
        self._try(table, routes)

    def _find_lost_vifs(self) -> None:
        """Make the VIFs anew whose device went, and came back under its old name and ifindex."""
        for table in self._tables.values():
            lost = [name for name in table.lost_vifs() if name in self.present]
            for name in lost:
                routes = table.routes.naming(name)
                link = self.present.pop(name)
                lose(table, name)
                self._settle(table, routes)
                self.present[name] = link
                self._settle(table, routes)
        self.watch()

    def _install(
        self, transitions: Sequence[Transition], present: Mapping[str, Link], *, evicting: bool
    ) -> None:
        self._note(install(transitions, present, evicting=evicting))
        for table, _, new in transitions:
            if table.owned:
                self._installed(table, new)

    def _settle(self, table: Table, routes: Sequence[Route]) -> None:
        """Put of these desired routes into the kernel what the interfaces now allow."""
        if table.owned:
            self._try(table, routes)
            self._note(route.key for route in routes)

    def _try(self, table: Table, routes: Sequence[Route]) -> None:
        try:
            self.install([Transition.again(table, routes)])
        except RequestError:
            failed = 0
            for route in routes:
                failed += not self._try_alone(table, route, quiet=failed >= _MAX_LOGGED)
            if failed > _MAX_LOGGED:
                log.error("and %d more", failed - _MAX_LOGGED)

    def _try_again(self, table: Table, keys: Iterable[RouteKey]) -> None:
        for key in keys:
            route = table.routes.get(key)
            if route is None:
                self._starved[table.id].pop(key, None)
            else:
                self._try_alone(table, route)
                self._note([key])

    def _try_alone(self, table: Table, route: Route, *, quiet: bool = False) -> bool:
        """Put in a route, or what can be of it; whether that is all."""
        starved = self._starved.setdefault(table.id, {})
        known = route.key in starved
        starved.pop(route.key, None)
        try:
            self.install([Transition.again(table, [route])])
        except RequestError as error:
            if not known and not quiet:
                log.error("Route %s is not what it should be: %s", route, error)
            starved[route.key] = None
            self._try_in_parts(table, route, str(error))
            return False
        return True

    def _try_in_parts(self, table: Table, route: Route, reason: str) -> None:
        """Put in what of a route takes no more room, and then what the kernel takes beyond it.

        reason: why it is not all of it.
        """
        possible = place(route, self.present, native=table.routes.kinds.native(route))
        if possible is None:
            return
        here = {name: self.present[name] for name in possible.interfaces}  # the iifs come first
        taken = {name: link for name, link in here.items() if name in table.vifs}
        lacking = [name for name in here if name not in taken]
        full = len(table.vifs.used) == MAX_VIFS
        for more in ((), *((name,) for name in lacking if not full)):
            tried = taken | {name: here[name] for name in more}
            try:
                self._install([Transition.again(table, [route])], tried, evicting=False)
            except RequestError:
                continue
            taken = tried
        left_out = [name for name in here if name not in taken]
        if left_out:
            table.left_out[route.key] = f"{reason}: {join(left_out)} left out"

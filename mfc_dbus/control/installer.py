"""Puts desired routes into the kernel, as far as it takes them, and remembers what it refused.

The Reconciler says which routes, and when. Where routes cannot be installed together, each of them
is installed alone; where one cannot be installed whole, as much of it as the kernel takes.
"""

import logging
import time
from collections import defaultdict
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from typing import NamedTuple

from mfc_dbus.control.backlog import FEW
from mfc_dbus.control.starved import Starved
from mfc_dbus.model.cause import BY_INTERFACE, Cause
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.interfaces import is_pattern, matches
from mfc_dbus.model.journal import Message, about
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId
from mfc_dbus.routing.doubt import UNSEEN
from mfc_dbus.routing.placement import place, say_left_out
from mfc_dbus.routing.present_links import PresentLinks
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition, install

log = logging.getLogger(__name__)

_RETRIES = 16  # at one time
_RETRYING = 0.01  # seconds, in which nobody else is served
_MAX_LOGGED = 10  # of what fails, from one retry to the next
LEFT_OUT = "left out"  # lacked by routes of which only a part was installed


class Fitting(NamedTuple):
    """Routes of which more may fit into the kernel by now, and what they had no room on."""

    lacked: Hashable
    keys: Collection[RouteKey]


class Installer:
    """What the kernel has of the desired routes, and those of which it lacks something."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        present: PresentLinks,
        note: Callable[[Iterable[RouteKey], Cause], None],
        installed: Callable[[Table, Sequence[Route]], None],
    ) -> None:
        """present: the interfaces that routes can be on. note, installed: as for `Reconciler`."""
        self._tables = tables
        self._present = present
        self._note = note
        self._installed = installed
        # What the kernel had no room for, or refused.
        self._starved: defaultdict[TableId, Starved] = defaultdict(Starved)
        # The interfaces that had VIFs when that was tried last.
        self._used: dict[TableId, frozenset[str]] = {}
        self._failed = 0  # routes since the last retry
        self._rounds = 0  # of retries

    def install(
        self,
        transitions: Sequence[Transition],
        within: Collection[str] | None = None,
        cause: Cause = BY_INTERFACE,
    ) -> None:
        """Desire routes, and put into the kernel what can be there; raises as the function does.

        within: on no other interfaces than these.
        """
        present = self._present
        if within is not None:
            present = present.only(within)
        self._install(transitions, present, cause, evicting=within is None)

    def install_possible(self, table: Table, routes: Sequence[Route]) -> None:
        """Install desired routes together; if that fails, each of them as far as possible."""
        try:
            self._install_all(table, routes)
        except RequestError:
            for route in routes:
                self._try_alone(table, route)
        else:
            for route in routes:
                self._starved[table.id].discard(route.key)

    def install_again(self, table: Table, keys: Sequence[RouteKey]) -> None:
        """Install as much of these desired routes as the interfaces allow now."""
        if table.owned:
            found = [table.routes.get(key) for key in keys]
            self.install_possible(table, [route for route in found if route is not None])
        self._note(keys, BY_INTERFACE)

    def retry(self) -> None:
        """Try some of the refused routes again: the kernel may take them now."""
        if self._failed > _MAX_LOGGED:
            rest = self._failed - _MAX_LOGGED
            log.error("and %d more", rest, extra=about(Message.LEFT_OUT, left_out=rest))
        self._failed = 0
        tables = [table for table in self._tables.values() if table.owned]
        self._rounds += 1
        first = self._rounds % max(1, len(tables))  # its routes may take all of the time
        until = time.monotonic() + _RETRYING
        for table in tables[first:] + tables[:first]:
            for key in self._starved[table.id].first(_RETRIES):
                if time.monotonic() < until:
                    self._try_again(table, key)

    def release(self, id_: TableId) -> None:
        """Forget what the kernel lacks of a table that is not ours any more."""
        self._starved[id_].clear()

    def take_fitting(self, table: Table) -> Iterator[Fitting]:
        """Yield the routes of which more may fit since the last call, by the VIFs that there are
        now.
        """
        used, before = table.vifs.used, self._used.get(table.id, frozenset())
        if used == before:
            return
        self._used[table.id] = used
        fitting = self._starved[table.id].fitting(used, before, MAX_VIFS - len(used))
        for interfaces, keys in fitting:
            yield Fitting(interfaces, keys)
        left_out: Collection[RouteKey] = table.left_out.keys()
        if len(used) == MAX_VIFS and len(left_out) <= FEW:
            left_out = [key for key in left_out if _lacks(table, key, used - before)]
        yield Fitting(LEFT_OUT, left_out)

    def may_be_more(self, table: Table, route: Route) -> bool:
        """Tell whether more of a route could be installed with the present interfaces."""
        placed = table.installed.get(route.key)
        if placed is route:
            return False
        native = table.routes.native_routes.native(route)
        return placed != place(route, self._present, native=native, preferred=table.vifs.used)

    def _install(
        self,
        transitions: Sequence[Transition],
        present: PresentLinks,
        cause: Cause,
        *,
        evicting: bool,
    ) -> None:
        evicted = install(transitions, present, evicting=evicting)
        if evicted:
            self._note(evicted, cause)
        for transition in transitions:
            if transition.table.owned:
                self._installed(transition.table, transition.new)

    def _install_all(self, table: Table, routes: Sequence[Route]) -> None:
        """Install desired routes on the interfaces that there are, or on those that have VIFs where
        no other can have one.
        """
        within = {vif.name for vif in table.vifs} if table.unseen else None
        self.install([Transition.again(table, routes)], within)
        if table.unseen:
            more = (route.key for route in routes if self.may_be_more(table, route))
            table.left_out |= dict.fromkeys(more, UNSEEN)

    def _try_again(self, table: Table, key: RouteKey) -> None:
        route = table.routes.get(key)
        if route is None:
            self._starved[table.id].discard(key)
        else:
            self._try_alone(table, route)
            self._note([key], BY_INTERFACE)

    def _try_alone(self, table: Table, route: Route) -> None:
        """Install a route, or the part of it that can be installed."""
        starved = self._starved[table.id]
        known = route.key in starved
        starved.discard(route.key)
        try:
            self._install_all(table, [route])
        except RequestError as error:
            if not known:
                self._failed += 1
            if not known and self._failed <= _MAX_LOGGED:
                log.error(
                    "Route %s is not what it should be: %s",
                    route,
                    error,
                    extra=about(Message.KERNEL_REFUSED, route, reason=str(error)),
                )
            named = (name for name in route.interfaces if not is_pattern(name))
            starved.put(route.key, frozenset(name for name in named if name in self._present))
            self._try_in_parts(table, route, str(error))

    def _try_in_parts(self, table: Table, route: Route, reason: str) -> None:
        """Put in what of a route takes no more room, and then what the kernel takes beyond it.

        reason: why it is not all of it.
        """
        native = table.routes.native_routes.native(route)
        possible = place(route, self._present, native=native, preferred=table.vifs.used)
        if possible is None:
            return
        here = possible.interfaces  # the iifs come first
        taken = {name for name in here if name in table.vifs}
        lacking = [name for name in here if name not in taken][:MAX_VIFS]
        full = len(table.vifs.used) == MAX_VIFS
        for more in ((), *((name,) for name in lacking if not full)):
            tried = taken.union(more)
            try:
                again = [Transition.again(table, [route])]
                self._install(again, self._present.only(tried), BY_INTERFACE, evicting=False)
            except RequestError:
                continue
            taken = tried
        left_out = say_left_out(route, self._present, taken)
        if left_out:
            table.left_out[route.key] = f"{reason}: {left_out} left out"


def _lacks(table: Table, key: RouteKey, interfaces: Set[str]) -> bool:
    """Tell whether a route asks for one of these interfaces and is not on it."""
    route, placed = table.routes.get(key), table.installed.get(key)
    if route is None:
        return False
    lacking = interfaces - set(placed.interfaces if placed is not None else ())
    return any(matches(each, name) for each in route.interfaces for name in lacking)

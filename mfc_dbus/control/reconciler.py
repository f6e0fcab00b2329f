"""Keeps the kernel at what is desired, as far as the interfaces and its room allow.

What concerns few routes is done at once; what concerns many waits in a backlog, of which `work`
does some at a time. Between two of its steps table and kernel are what they are for each other.

The repairs are apart, since each knows something else. `adopt` reads what an earlier process left
in the kernel, and keeps of it what is right; where that is too much to be read at a start,
`finish_adoption` goes on when the DriftDetector has seen the rest. `retry` and `retry_without_room`
trust the kernel to hold what was written, and install only the routes that it refused or had no
room for. The DriftDetector does not trust it, and writes lost VIFs and entries again by their keys;
the routes are what they were. `remove_doubt` writes all entries as they are. One repair for all of
them would have to read the kernel's whole table each time, even for the sake of one route.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence, Set
from contextlib import suppress

from mfc_dbus.control.arrivals import Arrivals
from mfc_dbus.control.backlog import FEW, Backlog
from mfc_dbus.control.starved import Starved
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.links import Event, Link
from mfc_dbus.loop.slices import Bell
from mfc_dbus.model.cause import BY_INTERFACE, Cause
from mfc_dbus.model.errors import KernelError, RequestError
from mfc_dbus.model.interfaces import is_pattern, matches
from mfc_dbus.model.journal import Message, about, about_table
from mfc_dbus.model.quoting import MAX_NAMED, join
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId
from mfc_dbus.routing.adoption import adopt
from mfc_dbus.routing.doubt import UNSEEN, remove_doubt
from mfc_dbus.routing.placement import place
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition, install
from mfc_dbus.streams.watched import Watching

log = logging.getLogger(__name__)

_LIGHT = 20  # interfaces that a pattern goes through in no time
_RETRIES = 16  # at one time
_RETRYING = 0.01  # seconds, in which nobody else is served
_PATIENCE = 20.0  # seconds that a caller waits until its interfaces are there for routes
_MAX_LOGGED = 10  # of what fails, from one retry to the next


class Reconciler:
    """The interfaces that there are, and what the kernel lacks that it should have.

    present: the interfaces that routes can be on. known: all that there are.
    """

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        note: Callable[[Iterable[RouteKey], Cause], None],
        installed: Callable[[Table, Sequence[Route]], None],
        watched: Sequence[str],
        tell: Callable[[Event], None],
    ) -> None:
        """note: keeps in mind routes that may be in another state now, and the cause of that.

        installed: is told of routes when what there can be of them is in the kernel. watched: see
        `Settings`. tell: is told what happened to interfaces, before the routes follow.
        """
        self._tables = tables
        self._note = note
        self._installed = installed
        self._tell = tell
        self._arrivals = Arrivals(tables, self._see, _doubts)
        self.present: Mapping[str, Link] = self._arrivals.present
        self.known = self._arrivals.known
        self._backlog = Backlog()
        self._moved = Bell()  # rings when there is more to be done, or some of it was done
        # What the kernel had no room for, or refused.
        self._starved: defaultdict[TableId, Starved] = defaultdict(Starved)
        # The interfaces that had VIFs when that was tried last.
        self._used: dict[TableId, frozenset[str]] = {}
        self._reserved = False  # whether the room that there is has to stay
        self._failed = 0  # routes since the last retry
        self._rounds = 0  # of retries
        self._watching = Watching(watched)
        self._watched = False  # others than before

    def install(
        self,
        transitions: Sequence[Transition],
        within: Container[str] | None = None,
        cause: Cause = BY_INTERFACE,
    ) -> None:
        """Desire routes, and put into the kernel what can be there; raises as the function does.

        within: on no other interfaces than these.
        """
        present = self.present
        if within is not None:
            present = {name: link for name, link in present.items() if name in within}
        self._install(transitions, present, cause, evicting=within is None)

    def note_links(self, events: Sequence[Event]) -> None:
        """Note which interfaces exist, before any table is ours."""
        self._arrivals.follow(events)

    def react(self, events: Sequence[Event]) -> None:
        """Do what events of interfaces ask for; where many routes are concerned, leave it to
        `work`.
        """
        taken = [table for table in self._tables.values() if table.acquire()]
        for table in taken:
            self._backlog.add(table.id, "taken", table.routes.enabled_keys())
        if taken or events:
            self._queue_concerned(self._arrivals.follow(events))
            self._do_few()

    def work(self) -> bool:
        """Do some of the work that waits. Return whether there is more."""
        chosen = self._backlog.take_few() or self._backlog.take_many()
        if chosen is not None:
            self._install_again(chosen.table, chosen.keys)
        self._find_more()
        self.watch()
        self._moved.ring()
        return bool(self._backlog)

    async def until_more(self) -> None:
        """Return when there is something for `work` to do."""
        while not self._backlog:
            await self._moved.wait()

    @property
    def all_there(self) -> bool:
        """Whether routes can be on all interfaces that there are."""
        return not self._arrivals.coming and not any(map(_doubts, self._tables.values()))

    async def until_there(self, names: Collection[str]) -> None:
        """Return when routes can be on those of these interfaces that there are, or soon after.

        What the kernel refuses to let go of is not waited for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while not self.all_there and self._waits(names):
                    await self._moved.wait()

    def _waits(self, names: Collection[str]) -> bool:
        if not self._arrivals.coming.keys().isdisjoint(names):
            return True
        doubted = [table for table in self._tables.values() if _doubts(table)]
        return any(name not in table.vifs for table in doubted for name in names)

    async def remove_doubt(self) -> None:
        """Write entries anew until no VIF number is in doubt. Raises OSError."""
        for table in self._tables.values():
            if table.owned and table.doubtful:
                await remove_doubt(table)
        self._do_few()

    def own(self, ids: Container[TableId]) -> None:
        """Give up the tables that are not among these, and try to get those that are.

        Raises KernelError.
        """
        for id_, table in self._tables.items():
            table.wanted = table.opened and id_ in ids
            if table.owned and not table.wanted:
                try:
                    table.release()
                except OSError as error:
                    raise KernelError(f"The kernel refused: {error.strerror}") from error
                self._starved[id_].clear()
                self._backlog.add(id_, "taken", table.routes.enabled_keys())
        self.react([])
        self._do_few()

    def begin(self, table: Table) -> None:
        """Put the routes in, if the table can be had now; nobody is told."""
        if table.acquire():
            self._try(table, list(table.routes))

    def adopt(self, table: Table, held: Held) -> None:
        """Repair what differs from the desired routes, and touch nothing else.

        Where that fails it is not ours any more.
        """
        try:
            table.adopt_socket()
            if not table.wanted:
                table.release()
                return
            adoption = adopt(held.vifs, held.entries, table.routes, self.present, whole=held.whole)
            for step in adoption.steps:
                step.do(table.kernel)
                table.written += 1
        except OSError as error:
            log.error(
                "What the kernel holds cannot be taken up (%s): it begins anew",
                error,
                extra=about_table(Message.KERNEL_REFUSED, table.id, reason=str(error)),
            )
            table.release()
            return
        table.vifs = adoption.vifs
        table.installed = adoption.installed
        table.learned.clear()
        for learned in adoption.learned:
            table.learned.put(learned)
        table.doubtful = adoption.doubtful
        table.unseen = not held.whole
        if table.unseen:
            log.info("The %s table has more entries than are read now: the rest follows", table.id)
        self._try(table, [route for route in table.routes if self._may_be_more(table, route)])
        self.watch()

    async def finish_adoption(self, table: Table) -> None:
        """Give interfaces VIFs, now that all that an earlier process has left is found.

        Raises OSError.
        """
        if table.doubtful:
            await remove_doubt(table)
        table.unseen = False
        log.info("All that an earlier process has left in the %s table is found", table.id)
        self._backlog.add(table.id, "taken", [*table.left_out])
        self._do_few()

    def _may_be_more(self, table: Table, route: Route) -> bool:
        """Tell whether more of a route could be installed with the present interfaces."""
        placed = table.installed.get(route.key)
        if placed is route:
            return False
        return placed != place(route, self.present, native=table.routes.native_routes.native(route))

    def watch(self) -> None:
        """Give the VIFs that no route uses to the interfaces that are watched."""
        changed = [
            self._watching.give_vifs(table) for table in self._tables.values() if not _doubts(table)
        ]
        self._watched = self._watched or any(changed)

    def watch_others(self, patterns: Sequence[str]) -> None:
        self._watching.configure(patterns, self.present)
        self.watch()

    def take_watched(self) -> bool:
        """Tell whether the set of watched interfaces has changed since the last call."""
        watched, self._watched = self._watched, False
        return watched

    def reserve_room(self) -> None:
        """Keep free VIFs for the change that is being done, and for taking it back."""
        self._reserved = True

    def retry_without_room(self) -> None:
        """Give free VIFs away again, to routes that had no room before and to what is watched."""
        self._reserved = False
        self._do_few()

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
        self._do_few()

    def desire(self, table: Table, routes: Sequence[Route]) -> None:
        """Desire routes, and install as much of them as the kernel takes, now or later."""
        for route in routes:
            table.routes.put(route)
        self._try(table, routes)

    def _see(self, event: Event) -> None:
        self._watching.see(event, self._tables.values())
        self._tell(event)

    def _queue_concerned(self, interfaces: Mapping[str, None]) -> None:
        """Queue the routes that name these interfaces or have a pattern that matches one."""
        for table in self._tables.values() if interfaces else ():
            if table.owned:
                for name, keys in table.routes.concerned(interfaces):
                    weight = self._pattern_weight if is_pattern(name) else 1
                    self._backlog.add(table.id, name, keys, weight)

    def _do_few(self) -> None:
        """Work off at once the batches of few routes."""
        left = FEW
        self._find_more()
        while left > 0 and (chosen := self._backlog.take_few()):
            self._install_again(chosen.table, chosen.keys)
            left -= chosen.weight
            self._find_more()
        self.watch()
        self._moved.ring()

    def _find_more(self) -> None:
        """Queue the routes that the work done so far has made room for."""
        self._queue_concerned(self._arrivals.admit())
        for table in self._tables.values():
            self._find_fitting(table)

    def _find_fitting(self, table: Table) -> None:
        """Queue the routes without room for which there is room now."""
        used, before = table.vifs.used, self._used.get(table.id, frozenset())
        if self._reserved or not table.owned or used == before:
            return
        self._used[table.id] = used
        fitting = self._starved[table.id].fitting(used, before, MAX_VIFS - len(used))
        for interfaces, keys in fitting:
            self._backlog.add(table.id, interfaces, keys)
        left_out: Collection[RouteKey] = table.left_out.keys()
        if len(used) == MAX_VIFS and len(left_out) <= FEW:
            left_out = [key for key in left_out if _lacks(table, key, used - before)]
        self._backlog.add(table.id, "left out", left_out, self._pattern_weight)

    @property
    def _pattern_weight(self) -> int:
        """Estimate how many times as long as usual it takes to look at a route with a pattern."""
        return 1 + len(self.present) // _LIGHT

    def _install(
        self,
        transitions: Sequence[Transition],
        present: Mapping[str, Link],
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

    def _install_again(self, id_: TableId, keys: Sequence[RouteKey]) -> None:
        """Install as much of these desired routes as the interfaces allow now."""
        table = self._tables[id_]
        if table.owned:
            found = [table.routes.get(key) for key in keys]
            self._try(table, [route for route in found if route is not None])
        self._note(keys, BY_INTERFACE)

    def _try(self, table: Table, routes: Sequence[Route]) -> None:
        """Install routes together; if that fails, each of them as far as possible."""
        try:
            self._install_possible(table, routes)
        except RequestError:
            for route in routes:
                self._try_alone(table, route)
        else:
            for route in routes:
                self._starved[table.id].discard(route.key)

    def _install_possible(self, table: Table, routes: Sequence[Route]) -> None:
        """Install desired routes on the interfaces that there are, or on those that have VIFs where
        no other can have one.
        """
        within = {vif.name for vif in table.vifs} if table.unseen else None
        self.install([Transition.again(table, routes)], within)
        if table.unseen:
            more = (route.key for route in routes if self._may_be_more(table, route))
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
            self._install_possible(table, [route])
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
            starved.put(route.key, frozenset(name for name in named if name in self.present))
            self._try_in_parts(table, route, str(error))

    def _try_in_parts(self, table: Table, route: Route, reason: str) -> None:
        """Put in what of a route takes no more room, and then what the kernel takes beyond it.

        reason: why it is not all of it.
        """
        possible = place(route, self.present, native=table.routes.native_routes.native(route))
        if possible is None:
            return
        here = {name: self.present[name] for name in possible.interfaces}  # the iifs come first
        taken = {name: link for name, link in here.items() if name in table.vifs}
        # Of a pattern there may be thousands: no more are tried than could have a VIF.
        lacking = [name for name in here if name not in taken][:MAX_VIFS]
        full = len(table.vifs.used) == MAX_VIFS
        for more in ((), *((name,) for name in lacking if not full)):
            tried = taken | {name: here[name] for name in more}
            try:
                again = [Transition.again(table, [route])]
                self._install(again, tried, BY_INTERFACE, evicting=False)
            except RequestError:
                continue
            taken = tried
        left_out = [name for name in here if name not in taken]
        if left_out:
            table.left_out[route.key] = f"{reason}: {join(left_out, MAX_NAMED)} left out"


def _doubts(table: Table) -> bool:
    """Tell whether an interface cannot have a VIF now, or to give it one would take long.

    See `Table.unseen`, `Table.doubtful`.
    """
    if table.unseen:
        return True
    return bool(table.doubtful) and len(table.installed) + len(table.learned) > FEW


def _lacks(table: Table, key: RouteKey, interfaces: Set[str]) -> bool:
    """Tell whether a route asks for one of these interfaces and is not on it."""
    route, placed = table.routes.get(key), table.installed.get(key)
    if route is None:
        return False
    lacking = interfaces - set(placed.interfaces if placed is not None else ())
    return any(matches(each, name) for each in route.interfaces for name in lacking)

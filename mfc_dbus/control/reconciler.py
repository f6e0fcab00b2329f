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
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from mfc_dbus.control.arrivals import Arrivals
from mfc_dbus.control.backlog import FEW, Backlog
from mfc_dbus.control.installer import LEFT_OUT, Installer
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.links import Event
from mfc_dbus.loop.slices import Bell
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.errors import KernelError
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.journal import Message, about_table
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId
from mfc_dbus.routing.adoption import adopt
from mfc_dbus.routing.doubt import remove_doubt
from mfc_dbus.routing.table import Table
from mfc_dbus.streams.watched import Watching

log = logging.getLogger(__name__)

_LIGHT = 20  # interfaces on which a pattern is placed in no time
_PATIENCE = 20.0  # seconds that a caller waits until its interfaces are there for routes


class Reconciler:
    """Follows interfaces, and finds the routes of which the kernel may take more, or less.

    present: the interfaces that routes can be on. known: all that there are. install: puts routes
    that are to be desired into the kernel, as `Installer.install` says.
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
        self._tell = tell
        self._arrivals = Arrivals(tables, self._see, _doubts)
        self.present = self._arrivals.present
        self.known = self._arrivals.known
        self._installer = Installer(tables, self.present, note, installed)
        self.install = self._installer.install
        self._backlog = Backlog()
        self._moved = Bell()  # rings when there is more to be done, or some of it was done
        self._reserved = False  # whether free VIFs are kept for the change that is being done
        self._watching = Watching(watched)
        self._watched = False  # whether other interfaces are watched since `take_watched`

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
            self._installer.install_again(self._tables[chosen.table], chosen.keys)
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
                self._installer.release(id_)
                self._backlog.add(id_, "taken", table.routes.enabled_keys())
        self.react([])
        self._do_few()

    def begin(self, table: Table) -> None:
        """Put the routes in, if the table can be had now; nobody is told."""
        if table.acquire():
            self._installer.install_possible(table, list(table.routes))

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
        may_be_more = partial(self._installer.may_be_more, table)
        self._installer.install_possible(table, list(filter(may_be_more, table.routes)))
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

    def retry(self) -> None:
        """Try some of the refused routes again: the kernel may take them now."""
        self._installer.retry()
        self._do_few()

    def retry_without_room(self) -> None:
        """Give free VIFs away again, to routes that had no room before and to what is watched."""
        self._reserved = False
        self._do_few()

    def desire(self, table: Table, routes: Sequence[Route]) -> None:
        """Desire routes, and install as much of them as the kernel takes, now or later."""
        for route in routes:
            table.routes.put(route)
        self._installer.install_possible(table, routes)

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
            self._installer.install_again(self._tables[chosen.table], chosen.keys)
            left -= chosen.weight
            self._find_more()
        self.watch()
        self._moved.ring()

    def _find_more(self) -> None:
        """Queue the routes that the work done so far has made room for."""
        self._queue_concerned(self._arrivals.admit())
        for table in self._tables.values():
            if table.owned and not self._reserved:
                for lacked, keys in self._installer.take_fitting(table):
                    weight = self._pattern_weight if lacked == LEFT_OUT else 1
                    self._backlog.add(table.id, lacked, keys, weight)

    @property
    def _pattern_weight(self) -> int:
        """Estimate how many times as long as usual it takes to look at a route with a pattern.

        Of thousands of interfaces it is placed on no more than those with a VIF and as many others.
        """
        return 1 + min(len(self.present), 2 * MAX_VIFS) // _LIGHT


def _doubts(table: Table) -> bool:
    """Return whether an interface can have no VIF now, or only after a long time.

    See `Table.unseen`, `Table.doubtful`.
    """
    if table.unseen:
        return True
    return bool(table.doubtful) and len(table.installed) + len(table.learned) > FEW

"""One change at a time: plan it, do it in the kernel, store it, tell it.

Knows neither D-Bus nor sockets: it is given a kernel, the network interfaces and stores.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import cast

from mfc_dbus.config.settings import CurrentSettings, Settings
from mfc_dbus.control.bulk_changes import BulkChanges
from mfc_dbus.control.change_log import ChangeLog
from mfc_dbus.control.change_queue import ChangeQueue
from mfc_dbus.control.changes import Changes, find_flushed
from mfc_dbus.control.document_changes import DocumentChanges
from mfc_dbus.control.history import History
from mfc_dbus.control.interface_follower import InterfaceFollower
from mfc_dbus.control.joining import Joining
from mfc_dbus.control.link_events import NetworkLinks
from mfc_dbus.control.membership_changes import MembershipChanges
from mfc_dbus.control.observation import Observer
from mfc_dbus.control.preconditions import Preconditions
from mfc_dbus.control.reconciler import Reconciler
from mfc_dbus.control.rights import Touched, check_touched, touched
from mfc_dbus.control.router_discovery import RouterDiscovery
from mfc_dbus.control.settings_in_force import SettingsInForce
from mfc_dbus.control.status_changes import StatusChanges
from mfc_dbus.control.takeover import Takeover
from mfc_dbus.control.timeouts import Timeouts
from mfc_dbus.control.undoing import Undoing
from mfc_dbus.control.unstored import Keeper, UnstoredChanges
from mfc_dbus.control.view import View
from mfc_dbus.kernel.links import Event, Link, Turned
from mfc_dbus.loop import garbage
from mfc_dbus.loop.slices import Slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.cause import BY_EXPIRY, Act, Cause, asked
from mfc_dbus.model.route import Route, RouteKey, RouteName, TableId
from mfc_dbus.model.status import StoreCounters
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition, check_transition
from mfc_dbus.streams.rates import Rates
from mfc_dbus.streams.upcalls import Discoverer, Upcalls


class Controller:
    """The routes of all tables, and the memberships.

    `check_…` raises what can be told of a change beforehand. The change itself raises the same,
    KernelError or StoreError, and is done whole or not at all: when it returns, it is in the kernel
    and stored. Changes are done one after the other; those that wait while another is being stored
    are then stored together.

    documents: does the changes of many routes at once that a document or a reload asks for.
    undoing: undoes what is in the history. joining: does the changes of memberships.
    takeover: begins with what an earlier process left. status_changes: has the listener, who is
    told of every change of routes.
    observer: looks at one stream and counts its packets.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        links: NetworkLinks,
        keeper: Keeper,
        settings: Settings | None = None,
        memberships: Memberships | None = None,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        """go_on: is called again and again while changes are done."""
        self._current = CurrentSettings(settings or Settings())
        self.memberships = memberships or Memberships()
        self.memberships.limit = lambda: self._current.now.max_memberships
        self.tables: dict[TableId, Table] = {table.id: table for table in tables}
        self._log = ChangeLog()
        self.history = History()
        self.status_changes = StatusChanges(
            self.tables, lambda: self._reconciler.present, self._log
        )
        self.membership_changes = MembershipChanges(self.memberships, self._log)
        self._rates = Rates(self.tables)
        self.view = View(
            self.tables,
            self.memberships,
            self.status_changes,
            self._rates,
            lambda: self._reconciler.present,
        )
        self._upcalls = Upcalls(self.tables, self._current)
        self._reconciler = Reconciler(
            self.tables,
            self.status_changes.note,
            self._upcalls.answer,
            self._current.now.discovery_interfaces,
            self._see,
        )
        self._preconditions = Preconditions(
            self.tables, self.memberships, self._reconciler.known, self._current
        )
        self.observer = Observer(
            self.tables, self._reconciler.present, self._upcalls.seen, self._current
        )
        self._timeouts = Timeouts(self.find)
        self._unstored = UnstoredChanges(
            self._reconciler,
            self.memberships,
            self._timeouts,
            self.status_changes,
            keeper,
            self.history,
            go_on,
        )
        self._router_discovery = RouterDiscovery(self.tables, self._current)
        self._settings = SettingsInForce(self._current, self._reconciler, self._router_discovery)
        self._interfaces = InterfaceFollower(links, self._reconciler, self.follow)
        self._queue = ChangeQueue(self._commit, go_on)
        self._bulk = BulkChanges(
            self.tables, self.memberships, self._unstored, self._queue, self._interfaces
        )
        self.undoing = Undoing(
            self.tables, self.memberships, self._preconditions, self._bulk, self.history
        )
        self.joining = Joining(
            self.memberships, self._reconciler.known, self._queue, self._interfaces, self.follow
        )
        self.takeover = Takeover(
            self.tables,
            self.memberships,
            self._current,
            self._interfaces,
            self._reconciler,
            self._upcalls,
            self._timeouts,
            self.status_changes,
            self.membership_changes,
            self._tell_if_idle,
        )
        self.documents = DocumentChanges(
            self.tables,
            self.memberships,
            self._preconditions,
            self._interfaces,
            self._settings,
            self._bulk,
        )

    @property
    def store(self) -> StoreCounters:
        """What was stored since this began."""
        return self._unstored.store

    @property
    def present(self) -> Mapping[str, Link]:
        """The interfaces that there are, by name."""
        return self._reconciler.present

    @property
    def count(self) -> int:
        """How many routes are desired, in all tables."""
        return sum(len(table.routes) for table in self.tables.values())

    def set_discoverer(self, discoverer: Discoverer) -> None:
        """Have someone told of the streams that no route covers, and of VIFs that none uses."""
        self._upcalls.discoverer = discoverer

    @property
    def is_whole(self) -> bool:
        """Whether no long change is half done, so that what is desired may be looked at."""
        return self._unstored.is_whole

    async def until_whole(self) -> None:
        """Wait until no long change is half done."""
        await self._unstored.until_whole()

    # Looking

    def find(self, key: RouteKey) -> Route | None:
        return self.tables[key.table_id].routes.get(key)

    def check_add(self, route: Route, *, replace: bool, wait: bool = False) -> Touched:
        """Find the routes that adding this one touches."""
        self.follow()
        transition = self._preconditions.adding(route, replace=replace, wait=wait)
        check_transition(transition, self._reconciler.present)
        return touched(transition.table.routes, route)

    def check_change(
        self, name: RouteName, edit: Callable[[Route], Route], *, wait: bool = False
    ) -> tuple[Route, Touched]:
        """Find what becomes of a route, and the routes that this touches.

        edit: makes the route that it becomes, or raises RequestError.
        """
        self.follow()
        transition = self._preconditions.changing(name, edit, wait=wait)
        check_transition(transition, self._reconciler.present)
        (new,) = transition.new
        return new, _touched_by_change(transition)

    def check_delete(self, name: RouteName) -> Route:
        """Find the route that is to be deleted."""
        return self._preconditions.changeable(name)

    # Changing

    async def add(
        self,
        route: Route,
        *,
        replace: bool = False,
        wait: bool = False,
        shown: Touched | None = None,
        cause: Cause | None = None,
    ) -> None:
        """Add a route, or with `replace` change the one of its key.

        wait: its interfaces need not be there yet. shown: what the caller may touch, None for all.
        """

        def change() -> None:
            self._interfaces.follow()
            transition = self._preconditions.adding(route, replace=replace, wait=wait)
            if shown is not None:
                check_touched(shown, touched(transition.table.routes, route))
            self._unstored.change([transition], cause or asked(Act.ADD))

        await self._interfaces.until_there(route.interfaces)
        await self._queue.run(change)

    async def change(
        self,
        name: RouteName,
        edit: Callable[[Route], Route],
        *,
        wait: bool = False,
        interfaces: Collection[str] = (),
        shown: Touched | None = None,
        cause: Cause | None = None,
    ) -> Route | None:
        """Make of a route what `edit` returns: it is read and written in one step.

        interfaces: those that it is likely to be on then, which are waited for.
        Return the route that it has become, None where it was that before.

        wait: interfaces that are new in it need not be there yet. shown: what the caller may touch,
        None for all.
        """

        def change() -> Route | None:
            self._interfaces.follow()
            transition = self._preconditions.changing(name, edit, wait=wait)
            if shown is not None:
                check_touched(shown, _touched_by_change(transition))
            (old,), (new,) = transition.old, transition.new
            if new == old:
                return None
            self._unstored.change([transition], cause or asked(Act.CHANGE))
            return new

        await self._interfaces.until_there(interfaces)
        return cast(Route | None, await self._queue.run(change))

    async def delete(
        self, name: RouteName, *, shown: Touched | None = None, cause: Cause | None = None
    ) -> None:
        """Delete a route. shown: what the caller may touch, None for all."""

        def change() -> None:
            route = self.check_delete(name)
            if shown is not None:
                check_touched(shown, Touched(route))
            transition = Transition(self.tables[route.table_id], [route], [])
            self._unstored.change([transition], cause or asked(Act.DELETE))

        await self._queue.run(change)

    async def flush(
        self,
        group: Prefix | None = None,
        iif: str | None = None,
        number: int | None = None,
        cause: Cause | None = None,
    ) -> int:
        """Delete all routes, or those of a group prefix, an iif or a table. Return how many.

        Those of the configuration stay. number: of the table.
        """

        async def plan() -> tuple[Changes, int]:
            flushed = await find_flushed(self.tables, group, iif, number)
            return flushed, sum(flushed.counts)

        return await self._bulk.run(plan, cause or asked(Act.FLUSH))

    async def expire(self, now: int) -> None:
        """Remove the routes whose time has run out by now, in nanoseconds since boot."""
        remove = partial(self._unstored.change, cause=BY_EXPIRY)
        await self._queue.run(lambda: self._timeouts.expire(now, self.tables, remove))

    async def retry_refused(self) -> None:
        """Try to get the tables that are not ours, and what the kernel has refused or lost."""

        def change() -> None:
            self._interfaces.follow()
            self._reconciler.retry()
            self.memberships.retry_refused(self._reconciler.present)

        await self._queue.run(change)

    async def tell_of_missed(self) -> None:
        """Have the listener read all routes where it has failed, and has missed a change."""
        if self.status_changes.missed:
            await self._queue.run(self.status_changes.tell_of_missed)

    def follow(self) -> None:
        """Follow network interfaces that came, went or changed. Never waits."""
        self._interfaces.follow()
        self._tell_if_idle()

    async def keep_up(self) -> None:
        """Do for ever, in slices, the work on many routes that interfaces and tables cause."""
        while True:
            await self._reconciler.remove_doubt()
            await self._reconciler.until_more()
            slices = Slices()
            with garbage.held_off():
                while self.work():
                    await slices.pause()

    def work(self) -> bool:
        """Do some of that work. Return whether there is more. Never waits."""
        more = self._reconciler.work()
        self._tell_if_idle()
        return more

    def read_upcalls(self, id_: TableId) -> None:
        """Learn the streams that the kernel asks for, some at a time. Never waits."""
        self.follow()
        self._upcalls.read(id_)

    def do_due(self, now: int) -> None:
        """Tell switches of us, and forget learned entries that no packet uses, and rates that
        nobody asks for, where it is time.

        Does some of it at a time, and never waits.
        """
        self._router_discovery.do_due(now)
        self._upcalls.do_due(now)
        self._rates.do_due(now)

    @property
    def next_due(self) -> int | None:
        """When `do_due` has something to do, in nanoseconds since boot."""
        times = (self._router_discovery.next_due, self._upcalls.next_due, self._rates.next_due)
        return min((when for when in times if when is not None), default=None)

    async def close(self) -> None:
        """Do no more changes, and return when what was begun is whole, or taken back."""
        await self._queue.close()

    def announce_termination(self) -> None:
        """Tell switches that the router goes for good."""
        self._router_discovery.announce_termination()

    def _see(self, event: Event) -> None:
        """Have memberships and advertisements follow what happened to an interface."""
        self._router_discovery.see(event)
        if not isinstance(event, Turned):  # memberships stay in the kernel meanwhile
            self.memberships.follow(event, self._reconciler.present)

    async def _commit(self) -> None:
        try:
            await self._unstored.commit()
        except Exception:
            self._settings.take_back()
            raise
        else:
            self._settings.commit()
        finally:
            await self.status_changes.tell_all()
            await self.membership_changes.tell_all()
            self._tell()

    def _tell_if_idle(self) -> None:
        """Tell, unless a change is being done: when it is stored, all is told."""
        if self._queue.idle:
            self._tell()

    def _tell(self) -> None:
        self.status_changes.tell()
        self.membership_changes.tell()
        if self._reconciler.take_watched() and self._upcalls.discoverer:
            self._upcalls.discoverer.watched()


def _touched_by_change(transition: Transition) -> Touched:
    (old,), (new,) = transition.old, transition.new
    return touched(transition.table.routes, new, old)

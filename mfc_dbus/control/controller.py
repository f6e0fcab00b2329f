"""One change at a time: plan it, do it in the kernel, store it, tell it.

Knows neither D-Bus nor sockets: it is given a kernel, the network interfaces and stores.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import cast

from mfc_dbus.config.settings import Config
from mfc_dbus.control import changes as apply
from mfc_dbus.control.change_queue import Commits
from mfc_dbus.control.changes import Applied
from mfc_dbus.control.link_events import NameableLinks, NetworkLinks
from mfc_dbus.control.preconditions import Checks
from mfc_dbus.control.reconciler import Upkeep
from mfc_dbus.control.rights import Touched, check_touched, touched
from mfc_dbus.control.router_discovery import Advertising
from mfc_dbus.control.status_changes import Listener, News, Preparer, Status
from mfc_dbus.control.timeouts import Expiries
from mfc_dbus.control.unstored import Keeper, Ledger
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.links import Event, Link, Missed, Turned
from mfc_dbus.loop import garbage
from mfc_dbus.loop.slices import Slices, in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.difference import Difference
from mfc_dbus.model.errors import (
    AccessDenied,
    ConfigError,
    RequestError,
)
from mfc_dbus.model.route import (
    Desired,
    Membership,
    MembershipRange,
    Route,
    RouteKey,
    TableId,
)
from mfc_dbus.routing.sequence import TableChange, split
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition, check
from mfc_dbus.streams.upcalls import Discoverer, Upcalls

log = logging.getLogger(__name__)

_EXPIRE = 50  # routes at one time


class Controller:
    """The routes of all tables, and the memberships.

    `check_…` raises what can be told of a change beforehand. The change itself raises the same,
    KernelError or StoreError, and is done whole or not at all: when it returns, it is in the kernel
    and stored. Changes are done one after the other; those that wait while another is being stored
    are then stored together.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        links: NetworkLinks,
        keeper: Keeper,
        config: Config | None = None,
        memberships: Memberships | None = None,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        """go_on: is called again and again while changes are done."""
        self._config = self._committed = config or Config()
        self.memberships = memberships or Memberships()
        self.memberships.limit = self._config.max_memberships
        self.tables: dict[TableId, Table] = {table.id: table for table in tables}
        self._news = News(self.tables, lambda: self._upkeep.present)
        self._upcalls = Upcalls(self.tables, self._config)
        self._upkeep = Upkeep(
            self.tables, self._news.note, self._upcalls.answer, self._config.watched, self._see
        )
        self._checks = Checks(self.tables, self.memberships, self._upkeep.known, self._config)
        self._expiries = Expiries(self.find)
        self._ledger = Ledger(
            self._upkeep, self.memberships, self._expiries, self._news, keeper, go_on
        )
        self._advertising = Advertising(self.tables, self._config)
        self._links = NameableLinks(links)
        self._deaf = False  # whether the interfaces could not be listed the last time
        self._commits = Commits(self._commit, go_on)

    def listen(self, listener: Listener, prepare: Preparer | None = None) -> None:
        """Have someone told of every change, after it was stored and before its caller is.

        prepare: see `News`.
        """
        self._news.listen(listener, prepare)

    @property
    def told(self) -> Mapping[RouteKey, Status]:
        """The routes as they were told of last."""
        return self._news.told

    @property
    def present(self) -> Mapping[str, Link]:
        """The interfaces that there are, by name."""
        return self._upkeep.present

    @property
    def count(self) -> int:
        """How many routes are desired, in all tables."""
        return sum(len(table.routes) for table in self.tables.values())

    def discover(self, discoverer: Discoverer) -> None:
        """Have someone told of the streams that no route covers, and of VIFs that none uses."""
        self._upcalls.discoverer = discoverer

    @property
    def settled(self) -> bool:
        """Whether no long change is half done, so that what is desired may be looked at."""
        return self._ledger.settled

    async def settle(self) -> None:
        """Wait until no long change is half done."""
        await self._ledger.settle()

    # Looking

    def find(self, key: RouteKey) -> Route | None:
        return self.tables[key.table_id].routes.get(key)

    def check_add(self, route: Route, *, replace: bool, wait: bool = False) -> Touched:
        """Find the routes that adding this one touches."""
        self.follow()
        transition = self._checks.adding(route, replace=replace, wait=wait)
        check(transition, self._upkeep.present)
        return touched(transition.table.routes, route)

    def check_delete(
        self, source: Prefix, group: Prefix, iif: str | None = None, number: int = 0
    ) -> Route:
        """Find the one route of this stream; where any source has several, `iif` says which.

        number: of the table.
        """
        return self._checks.deleting(source, group, iif, number)

    def changes_memberships(self, memberships: Sequence[Membership], *, merge: bool) -> bool:
        """Whether a document with these memberships would change any.

        Raises LimitExceeded where there are too many, before they are looked at: others wait.
        """
        self.memberships.check_total(len(memberships))
        doomed = None if merge else apply.made_over_the_bus
        return any(self.memberships.compare(memberships, doomed))

    def check_join(self, wanted: Sequence[Membership], *, wait: bool = False) -> None:
        self.follow()
        self.memberships.check_join(wanted, self._upkeep.known, wait=wait)

    # Changing

    async def add(
        self,
        route: Route,
        *,
        replace: bool = False,
        wait: bool = False,
        shown: Touched | None = None,
    ) -> None:
        """Add a route, or with `replace` change the one of its key.

        wait: its interfaces need not be there yet. shown: what the caller may touch, None for all.
        """

        def change() -> None:
            self._follow()
            transition = self._checks.adding(route, replace=replace, wait=wait)
            if shown is not None:
                check_touched(shown, touched(transition.table.routes, route))
            self._ledger.change([transition])

        await self._until_there(route.interfaces)
        await self._commits.run(change)

    async def delete(
        self,
        source: Prefix,
        group: Prefix,
        iif: str | None = None,
        number: int = 0,
        *,
        shown: Touched | None = None,
    ) -> None:
        """Delete the one route of a stream. shown: what the caller may touch, None for all."""

        def change() -> None:
            route = self.check_delete(source, group, iif, number)
            if shown is not None:
                check_touched(shown, Touched(route))
            self._ledger.change([Transition(self.tables[route.table_id], [route], [])])

        await self._commits.run(change)

    async def flush(
        self, group: Prefix | None = None, iif: str | None = None, number: int | None = None
    ) -> int:
        """Delete all routes, or those of a group prefix, an iif or a table. Return how many.

        Those of the configuration stay. number: of the table.
        """

        def doomed(route: Route) -> bool:
            return (
                not route.file
                and (number is None or route.table == number)
                and (iif is None or route.iif == iif)
                and (group is None or group.covers(route.group))
            )

        async def change() -> int:
            changes = []
            for table in self.tables.values():
                found = [route async for route in in_slices(table.routes) if doomed(route)]
                changes.append(TableChange(table, Difference(deleted=found)))
            await self._ledger.change_in_parts(await split(changes, self._upkeep.present))
            return sum(len(each.routes.deleted) for each in changes)

        return cast(int, await self._commits.run(change))

    async def join(self, wanted: Sequence[Membership], *, wait: bool = False) -> None:
        """Join groups on one interface, with `wait` also on one that is not there yet.

        Those that are joined already stay as they are.
        """

        def change() -> None:
            self._follow()
            self.memberships.join(wanted, self._upkeep.present, wait=wait)

        await self._until_there([each.interface for each in wanted])
        await self._commits.run(change)

    async def leave(
        self, range_: MembershipRange, shown: Sequence[Membership] | None = None
    ) -> None:
        """Leave all groups of a range. shown: what the caller may leave of it, None for all.

        Raises KernelError too where the kernel refuses to leave some; that is tried again.
        """
        left = await self._commits.run(lambda: self.memberships.leave(range_, shown))
        self.memberships.check_left(left)

    async def apply(
        self,
        routes: Sequence[Route],
        memberships: Sequence[Membership] = (),
        *,
        merge: bool = False,
        wait: bool = False,
        dry_run: bool = False,
        joining: bool = True,
    ) -> Applied:
        """Have these routes and memberships, and no others, of all that are made over the bus.

        Return what that changed. merge: the others stay. wait: as in `add`. dry_run: return what it
        would change, and change nothing. joining: whether the caller may change memberships. Raises
        what forbids the change; and KernelError where it is done, but for groups that the kernel
        refuses to leave.
        """
        doomed = None if merge else apply.made_over_the_bus

        async def change() -> Applied:
            self._follow()
            applied = await apply.compare_all(
                self.tables, self.memberships, routes, memberships, doomed
            )
            if any(applied.memberships) and not joining:
                raise AccessDenied("The memberships were changed meanwhile: try again")
            self._checks.count(applied.growth)
            self.memberships.check_count(applied.memberships.growth)
            await self._checks.document(routes, memberships, applied, wait=wait)
            parts = await split(self._changes(applied), self._upkeep.present)
            if not dry_run:
                with self.memberships.changing(applied.memberships, self._upkeep.present):
                    await self._ledger.change_in_parts(parts)
            return applied

        await self._until_all_there(routes, memberships)
        applied = cast(Applied, await self._commits.run(change))
        self.memberships.check_left(applied.memberships.deleted)
        return applied

    async def expire(self, now: int) -> None:
        """Remove the routes whose time has run out by now, in nanoseconds since boot."""
        await self._commits.run(lambda: self._expire(now))

    async def configure(
        self,
        config: Config,
        routes: Sequence[Route] = (),
        memberships: Sequence[Membership] = (),
    ) -> None:
        """Go by other settings, and have these routes and memberships of files, and no others.

        What stays is not touched. What a file has takes the place of what was made over the bus.
        Raises ConfigError, with a line for each problem that begins with its path in these,
        TooManyInterfaces, KernelError or StoreError; then all is as it was.
        """

        async def look() -> Applied:
            self._checks.settings(config)
            applied = await apply.compare_all(
                self.tables, self.memberships, routes, memberships, apply.from_a_file
            )
            try:
                await self._checks.document(routes, memberships, applied, wait=True)
            except RequestError as error:
                raise ConfigError(str(error)) from error
            return applied

        async def change() -> Applied:
            self._follow()
            before = self._config
            applied = await look()
            with self.memberships.changing(applied.memberships, self._upkeep.present):
                self._advertising.configure(config, self._upkeep.present)
                try:
                    self._configure(config)
                    changes = self._changes(applied, wait=True)
                    parts = await split(changes, self._upkeep.present)
                    await self._ledger.change_in_parts(parts, wait=True)
                except Exception:
                    self._go_back_to(before)
                    raise
            return applied

        await self._until_all_there(routes, memberships)
        applied = cast(Applied, await self._commits.run(change))
        deleted = Counter(each.file for each in applied.deleted)
        left = {route.file for route in routes} | {each.file for each in memberships}
        for file, count in deleted.items():
            if file not in left:
                log.warning("%s has gone, and with it %d routes and memberships", file, count)

    async def mend(self) -> None:
        """Try to get the tables that are not ours, and what the kernel has refused or lost."""

        def change() -> None:
            self._follow()
            self._upkeep.retry()
            self.memberships.mend(self._upkeep.present)

        await self._commits.run(change)

    def restore(self, kept: Iterable[Desired], held: Mapping[TableId, Held] | None = None) -> None:
        """Begin with what was stored, and tell nobody. What cannot be done now waits.

        held: what the kernel has of tables that an earlier process left to us.
        """
        self._upkeep.see(self._hear_links())
        memberships: list[Membership] = []
        for desired in kept:
            if isinstance(desired, Membership):
                memberships.append(desired)
                continue
            if desired.table_id not in self.tables:
                self.tables[desired.table_id] = Table(desired.table_id, None)
            self.tables[desired.table_id].routes.put(desired)
            self._expiries.remember(desired)
        self.memberships.restore(memberships, self._upkeep.present)
        for id_, table in self.tables.items():
            table.wanted = table.opened and id_ in self._config.tables
            if held and id_ in held:
                self._adopt(table, held[id_])
            else:
                self._upkeep.begin(table)
        self._upkeep.watch()
        self._news.begin()

    def follow(self) -> None:
        """Do what the network interfaces' coming and going asks for. Never waits."""
        self._follow()
        if self._commits.idle:
            self._tell()

    async def keep_up(self) -> None:
        """Work off, in slices and for ever, what interfaces and tables ask for of many routes."""
        while True:
            await self._upkeep.remove_doubt()
            await self._upkeep.until_more()
            slices = Slices()
            with garbage.held_off():
                while self.work():
                    await slices.pause()

    def work(self) -> bool:
        """Do some of that; whether there is more. Never waits."""
        more = self._upkeep.work()
        if self._commits.idle:
            self._tell()
        return more

    def hear(self, id_: TableId) -> None:
        """Learn the streams that the kernel asks for, some at a time. Never waits."""
        self.follow()
        self._upcalls.hear(id_)

    def look(self, now: int) -> None:
        """Tell switches of us, and look whether what was learned is used; some at a time.

        Never waits.
        """
        self._advertising.look(now)
        self._upcalls.look(now)

    @property
    def next_look(self) -> int | None:
        """When `look` has something to do, in nanoseconds since boot."""
        looks = (self._advertising.next_look, self._upcalls.next_look)
        return min((when for when in looks if when is not None), default=None)

    async def close(self) -> None:
        """Do no more changes, and return when what was begun is whole, or taken back."""
        await self._commits.close()

    def part(self) -> None:
        """Tell switches that the router goes for good."""
        self._advertising.part()

    def _adopt(self, table: Table, held: Held) -> None:
        self._upkeep.adopt(table, held)
        self._upkeep.begin(table)
        self._upcalls.take_up(table, held.unresolved)

    def _hear_links(self) -> Sequence[Event]:
        """Hear what happened to interfaces; what cannot be heard now is heard the next time."""
        try:
            events = self._links.update()
        except OSError as error:
            if not self._deaf:
                log.error("The network interfaces cannot be listed, and are asked again: %s", error)
            self._deaf = True
            return []
        self._deaf = False
        if any(isinstance(event, Missed) for event in events):
            log.info("Events of network interfaces were lost: looking at all of them")
        return events

    def _follow(self) -> bool:
        """Follow what happened to interfaces, or some of it; whether there was anything."""
        events = self._hear_links()
        self._upkeep.follow(events)
        return bool(events)

    async def _until_there(self, names: Collection[str]) -> None:
        """Return when routes and memberships can be on those of these interfaces that there are."""
        slices = Slices()
        while self._follow():
            await slices.pause()
        await self._upkeep.until_there(names)

    async def _until_all_there(
        self, routes: Iterable[Route], memberships: Iterable[Membership]
    ) -> None:
        """Do so for the interfaces of many; mostly there is nothing to wait for."""
        await self._until_there(())
        if not self._upkeep.all_there:
            names = {membership.interface for membership in memberships}
            async for route in in_slices(routes):
                names.update(route.interfaces)
            await self._until_there(names)

    def _see(self, event: Event) -> None:
        """Have memberships and advertisements follow what happened to an interface."""
        self._advertising.see(event)
        if not isinstance(event, Turned):  # memberships stay in the kernel meanwhile
            self.memberships.follow(event, self._upkeep.present)

    async def _commit(self) -> None:
        try:
            await self._ledger.commit()
        except Exception:
            if self._config is not self._committed:
                self._go_back_to(self._committed)
            raise
        else:
            self._committed = self._config
        finally:
            await self._news.tell_all()
            self._tell()

    def _tell(self) -> None:
        self._news.tell()
        self.memberships.tell()
        if self._upkeep.take_watched() and self._upcalls.discoverer:
            self._upcalls.discoverer.watched()

    def _changes(self, applied: Applied, *, wait: bool = False) -> Sequence[TableChange]:
        """wait: the tables need not be ours yet."""
        return [
            TableChange(table, applied.routes[id_], wait)
            for id_, table in self.tables.items()
            if applied.routes.get(id_)
        ]

    async def _expire(self, now: int) -> None:
        failed: dict[Route, RequestError] = {}
        slices = Slices()
        while routes := self._expiries.take(now, _EXPIRE):
            await slices.pause()
            for table in self.tables.values():
                going = [route for route in routes if route.table_id == table.id]
                try:
                    self._ledger.change([Transition(table, going, [])] if going else [])
                except RequestError:
                    failed |= self._expire_each(table, going)
        for route in failed:
            self._expiries.remember(route)
        for error in failed.values():
            raise error

    def _expire_each(self, table: Table, routes: Sequence[Route]) -> dict[Route, RequestError]:
        """Remove those that can be removed; the others, and why they cannot."""
        failed: dict[Route, RequestError] = {}
        for route in routes:
            try:
                self._ledger.change([Transition(table, [route], [])])
            except RequestError as error:
                failed[route] = error
        return failed

    def _configure(self, config: Config) -> None:
        self._config = self._upcalls.config = self._checks.config = config
        self.memberships.limit = config.max_memberships
        self._upkeep.own(config.tables)
        self._upkeep.watch_others(config.watched)

    def _go_back_to(self, config: Config) -> None:
        """Go by the settings of before again, as far as the kernel allows."""
        self._advertising.configure(config, self._upkeep.present)
        try:
            self._configure(config)
        except RequestError as error:
            log.error("Not all settings are those of before: %s", error)

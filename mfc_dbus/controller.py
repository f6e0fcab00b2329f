"""One change at a time: plan it, do it in the kernel, store it, tell it.

Knows neither D-Bus nor sockets: it is given a kernel, the network interfaces and stores.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from mfc_dbus import apply
from mfc_dbus.adopt import adopt
from mfc_dbus.apply import Difference
from mfc_dbus.commits import Commits
from mfc_dbus.config import Config
from mfc_dbus.errors import (
    AccessDenied,
    ConfigError,
    InterfaceNotMulticast,
    InvalidArgs,
    KernelError,
    LimitExceeded,
    NoSuchInterface,
    NoSuchRoute,
    RequestError,
    RouteExists,
    StoreError,
)
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed
from mfc_dbus.memberships import Memberships
from mfc_dbus.model import (
    Desired,
    Edit,
    Key,
    Membership,
    MembershipKey,
    Prefix,
    Route,
    RouteKey,
    TableId,
    join,
    quote,
    stream,
)
from mfc_dbus.table import Table, find_table
from mfc_dbus.transition import Transition, check, install

log = logging.getLogger(__name__)


class NetworkLinks(Protocol):
    """The network interfaces: what happened to them since the last call, in its order."""

    def update(self) -> Sequence[Event]: ...


class Keeper(Protocol):
    """Where routes and memberships are kept."""

    async def write(self, edits: Mapping[Key, Edit]) -> None:
        """Return when all of it is kept. Raises StoreError, and has kept nothing."""


class Status(NamedTuple):
    """A route, and how much of it is in the kernel: active, partial, waiting, unavailable."""

    route: Route
    state: str


class Change(NamedTuple):
    """What one change did; what was removed as it was told of last."""

    added: Sequence[Status] = ()
    changed: Sequence[Status] = ()
    removed: Sequence[Status] = ()


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
    ) -> None:
        self._config = config or Config()
        self.memberships = memberships or Memberships()
        self.memberships.limit = self._config.max_memberships
        self.tables: dict[TableId, Table] = {table.id: table for table in tables}
        self.told: dict[RouteKey, Status] = {}
        self._links = links
        self._keeper = keeper
        self._listener: Callable[[Change], None] | None = None
        self._present: dict[str, Link] = {}
        self._events: list[Event] = []  # of interfaces, that wait for the end of a long change
        self._busy = False
        self._expiries: list[tuple[int, RouteKey]] = []  # a heap
        self._starved: set[RouteKey] = set()  # what the kernel had no room for
        self._commits = Commits(self._commit)
        self._done: list[Transition] = []  # and not stored yet
        self._news: list[list[tuple[RouteKey, Status | None]]] = []  # and not told yet

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Have someone told of every change, after it was stored and before its caller is."""
        self._listener = listener

    # Looking

    def find(self, key: RouteKey) -> Route | None:
        return self.tables[key.table_id].routes.get(key)

    def check_add(self, route: Route, *, replace: bool, wait: bool = False) -> Route | None:
        """Find the route that this one would replace."""
        self.follow()
        transition = self._adding(route, replace=replace, wait=wait)
        check(transition, self._present)
        return next(iter(transition.old), None)

    def check_delete(
        self, source: bytes, group: bytes, iif: str | None = None, number: int = 0
    ) -> Route:
        """Find the one route of this stream; where any source has several, `iif` says which.

        number: of the table.
        """
        table = find_table(self.tables, RouteKey(source, group, "", number).table_id)
        found = table.routes.of_stream(source, group)
        chosen = [route for route in found if iif in (None, route.iif)]
        if not chosen:
            where = f" from {quote(iif)}" if iif else ""
            raise NoSuchRoute(f"There is no route {stream(source, group)}{where}")
        if len(chosen) > 1:
            iifs = join(route.iif for route in chosen)
            raise InvalidArgs(f"Route {chosen[0]} exists from {iifs}: say which by 'iif'")
        apply.check_configured(chosen[0])
        return chosen[0]

    def check_join(self, membership: Membership, *, wait: bool = False) -> None:
        self.follow()
        self.memberships.check_join(membership, self._present, wait=wait)

    # Changing

    async def add(
        self,
        route: Route,
        *,
        replace: bool = False,
        wait: bool = False,
        touching: Container[str] | None = None,
    ) -> None:
        """Add a route, or with `replace` change the one of its key.

        wait: its interfaces need not be there yet. touching: the iifs whose routes the caller may
        change; None is all.
        """

        def change() -> None:
            self._follow()
            transition = self._adding(route, replace=replace, wait=wait)
            _check_untouched(transition.old, touching)
            self._change([transition])

        await self._commits.run(change)

    async def delete(
        self,
        source: bytes,
        group: bytes,
        iif: str | None = None,
        number: int = 0,
        *,
        touching: Container[str] | None = None,
    ) -> None:
        def change() -> None:
            route = self.check_delete(source, group, iif, number)
            _check_untouched([route], touching)
            self._change([Transition(self.tables[route.table_id], [route], [])])

        await self._commits.run(change)

    async def flush(
        self, group: Prefix | None = None, iif: str | None = None, number: int | None = None
    ) -> int:
        """Delete all routes, or those of a group prefix, an iif or a table; how many there were.

        Those of the configuration stay. number: of the table.
        """

        def change() -> int:
            return self._delete_where(
                lambda route: (
                    not route.file
                    and (number is None or route.table == number)
                    and (iif is None or route.iif == iif)
                    and (group is None or route.group in group)
                )
            )

        return cast(int, await self._commits.run(change))

    async def join(self, membership: Membership, *, wait: bool = False) -> None:
        """Join a group, with `wait` also on an interface that is not there yet."""

        def change() -> None:
            self._follow()
            self.memberships.join(membership, self._present, wait=wait)

        await self._commits.run(change)

    async def leave(self, key: MembershipKey) -> None:
        await self._commits.run(lambda: self.memberships.leave(key))

    async def apply(
        self,
        wanted: Sequence[Route],
        *,
        merge: bool = False,
        wait: bool = False,
        dry_run: bool = False,
    ) -> Difference:
        """Make these the routes that were made over the bus; what it took, or would take.

        merge: others stay. wait: as in `add`. dry_run: only look. Raises all that forbids it.
        """
        doomed = None if merge else apply.made_over_the_bus

        def change() -> Difference:
            difference = apply.differences(self.tables, wanted, doomed)
            self._check_count(difference.growth)
            apply.check(
                self.tables,
                wanted,
                difference,
                lambda route, beside: self._check_route(route, beside, wait=wait),
            )
            transitions = apply.transitions(self.tables, difference)
            if dry_run:
                for transition in transitions:
                    check(transition, self._present)
            else:
                self._change(transitions)
            return difference

        return cast(Difference, await self._commits.run(lambda: self._aside(change)))

    async def expire(self, now: int) -> None:
        """Remove the routes whose time has run out by now, in nanoseconds since boot."""
        await self._commits.run(lambda: self._expire(now))

    async def configure(self, config: Config, routes: Sequence[Route] = ()) -> None:
        """Go by other settings and routes of files, with no touch to what stays.

        A route of a file takes the place of one that was made over the bus. Raises ConfigError,
        and has changed nothing; KernelError, StoreError.
        """

        def change() -> None:
            self._check_opened(config)
            difference = apply.differences(self.tables, routes, apply.from_a_file)
            try:
                apply.check(
                    self.tables,
                    routes,
                    difference,
                    lambda route, beside: self._check_route(route, beside, wait=True),
                )
            except RequestError as error:
                raise ConfigError(str(error)) from error
            self._configure(config)
            transitions = apply.transitions(self.tables, difference)
            install([each for each in transitions if each.table.owned], self._present)
            self._became(transitions)

        await self._commits.run(lambda: self._aside(change))

    async def verify(self, read: Callable[[], Mapping[TableId, Held]]) -> None:
        """Repair what others did to our tables. read: finds what is in these; raises OSError."""

        def change() -> None:
            self._follow()
            try:
                found = read()
            except OSError as error:
                log.error("What the kernel holds cannot be read: %s", error)
                return
            for id_, held in found.items():
                table = self.tables[id_]
                if {vif.number: vif.ifindex for vif in table.vifs} != held.vifs:
                    log.warning("Somebody else changed the VIFs of the %s table", id_)
                doubtful = table.doubtful
                self._adopt(table, held)
                table.doubtful = doubtful
                if table.take():
                    self._try(table, list(table.routes))
                self._note(route.key for route in table.routes)

        await self._commits.run(change)

    async def take_tables(self) -> None:
        """Try to get the tables that are not ours, and put the routes in."""
        await self._commits.run(self._take_tables)

    async def mend_memberships(self) -> None:
        """Join what the kernel refused before, or has lost."""
        await self._commits.run(lambda: self.memberships.mend(self._present))

    def restore(self, kept: Iterable[Desired], held: Mapping[TableId, Held] | None = None) -> None:
        """Begin with what was stored, and tell nobody. What cannot be done now waits.

        held: what the kernel has of tables that an earlier process left to us.
        """
        for event in self._links.update():
            self._see(event)
        memberships: list[Membership] = []
        for desired in kept:
            if isinstance(desired, Membership):
                memberships.append(desired)
                continue
            if desired.table_id not in self.tables:
                self.tables[desired.table_id] = Table(desired.table_id, None)
            self.tables[desired.table_id].routes.put(desired)
            self._remember_expiry(desired)
        self.memberships.restore(memberships, self._present)
        for id_, table in self.tables.items():
            table.wanted = table.opened and id_ in self._config.tables
            if held and id_ in held:
                self._adopt(table, held[id_])
            if table.take():
                self._try(table, list(table.routes))
            for route in table.routes:
                self.told[route.key] = Status(route, table.state(route))

    def follow(self) -> None:
        """Do what the network interfaces' coming and going asks for. Never waits."""
        self._follow()
        if self._commits.idle:
            self._tell()

    @property
    def next_expiry(self) -> int | None:
        """When `expire` has something to do, in nanoseconds since boot."""
        return self._expiries[0][0] if self._expiries else None

    async def _aside(self, change: Callable[[], Any]) -> Any:
        """Do a long change in a thread. Nothing else touches routes and kernel meanwhile."""
        self._follow()
        self._busy = True
        try:
            return await asyncio.to_thread(change)
        finally:
            self._busy = False
            self._follow()

    def _follow(self) -> None:
        self._events += self._links.update()
        if self._busy:
            return
        self._take_tables()
        events, self._events = self._events, []
        for event in events:
            self._see(event)
            self.memberships.follow(event, self._present)
            if isinstance(event, Missed):
                self._find_lost_vifs()
                continue
            for table in self.tables.values():
                self._settle(table, table.routes.naming(event.link.name))
            self._feed()

    def _see(self, event: Event) -> None:
        if isinstance(event, Came):
            self._present[event.link.name] = event.link
        elif isinstance(event, Gone):
            self._present.pop(event.link.name, None)

    def _find_lost_vifs(self) -> None:
        """Make the VIFs anew whose device went, and came back under its old name and ifindex."""
        for table in self.tables.values():
            lost = [name for name in table.lost_vifs() if name in self._present]
            for name in lost:
                routes = table.routes.naming(name)
                link = self._present.pop(name)
                self._settle(table, routes)
                self._present[name] = link
                self._settle(table, routes)

    def _adopt(self, table: Table, held: Held) -> None:
        """Repair what differs from the desired routes, and touch nothing else."""
        table.owned = True
        if not table.wanted:
            table.leave()
            return
        try:
            adoption = adopt(held.vifs, held.entries, table.routes, self._present)
            for step in adoption.steps:
                step.do(table.kernel)
        except OSError as error:
            log.error("What the kernel holds cannot be taken up (%s): it begins anew", error)
            table.leave()
            return
        table.vifs = adoption.vifs
        table.installed = adoption.installed
        table.doubtful = adoption.doubtful
        possible = ((route, route.over(self._present)) for route in table.routes)
        self._try(table, [r for r, now in possible if now != table.installed.get(r.key)])

    # Storing

    async def _commit(self) -> None:
        done, self._done = self._done, []
        edits = _edits(done)
        edits.update(self.memberships.take_edits())
        if edits:
            try:
                await self._keeper.write(edits)
            except StoreError:
                self._take_back(done)
                self.memberships.take_back(edits, self._present)
                self._tell()
                raise
        self._tell()

    def _take_back(self, transitions: Sequence[Transition]) -> None:
        """Undo changes that could not be stored, with the interfaces that there are now."""
        for transition in reversed(transitions):
            back = transition.back
            if back.table.owned:
                try:
                    install([back], self._present)
                except RequestError as error:
                    log.error("A change that could not be stored stays in the kernel: %s", error)
            back.desire()
            for route in back.new:
                self._remember_expiry(route)
        # What became of them in between is nobody's business.
        keys = {key for news in self._news for key, _ in news}
        self._news.clear()
        self._note(keys)

    # What a change is

    def _adding(self, route: Route, *, replace: bool, wait: bool) -> Transition:
        table = find_table(self.tables, route.table_id)
        present = table.routes.get(route.key)
        if present is not None and not replace:
            where = f" from {quote(route.iif)}" if route.any_source else ""
            raise RouteExists(f"Route {route}{where} exists already")
        if present is not None:
            apply.check_configured(present)
        else:
            self._check_count(1)
        self._check_route(route, table.routes.of_stream(route.source, route.group), wait=wait)
        return Transition(table, [present] if present else [], [route])

    def _check_count(self, growth: int) -> None:
        count = sum(len(table.routes) for table in self.tables.values())
        if growth > 0 and count + growth > self._config.max_routes:
            raise LimitExceeded(f"There are {count} routes, and the configuration allows no more")

    def _check_route(self, route: Route, beside: Iterable[Route], *, wait: bool) -> None:
        for name in route.interfaces:
            link = self._present.get(name)
            if link is None and not wait:
                raise NoSuchInterface(f"Interface {quote(name)} not found")
            if link is not None and not link.multicast:
                raise InterfaceNotMulticast(f"Interface {quote(name)} does not carry multicast")
        _check_conflict(route, beside)

    def _delete_where(self, doomed: Callable[[Route], bool]) -> int:
        transitions = [
            Transition(table, [route for route in table.routes if doomed(route)], [])
            for table in self.tables.values()
        ]
        self._change([transition for transition in transitions if transition.old])
        return sum(len(transition.old) for transition in transitions)

    def _expire(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            expires, key = self._expiries[0]
            route = self.find(key)
            if route is not None and route.expires == expires:
                self._change([Transition(self.tables[route.table_id], [route], [])])
            heapq.heappop(self._expiries)

    def _check_opened(self, config: Config) -> None:
        """What takes privileges is done at the start alone."""
        missing = [
            id_
            for id_ in config.tables
            if id_.number and not (id_ in self.tables and self.tables[id_].opened)
        ]
        if missing:
            what = f"'tables' has {join(map(str, missing))}"
        elif config.rules != self._config.rules:
            what = "'rules' are others"
        else:
            return
        raise ConfigError(f"{what}: restart the service for that, which loses no packet")

    def _configure(self, config: Config) -> None:
        self._config = config
        self.memberships.limit = config.max_memberships
        for id_, table in self.tables.items():
            table.wanted = table.opened and id_ in config.tables
            if table.owned and not table.wanted:
                try:
                    table.leave()
                except OSError as error:
                    raise KernelError(f"The kernel refused: {error.strerror}") from error
                self._note(route.key for route in table.routes)
        self._take_tables()

    def _take_tables(self) -> None:
        for table in self.tables.values():
            if table.take():
                self._settle(table, list(table.routes))

    def _change(self, transitions: Sequence[Transition]) -> None:
        """Make other routes the desired ones: in the kernel, here, and soon in the store."""
        install(transitions, self._present)
        self._became(transitions)

    def _became(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            transition.desire()
            for route in transition.new:
                self._remember_expiry(route)
        self._done += transitions
        self._note(route.key for _, old, new in transitions for route in (*old, *new))
        self._feed()

    def _settle(self, table: Table, routes: Sequence[Route]) -> None:
        """Put of these desired routes into the kernel what the interfaces now allow."""
        if table.owned:
            self._try(table, routes)
            self._note(route.key for route in routes)

    def _try(self, table: Table, routes: Sequence[Route]) -> None:
        try:
            install([Transition(table, routes, routes)], self._present)
        except RequestError:
            for route in routes:
                self._try_alone(table, route)

    def _try_alone(self, table: Table, route: Route) -> None:
        try:
            install([Transition(table, [route], [route])], self._present)
        except RequestError as error:
            if route.key not in self._starved:
                log.error("Route %s stays as it is: %s", route, error)
            self._starved.add(route.key)
        else:
            self._starved.discard(route.key)

    def _feed(self) -> None:
        """Try again what had no room in the kernel, now that there may be some."""
        for key in list(self._starved):
            route = self.find(key)
            if route is None:
                self._starved.discard(key)
            else:
                self._try_alone(self.tables[route.table_id], route)
                self._note([key])

    def _remember_expiry(self, route: Route) -> None:
        if route.expires:
            heapq.heappush(self._expiries, (route.expires, route.key))

    # Telling

    def _note(self, keys: Iterable[RouteKey]) -> None:
        """Keep in mind how routes are now: it is told when the change is stored."""
        self._news.append([(key, self._status(key)) for key in keys])

    def _status(self, key: RouteKey) -> Status | None:
        table = self.tables[key.table_id]
        route = table.routes.get(key)
        return Status(route, table.state(route)) if route else None

    def _tell(self) -> None:
        all_news, self._news = self._news, []
        for news in all_news:
            change = self._difference(news)
            if any(change) and self._listener:
                self._listener(change)
        self.memberships.tell()

    def _difference(self, news: Iterable[tuple[RouteKey, Status | None]]) -> Change:
        """Compare with what was told, which it becomes."""
        added: list[Status] = []
        changed: list[Status] = []
        removed: list[Status] = []
        for key, now in news:
            before = self.told.pop(key, None) if now is None else self.told.get(key)
            if now == before:
                continue
            if now is None:
                assert before is not None
                removed.append(before)
                continue
            (changed if before else added).append(now)
            self.told[key] = now
        return Change(added, changed, removed)


def _edits(transitions: Iterable[Transition]) -> dict[Key, Edit]:
    """What all of them together come to, of what is to be kept."""
    edits: dict[Key, Edit] = {}
    for _, old, new in transitions:
        before = {route.key: route for route in old}
        after = {route.key: route for route in new}
        for key in before | after:
            first = edits[key].old if key in edits else _kept(before.get(key))
            edits[key] = Edit(first, _kept(after.get(key)))
    return edits


def _kept(route: Route | None) -> Route | None:
    """What comes from a file is kept there."""
    return None if route is not None and route.file else route


def _check_conflict(route: Route, beside: Iterable[Route]) -> None:
    # The kernel looks an any-source entry up by group and by any VIF in it: of two where the iif of
    # one is an oif of the other, it takes the newer for what arrives on that interface.
    if not route.any_source:
        return
    for other in beside:
        if other.iif == route.iif:
            continue
        for one, two in ((route, other), (other, route)):
            if one.iif in two.interfaces:
                raise KernelError(
                    f"Route {route} from {quote(route.iif)} and the one from {quote(other.iif)} "
                    f"cannot both be in the kernel: {quote(one.iif)} is the iif of one and an oif "
                    "of the other"
                )


def _check_untouched(routes: Iterable[Route], touching: Container[str] | None) -> None:
    """What polkit said holds for the iifs that it was told of; a route may have moved since."""
    for route in routes:
        if touching is not None and route.iif not in touching:
            raise AccessDenied(
                f"Route {route} was moved to {quote(route.iif)} meanwhile: try again"
            )

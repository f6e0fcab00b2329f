"""What has become of routes, to be told when it is stored; and what was told last."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.control.change_log import StateLog
from mfc_dbus.control.states import state_of
from mfc_dbus.kernel.links import Link
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.route import Route, RouteKey, TableId
from mfc_dbus.routing.table import Table

_MANY = 1000  # routes that are told of in slices

_Noted = tuple[RouteKey, "Status | None"]


class Status(NamedTuple):
    """A route, and how much of it is forwarded: active, partial, waiting, unavailable."""

    route: Route
    state: str
    reason: str = ""  # why it is not active


class Change(NamedTuple):
    """What one change did; what was removed as it was told of last."""

    added: Sequence[Status] = ()
    changed: Sequence[Status] = ()
    removed: Sequence[Status] = ()


# Who is told of a change; and who makes ready for one of many routes, and then is told.
Listener = Callable[[Change], None]
Preparer = Callable[[Change], Awaitable[Callable[[], Awaitable[None]]]]


class News:
    """Collects how routes are after each change, and tells of what is another since it was told.

    What has become of many routes is made ready in slices; nobody sees half of it.
    """

    def __init__(
        self, tables: Mapping[TableId, Table], present: Callable[[], Mapping[str, Link]]
    ) -> None:
        """present: finds the interfaces that there are."""
        self.told: dict[RouteKey, Status] = {}
        self._tables = tables
        self._present = present
        self._waiting: list[list[_Noted]] = []
        self._listener: Listener = lambda _: None
        self._prepare: Preparer = self._tell_listener
        self._log = StateLog()

    def listen(self, listener: Listener, prepare: Preparer | None = None) -> None:
        """prepare: takes the listener's place for many routes. It changes nothing that is seen, but
        what it returns does, in its first step.
        """
        self._listener = listener
        self._prepare = prepare or self._tell_listener

    def begin(self) -> None:
        """Take all as told that there is."""
        for table in self._tables.values():
            for route in table.routes:
                self.told[route.key] = self._status(table, route)

    def note(self, keys: Iterable[RouteKey]) -> None:
        """Keep in mind how routes are now."""
        self._waiting.append([(key, self._now(key)) for key in keys])

    async def note_all(self, keys: Iterable[RouteKey]) -> None:
        """Do so for many."""
        noted: list[_Noted] = []
        self._waiting.append(noted)  # before what becomes of them meanwhile, which is noted too
        async for key in in_slices(keys):
            noted.append((key, self._now(key)))

    async def look_again(self) -> None:
        """Forget what became of routes in between: it was taken back."""
        waiting, self._waiting = self._waiting, []
        keys: dict[RouteKey, None] = {}
        async for key in in_slices(key for noted in waiting for key, _ in noted):
            keys[key] = None
        await self.note_all(keys)

    def tell(self) -> None:
        """Tell at once."""
        waiting, self._waiting = self._waiting, []
        for noted in waiting:
            self._tell_few(noted)
        self._log.look()

    async def tell_all(self) -> None:
        """Tell, of many routes in slices. Nobody else may tell meanwhile."""
        waiting, self._waiting = self._waiting, []
        for noted in waiting:
            if len(noted) <= _MANY:
                self._tell_few(noted)
            else:
                await self._tell_many(noted)

    def _tell_few(self, noted: Iterable[_Noted]) -> None:
        difference = _Difference(self.told, self._log)
        for key, now in noted:
            difference.compare(key, now)
        if any(difference.change):
            self._listener(difference.change)

    async def _tell_many(self, noted: Iterable[_Noted]) -> None:
        told = dict(self.told)
        difference = _Difference(told, self._log)
        async for key, now in in_slices(noted):
            difference.compare(key, now)
        if any(difference.change):
            tell = await self._prepare(difference.change)
            self.told = told
            await tell()

    async def _tell_listener(self, change: Change) -> Callable[[], Awaitable[None]]:
        async def tell() -> None:
            self._listener(change)

        return tell

    def _now(self, key: RouteKey) -> Status | None:
        table = self._tables[key.table_id]
        route = table.routes.get(key)
        return self._status(table, route) if route else None

    def _status(self, table: Table, route: Route) -> Status:
        return Status(route, *state_of(table, route, self._present()))


class _Difference:
    """Compares with what was told, which it brings up to date."""

    def __init__(self, told: dict[RouteKey, Status], log: StateLog) -> None:
        self._told = told
        self._log = log
        self._added: list[Status] = []
        self._changed: list[Status] = []
        self._removed: list[Status] = []

    @property
    def change(self) -> Change:
        return Change(self._added, self._changed, self._removed)

    def compare(self, key: RouteKey, now: Status | None) -> None:
        before = self._told.pop(key, None) if now is None else self._told.get(key)
        if now == before:
            return
        if now is None:
            assert before is not None
            self._removed.append(before)
            return
        if before is not None and before[1:] != now[1:]:
            self._log.note(*now)
        (self._changed if before else self._added).append(now)
        self._told[key] = now

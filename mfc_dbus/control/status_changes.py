"""What has become of routes, to be told when it is stored; and what was told last."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple, Protocol

from mfc_dbus.control.change_log import ChangeLog
from mfc_dbus.control.states import state_of, states_of
from mfc_dbus.kernel.links import Link
from mfc_dbus.loop.events import Guard
from mfc_dbus.loop.slices import in_batches, let_go
from mfc_dbus.model.cause import BY_INTERFACE, BY_TABLE, Cause, CauseKind
from mfc_dbus.model.route import RouteKey, TableId
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status
from mfc_dbus.routing.table import Table

_MANY = 100  # routes of which more are told in slices: to log each takes 0.1 ms


class _Noted(NamedTuple):
    """How routes are after a change, None where there is no such route; and what has caused it."""

    cause: Cause
    now: list[tuple[RouteKey, Status | None]]


class Change(NamedTuple):
    """What one change did. removed: the routes as the listener was told of them last."""

    added: list[Status]
    changed: list[Status]
    removed: list[Status]


class Listener(Protocol):
    """Who is told of every change, after it was stored and before its caller is."""

    def changed(self, change: Change, cause: Cause) -> None:
        """Hear of a change of few routes."""

    async def prepare(self, change: Change, cause: Cause) -> Callable[[], Awaitable[None]]:
        """Prepare to show a change of many routes, without showing anything yet.

        Return a function whose coroutine shows the whole change in its first step. The change is
        emptied after that.
        """

    async def read_anew(self) -> None:
        """Read all routes: this listener has failed at a change, and has not heard of it."""


class StatusChanges:
    """Collects how routes are after each change, and tells of what is another since it was told.

    What has become of many routes is made ready in slices; nobody sees half of it. An error of the
    listener is logged: it is no error of the change, which is done and stored.

    missed: whether the listener has failed, and has not read all routes since.
    """

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        present: Callable[[], Mapping[str, Link]],
        log: ChangeLog,
    ) -> None:
        """present: finds the interfaces that there are. log: is told of all."""
        self.listener: Listener | None = None
        self.signalled: dict[RouteKey, Status] = {}
        self.missed = False
        self._tables = tables
        self._present = present
        self._waiting: list[_Noted] = []
        self._telling = Guard("the telling of changes")
        self._reading = Guard("the reading of routes after a change that was missed")
        self._log = log

    def begin(self) -> None:
        """Begin with the routes that there are, of which nobody needs to be told."""
        for table in self._tables.values():
            states = states_of(table, table.routes, self._present())
            for route, state in zip(table.routes, states, strict=True):
                self.signalled[route.key] = Status(route, *state)

    def note(self, keys: Iterable[RouteKey], cause: Cause = BY_INTERFACE) -> None:
        """Keep in mind how routes are now."""
        self._waiting.append(_Noted(cause, [(key, self._now(key)) for key in keys]))

    async def note_all(self, keys: Iterable[RouteKey], cause: Cause = BY_INTERFACE) -> None:
        """Keep in mind, in slices, how many routes are now."""
        noted = _Noted(cause, [])
        self._waiting.append(noted)  # before what becomes of them meanwhile, which is noted too
        async for batch in in_batches(keys):
            noted.now.extend(zip(batch, self._all_now(batch), strict=True))

    async def note_again(self) -> None:
        """Forget what became of routes in between: it was taken back."""
        waiting, self._waiting = self._waiting, []
        keys: dict[RouteKey, None] = {}
        async for batch in in_batches(key for noted in waiting for key, _ in noted.now):
            keys |= dict.fromkeys(batch)
        await self.note_all(keys)

    def tell(self) -> None:
        """Tell the listener of all changes at once."""
        waiting, self._waiting = self._waiting, []
        for noted in waiting:
            self._tell_few(noted)
        self._log.sum_up()

    async def tell_all(self) -> None:
        """Tell the listener of all changes, in slices. Nobody else may tell him meanwhile."""
        waiting, self._waiting = self._waiting, []
        for noted in waiting:
            if len(noted.now) <= _MANY:
                self._tell_few(noted)
            else:
                await self._tell_many(noted)

    async def tell_of_missed(self) -> None:
        """Have the listener read all routes where it has missed a change. Nobody else may tell
        meanwhile.
        """
        if self.missed and self.listener is not None:
            with self._reading:
                await self.listener.read_anew()
                self.missed = False

    def _tell_few(self, noted: _Noted) -> None:
        difference = _Difference(self.signalled, self._log, noted.cause)
        for key, now in noted.now:
            difference.compare(key, now)
        for cause, change in difference.changes.items():
            if self.listener is not None:
                with self._noticing():
                    self.listener.changed(change, cause)

    async def _tell_many(self, noted: _Noted) -> None:
        told = dict(self.signalled)
        difference = _Difference(told, self._log, noted.cause)
        async for batch in in_batches(noted.now):
            for key, now in batch:
                difference.compare(key, now)
        if difference.changes:
            before = self.signalled
            for cause, change in difference.changes.items():
                if self.listener is not None:
                    with self._noticing():
                        tell = await self.listener.prepare(change, cause)
                        self.signalled = told
                        await tell()
            self.signalled = told
            await let_go(before)
        await difference.let_go()
        await let_go(noted.now)

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Log an error of the listener, and remember that it has missed a change."""
        with self._telling:
            yield
        self.missed = self.missed or self._telling.failed

    def _now(self, key: RouteKey) -> Status | None:
        table = self._tables[key.table_id]
        route = table.routes.get(key)
        return Status(route, *state_of(table, route, self._present())) if route else None

    def _all_now(self, keys: Iterable[RouteKey]) -> Iterator[Status | None]:
        present = self._present()
        for id_, its in groupby(keys, lambda key: key.table_id):
            table = self._tables[id_]
            routes = [table.routes.get(key) for key in its]
            states = states_of(table, filter(None, routes), present)
            for route in routes:
                yield Status(route, *next(states)) if route else None


class _Difference:
    """Compares routes with what was told of them, and brings that up to date.

    changes: the differences, by their cause.
    """

    def __init__(self, told: dict[RouteKey, Status], log: ChangeLog, cause: Cause) -> None:
        self._told = told
        self._log = log
        self._cause = cause
        self._last = cause  # of those that are compared, and its change
        self._change = Change([], [], [])
        self.changes: dict[Cause, Change] = {}

    async def let_go(self) -> None:
        """Forget the change, of which nobody is told any more."""
        for change in self.changes.values():
            for statuses in change:
                await let_go(statuses)

    def compare(self, key: RouteKey, now: Status | None) -> None:
        before = self._told.pop(key, None) if now is None else self._told.get(key)
        if now == before:
            return
        cause = _cause_of(self._cause, before, now)
        if cause is not self._last or not self.changes:
            self._last = cause
            self._change = self.changes.setdefault(cause, Change([], [], []))
        change = self._change
        if now is None:
            assert before is not None
            change.removed.append(before)
        else:
            (change.changed if before else change.added).append(now)
            self._told[key] = now
        self._log.note(cause, before, now)


def _cause_of(cause: Cause, before: Status | None, now: Status | None) -> Cause:
    """Return the closer cause of a change of state that nobody asked for."""
    if cause.kind is not CauseKind.INTERFACE:
        return cause
    states = [each.state for each in (before, now) if each is not None]
    return BY_TABLE if RouteState.UNAVAILABLE in states else cause

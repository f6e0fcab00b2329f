"""What has become of routes, to be told when it is stored; and what was told last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.model import Route, RouteKey, TableId
from mfc_dbus.table import Table


class Status(NamedTuple):
    """A route, and how much of it is in the kernel: active, partial, waiting, unavailable."""

    route: Route
    state: str
    reason: str = ""  # why it is no more, where that is not plain to see


class Change(NamedTuple):
    """What one change did; what was removed as it was told of last."""

    added: Sequence[Status] = ()
    changed: Sequence[Status] = ()
    removed: Sequence[Status] = ()


class News:
    """Collects how routes are after each change, and tells of what is another since it was told."""

    def __init__(self, tables: Mapping[TableId, Table]) -> None:
        self.told: dict[RouteKey, Status] = {}
        self._tables = tables
        self._waiting: list[list[tuple[RouteKey, Status | None]]] = []
        self._listener: Callable[[Change], None] | None = None

    def listen(self, listener: Callable[[Change], None]) -> None:
        self._listener = listener

    def begin(self) -> None:
        """Take all as told that there is."""
        for table in self._tables.values():
            for route in table.routes:
                self.told[route.key] = _status(table, route)

    def note(self, keys: Iterable[RouteKey]) -> None:
        """Keep in mind how routes are now."""
        self._waiting.append([(key, self._now(key)) for key in keys])

    def look_again(self) -> None:
        """Forget what became of routes in between: it was taken back."""
        keys = {key for news in self._waiting for key, _ in news}
        self._waiting.clear()
        self.note(keys)

    def tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            change = self._difference(news)
            if any(change) and self._listener:
                self._listener(change)

    def _now(self, key: RouteKey) -> Status | None:
        table = self._tables[key.table_id]
        route = table.routes.get(key)
        return _status(table, route) if route else None

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


def _status(table: Table, route: Route) -> Status:
    return Status(route, table.state(route), table.shortage(route))

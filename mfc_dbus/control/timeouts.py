"""Routes with a timeout, removed when it has run out. Times are nanoseconds since boot."""

import heapq
from collections.abc import Callable, Mapping, Sequence

from mfc_dbus.loop.slices import Slices, in_slices, let_go
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.route import Route, RouteKey, TableId
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition

_SLACK = 64  # entries of the heap, of which some may be outdated
_TOGETHER = 50  # routes that are removed at one time

_Change = Callable[[Sequence[Transition]], None]


class Timeouts:
    """Remembers the routes with a timeout.

    One that has gone, or has another timeout by now, is forgotten when its time comes, or earlier
    where most of what is remembered may be outdated.
    """

    def __init__(self, find: Callable[[RouteKey], Route | None]) -> None:
        """find: returns the route of a key, None where there is none."""
        self._find = find
        self._heap: list[tuple[int, RouteKey]] = []
        self._room = _SLACK  # entries, above which most may be outdated

    def __len__(self) -> int:
        return len(self._heap)

    def remember(self, route: Route) -> None:
        if route.expires:
            heapq.heappush(self._heap, (route.expires, route.key))

    async def expire(self, now: int, tables: Mapping[TableId, Table], change: _Change) -> None:
        """Remove the routes whose time has run out by now, in slices. Nothing else changes routes
        meanwhile.

        change: removes them, or raises RequestError and removes none. One that cannot be removed is
        remembered, and the first error raised when all others are removed.
        """
        await self._forget_outdated()
        failed: dict[Route, RequestError] = {}
        slices = Slices()
        while routes := self._pop_due(now):
            await slices.pause()
            for table in tables.values():
                going = [route for route in routes if route.table_id == table.id]
                if not going:
                    continue
                try:
                    change([Transition(table, going, [])])
                except RequestError:
                    failed |= _expire_each(table, going, change)
        for route in failed:
            self.remember(route)
        for error in failed.values():
            raise error

    async def _forget_outdated(self) -> None:
        """Forget routes that have gone or have another timeout, where these may be most of all."""
        if len(self._heap) <= self._room:
            return
        before, self._heap = self._heap, []
        left: dict[tuple[int, RouteKey], None] = {}  # each once: what is taken back comes again
        async for each in in_slices(before):
            if each not in left and self._is_due(*each):
                left[each] = None
                heapq.heappush(self._heap, each)
        self._room = 2 * len(left) + _SLACK
        await let_go(left)
        await let_go(before)

    def _pop_due(self, now: int) -> list[Route]:
        """Take off the heap some of the routes whose time has run out by now."""
        taken: dict[RouteKey, Route] = {}
        while len(taken) < _TOGETHER and self._heap and self._heap[0][0] <= now:
            expires, key = heapq.heappop(self._heap)
            route = self._find(key)
            if route is not None and route.expires == expires:
                taken[key] = route
        return [*taken.values()]

    def _is_due(self, expires: int, key: RouteKey) -> bool:
        route = self._find(key)
        return route is not None and route.expires == expires


def _expire_each(
    table: Table, routes: Sequence[Route], change: _Change
) -> dict[Route, RequestError]:
    """Remove routes one by one. Return those that could not be removed, and why."""
    failed: dict[Route, RequestError] = {}
    for route in routes:
        try:
            change([Transition(table, [route], [])])
        except RequestError as error:
            failed[route] = error
    return failed

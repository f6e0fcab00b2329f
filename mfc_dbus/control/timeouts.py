"""When which routes are to be removed (pure). Times are nanoseconds since boot."""

import heapq
from collections.abc import Callable

from mfc_dbus.model.route import Route, RouteKey

_SLACK = 64  # of what may be outdated


class Expiries:
    """Remembers the routes with a timeout. One that has gone is found out when its time comes."""

    def __init__(self, find: Callable[[RouteKey], Route | None]) -> None:
        """find: the route of a key."""
        self._find = find
        self._heap: list[tuple[int, RouteKey]] = []
        self._room = _SLACK  # until it is looked what of it is outdated

    def __len__(self) -> int:
        return len(self._heap)

    def remember(self, route: Route) -> None:
        if not route.expires:
            return
        if len(self._heap) >= self._room:
            self._heap = [each for each in {*self._heap} if self._is_due(*each)]
            heapq.heapify(self._heap)
            self._room = 2 * len(self._heap) + _SLACK
        heapq.heappush(self._heap, (route.expires, route.key))

    def take(self, now: int, most: int) -> list[Route]:
        """Take the routes whose time has run out by now, or so many of them."""
        taken: dict[RouteKey, Route] = {}
        while len(taken) < most and self._heap and self._heap[0][0] <= now:
            expires, key = heapq.heappop(self._heap)
            route = self._find(key)
            if route is not None and route.expires == expires:
                taken[key] = route
        return [*taken.values()]

    def _is_due(self, expires: int, key: RouteKey) -> bool:
        route = self._find(key)
        return route is not None and route.expires == expires

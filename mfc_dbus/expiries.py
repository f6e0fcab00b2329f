"""When which routes are to be removed (pure). Times are nanoseconds since boot."""

import heapq
from collections.abc import Callable

from mfc_dbus.model import Route, RouteKey


class Expiries:
    """Remembers the routes with a timeout, also those that have gone or have another one since."""

    def __init__(self, find: Callable[[RouteKey], Route | None]) -> None:
        """find: the route of a key."""
        self._find = find
        self._heap: list[tuple[int, RouteKey]] = []

    def remember(self, route: Route) -> None:
        if route.expires:
            heapq.heappush(self._heap, (route.expires, route.key))

    @property
    def next(self) -> int | None:
        """When the first of them is to go."""
        return self._heap[0][0] if self._heap else None

    def first(self, now: int) -> Route | None:
        """Find a route whose time has run out, if there is one. It stays remembered."""
        while self._heap and self._heap[0][0] <= now:
            expires, key = self._heap[0]
            route = self._find(key)
            if route is not None and route.expires == expires:
                return route
            heapq.heappop(self._heap)
        return None

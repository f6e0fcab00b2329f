"""The desired routes (pure): found by key, stream and interface however many there are."""

from collections.abc import Iterator
from typing import TypeVar

from mfc_dbus.model import Route, RouteKey

_Name = TypeVar("_Name", bytes, str)


class Routes:
    """Routes by key; those from any source by group too, which has one for each iif."""

    def __init__(self, number: int = 0) -> None:
        """number: of the table that they are for."""
        self._number = number
        self._routes: dict[RouteKey, Route] = {}
        # Ordered sets of keys.
        self._any_source: dict[bytes, dict[RouteKey, None]] = {}
        self._naming: dict[str, dict[RouteKey, None]] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __len__(self) -> int:
        return len(self._routes)

    def get(self, key: RouteKey) -> Route | None:
        return self._routes.get(key)

    def of_stream(self, source: bytes, group: bytes) -> list[Route]:
        if not any(source):
            return [self._routes[key] for key in self._any_source.get(group, ())]
        route = self._routes.get(RouteKey(source, group, "", self._number))
        return [route] if route else []

    def naming(self, interface: str) -> list[Route]:
        """Those with this interface, as iif or oif."""
        return [self._routes[key] for key in self._naming.get(interface, ())]

    def put(self, route: Route) -> None:
        key = route.key
        before = self._routes.get(key)
        if before is not None:
            self.remove(before)
        self._routes[key] = route
        if route.any_source:
            self._any_source.setdefault(route.group, {})[key] = None
        for name in route.interfaces:
            self._naming.setdefault(name, {})[key] = None

    def remove(self, route: Route) -> None:
        del self._routes[route.key]
        if route.any_source:
            _discard(self._any_source, route.group, route.key)
        for name in route.interfaces:
            _discard(self._naming, name, route.key)


def _discard(sets: dict[_Name, dict[RouteKey, None]], name: _Name, key: RouteKey) -> None:
    """Take a key out of a set, and the set away with its last."""
    keys = sets[name]
    del keys[key]
    if not keys:
        del sets[name]

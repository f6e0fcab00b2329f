"""The desired routes (pure): found by stream, iif and interface however many there are."""

from collections.abc import Iterator

from mfc_dbus.model import Route, RouteKey


class Routes:
    """Routes by stream, and under a stream by iif: (S,G) has one, (*,G) one for each iif."""

    def __init__(self) -> None:
        self._streams: dict[tuple[bytes, bytes], dict[str, Route]] = {}
        self._naming: dict[str, dict[RouteKey, None]] = {}  # an ordered set for each interface
        self._count = 0

    def __iter__(self) -> Iterator[Route]:
        for by_iif in self._streams.values():
            yield from by_iif.values()

    def __len__(self) -> int:
        return self._count

    def get(self, key: RouteKey) -> Route | None:
        return self._streams.get((key.source, key.group), {}).get(key.iif)

    def of_stream(self, source: bytes, group: bytes) -> list[Route]:
        return list(self._streams.get((source, group), {}).values())

    def naming(self, interface: str) -> list[Route]:
        """Those with this interface, as iif or oif."""
        found = (self.get(key) for key in self._naming.get(interface, ()))
        return [route for route in found if route is not None]

    def put(self, route: Route) -> None:
        before = self.get(route.key)
        if before is not None:
            self.remove(before)
        self._streams.setdefault((route.source, route.group), {})[route.key.iif] = route
        for name in route.interfaces:
            self._naming.setdefault(name, {})[route.key] = None
        self._count += 1

    def remove(self, route: Route) -> None:
        by_iif = self._streams[route.source, route.group]
        del by_iif[route.key.iif]
        if not by_iif:
            del self._streams[route.source, route.group]
        for name in route.interfaces:
            keys = self._naming[name]
            del keys[route.key]
            if not keys:
                del self._naming[name]
        self._count -= 1

"""The desired routes (pure): found by stream and iif at the same cost however many there are."""

from collections.abc import Iterator

from mfc_dbus.model import Route, RouteKey


class Routes:
    """Routes by stream, and under a stream by iif: (S,G) has one, (*,G) one for each iif."""

    def __init__(self) -> None:
        self._streams: dict[tuple[bytes, bytes], dict[str, Route]] = {}
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

    def put(self, route: Route) -> None:
        by_iif = self._streams.setdefault((route.source, route.group), {})
        self._count += route.key.iif not in by_iif
        by_iif[route.key.iif] = route

    def remove(self, route: Route) -> None:
        by_iif = self._streams[route.source, route.group]
        del by_iif[route.key.iif]
        self._count -= 1
        if not by_iif:
            del self._streams[route.source, route.group]

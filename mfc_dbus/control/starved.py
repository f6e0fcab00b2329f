"""The routes of a table for which the kernel has no room, or which it refused (pure).

Routes on the same interfaces fit together or not at all: so they are asked about together.
"""

from collections.abc import Collection, Iterator, Set
from itertools import islice

from mfc_dbus.model.route import RouteKey

Interfaces = frozenset[str]


class Starved:
    def __init__(self) -> None:
        self._interfaces: dict[RouteKey, Interfaces] = {}  # the one that was tried last is last
        self._keys: dict[Interfaces, dict[RouteKey, None]] = {}

    def __len__(self) -> int:
        return len(self._interfaces)

    def __contains__(self, key: RouteKey) -> bool:
        return key in self._interfaces

    def put(self, key: RouteKey, interfaces: Interfaces) -> None:
        """Remember a route. interfaces: those that the whole route would be on."""
        self.discard(key)
        self._interfaces[key] = interfaces
        self._keys.setdefault(interfaces, {})[key] = None

    def discard(self, key: RouteKey) -> None:
        interfaces = self._interfaces.pop(key, None)
        if interfaces is not None:
            keys = self._keys[interfaces]
            del keys[key]
            if not keys:
                del self._keys[interfaces]

    def clear(self) -> None:
        self._interfaces.clear()
        self._keys.clear()

    def first(self, most: int) -> list[RouteKey]:
        """Return the routes that were tried the longest time ago, `most` at most."""
        return list(islice(self._interfaces, most))

    def fitting(
        self, used: Set[str], before: Set[str], room: int
    ) -> Iterator[tuple[Interfaces, Collection[RouteKey]]]:
        """Yield routes that may fit by now, with their interfaces: as many as there is room for.

        used: the interfaces that have VIFs for routes. before: those that had VIFs when the routes
        were tried. room: how many more VIFs there may be.
        """
        grown = len(used) < len(before)
        taken = set(used)
        for interfaces, keys in [*self._keys.items()]:
            lacking = interfaces - taken
            if (grown and (room or not lacking)) or not interfaces.isdisjoint(used - before):
                room = max(0, room - len(lacking))
                taken |= lacking
                yield interfaces, keys

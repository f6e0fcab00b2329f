"""The desired routes (pure): found by key, stream and interface, however many there are.

Routes that are not enabled are counted, and iterated over with the others. They are found by their
key, or by source and group, and in no other way.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, MutableMapping
from itertools import chain
from typing import Any, TypeVar

from mfc_dbus.model.addresses import Prefix, mask
from mfc_dbus.model.interfaces import is_pattern, matches, precedence
from mfc_dbus.model.route import Route, RouteKey, stream_key
from mfc_dbus.routing.native import NativeRoutes

_Name = TypeVar("_Name")
_Keys = TypeVar("_Keys", bound=MutableMapping[Any, Any])


class Routes:
    """Routes by key; those of more than one stream by source and group too, one for each iif."""

    def __init__(self, number: int = 0) -> None:
        """number: of the routes' table."""
        self._number = number
        self.native_routes = NativeRoutes(number)
        self._routes: dict[RouteKey, Route] = {}
        # The routes that are not enabled, and their keys by source and group.
        self._disabled: dict[RouteKey, Route] = {}
        self._disabled_keys: dict[tuple[Prefix, Prefix], dict[RouteKey, None]] = {}
        # The keys, as ordered sets, of the wide routes whose iif is a pattern.
        self._wide_patterns: dict[tuple[Prefix, Prefix], dict[RouteKey, None]] = {}
        # How many wide routes have each prefix of sources, by their group.
        self._sources: dict[Prefix, Counter[Prefix]] = {}
        # The keys, as ordered sets, of the routes that have a name or pattern; and the patterns.
        self._naming: dict[str, dict[RouteKey, None]] = {}
        self._patterns: dict[str, None] = {}
        # The prefix lengths of group and source that wide routes have, most specific first, and how
        # many have them.
        self._lengths: dict[tuple[int, int], int] = {}

    def __iter__(self) -> Iterator[Route]:
        return chain(self._routes.values(), self._disabled.values())

    def __len__(self) -> int:
        return len(self._routes) + len(self._disabled)

    def enabled_keys(self) -> Collection[RouteKey]:
        return self._routes.keys()

    def get(self, key: RouteKey) -> Route | None:
        return self._routes.get(key) or self._disabled.get(key)

    def of_stream(self, source: Prefix, group: Prefix, iif: str | None = None) -> list[Route]:
        """Find the routes of a source and a group. iif: only the one with this iif."""
        exact = source.exact and group.exact
        if exact or iif is not None:
            key = RouteKey(source, group, "" if exact or iif is None else iif, self._number)
            route = self.get(key)
            return [route] if route is not None and iif in (None, route.iif) else []
        keys = (
            RouteKey(source, group, name, self._number) for name in self.native_routes.iifs(group)
        )
        disabled = self._disabled_keys.get((source, group), ())
        return [
            *(self._routes[key] for key in keys if key in self._routes),
            *(self._disabled[key] for key in disabled),
        ]

    def best(self, source: bytes, group: bytes, iif: str) -> Route | None:
        """Find the most specific route of a stream that arrives on an interface.

        It has the longest prefix of the group, then of the source; and it names the interface, or
        has the longest pattern for it.
        """
        exact = self._routes.get(stream_key(source, group, self._number))
        if exact is not None and matches(exact.iif, iif):
            return exact
        for group_length, source_length in self._lengths:
            sources = Prefix(mask(source, source_length), source_length)
            groups = Prefix(mask(group, group_length), group_length)
            keys = self._wide_patterns.get((sources, groups), ())
            found = self._routes.get(RouteKey(sources, groups, iif, self._number)) or max(
                (self._routes[key] for key in keys if matches(key.iif, iif)),
                key=lambda route: precedence(route.iif),
                default=None,
            )
            if found is not None:
                return found
        return None

    def sharing(self, source: Prefix, group: Prefix, iif: str) -> Iterator[Route | None]:
        """Yield the wide routes that share streams with one of a source and group, the best first.

        More specific ones are left out: see `best`. iif: if it is a name, only routes from
        that interface. None is yielded for each source and group that is looked at, so that the
        caller can stop a search that takes too long.
        """
        for group_length, source_length in self._lengths:
            if group_length > group.length:
                continue
            groups = Prefix(mask(group.address, group_length), group_length)
            if source_length <= source.length:
                yield None
                sources = Prefix(mask(source.address, source_length), source_length)
                yield from self._best_first(sources, groups, iif)
            elif group_length < group.length:
                for sources in self._sources.get(groups, ()):
                    yield None
                    if sources.length == source_length and source.covers(sources):
                        yield from self._best_first(sources, groups, iif)

    def _best_first(self, source: Prefix, group: Prefix, iif: str) -> Iterator[Route | None]:
        """Yield the wide routes of a source and group. iif: if it is a name, only those from there.

        None is yielded for a look at a route that is not among them.
        """
        if is_pattern(iif):
            for name in self.native_routes.iifs(group):
                if not is_pattern(name):
                    yield self._routes.get(RouteKey(source, group, name, self._number))
        elif (key := RouteKey(source, group, iif, self._number)) in self._routes:
            yield self._routes[key]
        patterns = self._wide_patterns.get((source, group), ())
        for key in sorted(patterns, key=lambda key: precedence(key.iif), reverse=True):
            if is_pattern(iif) or matches(key.iif, iif):
                yield self._routes[key]

    def named(self, interface: str) -> Iterable[RouteKey]:
        """Return the keys of the routes that have this interface by its name."""
        return self._naming.get(interface, ())

    def naming(self, interface: str) -> list[Route]:
        """Return the routes with this interface, as iif or oif, by its name or a pattern."""
        found = {key: None for _, keys in self.concerned([interface]) for key in keys}
        return [self._routes[key] for key in found]

    def concerned(self, interfaces: Collection[str]) -> Iterator[tuple[str, Collection[RouteKey]]]:
        """Yield the names and patterns of some of these interfaces, each with its routes' keys."""
        for name in interfaces:
            if name in self._naming:
                yield name, self._naming[name]
        for pattern in self._patterns:
            if any(matches(pattern, name) for name in interfaces):
                yield pattern, self._naming[pattern]

    def put(self, route: Route) -> None:
        key = route.key
        before = self.get(key)
        if before is not None:
            self.remove(before)
        if not route.enabled:
            self._disabled[key] = route
            self._disabled_keys.setdefault((route.source, route.group), {})[key] = None
            return
        self._routes[key] = route
        if not route.is_sg:
            if route.source.length:
                self._sources.setdefault(route.group, Counter())[route.source] += 1
            if is_pattern(route.iif):
                self._wide_patterns.setdefault((route.source, route.group), {})[key] = None
            self._count_lengths(route, 1)
        for name in route.interfaces:
            self._naming.setdefault(name, {})[key] = None
            if is_pattern(name):
                self._patterns[name] = None
        if not route.is_sg_on_one_iif:
            self.native_routes.put(route)

    def remove(self, route: Route) -> None:
        if not route.enabled:
            del self._disabled[route.key]
            discard(self._disabled_keys, (route.source, route.group), route.key)
            return
        del self._routes[route.key]
        if not route.is_sg:
            if route.source.length:
                self._sources[route.group][route.source] -= 1
                if not self._sources[route.group][route.source]:
                    discard(self._sources, route.group, route.source)
            if is_pattern(route.iif):
                discard(self._wide_patterns, (route.source, route.group), route.key)
            self._count_lengths(route, -1)
        for name in set(route.interfaces):  # a pattern may be both iif and oif
            discard(self._naming, name, route.key)
            if name not in self._naming:
                self._patterns.pop(name, None)
        self.native_routes.remove(route)

    def _count_lengths(self, route: Route, more: int) -> None:
        lengths = (route.group.length, route.source.length)
        count = self._lengths.get(lengths, 0) + more
        if not count:
            del self._lengths[lengths]
        elif lengths in self._lengths:
            self._lengths[lengths] = count
        else:
            self._lengths = dict(sorted([*self._lengths.items(), (lengths, count)], reverse=True))


def discard(sets: dict[_Name, _Keys], name: _Name, key: Any) -> None:
    """Take a key out of a set, and delete the set with its last key."""
    keys = sets[name]
    del keys[key]
    if not keys:
        del sets[name]

"""Which routes are entries of the kernel as they are, and which have to be learned (pure).

A route is native where one entry says all of it, and nothing more: one stream from one interface,
or one group from any source on one interface. The kernel takes such a (*,G) entry for whatever
arrives for the group on its iif or on one of its oifs. So it is learned, stream by stream like a
wider route, where another route decides on some of that.
"""

from collections.abc import Iterable, Iterator

from mfc_dbus.addresses import Prefix, cut
from mfc_dbus.model import Route, RouteKey
from mfc_dbus.patterns import is_pattern, may_meet


class Kinds:
    """All routes but those of one stream from one interface, which are native whatever else is."""

    def __init__(self) -> None:
        self._by_group: dict[Prefix, dict[RouteKey, Route]] = {}
        self._lengths: dict[int, int] = {}  # of group prefixes, and how many have each
        self._leaving: dict[
            str, dict[RouteKey, Route]
        ] = {}  # any-source routes of one group, by oif
        self._patterns: dict[str, None] = {}  # those that are oifs of them

    def put(self, route: Route) -> None:
        if route.single:
            return
        of_group = self._by_group.setdefault(route.group, {})
        if not of_group:
            self._lengths[route.group.length] = self._lengths.get(route.group.length, 0) + 1
        of_group[route.key] = route
        if _may_be_native(route):
            for oif in route.oifs:
                self._leaving.setdefault(oif.name, {})[route.key] = route
                if is_pattern(oif.name):
                    self._patterns[oif.name] = None

    def remove(self, route: Route) -> None:
        if route.single:
            return
        of_group = self._by_group[route.group]
        del of_group[route.key]
        if not of_group:
            del self._by_group[route.group]
            self._lengths[route.group.length] -= 1
            if not self._lengths[route.group.length]:
                del self._lengths[route.group.length]
        if _may_be_native(route):
            for oif in route.oifs:
                leaving = self._leaving[oif.name]
                del leaving[route.key]
                if not leaving:
                    del self._leaving[oif.name]
                    self._patterns.pop(oif.name, None)

    def native(self, route: Route) -> bool:
        if route.single:
            return True
        if not _may_be_native(route):
            return False
        return not any(
            _decides_within(other, route)
            for other in self._covering(route.group.address)
            if other.key != route.key
        )

    def decided_by(self, route: Route) -> Iterator[Route]:
        """Find the routes whose kind may be another with and without this one; some come twice."""
        if route.single:
            return
        if route.group.exact:
            for other in self._by_group.get(route.group, {}).values():
                if _may_be_native(other):
                    yield other
        for name in self._leaving_by(route.iif):
            for other in self._leaving[name].values():
                if route.group.covers(other.group):
                    yield other

    def _covering(self, group: bytes) -> Iterator[Route]:
        for length in self._lengths:
            yield from self._by_group.get(Prefix(cut(group, length), length), {}).values()

    def _leaving_by(self, iif: str) -> Iterable[str]:
        if is_pattern(iif):
            return [oif for oif in self._leaving if may_meet(iif, oif)]
        named = [iif] if iif in self._leaving else []
        return named + [oif for oif in self._patterns if may_meet(iif, oif)]


def _may_be_native(route: Route) -> bool:
    """Whether it is for any source and one group, from one interface."""
    return not route.source.length and route.group.exact and not is_pattern(route.iif)


def _decides_within(other: Route, route: Route) -> bool:
    """Whether, of what the kernel would take a (*,G) entry for, another route decides on some."""
    if other.group.exact and other.source.length and may_meet(other.iif, route.iif):
        return True
    return any(may_meet(other.iif, oif.name) for oif in route.oifs)

"""Which routes are entries of the kernel as they are, and which have to be learned (pure).

A route is native where one entry says all of it, and nothing more: one stream from one interface,
or one group from any source on one interface. The kernel takes such a (*,G) entry for whatever
arrives for the group on its iif or on one of its oifs. So it is learned, stream by stream like a
wider route, where another route decides on some of that.

What decides is known by counts, which each put and remove keeps: the price of both, and of asking,
does not grow with the number of routes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from mfc_dbus.model.addresses import Prefix, mask
from mfc_dbus.model.interfaces import is_pattern, may_meet
from mfc_dbus.model.route import Route, RouteKey
from mfc_dbus.routing.ordered import OrderedKeys

_ASKED = 64  # patterns for which a group remembers the answer


class NativeRoutes:
    """Knows of each route whether it is native.

    Routes of one stream from one interface always are, and are not kept here.
    """

    def __init__(self, number: int = 0) -> None:
        """number: of the routes' table."""
        self._number = number
        # The iifs of the routes of each group prefix, and those of the routes that name sources.
        self._iifs: dict[Prefix, _Names] = {}
        self._sourced: dict[Prefix, _Names] = {}
        self._lengths: Counter[int] = Counter()  # how many group prefixes have each length
        # The routes of one group from any source, by oif.
        self._leaving: dict[str, OrderedKeys] = {}
        self._patterns: dict[str, None] = {}  # the oifs that are patterns

    def put(self, route: Route) -> None:
        if route.is_sg_on_one_iif:
            return
        if route.group not in self._iifs:
            self._lengths[route.group.length] += 1
        self._iifs.setdefault(route.group, _Names()).add(route.iif)
        if _names_sources(route):
            self._sourced.setdefault(route.group, _Names()).add(route.iif)
        if _may_be_native(route):
            for oif in route.oifs:
                if oif.name not in self._leaving:
                    self._leaving[oif.name] = OrderedKeys()
                    if is_pattern(oif.name):
                        self._patterns[oif.name] = None
                self._leaving[oif.name].add(route.key)

    def remove(self, route: Route) -> None:
        if route.is_sg_on_one_iif:
            return
        _take_out(self._iifs, route)
        if route.group not in self._iifs:
            self._lengths[route.group.length] -= 1
            self._lengths += Counter()  # removes lengths that no prefix has any more
        if _names_sources(route):
            _take_out(self._sourced, route)
        if _may_be_native(route):
            for oif in route.oifs:
                leaving = self._leaving[oif.name]
                leaving.remove(route.key)
                if not leaving:
                    del self._leaving[oif.name]
                    self._patterns.pop(oif.name, None)

    def iifs(self, group: Prefix) -> Iterable[str]:
        """Return the iifs of the routes of a group prefix, whatever their sources."""
        return self._iifs.get(group, ())

    def native(self, route: Route) -> bool:
        if route.is_sg_on_one_iif:
            return True
        if not _may_be_native(route):
            return False
        sourced = self._sourced.get(route.group)
        if sourced is not None and sourced.meet(route.iif):
            return False
        for length in self._lengths:
            iifs = self._iifs.get(Prefix(mask(route.group.address, length), length))
            if iifs is not None:
                # Of the routes of the same group this is one, and does not decide on itself.
                own = route.iif if length == route.group.length else ""
                if any(iifs.meet(oif.name, but_once=own) for oif in route.oifs):
                    return False
        return True

    def may_change_kind_with(
        self, old: Iterable[Route], new: Iterable[Route]
    ) -> Iterator[RouteKey]:
        """Find the routes that old and new make native, or make no longer native.

        Some are found twice, and some may be among the new ones.
        """
        iifs: Counter[tuple[Prefix, str]] = Counter()
        sourced: Counter[tuple[Prefix, str]] = Counter()
        for more, routes in ((-1, old), (1, new)):
            for route in routes:
                if route.enabled and not route.is_sg_on_one_iif:
                    iifs[route.group, route.iif] += more
                    if _names_sources(route):
                        sourced[route.group, route.iif] += more
        # To the others only the first and the last route with such an iif makes a difference.
        for (group, iif), more in iifs.items():
            if _first_or_last(self._iifs, group, iif, more):
                for name in self._leaving_by(iif):
                    yield from self._leaving[name].within(group)
        for (group, iif), more in sourced.items():
            if _first_or_last(self._sourced, group, iif, more):
                any_source = Prefix(bytes(len(group.address)), 0)
                for name in self._iifs[group].meeting(iif) if group in self._iifs else ():
                    yield RouteKey(any_source, group, name, self._number)

    def _leaving_by(self, iif: str) -> Iterable[str]:
        if is_pattern(iif):
            return [oif for oif in self._leaving if may_meet(iif, oif)]
        named = [iif] if iif in self._leaving else []
        return named + [oif for oif in self._patterns if may_meet(iif, oif)]


class _Names:
    """The names of interfaces, and patterns of them, and how many routes have each."""

    __slots__ = ("_asked", "_counts", "_patterns")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._patterns: dict[str, None] | None = None  # the names that are patterns
        # How many of these may mean an interface of a pattern, by patterns that were asked about.
        self._asked: dict[str, int] | None = None

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def add(self, name: str) -> None:
        if name not in self._counts:
            self._count_asked(name, 1)
            if is_pattern(name):
                self._patterns = self._patterns or {}
                self._patterns[name] = None
        self._counts[name] = self[name] + 1

    def remove(self, name: str) -> None:
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]
            self._count_asked(name, -1)
            if self._patterns:
                self._patterns.pop(name, None)

    def meet(self, name: str, *, but_once: str = "") -> bool:
        """Return whether one of these names may mean the same interface as a name or pattern.

        but_once: one of the names, of which one route is not counted.
        """
        if but_once and self[but_once] == 1 and may_meet(but_once, name):
            return self._how_many(name) > 1
        return self._how_many(name) > 0

    def meeting(self, name: str) -> list[str]:
        """Return those of these names that may mean the same interface as a name or pattern."""
        if is_pattern(name):
            return [each for each in self._counts if may_meet(each, name)]
        named = [name] if name in self._counts else []
        return named + [each for each in self._patterns or () if may_meet(each, name)]

    def _how_many(self, name: str) -> int:
        if not is_pattern(name):
            return len(self.meeting(name))
        if self._asked is None or len(self._asked) > _ASKED:
            self._asked = {}
        if name not in self._asked:
            self._asked[name] = len(self.meeting(name))
        return self._asked[name]

    def _count_asked(self, name: str, more: int) -> None:
        for pattern in self._asked or ():
            if may_meet(pattern, name):
                assert self._asked is not None
                self._asked[pattern] += more


def _may_be_native(route: Route) -> bool:
    """Return whether a route is for any source and one group, from one iif, and sends nothing back.

    An any-source entry of the kernel never sends back.
    """
    from_any = not route.source.length and route.group.exact and not is_pattern(route.iif)
    return from_any and not route.sends_back


def _names_sources(route: Route) -> bool:
    """Return whether a route decides on what some sources, and not all, send to one group."""
    return route.group.exact and bool(route.source.length)


def _take_out(names: dict[Prefix, _Names], route: Route) -> None:
    of_group = names[route.group]
    of_group.remove(route.iif)
    if not of_group:
        del names[route.group]


def _first_or_last(names: dict[Prefix, _Names], group: Prefix, iif: str, more: int) -> bool:
    """Return whether `more` routes brought the first of this group and iif, or took the last."""
    of_group = names.get(group)
    now = of_group[iif] if of_group is not None else 0
    return (now == 0) != (now - more == 0)

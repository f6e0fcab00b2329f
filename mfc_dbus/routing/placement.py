"""What of a route is in the kernel: an entry of its own, or VIFs and what is learned (pure)."""

from collections.abc import Container, Sequence, Set
from itertools import islice
from typing import NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.quoting import MAX_NAMED, join
from mfc_dbus.model.route import Oif, Route, RouteKey, shared_oif
from mfc_dbus.routing.present_links import PresentLinks, holds


class LearnedRoute(Struct, frozen=True, gc=False):
    """A route that is learned: VIFs, so that the kernel tells of its streams, and no entry."""

    key: RouteKey
    iifs: tuple[str, ...]
    oifs: tuple[Oif, ...]
    hairpin: bool = False

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces, each once, though one may be iif and oif."""
        return tuple(dict.fromkeys((*self.iifs, *(oif.name for oif in self.oifs))))


# A native route is placed as a route of the interfaces that there are.
Placement = Route | LearnedRoute


class Learned(NamedTuple):
    """One stream of a route that has no entry of its own. It uses that one's VIFs.

    key: source and group, which are one address each.
    """

    key: RouteKey
    iif: str
    oifs: tuple[Oif, ...]
    owner: RouteKey

    @property
    def source(self) -> Prefix:
        return self.key.source

    @property
    def group(self) -> Prefix:
        return self.key.group

    @property
    def interfaces(self) -> tuple[str, ...]:
        return ()


Placed = TypeVar("Placed", bound=Placement | Learned)


def place(
    route: Route, present: PresentLinks, *, native: bool, preferred: Set[str] = frozenset()
) -> Placement | None:
    """Return what of a route can be in the kernel with these interfaces, None without an iif.

    preferred: the interfaces that go before others, where a pattern is for more than can have
    VIFs. Then it is placed on these, and on so many others that not all of them have room.
    """
    if not route.enabled:
        return None
    if not native:
        iifs = _expand(route.iif, present, preferred)
        oifs = _oifs(route.oifs, present, preferred | {*iifs})
        return LearnedRoute(route.key, iifs, oifs, route.hairpin) if iifs else None
    if route.iif not in present:
        return None
    for oif in route.oifs:
        if oif.name not in present:
            break
    else:  # the usual case
        return route
    but = _unless_back(route, route.iif)
    return replace(route, oifs=_oifs(route.oifs, present, preferred, but))


def learn(stream: RouteKey, iif: str, owner: LearnedRoute) -> Learned | None:
    """Return the entry of a stream that arrives on an interface, None where that is no iif of its
    route.
    """
    if iif not in owner.iifs:
        return None
    but = _unless_back(owner, iif)
    return Learned(stream, iif, tuple(oif for oif in owner.oifs if oif.name != but), owner.key)


def narrow(placed: Placed, names: Container[str]) -> Placed | None:
    """Return what is left of a placement on these interfaces alone; None without an iif."""
    oifs = tuple(oif for oif in placed.oifs if oif.name in names)
    if isinstance(placed, LearnedRoute):
        iifs = tuple(name for name in placed.iifs if name in names)
        return replace(placed, iifs=iifs, oifs=oifs) if iifs else None
    if placed.iif not in names:
        return None
    return placed._replace(oifs=oifs) if isinstance(placed, Learned) else replace(placed, oifs=oifs)


def missing(route: Route, placed: Placement) -> list[str]:
    """Return the interfaces that a route names and that its placement lacks."""
    there = placed.interfaces
    return [name for name in route.interfaces if name not in there and not is_pattern(name)]


def say_left_out(route: Route, present: PresentLinks, placed: Set[str]) -> str:
    """Name the present interfaces that are for a route and not among those where it is placed."""
    named = [name for name in route.interfaces if name in present and name not in placed]
    matching = present.matching(*sorted(filter(is_pattern, {*route.interfaces})))
    known = placed | {*named}
    some = list(islice((name for name in matching if name not in known), MAX_NAMED))
    others = len(matching) - sum(holds(matching, name) for name in known)
    return join([*named, *some], MAX_NAMED, others - len(some))


def _unless_back(placed: Route | LearnedRoute, iif: str) -> str:
    """Return the iif, unless streams may leave by it: then an empty name."""
    return "" if placed.hairpin else iif


def _oifs(
    oifs: Sequence[Oif], present: PresentLinks, preferred: Set[str], but: str = ""
) -> tuple[Oif, ...]:
    """Find the oifs that exist; a pattern stands for all interfaces that no other oif names."""
    found = {oif.name: oif for oif in oifs if oif.name in present}
    for pattern, ttl in oifs:
        if is_pattern(pattern):
            for name in _expand(pattern, present, preferred):
                if name not in found and name != but:
                    found[name] = shared_oif(name, ttl)
    return tuple(found.values())


def _expand(name: str, present: PresentLinks, preferred: Set[str]) -> tuple[str, ...]:
    """Return the present interfaces that a name or pattern stands for."""
    if is_pattern(name):
        return present.choose(name, preferred)
    return (name,) if name in present else ()

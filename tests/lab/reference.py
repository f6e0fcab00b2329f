"""What routes say, written once more and otherwise: a scan over all of them for each packet."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from lab.fake import Oifs
from mfc_dbus.model.addresses import host_prefix
from mfc_dbus.model.route import Route


def iif_names(route: Route, present: Collection[str]) -> set[str]:
    """The interfaces on which a route's streams arrive."""
    return {name for name in present if _matches(route.iif, name)}


def placed_oifs(route: Route, present: Collection[str], iif: str) -> Oifs:
    """The oifs of a route for what arrives on an interface."""
    ttls: dict[str, int] = {}
    for name, ttl in sorted(route.oifs, key=lambda oif: _is_pattern(oif.name)):
        for each in present:
            if (each != iif or route.hairpin) and (each == name or _matches(name, each)):
                ttls.setdefault(each, ttl)
    return frozenset(ttls.items())


def forwards(
    routes: Collection[Route], present: Collection[str], source: bytes, group: bytes, iif: str
) -> Oifs | None:
    """By which oifs a packet leaves; None where no route covers it.

    present: the interfaces that there are, and carry multicast.
    """
    covering = [
        route
        for route in routes
        if route.source.covers(host_prefix(source)) and route.group.covers(host_prefix(group))
    ]
    for route in covering:
        # One stream from one interface: what comes from elsewhere is on the wrong one.
        if route.is_sg and route.iif in present and route.iif != iif:
            return None
    candidates = [route for route in covering if iif in present and _matches(route.iif, iif)]
    if not candidates:
        return None
    best = max(candidates, key=specificity)
    return placed_oifs(best, present, iif)


def specificity(route: Route) -> tuple[int, int, bool, int, str]:
    plain = not _is_pattern(route.iif)
    return route.group.length, route.source.length, plain, len(route.iif), route.iif


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or (_is_pattern(pattern) and name != "lo" and fnmatchcase(name, pattern))


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")

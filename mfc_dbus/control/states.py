"""The state of a route: how much of it is forwarded, and why not all of it (pure).

Of a pattern nothing is missing as long as one interface that it is for is up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Oif, Route
from mfc_dbus.model.states import RouteState
from mfc_dbus.routing.table import Table

_Present = Mapping[str, Link]  # the interfaces that there are, by name

# What may be wrong with an interface, and with several.
_MISSING = ("is missing", "are missing")
_DOWN = ("is down", "are down")
_NO_CARRIER = ("has no carrier", "have no carrier")
_UNMATCHED = ("", "")  # of a pattern: there is none, or none that is up
_MOST_NAMED = 3  # since each route has its reason in every list of routes

_Trouble = tuple[str, tuple[str, str]]


def state_of(table: Table, route: Route, present: _Present) -> tuple[RouteState, str]:
    """Return the state of a desired route, and the reason: a sentence, or empty where it is active
    or disabled.
    """
    if not route.enabled:
        return RouteState.DISABLED, ""
    if not table.owned:
        return RouteState.UNAVAILABLE, table.reason
    placed = table.installed.get(route.key)
    if placed is route and all(name in present and present[name].up for name in route.interfaces):
        return RouteState.ACTIVE, ""
    left_out = table.left_out.get(route.key, "")
    iifs = _up([route.iif] if placed is None or isinstance(placed, Route) else placed.iifs, present)
    if placed is None or not iifs:
        troubles = () if left_out and placed is None else _troubles([route.iif], present)
        return RouteState.WAITING, _sentence(troubles, left_out)
    oifs = _up((oif.name for oif in placed.oifs), present)
    named = _troubles((oif.name for oif in route.oifs if not is_pattern(oif.name)), present)
    leaves = any(oif != iif or route.hairpin for oif in oifs for iif in iifs)
    if route.oifs and not leaves:
        patterns = [(oif.name, _UNMATCHED) for oif in route.oifs if is_pattern(oif.name)]
        return RouteState.WAITING, _sentence((*named, *patterns), left_out)
    if named or left_out:
        return RouteState.PARTIAL, _sentence(named, left_out)
    return RouteState.ACTIVE, ""


def states_of(
    table: Table, routes: Iterable[Route], present: _Present
) -> Iterator[tuple[RouteState, str]]:
    """Return the states of many routes, found once for those with the same interfaces."""
    same: dict[tuple[str, tuple[Oif, ...], bool], tuple[RouteState, str]] = {}
    for route in routes:
        whole = table.installed.get(route.key) is route and route.key not in table.left_out
        interfaces = route.iif, route.oifs, route.hairpin
        if not whole:
            yield state_of(table, route, present)
        elif interfaces in same:
            yield same[interfaces]
        else:
            yield same.setdefault(interfaces, state_of(table, route, present))


def _up(names: Iterable[str], present: _Present) -> list[str]:
    return [name for name in names if name in present and present[name].up]


def _troubles(names: Iterable[str], present: _Present) -> tuple[_Trouble, ...]:
    """Find what is wrong with interfaces, and with patterns that no interface stands for."""
    found: list[_Trouble] = []
    for name in names:
        link = present.get(name)
        if is_pattern(name):
            found.append((name, _UNMATCHED))
        elif link is None:
            found.append((name, _MISSING))
        elif not link.up:
            found.append((name, _NO_CARRIER if link.enabled else _DOWN))
    return tuple(found)


@lru_cache(maxsize=4096)
def _sentence(troubles: Sequence[_Trouble], left_out: str) -> str:
    """Write a reason. Many routes have the same one, and share its text."""
    clauses: list[str] = []
    for what in (_MISSING, _DOWN, _NO_CARRIER):
        names = [name for name, each in troubles if each == what]
        if len(names) == 1:
            clauses.append(f"interface {quote(names[0])} {what[0]}")
        elif names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            clauses.append(f"interfaces {join(names[:_MOST_NAMED])}{more} {what[1]}")
    patterns = (name for name, each in troubles if each == _UNMATCHED)
    clauses += [f"no interface that {quote(name)} matches is up" for name in patterns]
    if left_out:
        clauses.append(left_out[0].lower() + left_out[1:])
    text = "; ".join(clauses or ["it is not in the kernel yet"])
    return text[0].upper() + text[1:]

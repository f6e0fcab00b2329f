"""A change of a part of a route: what it makes of a route (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from mfc_dbus.model.addresses import format_source
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.options import ROUTE, TTLS, choose, said_of_route
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import Route, parse_route


def change_route(route: Route, changes: Mapping[str, Any], now: int) -> Route:
    """Make the route that a change leaves. Raises InvalidArgs, or TooManyInterfaces.

    changes: values of the options of CHANGE_ROUTE, by their names. now: nanoseconds since boot.
    """
    oifs = _change_oifs(route, changes.get("add-oifs", ()), changes.get("remove-oifs", ()))
    ttls = {name: ttl for name, ttl in route.ttls.items() if name in oifs}
    expires = expiry(changes, now, route.expires)
    kept = {"persistent": False} if expires else {}
    said = {**said_of_route(route), **choose(changes, ROUTE), **kept}
    said[TTLS.name] = ttls | changes.get(TTLS.name, {})
    iif = changes.get("to-iif", route.iif)
    changed = parse_route(format_source(route.source), str(route.group), iif, oifs, **said)
    return replace(changed, expires=expires, file=route.file)


def _change_oifs(route: Route, added: Sequence[str], removed: Sequence[str]) -> list[str]:
    oifs = {oif.name: None for oif in route.oifs}
    for name in removed:
        if name not in oifs:
            raise InvalidArgs(f"Interface {quote(name)} is no oif of route {route}")
        del oifs[name]
    for name in added:
        if name in oifs:
            raise InvalidArgs(f"Interface {quote(name)} is an oif of route {route} already")
        if name in removed:
            raise InvalidArgs(f"Oif {quote(name)} is both to be added and to be removed")
        oifs[name] = None
    return [*oifs]


def expiry(said: Mapping[str, Any], now: int, before: int = 0) -> int:
    """Return when a route is to be removed, in nanoseconds since boot; 0 stands for never.

    said: the options of a call. before: when it was to be removed so far. Raises InvalidArgs.
    """
    timeout = said.get("timeout")
    expires = before
    if timeout is not None:
        expires = now + timeout * 1_000_000_000 if timeout else 0
    if expires and said.get("persistent"):
        hint = "" if timeout else ": with 'timeout' 0 it has none any more"
        raise InvalidArgs(f"A route with a timeout is never persistent{hint}")
    return expires

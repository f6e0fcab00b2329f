"""The columns of the tables that `show` writes, and the order of their rows."""

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mfc_dbus.cli.streams import rate, span
from mfc_dbus.cli.table import Column
from mfc_dbus.cli.text import oifs
from mfc_dbus.model.boot_clock import since_boot

if TYPE_CHECKING:
    from mfc_dbus.client import InterfaceInfo, MembershipInfo, RouteInfo, StreamInfo

_Prefix = tuple[bytes, int]
_Order = tuple[int, _Prefix, _Prefix, str]


def by_route(route: "RouteInfo") -> _Order:
    return _order(route.group, route.source, route.iif)


def by_membership(membership: "MembershipInfo") -> _Order:
    return _order(membership.group, membership.source, membership.interface)


def _order(group: str, source: str, interface: str) -> _Order:
    groups = _prefix_order(group)
    return len(groups[0]), groups, _prefix_order(source), interface


@lru_cache(maxsize=4096)
def _prefix_order(text: str) -> _Prefix:
    """Return a sort key: "*" comes first, then addresses in their order, wider prefixes first."""
    address, _, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        return packed, int(length or 128)
    except (OSError, ValueError):
        return b"", 0


def kept(route: "RouteInfo") -> list[str]:
    """Return how long a route is kept, empty where it is for ever."""
    if route.expires:
        left = route.expires // 1_000_000 - since_boot() // 10**9
        return [f"{max(left, 0)}s"]
    return _kept_by(route)


def _kept_by(each: "RouteInfo | MembershipInfo") -> list[str]:
    if each.origin != "bus":
        return [each.origin]
    return [] if each.persistent else ["transient"]


def counted(name: str) -> Callable[[Any], list[str]]:
    """Make a function that writes a row's counter, "-" where the kernel does not tell it."""

    def write(row: Any) -> list[str]:
        value = getattr(row, name)
        return ["-" if value is None else str(value)]

    return write


def table(row: "RouteInfo | InterfaceInfo | StreamInfo") -> list[str]:
    """Return the number of the row's table, empty for the default one."""
    return [str(row.table)] if row.table else []


_STREAM = [
    Column("SOURCE", "source"),
    Column("GROUP", "group"),
    Column("IIF", "iif"),
    Column("OIFS", lambda row: list(row.oifs) or ["(stop)"]),
]

_RATES = [
    Column("PACKETS/S", lambda row: [rate(row.packets_per_second)], number=True),
    Column("BIT/S", lambda row: [rate(row.bits_per_second)], number=True),
    Column("IDLE", lambda row: [span(row.idle)], number=True),
]
_COUNTERS = [
    Column("PACKETS", counted("packets"), number=True),
    Column("BYTES", counted("bytes"), number=True),
]
_WRONG_IF = Column("WRONG-IF", counted("wrong_if"), number=True)
_ROUTE = Column("ROUTE", lambda row: [f"({row.route_source}, {row.route_group})"])
_END = [Column("TABLE", table, prose=True), Column("COMMENT", "comment", prose=True)]

COLUMNS: Mapping[str, Sequence[Column]] = {
    "routes": [
        Column("SOURCE", "source"),
        Column("GROUP", "group"),
        Column("IIF", "iif"),
        Column("OIFS", oifs),
        Column("STATE", "state"),
        Column("KEPT", kept, prose=True),
        Column("TABLE", table, prose=True),
        Column("COMMENT", "comment", prose=True),
        Column("REASON", "reason", prose=True),
    ],
    "streams": [*_STREAM, *_RATES, Column("PACKETS", counted("packets"), number=True), *_END],
    "learned": [*_STREAM, _ROUTE, *_COUNTERS, *_END],
    "interfaces": [
        Column("INTERFACE", "name"),
        Column("FAMILY", "family"),
        Column("VIF", "vif", number=True),
        Column("ROUTES", "references", number=True),
        Column("STATE", "state"),
        Column("TABLE", table, prose=True),
        Column("PACKETS-IN", "packets_in", number=True),
        Column("BYTES-IN", "bytes_in", number=True),
        Column("PACKETS-OUT", "packets_out", number=True),
        Column("BYTES-OUT", "bytes_out", number=True),
    ],
    "tables": [
        Column("FAMILY", "family"),
        Column("TABLE", "table", number=True),
        Column("STATE", "state"),
        Column("ROUTES", "routes", number=True),
        Column("INTERFACES", "interfaces", number=True),
        Column("REASON", "reason", prose=True),
    ],
    "memberships": [
        Column("SOURCE", "source"),
        Column("GROUP", "group"),
        Column("INTERFACE", "interface"),
        Column("STATE", "state"),
        Column("KEPT", _kept_by, prose=True),
        Column("REASON", "reason", prose=True),
        Column("COMMENT", "comment", prose=True),
    ],
    "permissions": [
        Column("ACTION", "action"),
        Column("PERMISSION", "permission"),
    ],
}

# With --details. What was counted of routes comes later: see details.py.
DETAILED: Mapping[str, Sequence[Column]] = {
    "routes": COLUMNS["routes"],
    "streams": [*_STREAM, *_RATES, *_COUNTERS, _WRONG_IF, _ROUTE, *_END],
    "learned": [*_STREAM, _ROUTE, *_RATES, *_COUNTERS, _WRONG_IF, *_END],
}

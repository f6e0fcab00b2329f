"""show"""

import argparse
import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import complete
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.cli.table import Column, write_table
from mfc_dbus.cli.text import oifs

if TYPE_CHECKING:
    from mfc_dbus.client import (
        Client,
        InterfaceInfo,
        LearnedInfo,
        MembershipInfo,
        RouteInfo,
        TableInfo,
    )

_Prefix = tuple[bytes, int]
_Order = tuple[int, _Prefix, _Prefix, str]

USAGE = "[routes|learned|interfaces|tables|memberships]"

DESCRIPTION = """\
Show the routes, what was learned of those that are wider than an entry of the kernel, the
interfaces that they use, the multicast routing tables of the kernel, or the groups that were
joined.

On a terminal it is a table, in a pipe columns with a header. With --json an array of objects:
  routes      source ("*": any), group, iif, oifs (array), state, ttls (object: oif to TTL
              threshold, where it is not 1), comment, persistent (over a reboot), expires
              (microseconds since boot, or 0), origin ("bus", or "config": from routes.d), table
              (a number, 0 the default one), reason (why it is not active), hairpin (whether it
              leaves by the interface too that it arrives on)
  learned     source, group, iif, oifs (array), route_source, route_group, route_iif (whose stream
              it is), packets, bytes, table; at most 1,000
  interfaces  name, family (ipv4, ipv6), vif, ifindex, references (routes that use it), state,
              packets_in, packets_out, bytes_in, bytes_out
  tables      family, table (its number), state, routes, interfaces (how many), reason (why it
              is unavailable)
  memberships source ("*": any), group, interface, state (joined, waiting: its interface is
              missing, failed), reason (why it failed), comment, persistent (over a reboot),
              origin ("bus", or "config": from routes.d)
"""

EXAMPLES = """\
  mfc-dbus-cli show
  mfc-dbus-cli show learned
  mfc-dbus-cli show interfaces
  mfc-dbus-cli show memberships
  mfc-dbus-cli --json show | jq -r '.[] | select(.iif == "eth1") | .group'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        type=lambda word: complete(word, _COLUMNS),
        default="routes",
        metavar="|".join(_COLUMNS),
        help="default: routes",
    )


async def run(client: "Client", args: argparse.Namespace) -> int:
    rows: (
        Sequence[RouteInfo]
        | Sequence[LearnedInfo]
        | Sequence[InterfaceInfo]
        | Sequence[TableInfo]
        | Sequence[MembershipInfo]
    )
    more = 0
    rows = tables = await client.tables()
    if args.what == "routes":
        rows = sorted(await client.routes(), key=_by_route)
    elif args.what == "learned":
        rows, total = await client.learned()
        more = total - len(rows)
    elif args.what == "interfaces":
        rows = await client.interfaces()
    elif args.what == "memberships":
        rows = sorted(await client.memberships(), key=_by_membership)
    if args.json:
        print("[" + ",\n ".join(json.dumps(row.to_json()) for row in rows) + "]")
    else:
        name = "learned streams" if args.what == "learned" else args.what
        write_table(name, _COLUMNS[args.what], rows)
    if more:
        sys.stdout.flush()
        complain(f"{more} more are not shown")
    for table in tables:
        if table.state == "unavailable":
            sys.stdout.flush()
            number = f"/{table.table}" if table.table else ""
            complain(f"Table {table.family}{number} is unavailable: {table.reason}")
    return Status.DONE


def _by_route(route: "RouteInfo") -> _Order:
    return _order(route.group, route.source, route.iif)


def _by_membership(membership: "MembershipInfo") -> _Order:
    return _order(membership.group, membership.source, membership.interface)


def _order(group: str, source: str, interface: str) -> _Order:
    groups = _prefix(group)
    return len(groups[0]), groups, _prefix(source), interface


def _prefix(text: str) -> _Prefix:
    """In the order of the addresses, the wider first; the wildcard comes before all."""
    address, _, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        return packed, int(length or 128)
    except (OSError, ValueError):
        return b"", 0


def kept(route: "RouteInfo") -> list[str]:
    """How long it is kept, where that is not for ever."""
    if route.expires:
        left = route.expires // 1_000_000 - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**9
        return [f"{max(left, 0)}s"]
    return _kept_by(route)


def _kept_by(each: "RouteInfo | MembershipInfo") -> list[str]:
    if each.origin != "bus":
        return [each.origin]
    return [] if each.persistent else ["transient"]


def table(row: "RouteInfo | InterfaceInfo") -> list[str]:
    """The number of its table, where that is not the default one."""
    return [str(row.table)] if row.table else []


_COLUMNS: Mapping[str, Sequence[Column]] = {
    "routes": [
        Column("SOURCE", "source"),
        Column("GROUP", "group"),
        Column("IIF", "iif"),
        Column("OIFS", oifs),
        Column("STATE", "state"),
        Column("KEPT", kept),
        Column("TABLE", table, prose=True),
        Column("COMMENT", "comment", prose=True),
        Column("REASON", "reason", prose=True),
    ],
    "learned": [
        Column("SOURCE", "source"),
        Column("GROUP", "group"),
        Column("IIF", "iif"),
        Column("OIFS", lambda row: list(row.oifs) or ["(stop)"]),
        Column("ROUTE", lambda row: [f"({row.route_source}, {row.route_group})"]),
        Column("PACKETS", "packets", number=True),
        Column("BYTES", "bytes", number=True),
    ],
    "interfaces": [
        Column("INTERFACE", "name"),
        Column("FAMILY", "family"),
        Column("VIF", "vif", number=True),
        Column("IFINDEX", "ifindex", number=True),
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
        Column("KEPT", _kept_by),
        Column("REASON", "reason", prose=True),
        Column("COMMENT", "comment", prose=True),
    ],
}

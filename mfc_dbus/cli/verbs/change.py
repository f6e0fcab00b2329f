"""mfc change"""

import argparse
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may, add_which_route_arguments
from mfc_dbus.cli.options import add_options, given
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import CHANGE_ROUTE, TABLE

if TYPE_CHECKING:
    from mfc_dbus.client import Client, RouteInfo

USAGE = "[-s SOURCE] -g GROUP [-i IF] CHANGE..."

DESCRIPTION = """\
Change a part of a route, in one step: what is not named stays, and so does what others change at
the same time. By the oifs that stay no packet is lost. Without its last oif a route stops its
streams.

A route that is disabled is kept, also over a reboot, and is as if it were not there: wider routes
decide on its streams. With --json the route is written as it is then."""

EXAMPLES = """\
  mfc-dbus-cli mfc change --source 10.0.1.10 --group 239.1.1.1 --add-oifs eth4 eth5
  mfc-dbus-cli mfc change -s 10.0.1.10 -g 239.1.1.1 --remove-oifs eth4 --ttl eth5=16
  mfc-dbus-cli mfc change -g 239.1.1.1 -i eth1 --to-iif eth2     where there are several
  mfc-dbus-cli mfc change -g 239.1.1.1 --comment "the lobby's screens"
  mfc-dbus-cli mfc change -g 239.1.1.1 --disable
  mfc-dbus-cli mfc change -g 239.1.1.1 --enable
  mfc-dbus-cli mfc change -g 239.1.1.1 --timeout 0 --persistent  keep what would have ended
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_which_route_arguments(parser)
    add_options(parser, CHANGE_ROUTE, both=True)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    changes = given(args, CHANGE_ROUTE)
    await client.change_route(
        args.group, source=args.source, iif=args.iif, **given(args, [TABLE]), **changes
    )
    if args.json:
        from mfc_dbus.client.info import described_route

        iif = changes.get("to_iif", args.iif)
        for route in map(described_route, (await client.describe(group=args.group)).route):
            if _is_meant(route, args, iif):
                print(json.dumps(route.to_json()))
    return Status.DONE


def _is_meant(route: "RouteInfo", args: argparse.Namespace, iif: str | None) -> bool:
    from mfc_dbus.model.addresses import parse_stream

    return (
        parse_stream(route.source, route.group) == parse_stream(args.source, args.group)
        and iif in (None, route.iif)
        and (args.table or 0) == route.table
    )

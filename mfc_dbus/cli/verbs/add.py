"""mfc add"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may, add_stream_arguments
from mfc_dbus.cli.options import add_options, given, names, text
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import ADD_ROUTE

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-s SOURCE] -g GROUP -i IF {-o IF... | --stop}"

DESCRIPTION = """\
Add a route: what SOURCE sends to GROUP and arrives on the interface of --iif leaves by those of
--oifs. It is forwarded from the moment that this command ends with status 0.

SOURCE and GROUP may be prefixes (10.0.1.0/24, 239.10.0.0/16), IF a shell pattern of interfaces,
which takes in those that come later. Of the routes that cover a stream the most specific one
counts: that with the longest prefix of the group, then of the source."""

EXAMPLES = """\
  mfc-dbus-cli mfc add --source 10.0.1.10 --group 239.1.1.1 --iif eth1 --oifs eth2 eth3
  mfc-dbus-cli mfc add --group ff3e::1 --iif eth1 --oifs eth2,eth3       from any source
  mfc-dbus-cli mfc add -s 10.0.1.10 -g 239.1.1.1 -i eth1 -o eth2 -o wan0 --ttl wan0=16
      by wan0 leave only packets whose TTL is greater than 16
  mfc-dbus-cli mfc add -s 10.0.1.10 -g 239.1.1.1 -i eth1 -o eth2 --replace
      change the route that is there; what flows to eth2 loses no packet
  mfc-dbus-cli mfc add -s 10.0.1.0/24 -g 239.10.0.0/16 -i eth1 -o 'vlan*'
  mfc-dbus-cli mfc add -s 10.0.1.66 -g 239.10.0.0/16 -i eth1 --stop
      what this one sends is not forwarded, though a wider route covers it
  mfc-dbus-cli mfc add -s 10.0.1.0/24 -g 239.1.1.1 -i mesh0 -o mesh0 eth1 --hairpin
      back to the other stations of a radio mesh too
  mfc-dbus-cli mfc add -g 239.1.1.1 -i eth1 -o ppp0 --wait
      forward as soon as both interfaces are there
  mfc-dbus-cli mfc add -g 239.1.1.1 -i eth1 -o eth2 --timeout 3600
  mfc-dbus-cli mfc add -g 239.1.1.1 -i eth1 -o eth2 --disable
      for later: "mfc change -g 239.1.1.1 --enable"
  mfc-dbus-cli mfc add -g 239.1.1.1 -i eth1 -o eth2 --comment "the lobby's screens"
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_stream_arguments(parser)
    parser.add_argument(
        "-i", "--iif", type=text, required=True, metavar="IF", help="interface it arrives on"
    )
    leaving = parser.add_mutually_exclusive_group(required=True)
    leaving.add_argument(
        "-o",
        "--oifs",
        type=names,
        nargs="+",
        action="extend",
        default=[],
        metavar="IF",
        help="interfaces it leaves by: --oifs a b, --oifs a,b or --oifs a --oifs b",
    )
    leaving.add_argument(
        "--stop", action="store_true", help="it leaves by none, whatever a wider route says"
    )
    add_options(parser, ADD_ROUTE)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    await client.add_route(
        args.group,
        args.iif,
        [name for part in args.oifs for name in part],
        source=args.source,
        **given(args, ADD_ROUTE),
    )
    return Status.DONE

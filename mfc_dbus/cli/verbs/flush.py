"""mfc flush"""

import argparse
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may
from mfc_dbus.cli.options import number, text
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import TABLE

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-i IF] [-g PREFIX] [-t N]"

DESCRIPTION = """\
Delete all routes, or those that arrive on an interface, or whose group lies in a prefix.
Tells how many there were; with --json as {"removed": N}."""

EXAMPLES = """\
  mfc-dbus-cli mfc flush
  mfc-dbus-cli mfc flush --iif eth1
  mfc-dbus-cli mfc flush --group 239.1.0.0/16
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i", "--iif", type=text, metavar="IF", help="only routes from this interface"
    )
    parser.add_argument(
        "-g", "--group", type=text, metavar="PREFIX", help="only routes of these groups"
    )
    parser.add_argument(
        *("-t", "--table"),
        type=number(TABLE.kind),
        metavar="N",
        help="only routes of this routing table of the kernel; default: of all tables",
    )
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    removed = await client.flush_routes(iif=args.iif, group=args.group, table=args.table)
    if args.json:
        print(json.dumps({"removed": removed}))
    else:
        print(f"{removed} route{'' if removed == 1 else 's'} removed")
    return Status.DONE

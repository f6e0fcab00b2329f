"""group join"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_membership_arguments, text
from mfc_dbus.cli.status import Status

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-s SOURCE] -g GROUP -i IF"

DESCRIPTION = """\
Join a group on an interface, by IGMP or MLD: switches and routers there send its streams to this
machine. With --source only those of one sender. A prefix stands for all of its groups, up to 1024,
and is joined whole or not at all; what is joined already stays as it is. Nothing is forwarded by
it: see mfc add."""

EXAMPLES = """\
  mfc-dbus-cli group join --group 239.1.1.1 --interface eth1
  mfc-dbus-cli group join --group 232.1.1.1 --source 10.0.1.10 --interface eth1
  mfc-dbus-cli group join --group 239.1.1.0/28 --interface eth1      16 groups
  mfc-dbus-cli group join -g ff3e::1 -i ppp0 --wait       as soon as the interface is there
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_membership_arguments(parser)
    parser.add_argument(
        "--transient", action="store_true", help="keep it over a restart, and not over a reboot"
    )
    parser.add_argument("--wait", action="store_true", help="the interface need not be there yet")
    parser.add_argument("--comment", type=text, default="", metavar="TEXT", help="for people")


async def run(client: "Client", args: argparse.Namespace) -> int:
    await client.join_group(
        args.group,
        args.interface,
        source=args.source,
        persistent=not args.transient,
        wait=args.wait,
        comment=args.comment,
    )
    return Status.DONE

"""group leave"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may, add_membership_arguments
from mfc_dbus.cli.status import Status

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-s SOURCE] -g GROUP -i IF"

DESCRIPTION = """\
Leave a group that was joined on an interface, with the source that it was joined with; of a prefix
all of its groups that were joined so, be it one by one or as another prefix."""

EXAMPLES = """\
  mfc-dbus-cli group leave --group 239.1.1.1 --interface eth1
  mfc-dbus-cli group leave --group 232.1.1.1 --source 10.0.1.10 --interface eth1
  mfc-dbus-cli group leave --group 239.0.0.0/8 --interface eth1
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_membership_arguments(parser)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    await client.leave_group(args.group, args.interface, source=args.source)
    return Status.DONE

"""mfc del"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may, add_which_route_arguments
from mfc_dbus.cli.options import given
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import TABLE

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-s SOURCE] -g GROUP [-i IF]"

DESCRIPTION = """\
Delete a route, by the source and group that it was added with. When this command ends with status
0, nothing is forwarded by it."""

EXAMPLES = """\
  mfc-dbus-cli mfc del --source 10.0.1.10 --group 239.1.1.1
  mfc-dbus-cli mfc del --group 239.1.1.1                the one from any source
  mfc-dbus-cli mfc del --group 239.1.1.1 --iif eth1     where there are several
  mfc-dbus-cli mfc del -s 10.0.1.0/24 -g 239.10.0.0/16
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_which_route_arguments(parser)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    await client.delete_route(args.group, source=args.source, iif=args.iif, **given(args, [TABLE]))
    return Status.DONE

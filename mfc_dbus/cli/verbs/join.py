"""group join"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may, add_membership_arguments
from mfc_dbus.cli.options import add_options, given
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import JOIN_GROUP

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[-s SOURCE] -g GROUP -i IF"

DESCRIPTION = """\
Join a group on an interface, by IGMP or MLD: switches and routers there send its streams to this
machine. With --source only those of one sender. A prefix stands for all of its groups, one of
senders for each of them: up to 1024 memberships in all, which are joined whole or not at all; what
is joined already stays as it is. Nothing is forwarded by it: see mfc add."""

EXAMPLES = """\
  mfc-dbus-cli group join --group 239.1.1.1 --interface eth1
  mfc-dbus-cli group join --group 232.1.1.1 --source 10.0.1.10 --interface eth1
  mfc-dbus-cli group join --group 239.1.1.0/28 --interface eth1      16 groups
  mfc-dbus-cli group join -g ff3e::1 -i ppp0 --wait       as soon as the interface is there
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_membership_arguments(parser)
    add_options(parser, JOIN_GROUP)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    await client.join_group(
        args.group,
        args.interface,
        source=args.source,
        **given(args, JOIN_GROUP),
    )
    return Status.DONE

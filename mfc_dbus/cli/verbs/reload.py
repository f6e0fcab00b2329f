"""reload"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may
from mfc_dbus.cli.status import Status

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = ""

DESCRIPTION = """\
Have the service read /etc/mfc-dbus again, its settings and the documents of routes.d, as
"systemctl reload mfc-dbus" does: a route that stays loses no packet. Where a file has problems,
nothing changes, and each is told with file and line."""

EXAMPLES = """\
  mfc-dbus-cli reload
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_may(parser)


async def run(client: "Client", _: argparse.Namespace) -> int:
    await client.reload()
    return Status.DONE

"""export"""

import argparse
from typing import TYPE_CHECKING

from mfc_dbus.cli.status import Status

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = ""

DESCRIPTION = """\
Write routes and memberships as a document, in TOML or with --json in JSON: what "apply" takes. Left
out is what no document speaks for: routes with a timeout, and what /etc/mfc-dbus/routes.d has."""

EXAMPLES = """\
  mfc-dbus-cli export >routes.toml
  mfc-dbus-cli export | mfc-dbus-cli -H root@other apply -
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no arguments."""


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.entries import Entries

    print(Entries.documented(await client.snapshot()).write(as_json=args.json), end="")
    return Status.DONE

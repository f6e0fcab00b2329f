"""undo"""

import argparse
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may
from mfc_dbus.cli.options import change_number
from mfc_dbus.cli.status import Status

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[NUMBER]"

DESCRIPTION = """\
Undo your last change, or the change of a NUMBER that "history" shows, whole or not at all. Once
more, it undoes the change before that. An undo is a change, too: to undo it by its number brings
back what it undid.

A change of more than 1,000 routes and memberships is too much for the history, and cannot be
undone: "apply --backup" and "export" keep how it was before.

Where somebody has changed the same since, nothing is done. You must be authorised as for a change
that does the same: one of several routes as for "apply". Says what it undid; with --json as
{"undone": NUMBER}."""

EXAMPLES = """\
  mfc-dbus-cli undo
  mfc-dbus-cli undo 12
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "number", nargs="?", type=change_number, metavar="NUMBER", help="default: your last change"
    )
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    number = await client.undo(args.number)
    if args.json:
        print(json.dumps({"undone": number}))
    else:
        print(f"Change {number} is undone")
    return Status.DONE

"""apply"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may
from mfc_dbus.cli.status import Status, status_of

if TYPE_CHECKING:
    from mfc_dbus.client import Client, Snapshot

USAGE = "FILE|- [--merge] [--dry-run] [--empty] [--backup FILE]"

DESCRIPTION = """\
Make the routes and memberships of a document, in TOML or JSON, those of the service: all of them
or none. A route that stays loses no packet, and a group that stays is not left for a moment. Left
alone is what no document speaks for: routes with a timeout, and what /etc/mfc-dbus/routes.d has.
A document without entries is refused: --empty says that it is to delete all there are.

Tells what changed: + a new route or membership, ~ one that was another, - one that has gone; with
--json as {"added": [...], "changed": [{"before": ..., "after": ...}], "deleted": [...]}, where a
membership is what has an "interface"."""

EXAMPLES = """\
  mfc-dbus-cli apply routes.toml --dry-run       what would change
  mfc-dbus-cli apply routes.toml
  mfc-dbus-cli apply more.toml --merge           add and change, delete nothing
  mfc-dbus-cli apply routes.toml --backup old.toml
      and back, also where that is too much for "undo": mfc-dbus-cli apply old.toml
  mfc-dbus-cli export | sed s/eth1/eth4/ | mfc-dbus-cli apply -
with a document such as
  [[route]]
  source = "10.0.1.10"          # left out: any source
  group = "239.10.20.30"
  iif = "eth1"
  oifs = ["eth2", "eth3"]
  ttls = { eth3 = 16 }          # by eth3 leave only packets whose TTL is greater than 16
  comment = "the lobby's screens"

  [[membership]]                # joined, so that switches send the stream to eth1
  group = "239.10.20.30"        # or a prefix: each of its groups
  interface = "eth1"
"""

CHANGES = True

EMPTY = "a document without entries deletes all there are, and is not refused"
BACKUP = "write all as it is before to a new file, which apply takes to go back"
WAIT = "accept interfaces that do not exist yet"
WOULD_DELETE_ALL = (
    "It has no routes and no memberships, and would delete all there are: with --empty it does"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="the document")
    parser.add_argument("--merge", action="store_true", help="add and change, delete nothing")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would change")
    parser.add_argument("--empty", action="store_true", help=EMPTY)
    parser.add_argument("--wait", action="store_true", help=WAIT)
    parser.add_argument("--backup", metavar="FILE", help=BACKUP)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.diff import diff
    from mfc_dbus.cli.documents import File, progress
    from mfc_dbus.cli.status import complain
    from mfc_dbus.client import ClientError
    from mfc_dbus.documents import document, entries
    from mfc_dbus.model.errors import InvalidArgs
    from mfc_dbus.model.history import MAX_EDITS_OF_CHANGE

    try:
        file = File(args.file)
    except InvalidArgs as error:
        complain(str(error), error="InvalidArgs", as_json=args.json)
        return Status.USAGE
    try:
        with progress("Reading the document", shown=file.large):
            wanted = file.parse()
            routes = [entries.to_entry(route) for route in wanted.routes]
            memberships = [entries.to_membership_entry(each) for each in wanted.memberships]
            body = document.to_json(routes, wanted.joins).decode()
            if wanted.empty and not (args.merge or args.empty):
                raise InvalidArgs(WOULD_DELETE_ALL)
            before = await client.snapshot()
            found = diff(before, [*routes, *memberships], merge=args.merge)
        if args.backup and any(found) and not (args.dry_run or args.may):
            _keep(before, args.backup)
        # Where a password may be asked for, the terminal is not ours.
        shown = file.large and not client.interactive
        with progress(f"Applying {len(routes)} routes", shown=shown):
            counts = await client.apply(
                body,
                merge=args.merge,
                dry_run=args.dry_run,
                wait=args.wait,
                empty=args.empty,
            )
    except InvalidArgs as error:
        file.complain(str(error), as_json=args.json)
        return Status.USAGE
    except ClientError as error:
        if not str(error).startswith(("route[", "membership[")):
            raise
        file.complain(str(error), as_json=args.json)
        return status_of(error.name)
    if args.json:
        print(json.dumps(found.to_json()))
    else:
        found.write()
        done = "would be " if args.dry_run else ""
        added, changed, deleted = counts
        print(f"{added} {done}added, {changed} {done}changed, {deleted} {done}deleted")
    if sum(map(len, found)) > MAX_EDITS_OF_CHANGE and not (args.dry_run or args.backup):
        sys.stdout.flush()
        complain("That was too much to be undone later: --backup FILE keeps how it was before")
    return Status.DONE


def _keep(before: "Snapshot", name: str) -> None:
    """Write what there is before to a new file. Raises OSError."""
    from mfc_dbus.cli.diff import document_of

    with Path(name).open("x") as file:
        file.write(document_of(before, as_json=name.endswith(".json")))

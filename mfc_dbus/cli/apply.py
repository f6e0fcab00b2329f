"""apply"""

import argparse
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.status import Status, status_of

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "FILE|- [--merge] [--dry-run]"

DESCRIPTION = """\
Make the routes of a document, in TOML or JSON, those of the service: all of them or none. A route
that stays loses no packet. Left alone is what no document speaks for: routes with a timeout, and
those of /etc/mfc-dbus/routes.d.

Tells what changed: + a new route, ~ one that was another, - one that has gone; with --json as
{"added": [...], "changed": [{"before": ..., "after": ...}], "deleted": [...]}."""

EXAMPLES = """\
  mfc-dbus-cli apply routes.toml --dry-run       what would change
  mfc-dbus-cli apply routes.toml
  mfc-dbus-cli apply more.toml --merge           add and change, delete nothing
  mfc-dbus-cli export | sed s/eth1/eth4/ | mfc-dbus-cli apply -
with a document such as
  [[route]]
  source = "10.0.1.10"          # left out: any source
  group = "239.10.20.30"
  iif = "eth1"
  oifs = ["eth2", "eth3"]
  ttls = { eth3 = 16 }          # by eth3 leave only packets whose TTL is greater than 16
  comment = "the lobby's screens"
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="the document")
    parser.add_argument("--merge", action="store_true", help="add and change, delete nothing")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would change")
    parser.add_argument("--wait", action="store_true", help="interfaces need not be there yet")


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus import document
    from mfc_dbus.cli.diff import diff
    from mfc_dbus.cli.documents import File, progress
    from mfc_dbus.cli.status import complain
    from mfc_dbus.client import ClientError
    from mfc_dbus.errors import InvalidArgs

    try:
        file = File(args.file)
    except InvalidArgs as error:
        complain(str(error))
        return Status.USAGE
    try:
        with progress("Reading the document", shown=file.large):
            wanted = file.parse()
            entries = [document.to_entry(route) for route in wanted.routes]
            body = document.to_json(entries, wanted.memberships).decode()
            found = diff(await client.describe(), entries, merge=args.merge)
        # Where a password may be asked for, the terminal is not ours.
        shown = file.large and not client.interactive
        with progress(f"Applying {len(entries)} routes", shown=shown):
            counts = await client.apply(
                body, merge=args.merge, dry_run=args.dry_run, wait=args.wait
            )
    except InvalidArgs as error:
        file.complain(str(error))
        return Status.USAGE
    except ClientError as error:
        if not str(error).startswith(("route[", "membership[")):
            raise
        file.complain(str(error))
        return status_of(error.name)
    if args.json:
        print(json.dumps(found.to_json()))
    else:
        found.write()
        done = "would be " if args.dry_run else ""
        added, changed, deleted = counts
        print(f"{added} {done}added, {changed} {done}changed, {deleted} {done}deleted")
    return Status.DONE

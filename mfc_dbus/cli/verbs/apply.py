"""apply"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mfc_dbus.cli.arguments import add_may
from mfc_dbus.cli.options import interface
from mfc_dbus.cli.status import Status, status_of
from mfc_dbus.model.errors import InvalidArgs

if TYPE_CHECKING:
    from mfc_dbus.cli.entries import Entries
    from mfc_dbus.client import Client

USAGE = (
    "FILE|- [--merge|--remove [--keep FILE]...] [--transient] [--interface IF] [--copy FILE] "
    "[--dry-run] [--backup FILE]"
)

DESCRIPTION = """\
Make the routes and memberships of a document, in TOML or JSON, those of the service: all of them
or none. A route that stays loses no packet, and a group that stays is not left for a moment. Left
alone is what no document speaks for: routes with a timeout, and what /etc/mfc-dbus/routes.d has.
A document without entries is refused: --empty says that it is to delete all there are.

With --remove it is the other way round: what the document names is taken away, whatever else it is
by now, and all else is left alone. What is not there is no error. With --keep another document
keeps what both name, and has it as it says itself; where that makes it another route, it is a
second change, also for "undo".

With --transient what is new or changed ends with the next boot, and what is there already as the
document says stays as it is, and so does a membership. A route that is there to last and is another
one is refused, since it would be lost; --remove takes away only what ends with the next boot.

The files of --copy and --backup are there when something was changed, or may have been.

Tells what changed: + a new route or membership, ~ one that was another, - one that has gone; with
--json as {"added": [...], "changed": [{"before": ..., "after": ...}], "deleted": [...]}, where a
membership is what has an "interface"."""

EXAMPLES = """\
  mfc-dbus-cli apply routes.toml --dry-run       what would change
  mfc-dbus-cli apply routes.toml
  mfc-dbus-cli apply more.toml --merge           add and change, delete nothing
  mfc-dbus-cli apply show.toml --merge --transient     until the next boot, or
  mfc-dbus-cli apply show.toml --remove --transient    until the show is over
  mfc-dbus-cli apply show.toml --merge --copy shown.toml
      and later, also if show.toml is another by then: mfc-dbus-cli apply shown.toml --remove
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

REMOVE = "take away the routes and memberships that it names, and do nothing else"
KEEP = "with --remove: a document that keeps what it names too; may be repeated"
TRANSIENT = "what it says lasts until the next boot, whatever its entries say"
COPY = "write the document, with the interface filled in, to a new file, for --remove later"
FILLED = 'what "${INTERFACE}" stands for where that is all of an iif, oif, ttl or interface'
EMPTY = "a document without entries deletes all there are, and is not refused"
BACKUP = "write all as it is before to a new file, which apply takes to go back"
WAIT = "accept interfaces that do not exist yet"
WOULD_DELETE_ALL = (
    "It has no routes and no memberships, and would delete all there are: with --empty it does"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="the document")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--merge", action="store_true", help="add and change, delete nothing")
    which.add_argument("--remove", action="store_true", help=REMOVE)
    parser.add_argument("--keep", action="append", default=[], metavar="FILE", help=KEEP)
    parser.add_argument("--transient", action="store_true", help=TRANSIENT)
    parser.add_argument("--interface", type=interface, metavar="IF", help=FILLED)
    parser.add_argument("--copy", metavar="FILE", help=COPY)
    parser.add_argument("--dry-run", action="store_true", help="only tell what would change")
    parser.add_argument("--empty", action="store_true", help=EMPTY)
    parser.add_argument("--wait", action="store_true", help=WAIT)
    parser.add_argument("--backup", metavar="FILE", help=BACKUP)
    add_may(parser)


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.documents import File, progress
    from mfc_dbus.cli.entries import Entries, read_kept
    from mfc_dbus.cli.status import complain
    from mfc_dbus.client import ClientError
    from mfc_dbus.client.differences import diff, removal
    from mfc_dbus.model.history import MAX_EDITS_OF_CHANGE

    persistent = not args.transient
    written: list[Path] = []
    try:
        _check(args)
        file = File(args.file)
        kept = read_kept(args.keep, transient=args.transient)
    except InvalidArgs as error:
        for problem in str(error).split("\n"):
            complain(problem, error="InvalidArgs", as_json=args.json)
        return Status.USAGE
    try:
        with progress("Reading the document", shown=file.large):
            wanted = file.parse()
            if wanted.empty and not (args.merge or args.empty or args.remove):
                raise InvalidArgs(WOULD_DELETE_ALL)
            given = Entries.read(wanted, transient=args.transient, interface=args.interface)
            before = await client.snapshot()
            if args.remove:
                found = removal(before, given.all, kept, persistent=persistent)
                given = given.without(kept)
            else:
                found = diff(before, given.all, merge=args.merge, persistent=persistent)
        if not (args.dry_run or args.may):
            if args.backup and any(found):
                written.append(_write_new(args.backup, Entries.documented(before)))
            if args.copy:
                written.append(_write_new(args.copy, given))
        # Where a password may be asked for, the terminal is not ours.
        shown = file.large and not client.interactive
        with progress(f"Applying {len(given.routes)} routes", shown=shown):
            counts = await client.apply(
                given.to_json(),
                merge=args.merge,
                dry_run=args.dry_run,
                wait=args.wait,
                empty=args.empty,
                remove=args.remove,
                persistent=persistent,
            )
    except InvalidArgs as error:
        _remove(written)
        file.complain(str(error), as_json=args.json)
        return Status.USAGE
    except OSError:
        _remove(written)
        raise
    except ClientError as error:
        if not error.may_be_done:
            _remove(written)
        if not str(error).startswith(("route[", "membership[")):
            raise
        file.complain(str(error), as_json=args.json)
        return status_of(error.name)
    if args.remove and found.changed:
        theirs = Entries.of(new for _, new in found.changed).to_json()
        try:
            more = await client.apply(
                theirs, merge=True, wait=True, dry_run=args.dry_run, persistent=persistent
            )
        except ClientError as error:
            half = f"All else is taken away; what --keep changes is not changed: {error}"
            complain(half, error=error.name, as_json=args.json)
            return status_of(error.name)
        counts = counts[0] + more[0], counts[1] + more[1], counts[2] + more[2]
    if args.json:
        print(json.dumps(found.to_json()))
    else:
        from mfc_dbus.cli.diff import write

        write(found)
        done = "would be " if args.dry_run else ""
        added, changed, deleted = counts
        print(f"{added} {done}added, {changed} {done}changed, {deleted} {done}deleted")
    if sum(map(len, found)) > MAX_EDITS_OF_CHANGE and not (args.dry_run or args.backup):
        sys.stdout.flush()
        complain("That was too much to be undone later: --backup FILE keeps how it was before")
    return Status.DONE


def _check(args: argparse.Namespace) -> None:
    """Raise InvalidArgs for options that say nothing beside others."""
    if args.keep and not args.remove:
        raise InvalidArgs("--keep says what --remove leaves, and without it nothing")
    for name in ("empty", "wait", "copy"):
        if args.remove and getattr(args, name):
            raise InvalidArgs(f"--{name} says nothing about what --remove takes away")


def _write_new(name: str, entries: "Entries") -> Path:
    """Write entries to a new file, and return it. Raises OSError."""
    path = Path(name)
    with path.open("x") as file:
        try:
            file.write(entries.write(as_json=name.endswith(".json")))
            file.flush()
        except BaseException:  # also where somebody ends the command
            path.unlink()
            raise
    return path


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)

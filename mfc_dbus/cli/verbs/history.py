"""history"""

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from mfc_dbus.cli.options import change_number
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.cli.table import Column, write_table

if TYPE_CHECKING:
    from mfc_dbus.client import Client, PastChangeInfo

USAGE = "[NUMBER [--before|--after]]"

DESCRIPTION = """\
Show the last changes, the last one first: who made them, when, and what they changed. The service
keeps up to 1,000 of them, over reboots too, with up to 10,000 routes and memberships in all; of a
change of more than 1,000 it has only the number, and cannot undo it.

With a NUMBER and --before or --after it writes what this change has replaced or deleted, or what it
has left, as a document that "apply --merge" takes: in TOML, or with --json in JSON.

With --json an array of objects: number, time (microseconds since 1970), uid, user, action, added,
changed, deleted (how many routes and memberships), kept (whether what it changed is known), undoes,
undone_by (numbers, or 0), and of a change of one route or membership source, group, iif or
interface, table; of a single NUMBER also before and after, documents in JSON."""

EXAMPLES = """\
  mfc-dbus-cli history
  mfc-dbus-cli history 12
  mfc-dbus-cli history 12 --before | mfc-dbus-cli apply --merge -
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "number", nargs="?", type=change_number, metavar="NUMBER", help="default: the last changes"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--before", action="store_true", help="write what it replaced or deleted")
    which.add_argument("--after", action="store_true", help="write what it added or changed")


async def run(client: "Client", args: argparse.Namespace) -> int:
    if args.number is None and (args.before or args.after):
        complain("Say of which change: history shows their numbers", error="InvalidArgs")
        return Status.USAGE
    changes, total = await client.history(args.number)
    if args.number is not None and not changes:
        sentence = f"There is no change {args.number} in the history"
        complain(sentence, error="NoSuchChange", as_json=args.json)
        return Status.NOT_FOUND
    if args.before or args.after:
        return _write_document(changes[0], args)
    if args.json:
        from mfc_dbus.cli.verbs.show import to_json

        print(to_json([change.to_json() for change in changes]))
    else:
        write_table("changes", _COLUMNS, changes)
    if total > len(changes):
        sys.stdout.flush()
        complain(f"{total - len(changes)} older ones are not shown")
    return Status.DONE


def _write_document(change: "PastChangeInfo", args: argparse.Namespace) -> int:
    from mfc_dbus.documents import document
    from mfc_dbus.documents.entries import to_entry

    if not change.kept:
        complain(
            f"What change {change.number} has changed is not kept: it was too much",
            error="NoSuchChange",
            as_json=args.json,
        )
        return Status.NOT_FOUND
    text = change.before if args.before else change.after
    if args.json:
        print(text)
    else:
        read = document.from_json(text)
        print(document.to_toml(map(to_entry, read.routes), read.joins), end="")
    return Status.DONE


def _time(change: "PastChangeInfo") -> list[str]:
    try:
        when = datetime.fromtimestamp(change.time / 1e6).astimezone()
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return [str(change.time)]
    return [f"{when:%Y-%m-%d %H:%M:%S}"]


def _user(change: "PastChangeInfo") -> list[str]:
    return [change.user or str(change.uid)]


def _what(change: "PastChangeInfo") -> list[str]:
    if change.group:
        where = f" on {change.interface}" if change.interface else f" from {change.iif}"
        what = f"({change.source}, {change.group}){where}"
    else:
        counts = {"added": change.added, "changed": change.changed, "deleted": change.deleted}
        what = " ".join(f"{count} {name}" for name, count in counts.items() if count)
    if change.undoes:
        what += f"; undoes {change.undoes}"
    if change.undone_by:
        what += f"; undone by {change.undone_by}"
    return [what]


_COLUMNS = [
    Column("NUMBER", "number", number=True),
    Column("TIME", _time),
    Column("USER", _user),
    Column("ACTION", "action"),
    Column("WHAT", _what),
]

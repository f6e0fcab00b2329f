"""edit"""

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mfc_dbus.cli.status import Status, complain, status_of
from mfc_dbus.cli.verbs.apply import EMPTY, WAIT, WOULD_DELETE_ALL

if TYPE_CHECKING:
    from mfc_dbus.cli.editing import Draft
    from mfc_dbus.client import Client, Snapshot
    from mfc_dbus.client.differences import Diff, Entry, Key
    from mfc_dbus.documents.entries import MembershipEntry, RouteEntry

    Entries = Mapping[Key, Entry]

USAGE = "[--yes] [--wait] [--empty]"

DESCRIPTION = """\
Open the routes and memberships in an editor ($VISUAL, $EDITOR, or vi), as the document that
"export" writes. When it is saved and left, the difference is shown, and applied as "apply" does
once you say so. Where it has problems these are told, and you can edit it again. A text that was
not applied is kept in a file.

What others change until you have said so stays: only what you changed is applied. With --json the
difference is written as by "apply"."""

EXAMPLES = """\
  mfc-dbus-cli edit
  EDITOR=nano mfc-dbus-cli edit
"""

CHANGES = True

_HEADER = """\
# The multicast routes and memberships of this machine. What you save is applied once you have seen
# the difference. Left out: routes with a timeout, and what /etc/mfc-dbus/routes.d has.

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="apply it without a question")
    parser.add_argument("--wait", action="store_true", help=WAIT)
    parser.add_argument("--empty", action="store_true", help=EMPTY)


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.editing import Draft
    from mfc_dbus.documents import document

    before = _entries(await client.snapshot())
    draft = Draft(_HEADER + document.to_toml(*_sections(before)), "routes.toml")
    status = None
    try:
        while status is None:
            draft.edit()
            status = await _apply(client, draft, before, args)
    finally:
        if status != Status.DONE and draft.changed:
            complain(f"What you wrote is in {draft.path}", error="Kept", as_json=args.json)
        else:
            draft.discard()
    return status


async def _apply(
    client: "Client", draft: "Draft", before: "Entries", args: argparse.Namespace
) -> Status | None:
    """Apply the changes of the draft. Return the exit status, or None to edit it again."""
    from mfc_dbus.cli.documents import File
    from mfc_dbus.cli.editing import ask
    from mfc_dbus.client import ClientError
    from mfc_dbus.client.differences import diff, key_of
    from mfc_dbus.documents import document
    from mfc_dbus.documents.entries import to_entry, to_membership_entry
    from mfc_dbus.documents.problem_lines import of_entries
    from mfc_dbus.model.errors import InvalidArgs

    try:
        file = File(str(draft.path))
    except InvalidArgs as error:
        complain(str(error), error="InvalidArgs", as_json=args.json)
        return _again(Status.USAGE)
    try:
        written = file.parse()
        if before and written.empty and not args.empty:
            raise InvalidArgs(WOULD_DELETE_ALL)
    except InvalidArgs as error:
        file.complain(str(error), as_json=args.json)
        return _again(Status.USAGE)
    entries: list[Entry] = [
        *map(to_entry, written.routes),
        *map(to_membership_entry, written.memberships),
    ]
    wanted = {key_of(entry): entry for entry in entries}
    agreed = None
    while True:
        present = await client.snapshot()
        after = merge(before, wanted, _entries(present))
        found = diff(present, after.values(), merge=False)
        if not any(found):
            print("Nothing has changed")
            return Status.DONE
        if found == agreed:
            break
        _write(found, as_json=args.json)
        answer = "y" if args.yes else ask("Apply this? [y]es, [e]dit it again, [n]o: ", "yen", "y")
        if answer != "y":
            return None if answer == "e" else Status.FAILED
        agreed = found  # unless others have changed it while the question stood
    body = document.to_json(*_sections(after)).decode()
    try:
        added, changed, deleted = await client.apply(body, empty=True, wait=args.wait)
    except ClientError as error:
        if [*after] == [*wanted]:
            file.complain(of_entries(str(error), written.places), as_json=args.json)
        else:
            complain(str(error), error=error.name, as_json=args.json)
        return _again(status_of(error.name))
    if not args.json:
        print(f"{added} added, {changed} changed, {deleted} deleted")
    return Status.DONE


def _write(found: "Diff", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        from mfc_dbus.cli.diff import write

        write(found)


def _again(status: Status) -> Status | None:
    """Ask what to do after a problem. Return None to edit it again, or this status."""
    from mfc_dbus.cli.editing import ask

    return None if ask("Edit it again? [y]es, [n]o: ", "yn", "n") == "y" else status


def merge(before: "Entries", wanted: "Entries", present: "Entries") -> "dict[Key, Entry]":
    """Make in the present entries the changes from `before` to `wanted`.

    The wanted entries come first, in their order.
    """
    after = {
        key: entry if entry != before.get(key) else present[key]
        for key, entry in wanted.items()
        if entry != before.get(key) or key in present
    }
    known = before.keys() | after.keys()
    return after | {key: entry for key, entry in present.items() if key not in known}


def _entries(snapshot: "Snapshot") -> "dict[Key, Entry]":
    """Return the entries that a document can hold, by their keys."""
    from mfc_dbus.client.differences import documented, key_of, plain

    entries: list[Entry] = [plain(each) for each in snapshot.routes if documented(each)]
    entries += [plain(each) for each in snapshot.memberships if documented(each)]
    return {key_of(entry): entry for entry in entries}


def _sections(entries: "Entries") -> "tuple[list[RouteEntry], list[MembershipEntry]]":
    from mfc_dbus.documents.entries import MembershipEntry, RouteEntry

    routes = [each for each in entries.values() if isinstance(each, RouteEntry)]
    return routes, [each for each in entries.values() if isinstance(each, MembershipEntry)]

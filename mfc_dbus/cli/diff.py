"""Shows the changes that a document would make, as lines with + ~ and -."""

import sys
from collections.abc import Sequence

from mfc_dbus.cli.text import options_of_membership, options_of_route
from mfc_dbus.client.differences import Diff, Entry
from mfc_dbus.documents.entries import MembershipEntry, RouteEntry
from mfc_dbus.model.options import MEMBERSHIP, ROUTE, TTLS, Option
from mfc_dbus.model.quoting import printable

_STYLES = {"+": "green", "~": "yellow", "-": "red"}
_MAX_LINES = 200  # on a terminal
_ROUTE_OPTIONS = [option for option in ROUTE if option is not TTLS]  # these are among the oifs


def write(diff: Diff) -> None:
    """Write to stdout, with colours on a terminal."""
    lines = [f"+ {_line(entry)}" for entry in diff.added]
    lines += [f"~ {_change(old, new)}" for old, new in diff.changed]
    lines += [f"- {_line(entry)}" for entry in diff.deleted]
    lines = [printable(line) for line in lines]
    if not sys.stdout.isatty():
        print("".join(f"{line}\n" for line in lines), end="")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines[:_MAX_LINES]:
        console.print(Text(line, _STYLES[line[0]]))
    if len(lines) > _MAX_LINES:
        print(f"  and {len(lines) - _MAX_LINES} more")


def _line(entry: Entry) -> str:
    line = f"{entry.source} {entry.group} "
    if isinstance(entry, RouteEntry):
        return f"{line}iif {entry.iif} oifs {_oifs(entry)}{options_of_route(entry)}"
    return f"{line}interface {entry.interface}{options_of_membership(entry)}"


def _change(old: Entry, new: Entry) -> str:
    line = f"{new.source} {new.group}"
    changes: list[tuple[str, str, str]] = []
    options: Sequence[Option] = MEMBERSHIP
    if isinstance(old, RouteEntry) and isinstance(new, RouteEntry):
        changes = [("iif", old.iif, new.iif), ("oifs", _oifs(old), _oifs(new))]
        options = _ROUTE_OPTIONS
    elif isinstance(new, MembershipEntry):
        line += f" interface {new.interface}"
    for option in options:
        before, after = getattr(old, option.name), getattr(new, option.name)
        if before != after:
            changes.append((option.name, _write(before), _write(after)))
    written = ", ".join([f"{name} {a} → {b}" for name, a, b in changes if a != b])
    return f"{line} {written}".rstrip()


def _write(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _oifs(entry: RouteEntry) -> str:
    ttls = entry.ttls
    named = [f"{name}(ttl>{ttls[name]})" if name in ttls else name for name in entry.oifs]
    return ",".join(named) or "(stop)"

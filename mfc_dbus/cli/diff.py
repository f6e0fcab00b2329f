"""What a document would change: as lines with + ~ and -, or as JSON."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mfc_dbus.cli.text import printable
from mfc_dbus.document import RouteEntry, RouteReport

_STYLES = {"+": "green", "~": "yellow", "-": "red"}
_MAX_LINES = 200  # on a terminal
_Key = tuple[str, str, str, int]


class Diff(NamedTuple):
    added: Sequence[RouteEntry]
    changed: Sequence[tuple[RouteEntry, RouteEntry]]
    deleted: Sequence[RouteEntry]

    def to_json(self) -> dict[str, Any]:
        return {
            "added": msgspec.to_builtins(self.added),
            "changed": [
                {"before": msgspec.to_builtins(old), "after": msgspec.to_builtins(new)}
                for old, new in self.changed
            ],
            "deleted": msgspec.to_builtins(self.deleted),
        }

    def write(self) -> None:
        """Write to stdout, with colours on a terminal."""
        lines = [f"+ {_line(route)}" for route in self.added]
        lines += [f"~ {_change(old, new)}" for old, new in self.changed]
        lines += [f"- {_line(route)}" for route in self.deleted]
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


def diff(present: Iterable[RouteReport], wanted: Iterable[RouteEntry], *, merge: bool) -> Diff:
    """Compare what the service describes with a document."""
    before = {_key(report): report for report in present}
    after = {_key(entry): entry for entry in wanted}
    both = [(before[key], entry) for key, entry in after.items() if key in before]
    return Diff(
        [entry for key, entry in after.items() if key not in before],
        [
            (plain(old), new)
            for old, new in both
            if plain(old) != new or old.expires or old.origin != "bus"
        ],
        []
        if merge
        else [plain(old) for key, old in before.items() if key not in after and documented(old)],
    )


def documented(report: RouteReport) -> bool:
    """Whether a document can say what the service describes."""
    return report.origin == "bus" and not report.expires


def plain(report: RouteReport) -> RouteEntry:
    """What of a description a document says."""
    return RouteEntry(**{name: getattr(report, name) for name in RouteEntry.__struct_fields__})


def _key(entry: RouteEntry) -> _Key:
    return entry.source, entry.group, entry.iif if entry.source == "*" else "", entry.table


def _line(entry: RouteEntry) -> str:
    line = f"{entry.source} {entry.group} iif {entry.iif} oifs {_oifs(entry)}"
    if not entry.persistent:
        line += " transient"
    if entry.table:
        line += f" table {entry.table}"
    return f"{line} comment {entry.comment}" if entry.comment else line


def _change(old: RouteEntry, new: RouteEntry) -> str:
    fields = {
        "iif": (old.iif, new.iif),
        "oifs": (_oifs(old), _oifs(new)),
        "comment": (repr(old.comment), repr(new.comment)),
        "persistent": (str(old.persistent).lower(), str(new.persistent).lower()),
    }
    changes = (f"{name} {a} → {b}" for name, (a, b) in fields.items() if a != b)
    return f"{new.source} {new.group} {', '.join(changes)}".rstrip()


def _oifs(entry: RouteEntry) -> str:
    return ",".join(
        f"{name}(ttl>{entry.ttls[name]})" if name in entry.ttls else name for name in entry.oifs
    )

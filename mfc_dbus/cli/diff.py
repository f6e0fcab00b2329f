"""What a document would change: as lines with + ~ and -, or as JSON."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import msgspec

from mfc_dbus.documents.document import (
    MembershipEntry,
    MembershipReport,
    Report,
    RouteEntry,
    RouteReport,
)
from mfc_dbus.model.quoting import printable

_STYLES = {"+": "green", "~": "yellow", "-": "red"}
_MAX_LINES = 200  # on a terminal
_Key = tuple[str, ...]

Entry = RouteEntry | MembershipEntry


class Diff(NamedTuple):
    added: Sequence[Entry]
    changed: Sequence[tuple[Entry, Entry]]
    deleted: Sequence[Entry]

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
        lines = [f"+ {_line(entry)}" for entry in self.added]
        lines += [f"~ {_change(old, new)}" for old, new in self.changed]
        lines += [f"- {_line(entry)}" for entry in self.deleted]
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


def diff(described: Report, wanted: Iterable[Entry], *, merge: bool) -> Diff:
    """Compare what the service describes with a document."""
    present: list[RouteReport | MembershipReport] = [*described.route, *described.membership]
    before = {_key(each): each for each in present}
    after = {_key(entry): entry for entry in wanted}
    both = [(before[key], entry) for key, entry in after.items() if key in before]
    return Diff(
        [entry for key, entry in after.items() if key not in before],
        [(plain(old), new) for old, new in both if plain(old) != new or not documented(old)],
        []
        if merge
        else [plain(old) for key, old in before.items() if key not in after and documented(old)],
    )


def documented(report: RouteReport | MembershipReport) -> bool:
    """Whether a document can say what the service describes."""
    expires = isinstance(report, RouteReport) and report.expires
    return report.origin == "bus" and not expires


@overload
def plain(report: RouteReport) -> RouteEntry: ...
@overload
def plain(report: MembershipReport) -> MembershipEntry: ...
def plain(report: RouteReport | MembershipReport) -> Entry:
    """What of a description a document says."""
    type_ = RouteEntry if isinstance(report, RouteReport) else MembershipEntry
    return type_(**{name: getattr(report, name) for name in type_.__struct_fields__})


def _key(entry: Entry) -> _Key:
    if isinstance(entry, MembershipEntry):
        return "membership", entry.source, entry.group, entry.interface
    exact = entry.source != "*" and "/" not in entry.source + entry.group
    return "route", entry.source, entry.group, "" if exact else entry.iif, str(entry.table)


def _line(entry: Entry) -> str:
    line = f"{entry.source} {entry.group} "
    if isinstance(entry, RouteEntry):
        line += f"iif {entry.iif} oifs {_oifs(entry)}"
        if entry.table:
            line += f" table {entry.table}"
        if entry.hairpin:
            line += " hairpin"
    else:
        line += f"interface {entry.interface}"
    if not entry.persistent:
        line += " transient"
    return f"{line} comment {entry.comment}" if entry.comment else line


def _change(old: Entry, new: Entry) -> str:
    line = f"{new.source} {new.group}"
    fields = {
        "comment": (repr(old.comment), repr(new.comment)),
        "persistent": (str(old.persistent).lower(), str(new.persistent).lower()),
    }
    if isinstance(old, RouteEntry) and isinstance(new, RouteEntry):
        fields = {"iif": (old.iif, new.iif), "oifs": (_oifs(old), _oifs(new))} | fields
        fields["hairpin"] = (str(old.hairpin).lower(), str(new.hairpin).lower())
    elif isinstance(new, MembershipEntry):
        line += f" interface {new.interface}"
    changes = (f"{name} {a} → {b}" for name, (a, b) in fields.items() if a != b)
    return f"{line} {', '.join(changes)}".rstrip()


def _oifs(entry: RouteEntry) -> str:
    return (
        ",".join(
            f"{name}(ttl>{entry.ttls[name]})" if name in entry.ttls else name for name in entry.oifs
        )
        or "(stop)"
    )

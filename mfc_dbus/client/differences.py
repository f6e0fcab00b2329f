"""What a document would change of what the service has (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

import msgspec
from msgspec.structs import replace

from mfc_dbus.client.info import MembershipInfo, RouteInfo, Snapshot
from mfc_dbus.documents.entries import MembershipEntry, RouteEntry
from mfc_dbus.model.options import said_of_membership, said_of_route

Key = tuple[str, ...]

Entry = RouteEntry | MembershipEntry
Info = RouteInfo | MembershipInfo
_MEMBERSHIPS = (MembershipEntry, MembershipInfo)


class Diff(NamedTuple):
    """What is added, changed from one to another, and deleted."""

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


def diff(
    snapshot: Snapshot, wanted: Iterable[Entry], *, merge: bool, persistent: bool = True
) -> Diff:
    """Compare what the service has with a document.

    persistent: if not, the document is for this boot only, as are all its entries; what is there
    and differs in that alone stays as it is.
    """
    present: list[Info] = [*snapshot.routes, *snapshot.memberships]
    before = {key_of(each): each for each in present}
    after = {key_of(entry): entry for entry in wanted}
    changed = []
    for key, new in after.items():
        info = before.get(key)
        if info is not None:
            old = plain(info)
            if not persistent and _stays(info, old, new):
                continue
            if old != new or not documented(info):
                changed.append((old, new))
    return Diff(
        [entry for key, entry in after.items() if key not in before],
        changed,
        []
        if merge
        else [plain(old) for key, old in before.items() if key not in after and documented(old)],
    )


def _stays(info: Info, old: Entry, new: Entry) -> bool:
    """Return whether what is there stays as it is where a document is for this boot only."""
    if isinstance(info, MembershipInfo) and (info.persistent or info.origin != "bus"):
        return True
    return not _expires(info) and replace(old, persistent=False) == new


def named_by(snapshot: Snapshot, named: Iterable[Entry], *, persistent: bool) -> list[Entry]:
    """Find what the service has of what a document names, but for what comes from files.

    persistent: also what outlives a boot, and routes with a timeout.
    """
    keys = {key_of(entry) for entry in named}
    present: list[Info] = [*snapshot.routes, *snapshot.memberships]
    return [
        plain(each)
        for each in present
        if key_of(each) in keys
        and each.origin == "bus"
        and (persistent or not (each.persistent or _expires(each)))
    ]


def removal(
    snapshot: Snapshot, named: Iterable[Entry], kept: Mapping[Key, Entry], *, persistent: bool
) -> Diff:
    """Find what is taken away of what a document names, and what of it another one changes.

    kept: the entries of documents that keep what they name too. persistent: see `named_by`.
    """
    there = {key_of(entry): entry for entry in named_by(snapshot, named, persistent=persistent)}
    theirs = [kept[key] for key in there if key in kept]
    return Diff(
        [],
        diff(snapshot, theirs, merge=True, persistent=persistent).changed,
        [entry for key, entry in there.items() if key not in kept],
    )


def documented(info: Info) -> bool:
    """Return whether a document can hold a route or membership of the service."""
    return info.origin == "bus" and not _expires(info)


def _expires(info: Info) -> bool:
    return isinstance(info, RouteInfo) and bool(info.expires)


@overload
def plain(info: RouteInfo) -> RouteEntry: ...
@overload
def plain(info: MembershipInfo) -> MembershipEntry: ...
def plain(info: Info) -> Entry:
    """Make a document's entry of a route or membership of the service."""
    if isinstance(info, RouteInfo):
        return RouteEntry(
            source=info.source,
            group=info.group,
            iif=info.iif,
            oifs=list(info.oifs),
            **said_of_route(info),
        )
    return MembershipEntry(
        source=info.source,
        group=info.group,
        interface=info.interface,
        **said_of_membership(info),
    )


def key_of(entry: Entry | Info) -> Key:
    """Return the key that no other entry of the service has."""
    source, group = entry.source, entry.group
    if isinstance(entry, _MEMBERSHIPS):
        return "membership", source, group, entry.interface
    exact = source != "*" and "/" not in source and "/" not in group
    return "route", source, group, "" if exact else entry.iif, str(entry.table)

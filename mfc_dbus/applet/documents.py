"""Documents: what is known as one, and what one would change of it (pure)."""

from collections.abc import Sequence
from typing import NamedTuple

from mfc_dbus.applet import texts
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _
from mfc_dbus.client.differences import Entry, diff, documented, plain
from mfc_dbus.client.info import Snapshot
from mfc_dbus.documents import document
from mfc_dbus.documents.entries import (
    MembershipEntry,
    RouteEntry,
    to_entry,
    to_membership_entry,
)
from mfc_dbus.model.errors import RequestError


class Proposal(NamedTuple):
    """What a text would do. document: the text as Apply takes it."""

    lines: Sequence[str]
    problems: Sequence[str]
    document: str
    is_change: bool


def export(state: State, *, as_json: bool) -> str:
    """Write what a document can have of what is known."""
    routes = [plain(each) for each in state.routes.values() if documented(each)]
    memberships = [plain(each) for each in state.memberships.values() if documented(each)]
    if as_json:
        return document.to_json(routes, memberships).decode()
    return document.to_toml(routes, memberships)


def propose(state: State, text: str, *, merge: bool) -> Proposal:
    """Read a document, JSON or TOML, and compare it with what is known."""
    try:
        read = document.from_json(text) if text.lstrip()[:1] == "{" else document.from_toml(text)
    except RequestError as error:
        return Proposal((), str(error).splitlines(), "", False)
    snapshot = Snapshot([*state.routes.values()], [*state.memberships.values()], 0)
    routes = [*map(to_entry, read.routes)]
    memberships = [*map(to_membership_entry, read.memberships)]
    found = diff(snapshot, [*routes, *memberships], merge=merge)
    lines = [f"+ {_write(entry)}" for entry in found.added]
    lines += [f"~ {_write(old)}  ⇒  {_write(new)}" for old, new in found.changed]
    lines += [f"− {_write(entry)}" for entry in found.deleted]
    as_json = document.to_json(routes, memberships).decode()
    return Proposal(lines, (), as_json, bool(lines))


def _write(entry: Entry) -> str:
    name = texts.stream(entry.source, entry.group)
    if isinstance(entry, MembershipEntry):
        where = _("joined on {interface}").format(interface=entry.interface)
        return f"{name}, {where}{_comment(entry)}"
    assert isinstance(entry, RouteEntry)
    return f"{name}, {texts.way(entry.iif, entry.oifs)}{_comment(entry)}"


def _comment(entry: Entry) -> str:
    return f" ({entry.comment})" if entry.comment else ""

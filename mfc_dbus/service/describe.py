"""Routes and memberships, all or those of a filter, as one document with states and counters."""

import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from mfc_dbus.control.view import View
from mfc_dbus.documents.document import MAX_BYTES
from mfc_dbus.documents.entries import RouteReport, report, report_membership
from mfc_dbus.loop.slices import in_batches, in_slices
from mfc_dbus.model.addresses import (
    Prefix,
    host_prefix,
    parse_group_prefix,
    parse_source_prefix,
    source_prefix,
)
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Route
from mfc_dbus.model.states import MembershipState, RouteState
from mfc_dbus.model.status import MembershipStatus, Status
from mfc_dbus.names import ANY_SOURCE
from mfc_dbus.service.limits import OneByOne

OPTIONS = {
    "group": "s",
    "exact": "b",
    "source": "s",
    "exact-source": "b",
    "iif": "s",
    "state": "s",
    "table": "u",
}
_STATES = tuple(dict.fromkeys([*RouteState, *MembershipState]))
_MAX_WAITING = 64
_LENGTH = struct.Struct("<I")
_Stream = tuple[int, Prefix, Prefix]


class Filter(NamedTuple):
    """Which routes and memberships are described; None stands for any.

    exact, exact_source: those of just this prefix, and none of a prefix in it.
    iif: the iif of routes, and the interface of memberships.
    """

    group: Prefix | None = None
    exact: bool = False
    source: Prefix | str | None = None  # a string: any source, of both families
    exact_source: bool = False
    iif: str | None = None
    state: str | None = None
    table: int | None = None

    def matches(self, status: Status) -> bool:
        route, state, _ = status
        return self.table in (None, route.table) and self._matches(
            route.source, route.group, route.iif, state
        )

    def matches_membership(self, status: MembershipStatus) -> bool:
        membership, state, _ = status
        source, group = source_prefix(membership.source), host_prefix(membership.group)
        return self.table is None and self._matches(source, group, membership.interface, state)

    def _matches(self, source: Prefix, group: Prefix, iif: str, state: str) -> bool:
        return (
            (self.group is None or self.group == group or self._within(group))
            and (self.source is None or self._from(source))
            and self.iif in (None, iif)
            and self.state in (None, state)
        )

    def _within(self, group: Prefix) -> bool:
        assert self.group is not None
        return not self.exact and self.group.covers(group)

    def _from(self, source: Prefix) -> bool:
        assert self.source is not None
        if isinstance(self.source, str):
            return not source.length
        if self.source == host_prefix(bytes(len(self.source.address))):  # 0.0.0.0 or ::
            return source == Prefix(self.source.address, 0)
        return source == self.source if self.exact_source else self.source.covers(source)


def parse_filter(options: Mapping[str, Any]) -> Filter:
    """Make a filter of Describe's options. Raises InvalidArgs."""
    state = options.get("state")
    if state is not None and state not in _STATES:
        raise InvalidArgs(f"{quote(state)} is no state; there are {join(_STATES)}")
    for name, of in (("exact", "group"), ("exact-source", "source")):
        if options.get(name) and of not in options:
            raise InvalidArgs(f"Option '{name}' goes with '{of}'")
    return Filter(
        parse_group_prefix(options["group"]) if "group" in options else None,
        options.get("exact", False),
        parse_source_filter(options["source"]) if "source" in options else None,
        options.get("exact-source", False),
        parse_interface(options["iif"], pattern=True) if "iif" in options else None,
        state,
        options.get("table"),
    )


def parse_source_filter(text: str) -> Prefix | str:
    """Parse a source or a prefix of sources; any source, of both families, is a string. Raises
    InvalidArgs.
    """
    return ANY_SOURCE if text in ("", ANY_SOURCE) else parse_source_prefix(text)


async def describe(view: View, chosen: Filter) -> bytearray:
    """Return routes and memberships as JSON in a string, encoded as a body; others are served in
    between. Raises LimitExceeded.

    They are as they were when this began; the counters of 100,000 routes are read as they come.
    """
    told = list(view.routes.values())
    joined = list(view.memberships)
    several: Counter[_Stream] = Counter()
    async for batch in in_batches(told):
        wide = (each.route for each in batch if not each.route.is_sg)
        several.update(_stream(route) for route in wide if route.enabled)
    text = _Text()
    async for batch in in_batches(told):
        for status in filter(chosen.matches, batch):
            alone = status.route.is_sg or several[_stream(status.route)] <= 1
            text.add("route", msgspec.json.encode(_counted(view, status, alone=alone)))
    async for membership in in_slices(joined):
        if chosen.matches_membership(membership):
            text.add("membership", msgspec.json.encode(report_membership(*membership)))
    return text.end()


class _Text:
    """A document of JSON that grows, as the string that a body is; an entry a line.

    It may have 24 MiB: so each entry is written into the body itself, and nothing joined at last.
    """

    def __init__(self) -> None:
        self._body = bytearray(_LENGTH.size) + b"{"
        self._section = ""

    def add(self, section: str, entry: bytes) -> None:
        """Add an entry; those of a section come after one another. Raises LimitExceeded."""
        if section == self._section:
            self._body += b",\n"
        else:
            self._body += b'%s"%s":[' % (b"],\n" if self._section else b"", section.encode())
            self._section = section
        self._body += entry
        if len(self._body) > MAX_BYTES:
            raise LimitExceeded(
                f"This is more than {MAX_BYTES >> 20} MiB, too much for one message: filter it"
            )

    def end(self) -> bytearray:
        self._body += b"]}" if self._section else b"}"
        _LENGTH.pack_into(self._body, 0, len(self._body) - _LENGTH.size)
        self._body += b"\0"
        return self._body


def _stream(route: Route) -> _Stream:
    return route.table, route.source, route.group


def _counted(view: View, status: Status, *, alone: bool) -> RouteReport:
    """Return the report of a route.

    alone: no other route has its source and group, so that the counters are those of this one.
    """
    described = report(*status)
    counters = view.counters(status.route) if alone else None
    if counters is not None:
        described.packets, described.bytes, described.wrong_if = counters
    return described


class LongAnswers:
    """Has long answers made one by one, for users in turn; each caller may wait for one."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._of_user: Counter[int | None] = Counter()
        self._turns = OneByOne()

    @asynccontextmanager
    async def turn(self, sender: str, uid: int | None) -> AsyncIterator[None]:
        """Wait for the turn of this caller, and of this user. Raises LimitExceeded."""
        if sender in self._waiting:
            raise LimitExceeded("A call of this caller is being answered: wait for it")
        if self._of_user[uid] >= _MAX_WAITING:
            raise LimitExceeded(f"{_MAX_WAITING} calls of this user wait already: try again later")
        self._waiting.add(sender)
        self._of_user[uid] += 1
        try:
            async with self._turns.turn(uid):
                yield
        finally:
            self._waiting.discard(sender)
            self._of_user -= Counter([uid])

"""All routes and memberships as one document, with their states and counters."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from mfc_dbus.control.controller import Controller
from mfc_dbus.control.status_changes import Status
from mfc_dbus.documents.document import MAX_BYTES, RouteReport, join_json, report, report_membership
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import MembershipStatus
from mfc_dbus.model.addresses import (
    Prefix,
    exactly,
    of_source,
    parse_group_prefix,
    parse_source_prefix,
)
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Route, parse_interface
from mfc_dbus.routing.table import Table
from mfc_dbus.service.limits import OneByOne

OPTIONS = {"group": "s", "exact": "b", "source": "s", "iif": "s", "state": "s", "table": "u"}
_STATES = ("active", "partial", "waiting", "unavailable", "joined", "failed")
_MAX_WAITING = 64
_Stream = tuple[int, Prefix, Prefix]


class Filter(NamedTuple):
    """Which routes and memberships, whose interface is an iif; None is any.

    exact: those of just this group prefix, and of none in it.
    """

    group: Prefix | None = None
    exact: bool = False
    source: Prefix | None = None
    iif: str | None = None
    state: str | None = None
    table: int | None = None

    def takes(self, status: Status) -> bool:
        route, state, _ = status
        return self.table in (None, route.table) and self._takes(
            route.source, route.group, route.iif, state
        )

    def takes_membership(self, status: MembershipStatus) -> bool:
        membership, state, _ = status
        source, group = of_source(membership.source), exactly(membership.group)
        return self.table is None and self._takes(source, group, membership.interface, state)

    def _takes(self, source: Prefix, group: Prefix, iif: str, state: str) -> bool:
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
        if self.source == exactly(bytes(len(self.source.address))):  # 0.0.0.0 or ::
            return source == Prefix(self.source.address, 0)
        return self.source.covers(source)


def parse_filter(options: Mapping[str, Any]) -> Filter:
    """Raises InvalidArgs."""
    state = options.get("state")
    if state is not None and state not in _STATES:
        raise InvalidArgs(f"{quote(state)} is no state; there are {join(_STATES)}")
    exact = options.get("exact", False)
    if exact and "group" not in options:
        raise InvalidArgs("Option 'exact' goes with 'group'")
    return Filter(
        parse_group_prefix(options["group"]) if "group" in options else None,
        exact,
        parse_source_prefix(options["source"]) if "source" in options else None,
        parse_interface(options["iif"], pattern=True) if "iif" in options else None,
        state,
        options.get("table"),
    )


async def describe(controller: Controller, chosen: Filter) -> bytes:
    """Write routes and memberships as JSON, as they were when this began. Raises LimitExceeded.

    Reading the counters of 100,000 takes long: others are served in between.
    """
    memberships = [
        msgspec.json.encode(report_membership(*status))
        for status in controller.memberships
        if chosen.takes_membership(status)
    ]
    parts: list[bytes] = []
    size = sum(len(part) + 2 for part in memberships)
    told = list(controller.told.values())  # which no change does before it is done
    several: Counter[_Stream] = Counter()
    async for status in in_slices(told):
        if not status.route.exact:
            several[_stream(status.route)] += 1
    async for status in in_slices(told):
        if not chosen.takes(status):
            continue
        table = controller.tables[status.route.table_id]
        alone = several[_stream(status.route)] <= 1
        part = msgspec.json.encode(_counted(table, status, alone=alone))
        parts.append(part)
        size += len(part) + 2
        if size > MAX_BYTES:
            raise LimitExceeded(
                f"This is more than {MAX_BYTES >> 20} MiB, too much for one message: filter it"
            )
    return join_json({"route": parts, "membership": memberships})


def _stream(route: Route) -> _Stream:
    return route.table, route.source, route.group


def _counted(table: Table, status: Status, *, alone: bool) -> RouteReport:
    """alone: whether there is no other of its source and group, with which it shares counters."""
    route = status.route
    described = report(route, status.state, status.reason)
    if alone and table.owned and isinstance(table.installed.get(route.key), Route):
        try:
            count = table.kernel.sg_count(route.source.address, route.group.address)
        except OSError:  # it has gone meanwhile
            return described
        described.packets, described.bytes, described.wrong_if = count
    return described


class Readers:
    """Long answers are made one by one, for users in turn; each caller waits for one at most."""

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

"""Whole documents under traffic: a route that stays loses no packet, and a failure changes nothing.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import asyncio
import errno
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from lab.igmp import Member, members
from lab.routing import Routing
from lab.topology import Topology
from lab.witness import entries, vifs
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.kernel.groups import GroupSocket
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import FAMILIES, Family, format_address
from mfc_dbus.model.errors import KernelError, StoreError
from mfc_dbus.model.membership import Membership, parse_membership
from mfc_dbus.model.route import Route, parse_route

T = TypeVar("T")


def run(routing: Routing, change: Coroutine[Any, Any, T]) -> T:
    with routing.router:
        return asyncio.run(change)


def stream(lab: Topology, *oifs: str) -> Route:
    return parse_route(lab.addresses.source, lab.addresses.group, "up0", oifs)


def others(lab: Topology, first: int, count: int) -> list[Route]:
    """Routes that nobody sends for."""
    groups = [
        f"239.77.{n >> 8}.{n & 255}" if lab.family == FAMILIES[0] else f"ff3e::77:{n:x}"
        for n in range(first, first + count)
    ]
    return [parse_route(lab.addresses.source, each, "up1", ["down0"]) for each in groups]


def test_the_routes_that_stay_lose_no_packet(lab: Topology, routing: Routing) -> None:
    stays = stream(lab, "down0", "down1")
    run(routing, routing.controller.documents.apply([stays]))
    with lab.sender().flow(rate=1000) as flow:
        for first in (0, 300, 150):
            flow.wait_for(100)
            run(routing, routing.controller.documents.apply([*others(lab, first, 300), stays]))
        flow.wait_for(100)
        run(routing, routing.controller.documents.apply([stays]))
        flow.wait_for(100)
    assert lab.arrived() == {"down0": flow.sent, "down1": flow.sent}
    count = routing.mroutes[lab.family].sg_count(stays.source.address, stays.group.address)
    assert count.packets == len(flow.sent)


def test_a_route_that_changes_loses_no_packet_on_the_oif_that_stays(
    lab: Topology, routing: Routing
) -> None:
    with lab.sender().flow(rate=1000) as flow:
        run(routing, routing.controller.documents.apply([stream(lab, "down0")]))
        flow.wait_for(1)
        mark = flow.sent[-1]
        for oifs in (("down0", "down1"), ("down0",)):
            flow.wait_for(100)
            run(
                routing,
                routing.controller.documents.apply([stream(lab, *oifs), *others(lab, 0, 50)]),
            )
        flow.wait_for(100)
    arrived = lab.arrived()["down0"]
    expected = [number for number in flow.sent if number > mark]
    assert [number for number in arrived if number > mark] == expected


def test_files_are_read_again_with_no_packet_lost(lab: Topology, routing: Routing) -> None:
    def of_file(*routes: Route) -> list[Route]:
        return [structs.replace(route, file="/etc/x.toml") for route in routes]

    stays, by_bus = stream(lab, "down0"), others(lab, 900, 1)
    run(routing, routing.controller.documents.configure(Settings(), of_file(stays)))
    run(routing, routing.controller.documents.apply(by_bus))
    with lab.sender().flow(rate=1000) as flow:
        for first in (0, 100):
            flow.wait_for(100)
            wanted = of_file(*others(lab, first, 200), stays)
            run(routing, routing.controller.documents.configure(Settings(), wanted))
            flow.wait_for(100)
            run(routing, routing.controller.documents.apply(by_bus))
        flow.wait_for(100)
    assert lab.arrived() == {"down0": flow.sent}
    assert len(entries(lab.router, lab.family)) == 202
    assert set(routing.keeper.routes.values()) == set(by_bus)


class FaultyMRoute(MRoute):
    """The kernel, whose call of a certain number fails, once."""

    fails_in: int | None = None

    def _pass(self) -> None:
        if self.fails_in == 0:
            self.fails_in = None
            raise OSError(errno.ENOBUFS, "injected")
        if self.fails_in is not None:
            self.fails_in -= 1

    def add_vif(self, vif: int, ifindex: int) -> None:
        self._pass()
        super().add_vif(vif, ifindex)

    def del_vif(self, vif: int) -> None:
        self._pass()
        super().del_vif(vif)

    def add_mfc(self, entry: MFCEntry) -> None:
        self._pass()
        super().add_mfc(entry)

    def del_mfc(self, entry: MFCEntry) -> None:
        self._pass()
        super().del_mfc(entry)


def test_whatever_fails_leaves_kernel_store_and_routes_as_they_were(lab: Topology) -> None:
    def opener(family: Family, _kept: int | None) -> MRoute:
        return FaultyMRoute(family)

    with Routing(lab.router, opener=opener) as routing:
        controller, kernel = routing.controller, routing.mroutes[lab.family]
        assert isinstance(kernel, FaultyMRoute)
        one, two, three, four = others(lab, 0, 4)
        run(routing, controller.documents.apply([one, two, stream(lab, "down0")]))
        wanted = [
            structs.replace(two, iif="up0", oifs=stream(lab, "down1").oifs),
            three,
            four,
            stream(lab, "down0", "up1"),
        ]

        def held() -> tuple[Any, ...]:
            return (
                dict(controller.view.routes),
                dict(routing.keeper.routes),
                entries(lab.router, lab.family),
                vifs(lab.router, lab.family),
                len(routing.changes),
            )

        before = held()
        failures = 0
        while True:
            kernel.fails_in = failures
            try:
                run(routing, controller.documents.apply(wanted))
            except KernelError:
                assert held() == before
                failures += 1
            else:
                break
        kernel.fails_in = None
        assert failures >= 6
        run(routing, controller.documents.apply([one, two, stream(lab, "down0")]))
        before = held()[:4]
        routing.keeper.broken = True
        with pytest.raises(StoreError):
            run(routing, controller.documents.apply(wanted))
        told, kept, shown, _ = before
        assert held()[:3] == (told, kept, shown)
        assert len(vifs(lab.router, lab.family)) == len(before[3])


class FaultyJoins(Joins):
    """The kernel's memberships, of which the join of a certain number fails, once."""

    def __init__(self) -> None:
        super().__init__(self._open_faulty)
        self.fails_in: int | None = None

    def _open_faulty(self, family: Family) -> GroupSocket:
        joins = self

        class Faulty(GroupSocket):
            def join(self, group: bytes, ifindex: int, source: bytes) -> None:
                if joins.fails_in == 0:
                    joins.fails_in = None
                    raise OSError(errno.EPERM, "injected")
                if joins.fails_in is not None:
                    joins.fails_in -= 1
                super().join(group, ifindex, source)

        return Faulty(family)


def joined(memberships: Sequence[Membership]) -> set[Member]:
    """How the kernel shows these, of which one source at most is of each group and device."""
    return {
        Member(
            each.interface,
            format_address(each.group),
            frozenset([format_address(each.source)] if any(each.source) else []),
        )
        for each in memberships
    }


def test_whatever_fails_leaves_also_the_memberships_as_they_were(lab: Topology) -> None:
    def opener(family: Family, _kept: int | None) -> MRoute:
        return FaultyMRoute(family)

    source, group, other = lab.addresses.source, lab.addresses.group, lab.addresses.other_group
    stays = parse_membership(group, "*", "up0")
    changes = parse_membership(group, source, "up1", "before")
    before = [stays, changes, parse_membership(other, "*", "up0")]
    after = [
        stays,
        structs.replace(changes, comment="after", persistent=False),
        parse_membership(other, source, "up0"),
        parse_membership(other, "*", "up1"),
    ]
    with FaultyJoins() as joins:
        memberships = Memberships(joins)
        with Routing(lab.router, opener=opener, memberships=memberships) as routing:
            controller, kernel = routing.controller, routing.mroutes[lab.family]
            assert isinstance(kernel, FaultyMRoute)
            old, new = [stream(lab, "down0"), *others(lab, 0, 2)], [stream(lab, "down1", "up1")]
            run(routing, controller.documents.apply(old, before))
            assert members(lab.router) == joined(before)

            def held() -> tuple[Any, ...]:
                return (
                    sorted(memberships, key=str),
                    members(lab.router),
                    entries(lab.router, lab.family),
                    dict(routing.keeper.routes),
                    dict(routing.keeper.memberships),
                )

            there = held()
            for fault in (joins, kernel):
                failures = 0
                while True:
                    fault.fails_in = failures
                    try:
                        counts = run(routing, controller.documents.apply(new, after))
                    except KernelError:
                        assert held() == there
                        failures += 1
                    else:
                        break
                fault.fails_in = None
                assert failures >= 2
                assert counts == [2, 2, 3]
                assert members(lab.router) == joined(after)
                run(routing, controller.documents.apply(old, before))
                assert members(lab.router) == joined(before)
            routing.keeper.broken = True
            with pytest.raises(StoreError):
                run(routing, controller.documents.apply(new, after))
            assert held() == there

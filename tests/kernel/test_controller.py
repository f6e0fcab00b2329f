"""The controller on the real kernel: names in, packets out, and nothing half done.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1 … down31
"""

import errno
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Self

import pytest
from lab.routing import Routing
from lab.topology import ADDRESSES, Topology
from lab.witness import Entry, entries, vifs

from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.addresses import FAMILIES, format_source
from mfc_dbus.model.errors import (
    KernelError,
    NoSuchInterface,
    StoreError,
    TableBusy,
    TooManyInterfaces,
)
from mfc_dbus.model.route import Route


class Fault:
    """Lets some calls pass and makes the next fail, once; at first, lets all pass."""

    def __init__(self) -> None:
        self._passes = -1

    def after(self, calls: int) -> None:
        self._passes = calls

    def pass_one(self) -> None:
        self._passes -= 1
        if self._passes == -1:
            raise OSError(errno.ENOBUFS, "injected")


class FaultyMRoute(MRoute):
    """The kernel, with a fault."""

    def __init__(self, family: socket.AddressFamily, fault: Fault) -> None:
        super().__init__(family)
        self._fault = fault

    def add_vif(self, vif: int, ifindex: int) -> None:
        self._fault.pass_one()
        super().add_vif(vif, ifindex)

    def del_vif(self, vif: int) -> None:
        self._fault.pass_one()
        super().del_vif(vif)

    def add_mfc(self, entry: MFCEntry) -> None:
        self._fault.pass_one()
        super().add_mfc(entry)

    def del_mfc(self, entry: MFCEntry) -> None:
        self._fault.pass_one()
        super().del_mfc(entry)


class LabRouting:
    """A controller in the router of a lab, spoken to of the lab's own stream."""

    def __init__(self, lab: Topology) -> None:
        self.lab = lab
        self.fault = Fault()
        self.routing = Routing(
            lab.router, opener=lambda family, _: FaultyMRoute(family, self.fault)
        )
        self.changes = self.routing.changes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.routing.close()

    @property
    def mroute(self) -> MRoute:
        return self.routing.mroutes[self.lab.family]

    def add(
        self,
        iif: str,
        *oifs: str,
        source: str = "",
        group: str = "",
        ttls: Mapping[str, int] | None = None,
    ) -> Route:
        source, group = source or self.lab.addresses.source, group or self.lab.addresses.group
        return self.routing.add(source, group, iif, oifs, ttls=ttls)

    def replace(self, iif: str, *oifs: str) -> None:
        addresses = self.lab.addresses
        self.routing.add(addresses.source, addresses.group, iif, oifs, replace=True)

    def delete(self, route: Route) -> None:
        self.routing.delete(format_source(route.source), str(route.group))

    def state(self) -> object:
        """What the controller and the keeper hold, and what the kernel does by its own word."""
        tables = self.routing.controller.tables.values()
        return (
            {route for table in tables for route in table.routes},
            dict(self.routing.keeper.routes),
            [{vif.name: vif for vif in table.vifs} for table in tables],
            [entries(self.lab.router, family) for family in FAMILIES],
            [vifs(self.lab.router, family) for family in FAMILIES],
        )


@pytest.fixture
def routing(lab: Topology) -> Iterator[LabRouting]:
    with LabRouting(lab) as routing:
        yield routing


@pytest.fixture
def large(family: socket.AddressFamily) -> Iterator[LabRouting]:
    """One upstream and 32 downstreams: one interface more than a table has VIFs."""
    with Topology(family, downstreams=32) as lab, LabRouting(lab) as routing:
        yield routing


def test_the_33rd_interface_is_refused_and_nothing_half_done(large: LabRouting) -> None:
    *first, last, one_more = large.lab.downstreams
    large.add("up0", *first)
    before = large.state()
    with pytest.raises(TooManyInterfaces):
        large.add("up0", "down0", last, one_more, group=large.lab.addresses.other_group)
    assert large.state() == before
    large.add("up0", last, group=large.lab.addresses.other_group)
    before = large.state()
    with pytest.raises(TooManyInterfaces):
        large.replace("up0", *first, one_more)
    assert large.state() == before
    assert len(large.changes) == 2


def test_in_a_full_table_one_interface_takes_the_place_of_another_and_the_others_lose_nothing(
    large: LabRouting,
) -> None:
    *oifs, one_more = large.lab.downstreams
    large.add("up0", *oifs)
    with large.lab.sender().flow(rate=1000) as flow:
        flow.wait_for(100)
        large.replace("up0", *oifs[1:], one_more)
        begun = len(flow.sent)
        flow.wait_for(100)
    arrived = large.lab.arrived()
    first, last = arrived.pop("down0"), arrived.pop(one_more)
    assert arrived == dict.fromkeys(oifs[1:], flow.sent)
    assert first == flow.sent[: len(first)]
    assert last == flow.sent[-len(last) :]
    assert {*first}.isdisjoint(last)
    assert len(last) >= len(flow.sent) - begun - 1


def test_an_interface_that_is_not_there_is_refused_and_nothing_half_done(
    routing: LabRouting,
) -> None:
    before = routing.state()
    with pytest.raises(NoSuchInterface):
        routing.add("up0", "down0", "eth99")
    assert routing.state() == before
    assert routing.changes == []


def test_a_table_of_another_program_is_busy_until_that_gives_it_up(lab: Topology) -> None:
    with ExitStack() as stack:
        with lab.router:
            other = MRoute(lab.family)
        with other:
            other.init()
            routing = stack.enter_context(LabRouting(lab))
            with pytest.raises(TableBusy):
                routing.add("up0", "down0")
        routing.add("up0", "down0")
        sent = lab.sender().send(10)
        assert lab.arrived() == {"down0": sent}


@pytest.mark.parametrize("oifs", [1, 2, 31])
def test_every_packet_reaches_every_oif_once(large: LabRouting, oifs: int) -> None:
    chosen = large.lab.downstreams[:oifs]
    large.add("up0", *chosen)
    sent = large.lab.sender().send(25)
    assert large.lab.arrived() == dict.fromkeys(chosen, sent)


def test_an_any_source_route_forwards_a_cold_burst_whole(
    lab: Topology, routing: LabRouting
) -> None:
    routing.add("up0", "down0", "down1", source="*")
    sent = lab.sender().send(50)
    assert lab.arrived() == {"down0": sent, "down1": sent}


def test_a_route_without_an_oif_stops_one_sender_of_a_group(
    lab: Topology, routing: LabRouting
) -> None:
    routing.add("up0", "down0", source="*")
    stop = routing.add("up0")
    other = lab.sender(source=lab.addresses.other_source)
    lab.sender().send(10)
    sent = other.send(10)
    assert lab.arrived() == {"down0": sent}
    count = routing.mroute.sg_count(stop.source.address, stop.group.address)
    assert (count.packets, count.wrong_if) == (10, 0)


def test_a_packet_on_the_wrong_interface_is_counted_and_not_forwarded(
    lab: Topology, routing: LabRouting
) -> None:
    route = routing.add("up0", "down0")
    routing.add("up1", "down0", group=lab.addresses.other_group)
    lab.sender("up1").send(10)
    assert lab.arrived() == {}
    assert routing.mroute.sg_count(route.source.address, route.group.address).wrong_if == 10


@pytest.mark.parametrize(
    ("family", "ttl", "passes"),
    [(socket.AF_INET, 16, False), (socket.AF_INET, 17, True)],
    indirect=["family"],
)
def test_a_ttl_threshold_holds_packets_back_on_its_oif_alone(
    lab: Topology, routing: LabRouting, ttl: int, passes: bool
) -> None:
    routing.add("up0", "down0", "down1", ttls={"down1": 16})
    sent = lab.sender(ttl=ttl).send(10)
    assert lab.arrived() == {"down0": sent} | ({"down1": sent} if passes else {})


def test_a_vif_is_there_while_a_route_uses_it_and_no_longer(
    lab: Topology, routing: LabRouting
) -> None:
    addresses = lab.addresses
    assert lab.vifs() == {}
    first = routing.add("up0", "down0")
    assert lab.vifs() == {0: "up0", 1: "down0"}
    second = routing.add("up0", "down1", group=addresses.other_group)
    assert lab.vifs() == {0: "up0", 1: "down0", 2: "down1"}
    third = routing.add("down0", "up1", source="*")
    assert lab.vifs() == {0: "up0", 1: "down0", 2: "down1", 3: "up1"}
    routing.delete(first)
    assert lab.vifs() == {0: "up0", 1: "down0", 2: "down1", 3: "up1"}
    routing.delete(third)
    assert lab.vifs() == {0: "up0", 2: "down1"}
    routing.delete(second)
    assert lab.vifs() == {}


def test_ip_mroute_shows_the_routes_with_the_iif_in_those_of_any_source(
    lab: Topology, routing: LabRouting
) -> None:
    addresses = lab.addresses
    routing.add("up0", "down0", "down1")
    routing.add("up1", "down1", source="*")
    assert lab.entries() == {
        Entry(addresses.source, addresses.group, "up0", frozenset({("down0", 1), ("down1", 1)})),
        Entry(addresses.any_source, addresses.group, "up1", frozenset({("up1", 1), ("down1", 1)})),
    }


def test_a_replace_under_a_flow_loses_nothing_on_the_oif_that_stays(
    lab: Topology, routing: LabRouting
) -> None:
    route = routing.add("up0", "down0", "down1")
    with lab.sender().flow(rate=1000) as flow:
        for oifs in [("down0",), ("up1", "down0"), ("down1", "down0", "up1"), ("down0", "down1")]:
            flow.wait_for(100)
            routing.replace("up0", *oifs)
        flow.wait_for(100)
    assert lab.arrived()["down0"] == flow.sent
    assert routing.mroute.sg_count(route.source.address, route.group.address).packets == len(
        flow.sent
    )


def test_a_number_that_is_used_again_carries_no_packet_of_the_old_route(
    lab: Topology, routing: LabRouting
) -> None:
    routing.add("up0", "down0", "down1")
    routing.replace("up0", "down0")
    routing.add("up0", "up1", group=lab.addresses.other_group)
    assert lab.vifs() == {0: "up0", 1: "down0", 2: "up1"}
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}


def test_a_device_that_was_made_again_before_anyone_looked_gets_its_streams_and_no_other(
    lab: Topology, routing: LabRouting
) -> None:
    routing.add("up0", "down0", "down1")
    lab.delete_link("down1")
    lab.add_links("down1")
    # The change takes in first what has happened to the interfaces.
    routing.add("up0", "down1", group=lab.addresses.other_group)
    assert set(routing.routing.states().values()) == {"active"}
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    sent = lab.sender(group=lab.addresses.other_group).send(10)
    assert lab.arrived() == {"down1": sent}


def test_a_deleted_route_forwards_nothing_more(lab: Topology, routing: LabRouting) -> None:
    route = routing.add("up0", "down0")
    sender = lab.sender()
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent}
    routing.delete(route)
    sender.send(10)
    assert lab.arrived() == {}


def test_a_flush_leaves_the_kernel_empty(lab: Topology, routing: LabRouting) -> None:
    empty = routing.state()
    some_routes(routing)
    assert routing.routing.flush() == 4
    assert routing.state() == empty
    lab.sender().send(10)
    assert lab.arrived() == {}


def some_routes(routing: LabRouting) -> None:
    """Two in each family; an interface of the one is not used by the other."""
    for any_source_group, addresses in [
        ("239.9.9.9", ADDRESSES[socket.AF_INET]),
        ("ff1e::999", ADDRESSES[socket.AF_INET6]),
    ]:
        routing.add("up0", "up1", "down0", source=addresses.source, group=addresses.group)
        routing.add("up0", "down0", source="*", group=any_source_group)


CHANGES: dict[str, Callable[[LabRouting], object]] = {
    "add": lambda routing: routing.add("down1", "up1", source=routing.lab.addresses.other_source),
    "add any source": lambda routing: routing.add("up1", "down1", source="*"),
    "replace oifs": lambda routing: routing.replace("up0", "down0", "down1"),
    "replace iif": lambda routing: routing.replace("down1", "down0"),
    "delete": lambda routing: routing.routing.delete(
        routing.lab.addresses.source, routing.lab.addresses.group
    ),
    "flush": lambda routing: routing.routing.flush(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_cannot_be_stored_is_taken_back_and_costs_no_packet(
    lab: Topology, routing: LabRouting, change: str
) -> None:
    some_routes(routing)
    before, told = routing.state(), len(routing.changes)
    routing.routing.keeper.broken = True
    with lab.sender().flow() as flow:
        flow.wait_for(20)
        with pytest.raises(StoreError):
            CHANGES[change](routing)
        flow.wait_for(20)
    assert routing.state() == before
    assert len(routing.changes) == told
    arrived = lab.arrived()
    assert arrived.keys() <= {"up1", "down0", "down1"}
    if "add" in change:
        assert arrived == {"up1": flow.sent, "down0": flow.sent}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_fails_at_any_call_leaves_everything_as_it_was(
    lab: Topology, routing: LabRouting, change: str
) -> None:
    some_routes(routing)
    before, told = routing.state(), len(routing.changes)
    sender = lab.sender()
    for calls in itertools.count():
        routing.fault.after(calls)
        try:
            CHANGES[change](routing)
        except KernelError:
            assert routing.state() == before
            assert len(routing.changes) == told
            sent = sender.send(5)
            assert lab.arrived() == {"up1": sent, "down0": sent}
        else:
            break
    assert calls >= 2
    assert routing.state() != before
    assert len(routing.changes) == told + 1

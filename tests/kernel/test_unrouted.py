"""Streams that no route covers are told of, also on interfaces that are only watched.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import socket

import pytest
from lab.routing import Routing
from lab.topology import Topology

WIDE = {socket.AF_INET: "239.0.0.0/8", socket.AF_INET6: "ff1e::/16"}
LOCAL = {socket.AF_INET: "224.0.0.251", socket.AF_INET6: "ff02::fb"}

pytestmark = pytest.mark.watching("up*")


def test_a_stream_is_told_of_once_in_ten_seconds_with_its_iif(
    lab: Topology, routing: Routing
) -> None:
    addresses = lab.addresses
    one, other = lab.sender("up1"), lab.sender("up0", group=addresses.other_group)
    for _ in range(10):
        one.send(5)
        other.send(5)
        routing.hear()
    assert lab.arrived() == {}
    assert routing.unrouted() == [
        (addresses.source, addresses.group, "up1"),
        (addresses.source, addresses.other_group, "up0"),
    ]


def test_what_never_leaves_its_link_is_not_told_of(lab: Topology, routing: Routing) -> None:
    lab.sender(group=LOCAL[lab.family]).send(3)
    lab.arrived()
    assert routing.unrouted() == []


def test_where_nothing_is_watched_and_no_route_is_nothing_is_heard(lab: Topology) -> None:
    with Routing(lab.router) as routing:
        lab.sender().send(3)
        lab.arrived()
        assert routing.unrouted() == []
        assert lab.vifs() == {}
        routing.add("*", lab.addresses.other_group, "up0", ["down0"])
        lab.sender().send(3)
        lab.arrived()
        assert routing.unrouted() == [(lab.addresses.source, lab.addresses.group, "up0")]


@pytest.mark.parametrize("oifs", [["down0"], []], ids=["a route", "a stop"])
@pytest.mark.parametrize("width", ["exact", "any source", "wide"])
def test_what_a_route_or_a_stop_covers_is_told_of_only_when_that_is_deleted(
    lab: Topology, routing: Routing, width: str, oifs: list[str]
) -> None:
    addresses = lab.addresses
    source = addresses.source if width == "exact" else "*"
    group = WIDE[lab.family] if width == "wide" else addresses.group
    routing.add(source, group, "up0", oifs)
    sender = lab.sender()
    sent = sender.send(4)
    routing.hear()
    assert lab.arrived() == dict.fromkeys(oifs, sent)
    assert routing.unrouted() == []
    routing.delete(source, group)
    sender.send(4)
    assert lab.arrived() == {}
    assert routing.unrouted() == [(addresses.source, addresses.group, "up0")]


def test_a_wide_route_from_elsewhere_does_not_cover_it(lab: Topology, routing: Routing) -> None:
    addresses = lab.addresses
    routing.add("*", WIDE[lab.family], "up0", ["down0"])
    lab.sender("up1").send(1)
    lab.arrived()
    assert routing.unrouted() == [(addresses.source, addresses.group, "up1")]


def test_the_command_that_is_told_of_routes_the_stream_from_then_on(
    lab: Topology, routing: Routing
) -> None:
    sender = lab.sender()
    first = sender.send(2)
    lab.arrived()
    ((source, group, iif),) = routing.unrouted()
    routing.add(source, group, iif, ["down1"])
    sent = sender.send(3)
    assert lab.arrived() == {"down1": first + sent}  # the kernel had kept those that waited


def test_watched_interfaces_follow_the_devices(lab: Topology, routing: Routing) -> None:
    assert set(lab.vifs().values()) == {"up0", "up1"}
    lab.delete_link("up0")
    lab.add_links("up7")
    lab.rename_link("up1", "other")
    lab.rename_link("down0", "up9")
    routing.follow()
    assert set(lab.vifs().values()) == {"up7", "up9"}
    lab.add_links("up0")
    routing.follow()
    lab.sender("up0").send(1)
    lab.arrived()
    assert routing.unrouted() == [(lab.addresses.source, lab.addresses.group, "up0")]


def test_routes_come_before_what_is_watched(family: socket.AddressFamily) -> None:
    with (
        Topology(family, downstreams=3, upstreams=34) as lab,
        Routing(lab.router, watched=["up*"]) as routing,
    ):
        assert len(lab.vifs()) == 32
        addresses = lab.addresses
        routing.add(addresses.source, addresses.group, "up33", ["down0", "down1", "down2"])
        assert len(lab.vifs()) == 32
        assert {"up33", *lab.downstreams} <= set(lab.vifs().values())
        sent = lab.sender("up33").send(3)
        assert lab.arrived() == dict.fromkeys(lab.downstreams, sent)
        routing.flush()
        assert len(lab.vifs()) == 32
        assert set(lab.vifs().values()).isdisjoint(lab.downstreams)


def test_the_next_process_watches_what_the_last_one_did(lab: Topology, routing: Routing) -> None:
    addresses = lab.addresses
    routing.add(addresses.source, addresses.group, "up0", ["down0"])
    with lab.sender().flow() as flow:
        flow.wait_for(100)
        kept = routing.leave_sockets()
        with Routing(lab.router, routing.keeper, kept, watched=["up*"]) as routing:
            flow.wait_for(100)
            flow.stop()
            assert lab.arrived() == {"down0": flow.sent}
            assert set(lab.vifs().values()) == {"up0", "up1", "down0"}
            lab.sender("up1", group=addresses.other_group).send(1)
            lab.arrived()
            assert routing.unrouted() == [(addresses.source, addresses.other_group, "up1")]


def test_of_a_flood_a_bounded_number_is_told_and_remembered(
    lab: Topology, routing: Routing
) -> None:
    routing.add(lab.addresses.source, lab.addresses.group, "up0", ["down0"])
    base = "239.9." if lab.family == socket.AF_INET else "ff1e::9:"
    with routing.hearing():
        for number in range(2000):
            high, low = divmod(number, 200)
            separator = "." if lab.family == socket.AF_INET else ":"
            sender = lab.sender(group=f"{base}{high + 1}{separator}{low + 1}")
            sender.send(1)
            sender.close()
        sent = lab.sender().send(100)
        assert lab.arrived() == {"down0": sent}
    told = len(routing.unrouted())
    assert 100 <= told <= 400  # 20 s would be slow

"""Routes that are wider than an entry of the kernel: streams are learned, move, and expire.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import socket
import struct
from typing import NamedTuple

import pytest
from lab.routing import Routing
from lab.topology import Topology
from lab.witness import Entry, vifs

from mfc_dbus.model.errors import InvalidArgs

# Packets a second. The kernel keeps 4 packets of a new stream, and here who hears of it shares one
# interpreter with who sends.
NORMAL = 250


class Prefixes(NamedTuple):
    """Of the lab's stream: the narrow group prefix has its group alone, the wide ones both."""

    source: str
    group: str
    wide_group: str


PREFIXES = {
    socket.AF_INET: Prefixes("10.1.0.0/24", "239.1.2.2/31", "239.0.0.0/8"),
    socket.AF_INET6: Prefixes("fd01::/64", "ff1e::122/127", "ff1e::/16"),
}


@pytest.fixture
def prefixes(family: socket.AddressFamily) -> Prefixes:
    return PREFIXES[family]


def test_a_cold_stream_of_1000_packets_a_second_loses_none(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add(prefixes.source, prefixes.group, "up0", ["down0", "down1"])
    assert lab.entries() == set()
    with routing.hearing(), lab.sender().flow(rate=NORMAL) as flow:
        flow.wait_for(500)
    assert lab.arrived() == {"down0": flow.sent, "down1": flow.sent}
    addresses = lab.addresses
    oifs = frozenset({("down0", 1), ("down1", 1)})
    assert lab.entries() == {Entry(addresses.source, addresses.group, "up0", oifs)}


def test_a_burst_of_four_waits_in_the_kernel_until_it_is_heard(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    sent = lab.sender().send(4)
    assert lab.arrived() == {}
    routing.hear()
    assert lab.arrived() == {"down0": sent}


def test_many_streams_may_begin_at_once(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    base = "239.9.9." if lab.family == socket.AF_INET else "ff1e::9:"
    sent = [number for n in range(1, 201) for number in lab.sender(group=f"{base}{n}").send(1)]
    for _ in range(4):
        routing.hear()
    assert lab.arrived() == {"down0": sent}


def test_what_no_route_covers_is_not_forwarded_and_learned_only_for_where_one_would(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    addresses = lab.addresses
    routing.add(prefixes.source, prefixes.group, "up0", ["down0"])
    routing.add("*", addresses.other_group, "up1", ["down1"])
    lab.sender(group=addresses.other_group).send(3)
    lab.sender("up1").send(3)
    routing.hear()
    assert routing.learned() == {(addresses.source, addresses.group, "up0", ("down0",))}
    assert lab.arrived() == {}


def test_a_stream_that_came_before_its_route_is_forwarded_with_what_waits_of_it(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    addresses = lab.addresses
    routing.add(addresses.other_source, addresses.group, "up0", ["down1"])
    sender, other = lab.sender(), lab.sender(group=addresses.other_group)
    waiting = sender.send(3)
    other.send(3)
    routing.hear()
    assert lab.arrived() == {}
    routing.add(prefixes.source, prefixes.group, "up0", ["down0"])
    sent = sender.send(20)
    assert lab.arrived() == {"down0": waiting + sent}
    assert [stream[1] for stream in routing.learned()] == [addresses.group]
    routing.delete(prefixes.source, prefixes.group)
    assert routing.learned() == set()


def test_the_most_specific_route_wins(lab: Topology, routing: Routing, prefixes: Prefixes) -> None:
    addresses = lab.addresses
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    routing.add(prefixes.source, prefixes.wide_group, "up0", ["down1"])
    routing.add(addresses.source, prefixes.group, "up0", ["up1"])
    wide = lab.sender(source="10.2.0.1" if lab.family == socket.AF_INET else "fd02::1")
    narrow = lab.sender(source=addresses.other_source)
    exact = lab.sender()
    with routing.hearing():
        sent = [sender.send(3) for sender in (wide, narrow, exact)]
        packets: dict[str, list[int]] = {}
        while len(packets) < 3:
            packets |= lab.arrived()
    assert packets == {"down0": sent[0], "down1": sent[1], "up1": sent[2]}


def test_a_stop_blocks_part_of_a_wider_route_and_a_route_part_of_a_wider_stop(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    addresses = lab.addresses
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    routing.add(prefixes.source, prefixes.group, "up0", [])
    routing.add(addresses.source, addresses.group, "up0", ["down1"])
    stopped = lab.sender(source=addresses.other_source)
    for _ in range(2):
        stopped.send(3)
        routing.hear()
    sent = lab.sender().send(3)
    assert lab.arrived() == {"down1": sent}
    assert routing.learned() == {(addresses.other_source, addresses.group, "up0", ())}


def test_a_change_of_the_route_is_a_change_of_its_streams_at_once(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    with routing.hearing(), lab.sender().flow(rate=NORMAL) as flow:
        flow.wait_for(100)
        routing.add("*", prefixes.wide_group, "up0", ["down0", "down1"], replace=True)
        since = len(flow.sent) + 1  # one may have been on its way
        flow.wait_for(100)
        routing.add("*", prefixes.group, "up0", ["down0", "up1"])
        flow.wait_for(100)
    arrived = lab.arrived()
    assert arrived["down0"] == flow.sent
    assert set(arrived["down1"]) >= set(flow.sent[since : since + 90])
    assert arrived["up1"][-50:] == flow.sent[-50:]

    sender = lab.sender()
    routing.delete("*", prefixes.group)
    sent = sender.send(5)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    routing.delete("*", prefixes.wide_group)
    sender.send(5)
    assert (lab.arrived(), lab.entries(), lab.vifs()) == ({}, set(), {})


def test_an_exact_route_takes_the_entry_over_and_no_packet_is_lost(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    addresses = lab.addresses
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    with routing.hearing(), lab.sender().flow(rate=NORMAL) as flow:
        flow.wait_for(100)
        routing.add(addresses.source, addresses.group, "up0", ["down0", "down1"])
        flow.wait_for(100)
    assert lab.arrived()["down0"] == flow.sent
    assert routing.learned() == set()
    routing.delete(addresses.source, addresses.group)
    sent = lab.sender().send(4)
    routing.hear()
    assert lab.arrived() == {"down0": sent}
    assert routing.learned() == {(addresses.source, addresses.group, "up0", ("down0",))}


def test_a_stream_that_arrives_on_another_covered_interface_moves_there(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    routing.add("*", prefixes.wide_group, "up1", ["down1"])
    first, second = lab.sender("up0"), lab.sender("up1")
    first.send(1)
    routing.hear()
    sent = first.send(5)
    assert lab.arrived()["down0"][-5:] == sent
    second.send(1)
    routing.hear()
    second.send(4)
    assert lab.arrived() == {}
    routing.look(1)
    sent = second.send(5)
    assert lab.arrived() == {"down1": sent}


def test_a_stream_expires_when_no_packet_uses_it_and_not_before(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    sender = lab.sender()
    sender.send(1)
    routing.hear()
    for seconds in (16, 32, 48, 64, 80):
        sender.send(1)
        lab.arrived()
        routing.look(seconds)
    assert len(lab.entries()) == 1
    lab.sender("up1").send(1)  # on the wrong interface
    lab.arrived()
    for seconds in (100, 120, 138):
        routing.look(seconds)
        assert len(lab.entries()) == 1
    routing.look(160)
    assert lab.entries() == set()
    assert routing.learned() == set()
    sent = sender.send(4)
    routing.hear()
    assert lab.arrived() == {"down0": sent}


@pytest.mark.parametrize("width", ["the kernel's own", "learned"])
def test_any_source_has_the_senders_in_it_that_the_kernel_forwards(
    family: socket.AddressFamily, lab: Topology, routing: Routing, prefixes: Prefixes, width: str
) -> None:
    """Whatever addresses they have: nobody looks at these in an any-source entry of the kernel."""
    group = prefixes.wide_group if width == "learned" else lab.addresses.group
    routing.add("*", group, "up0", ["down0"])
    odd = ["169.254.1.1", "0.1.2.3"] if family == socket.AF_INET else ["fe80::10"]
    sent = []
    for source in odd:
        sent += lab.sender(source=source).send(3)
        routing.hear()
    assert lab.arrived() == {"down0": sent}


@pytest.mark.parametrize("width", ["the kernel's own", "learned"])
def test_a_stop_may_keep_link_local_senders_on_their_link(
    lab: Topology, routing: Routing, prefixes: Prefixes, width: str
) -> None:
    if lab.family == socket.AF_INET:
        return
    group = prefixes.wide_group if width == "learned" else lab.addresses.group
    routing.add("*", group, "up0", ["down0"])
    routing.add("fe80::/10", group, "up0", [])
    held, other = lab.sender(source="fe80::10"), lab.sender()
    sent = []
    for _ in range(2):
        held.send(2)
        sent += other.send(2)
        routing.hear()
    assert lab.arrived() == {"down0": sent}
    with pytest.raises(InvalidArgs, match="only a route without oifs may name it"):
        routing.add("fe80::10", lab.addresses.group, "up0", ["down0"])


def test_a_sender_without_an_address_is_not_learned_as_any(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    """An entry of a source of zeros would be one of any source, beside all that routes say."""
    if lab.family == socket.AF_INET:
        return  # the kernel drops them
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    routing.add(prefixes.source, prefixes.wide_group, "up0", [])
    group = socket.inet_pton(lab.family, lab.addresses.group)
    udp = struct.pack("!HHHH", 5000, 5000, 8, 0xFFFF)
    packet = struct.pack("!IHBB16s16s", 0x60000000, len(udp), 17, 64, bytes(16), group) + udp
    with lab.outside, socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
        raw.sendto(packet, ("up0", 0x86DD, 0, 0, b"\x33\x33" + group[12:]))
    lab.arrived()
    routing.hear()
    assert routing.learned() == set()
    lab.sender().send(2)
    routing.hear()
    lab.sender().send(2)
    assert lab.arrived() == {}


@pytest.mark.parametrize("order", [1, -1])
def test_any_source_routes_that_feed_each_other_both_forward(
    lab: Topology, routing: Routing, order: int
) -> None:
    group = lab.addresses.group
    pair = [("up0", ["up1", "down0"]), ("up1", ["up0", "down1"])][::order]
    iif, oifs = pair[0]
    routing.add("*", group, iif, oifs)
    assert len(lab.entries()) == 1
    iif, oifs = pair[1]
    routing.add("*", group, iif, oifs)
    assert lab.entries() == set()
    other = lab.sender("up1", source=lab.addresses.other_source)
    with (
        routing.hearing(),
        lab.sender("up0").flow(rate=NORMAL) as one,
        other.flow(rate=NORMAL) as two,
    ):
        one.wait_for(300)
        two.wait_for(300)
    arrived = lab.arrived()
    assert arrived == {
        "up1": one.sent,
        "down0": one.sent,
        "up0": two.sent,
        "down1": two.sent,
    }
    routing.delete("*", group, "up1")
    assert [entry for entry in lab.entries() if entry.source == lab.addresses.any_source]
    sent = lab.sender("up0").send(50)
    assert lab.arrived() == {"up1": sent, "down0": sent}


def test_the_next_process_keeps_what_was_learned(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up0", ["down0"])
    mroute = routing.mroutes[lab.family]
    with lab.sender().flow(rate=NORMAL) as flow:
        with routing.hearing():
            flow.wait_for(100)
        kept = routing.leave_sockets()
        flow.wait_for(100)
        with Routing(lab.router, routing.keeper, kept) as routing, routing.hearing():
            flow.wait_for(100)
            learned = routing.learned()
            mroute = routing.mroutes[lab.family]
            flow.stop()
            assert lab.arrived() == {"down0": flow.sent}
            (entry,) = learned
            source, group = (socket.inet_pton(lab.family, each) for each in entry[:2])
            assert mroute.sg_count(source, group).packets == len(flow.sent)
            routing.delete("*", prefixes.wide_group)
            assert lab.entries() == set()


def test_a_pattern_takes_in_interfaces_that_come_later(
    lab: Topology, routing: Routing, prefixes: Prefixes
) -> None:
    routing.add("*", prefixes.wide_group, "up?", ["down*"])
    lab.sender("up1").send(1)
    routing.hear()
    assert set(lab.arrived()) == {"down0", "down1"}
    lab.add_links("down7", "up7")
    routing.follow()
    sent = lab.sender("up1").send(5)
    assert lab.arrived() == dict.fromkeys(("down0", "down1", "down7"), sent)
    sent = lab.sender("up7", group=lab.addresses.other_group).send(4)
    routing.hear()
    assert lab.arrived() == dict.fromkeys(("down0", "down1", "down7"), sent)
    lab.delete_link("down1")
    routing.follow()
    sent = lab.sender("up1").send(5)
    assert lab.arrived() == dict.fromkeys(("down0", "down7"), sent)


def test_a_pattern_of_40_interfaces_uses_32_and_says_which_are_left_out(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=40) as lab, Routing(lab.router) as routing:
        routing.add("*", PREFIXES[family].wide_group, "up0", ["down*"])
        assert len(vifs(lab.router, family)) == 32
        (status,) = routing.controller.view.routes.values()
        assert status.state == "partial"
        left_out = {name for name in lab.downstreams if f"'{name}'" in status.reason}
        assert len(left_out) == 9
        assert left_out.isdisjoint(vifs(lab.router, family).values())
        sent = lab.sender().send(4)
        routing.hear()
        assert lab.arrived() == dict.fromkeys(set(lab.downstreams) - left_out, sent)
        for name in sorted(set(lab.downstreams) - left_out)[:9]:
            lab.delete_link(name)
        routing.follow()
        assert routing.state == "active"


def test_a_route_that_names_interfaces_takes_the_room_of_a_pattern_whose_others_lose_nothing(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=40, upstreams=2) as lab, Routing(lab.router) as routing:
        routing.add("*", PREFIXES[family].wide_group, "up0", ["down*"])
        before = set(vifs(lab.router, family).values())
        named = max(set(lab.downstreams) - before)
        given_up = sorted(before)[-3:-1]  # and not the iif, which is the last
        with lab.sender().flow(NORMAL // 10) as flow, routing.hearing():
            flow.wait_for(5)
            other = lab.addresses.other_group
            routing.add(lab.addresses.source, other, "up1", [named])
            flow.wait_for(5)
        arrived = lab.arrived()
        assert arrived.keys() == before - {"up0"} | {named}  # for which the pattern is, too
        for name in before - {"up0", *given_up}:
            assert arrived[name] == flow.sent
        for name in given_up:
            assert arrived[name] == flow.sent[: len(arrived[name])] != flow.sent
        sent = lab.sender("up1", group=other).send(10)
        assert lab.arrived() == {named: sent}
        assert set(vifs(lab.router, family).values()) == before - {*given_up} | {"up1", named}

"""Multicast Router Discovery: the bytes on the wire, and what a switch makes of them.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

import errno
import os
import socket
import time
from collections.abc import Iterator

import pytest
from lab.igmp import Member, members
from lab.mrd import Listener, Message
from lab.packets import Sender
from lab.privileges import in_child
from lab.switch import Switch
from lab.table import Table
from lab.topology import Topology

from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.groups import GroupSocket
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.model.addresses import Family

INTERVAL = 20
SNOOPERS = {socket.AF_INET: "224.0.0.106", socket.AF_INET6: "ff02::6a"}
ADDRESSES = {socket.AF_INET: "10.9.0.1", socket.AF_INET6: "fe80::1"}
ROUTER_ALERT = {
    socket.AF_INET: bytes.fromhex("94040000"),
    # The next header is ICMPv6, and two bytes of padding make it 8.
    socket.AF_INET6: bytes.fromhex("3a00 0502 0000 0100"),
}
ADVERTISEMENT = {socket.AF_INET: 0x30, socket.AF_INET6: 151}
TERMINATION = {socket.AF_INET: 0x32, socket.AF_INET6: 153}


@pytest.fixture
def addressed(lab: Topology) -> Topology:
    """The lab, with an address on up0 that the RFC would have as a source, and a global one."""
    lab.router.ip("address add fd09::1/64 dev up0 nodad")
    lab.router.ip(f"address add {ADDRESSES[lab.family]}/24 dev up0 {nodad(lab.family)}")
    return lab


@pytest.fixture
def far_end(lab: Topology) -> Iterator[Listener]:
    with Listener(lab.outside, "up0") as listener:
        yield listener


def nodad(family: Family) -> str:
    return "nodad" if family == socket.AF_INET6 else ""


def heard(lab: Topology, listener: Listener) -> list[Message]:
    """All that was said until now."""
    lab.packets()
    return listener.so_far()


def says(table: Table, lab: Topology, ifindex: int) -> None:
    with lab.router:
        table.mroute.advertise(ifindex, INTERVAL)


# On the wire


def test_an_advertisement_is_as_the_rfc_has_it(
    addressed: Topology, table: Table, far_end: Listener
) -> None:
    family = addressed.family
    says(table, addressed, addressed.ifindex("up0"))
    (message,) = heard(addressed, far_end)
    source, group = ADDRESSES[family], SNOOPERS[family]
    assert message[:5] == (family, source, group, 1, ROUTER_ALERT[family])
    assert message.body[:2] == bytes([ADVERTISEMENT[family], INTERVAL])
    assert message.sound
    assert message.body[4:] == bytes(4)


def test_a_termination_is_as_the_rfc_has_it(
    addressed: Topology, table: Table, far_end: Listener
) -> None:
    family = addressed.family
    with addressed.router:
        table.mroute.terminate(addressed.ifindex("up0"))
    (message,) = heard(addressed, far_end)
    source, group = ADDRESSES[family], SNOOPERS[family]
    assert message[:5] == (family, source, group, 1, ROUTER_ALERT[family])
    assert message.body[:2] == bytes([TERMINATION[family], 0])
    assert message.sound
    assert len(message.body) == 4


@pytest.mark.parametrize("interval", [4, 180])
def test_any_interval_has_the_right_checksum(
    addressed: Topology, table: Table, far_end: Listener, interval: int
) -> None:
    with addressed.router:
        table.mroute.advertise(addressed.ifindex("up0"), interval)
    (message,) = heard(addressed, far_end)
    assert (message.interval, message.sound) == (interval, True)


def test_it_is_said_on_one_device_alone(addressed: Topology, table: Table) -> None:
    others = [Listener(addressed.outside, name) for name in ("up1", "down0", "down1")]
    says(table, addressed, addressed.ifindex("up0"))
    addressed.packets()
    for listener in others:
        with listener:
            assert listener.so_far() == []


def test_it_takes_no_capability(addressed: Topology, table: Table, far_end: Listener) -> None:
    up0 = addressed.ifindex("up0")

    def child() -> str:
        addressed.router.enter()
        drop_all()
        table.mroute.advertise(up0, INTERVAL)
        return "said"

    assert in_child(child) == "said"
    assert [message.options for message in heard(addressed, far_end)] == [
        ROUTER_ALERT[addressed.family]
    ]


@pytest.mark.parametrize("capable", [True, False])
def test_a_socket_that_was_kept_says_it_too(
    addressed: Topology, table: Table, far_end: Listener, capable: bool
) -> None:
    up0 = addressed.ifindex("up0")
    if capable and addressed.family == socket.AF_INET6:  # one of an earlier version
        unprepared = socket.socket(fileno=os.dup(table.mroute.fileno()))
        unprepared.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, b"")
        unprepared.close()

    def child() -> str:
        addressed.router.enter()
        if not capable:
            drop_all()
        with MRoute(addressed.family, kept=os.dup(table.mroute.fileno())) as kept:
            drop_all()
            kept.advertise(up0, INTERVAL)
        return "said"

    assert in_child(child) == "said"
    assert [message.options for message in heard(addressed, far_end)] == [
        ROUTER_ALERT[addressed.family]
    ]


def test_what_comes_back_to_us_is_no_upcall(addressed: Topology, table: Table) -> None:
    up0 = addressed.ifindex("up0")
    group = socket.inet_pton(addressed.family, SNOOPERS[addressed.family])
    with addressed.router, GroupSocket(addressed.family) as member:
        member.join(group, up0, bytes(len(group)))
        table.mroute.advertise(up0, INTERVAL)
    addressed.packets()
    assert table.mroute.upcalls(100) == []


# What can go wrong


def test_without_an_address_of_the_right_kind_it_says_nothing_in_ipv6(
    lab: Topology, table: Table, far_end: Listener
) -> None:
    up0 = lab.ifindex("up0")
    if lab.family == socket.AF_INET:
        says(table, lab, up0)
        assert [message.source for message in heard(lab, far_end)] == ["0.0.0.0"]
        return
    for address in ("", "fd09::1/64"):
        if address:
            lab.router.ip(f"address add {address} dev up0 nodad")
        with pytest.raises(OSError, check=lambda error: error.errno == errno.EADDRNOTAVAIL):
            says(table, lab, up0)
    assert heard(lab, far_end) == []


def test_a_device_that_is_down_or_has_gone_is_an_error(addressed: Topology, table: Table) -> None:
    up0 = addressed.ifindex("up0")
    addressed.router.ip("link set dev up0 down")
    with pytest.raises(OSError, check=lambda error: error.errno == errno.ENETUNREACH):
        says(table, addressed, up0)
    addressed.delete_link("up0")
    gone = (errno.ENODEV, errno.ENETUNREACH)
    with pytest.raises(OSError, check=lambda error: error.errno in gone):
        says(table, addressed, up0)


# What a switch makes of it


@pytest.fixture
def switch(lab: Topology) -> Iterator[Switch]:
    with Switch(lab) as switch:
        lab.router.ip(f"address add {ADDRESSES[lab.family]}/24 dev lan {nodad(lab.family)}")
        yield switch


@pytest.fixture
def sender(lab: Topology, table: Table, switch: Switch) -> Sender:
    """It sends to the router through the switch, which withholds it by now."""
    table.add_vifs("lan")
    table.mroute.add_mfc(table.entry("lan", "down0"))
    sender = lab.sender("lan")
    deadline = time.monotonic() + 10
    while lab.arrived() or not sender.send(1) or lab.arrived():
        assert time.monotonic() < deadline, "the switch withholds nothing"
    return sender


def test_a_switch_withholds_the_stream_until_it_hears_of_the_router(
    lab: Topology, table: Table, switch: Switch, sender: Sender
) -> None:
    sender.send(20)
    assert lab.arrived() == {}
    assert switch.router_ports == set()

    says(table, lab, lab.ifindex("lan"))
    lab.packets()
    assert switch.router_ports == {"router"}
    sent = sender.send(20)
    assert lab.arrived() == {"down0": sent}
    assert table.sg_count().packets >= len(sent)


def test_nobody_had_to_join(lab: Topology, table: Table, switch: Switch, sender: Sender) -> None:
    says(table, lab, lab.ifindex("lan"))
    sent = sender.send(5)
    assert lab.arrived() == {"down0": sent}
    assert Member("lan", lab.addresses.group) not in members(lab.router)

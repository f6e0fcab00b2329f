"""What is read without privilege of counters, interfaces, settings, rules and ways, with packets.

up0 ──┐        ┌── down0
      │ router │
up1 ──┘        └── down1
"""

import contextlib
import os
import shlex
import socket
import subprocess
from ipaddress import ip_address

import pytest
from lab.installed import eventually
from lab.privileges import NOBODY, Child, become
from lab.topology import Topology

from mfc_dbus.kernel import counters, groups, link_details, mdb, queues, rules, sysctls, unicast
from mfc_dbus.kernel.queues import Dropped
from mfc_dbus.kernel.rules import AnyRule

WORDS = {socket.AF_INET: "-4", socket.AF_INET6: "-6"}


def type_(lab: Topology, command: str) -> None:
    with lab.router:
        subprocess.run(shlex.split(command), check=True, capture_output=True)


def test_what_arrives_is_counted_by_the_interface_and_by_ip(lab: Topology) -> None:
    def read() -> tuple[int, int]:
        with lab.router:
            ip = counters.ipv4() if lab.family == socket.AF_INET else counters.ipv6("up0")
            name = "IpInReceives" if lab.family == socket.AF_INET else "Ip6InReceives"
            return counters.links()["up0"].rx_packets, ip[name]

    before = read()
    lab.sender().send(7)
    lab.packets()  # which sends frames of its own, that are no IP
    after = read()
    assert after[0] - before[0] >= 7
    assert after[1] - before[1] == 7
    with lab.router:
        assert counters.ipv6("gone0") == {}


def test_a_port_knows_its_bridge_and_a_bridge_that_it_snoops_and_who_has_joined(
    lab: Topology,
) -> None:
    lab.router.ip(
        "link add name br0 type bridge mcast_snooping 1",
        "link set dev br0 up",
        "link set dev up0 master br0",
    )
    group = ip_address(lab.addresses.group).packed
    bridge, port = lab.ifindex("br0"), lab.ifindex("up0")
    with lab.router:
        assert link_details.details(port) == (1500, bridge, False)
        assert link_details.details(bridge) == (1500, 0, True)
        assert group not in mdb.groups(bridge)
        lab.router.ip("link set dev br0 type bridge mcast_snooping 0")
        assert link_details.details(bridge) == (1500, 0, False)
        with pytest.raises(OSError, match="No such device"):
            link_details.details(9999)


def test_a_member_behind_a_port_is_in_the_bridges_database(lab: Topology) -> None:
    lab.router.ip(
        "link add name br0 type bridge mcast_snooping 1",
        "link set dev br0 up",
        "link set dev up0 master br0",
    )
    group = lab.addresses.group
    with lab.router:
        type_(lab, f"bridge mdb add dev br0 port up0 grp {group} permanent")
        assert ip_address(group).packed in mdb.groups(lab.ifindex("br0"))
        assert mdb.groups(lab.ifindex("up0")) == set()


def test_what_a_queue_has_no_room_for_is_counted(lab: Topology) -> None:
    type_(lab, "tc qdisc add dev down0 root tbf rate 8kbit burst 200 limit 200")
    with lab.router, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        ifindex = lab.ifindex("down0")
        assert queues.drops()[ifindex] == Dropped(0, "tbf")
        sock.setblocking(False)
        for _ in range(20):
            with contextlib.suppress(OSError):  # there is no room
                sock.sendto(bytes(100), ("down0", 0x88B6))
        assert queues.drops()[ifindex].queue > 0


def test_what_filters_drop_is_counted_beside_the_queue(lab: Topology) -> None:
    type_(lab, "tc qdisc add dev down0 clsact")
    type_(lab, "tc filter add dev down0 egress bpf direct-action bytecode '1,6 0 0 2'")
    with lab.router, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        for _ in range(3):
            with contextlib.suppress(OSError):  # it hears of it
                sock.sendto(bytes(100), ("down0", 0x88B6))
        assert queues.drops()[lab.ifindex("down0")] == Dropped(0, "noqueue", 3)


def test_settings_are_those_of_the_namespace(lab: Topology) -> None:
    lab.router.sysctl("ipv4/conf/all/rp_filter", 1)
    lab.router.sysctl("ipv4/conf/up0/rp_filter", 2)
    lab.router.sysctl("ipv6/conf/up0/disable_ipv6", 1)
    with lab.router:
        assert sysctls.rp_filter("up0") == (1, 2)
        assert not sysctls.has_ipv6("up0")
        assert sysctls.has_ipv6("up1")


def test_the_way_to_an_address_is_an_interface_or_this_machine_or_there_is_none(
    lab: Topology,
) -> None:
    own, other, unknown, length, nodad = (
        ("10.9.0.1", "10.9.0.2", "10.10.0.1", 24, "")
        if lab.family == socket.AF_INET
        else ("fd09::1", "fd09::2", "fd10::1", 64, " nodad")
    )
    lab.router.ip(f"address add {own}/{length} dev up1{nodad}")
    with lab.router:
        assert unicast.way_to(lab.family, ip_address(other).packed) == lab.ifindex("up1")
        # IPv6 makes that route in the background.
        eventually(
            lambda: unicast.way_to(lab.family, ip_address(own).packed) == unicast.LOCAL,
        )
        with pytest.raises(OSError, match="unreachable"):
            unicast.way_to(lab.family, ip_address(unknown).packed)


def test_rules_of_all_are_read_in_their_order(lab: Topology) -> None:
    word = WORDS[lab.family]
    type_(lab, f"ip {word} mrule add iif up0 table 100 pref 200")
    type_(lab, f"ip {word} mrule add blackhole iif up1 pref 100")
    type_(lab, f"ip {word} mrule add fwmark 7 table 9 pref 300")
    type_(lab, f"ip {word} mrule add not iif up0 table 9 pref 400")
    with lab.router:
        found = rules.of_all(lab.family)
    assert found == [
        AnyRule(100, "up1", None, False, False),
        AnyRule(200, "up0", 100, False, False),
        AnyRule(300, "", 9, False, True),
        AnyRule(400, "up0", 9, True, False),
        AnyRule(32767, "", 0, False, False),
    ]


def test_all_of_it_is_read_without_privilege(lab: Topology) -> None:
    ifindex = lab.ifindex("up0")

    def run() -> str:
        lab.router.enter()
        become(NOBODY)
        counters.links()
        counters.ipv4()
        counters.ipv6("up0")
        link_details.details(ifindex)
        mdb.groups(ifindex)
        queues.drops()
        rules.of_all(lab.family)
        sysctls.rp_filter("up0")
        sysctls.has_ipv6("up0")
        return str(os.getuid())

    assert Child(run).wait() == str(NOBODY)


def test_joins_are_read_whatever_bytes_devices_are_called_by(lab: Topology) -> None:
    lab.router.ip_exactly("link", "add", "name", "x\udcff\x1c", "type", "bridge")
    lab.router.ip_exactly("link", "set", "dev", "x\udcff\x1c", "up")
    group = ip_address(lab.addresses.group).packed
    with lab.router, groups.GroupSocket(lab.family) as sock:
        sock.join(group, lab.ifindex("up0"), bytes(len(group)))
        assert (group, lab.ifindex("up0")) in groups.held()

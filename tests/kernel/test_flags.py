"""Interfaces that say of themselves that they carry no multicast: routes that name them do not ask.

up0 ──┐ router ┌── down0
      │        ├── down1
      └── tun ─┘
"""

import pytest
from lab.routing import Routing
from lab.topology import Topology
from lab.tun import Tun


@pytest.mark.parametrize("name", ["up0", "down0"])
def test_without_the_flag_all_is_forwarded_whenever_that_was_set(
    lab: Topology, routing: Routing, source: str, name: str
) -> None:
    lab.router.ip(f"link set dev {name} multicast off")
    routing.follow()
    routing.add(source, lab.addresses.group, "up0", ["down0"])
    sender = lab.sender()
    assert lab.arrived() == {}
    sent = sender.send(7)
    assert lab.arrived() == {"down0": sent}
    for flag in ("on", "off"):
        lab.router.ip(f"link set dev {name} multicast {flag}")
        routing.follow()
        assert routing.state == "active"
        sent = sender.send(7)
        assert lab.arrived() == {"down0": sent}


@pytest.mark.parametrize("flag", ["on", "off"])
def test_a_point_to_point_device_is_forwarded_from_and_to(
    lab: Topology, routing: Routing, source: str, flag: str
) -> None:
    with Tun(lab.router, "tun0", lab.run) as tun:
        lab.router.ip(f"link set dev tun0 multicast {flag}")
        routing.follow()
        routing.add(source, lab.addresses.group, "up0", ["down0", "tun0"])
        sent = lab.sender().send(7)
        assert lab.arrived() == {"down0": sent}
        assert tun.arrived(lab.addresses.group) == 7
        routing.flush()
        routing.add(source, lab.addresses.group, "tun0", ["down0", "down1"])
        sent = tun.send(lab.addresses.source, lab.addresses.group, 7)
        assert lab.arrived() == {"down0": sent, "down1": sent}


def test_an_interface_that_comes_without_the_flag_is_taken_like_one_that_is_there(
    lab: Topology, routing: Routing
) -> None:
    routing.add("*", lab.addresses.group, "up0", ["tun0"], wait=True)
    with Tun(lab.router, "tun0", lab.run) as tun:
        lab.router.ip("link set dev tun0 multicast off")
        routing.follow()
        assert routing.state == "active"
        lab.sender().send(7)
        lab.arrived()
        assert tun.arrived(lab.addresses.group) == 7


def test_a_pattern_is_only_for_interfaces_with_the_flag(lab: Topology, routing: Routing) -> None:
    lab.router.ip("link set dev down1 multicast off")
    routing.follow()
    routing.add("*", lab.addresses.group, "up0", ["down*"])
    sender = lab.sender()
    sent = sender.send(7)
    assert lab.arrived() == {"down0": sent}
    lab.router.ip("link set dev down1 multicast on")
    routing.follow()
    sent = sender.send(7)
    assert lab.arrived() == {"down0": sent, "down1": sent}

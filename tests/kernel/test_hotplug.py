"""Routes follow their interfaces: by the kernel's own events, with real packets.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1

What the kernel does, it has told when `ip` returns: nothing here waits for an event.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest
from lab.netns import Namespace
from lab.routing import Routing
from lab.topology import Topology

from mfc_dbus.kernel.links import Missed
from mfc_dbus.model.route import MAX_VIFS

_SMALL = 2048  # bytes, for some two events


def told(routing: Routing) -> list[str]:
    """The states that RoutesChanged would have told."""
    return [status.state for change in routing.changes for status in change.changed]


# An interface goes, and another comes by its name


def test_a_route_is_partial_as_soon_as_an_oif_has_gone_and_active_when_it_is_back(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    before = lab.ifindex("down1")
    lab.delete_link("down1")
    routing.follow()
    assert routing.state == "partial"
    sender = lab.sender()
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent}
    lab.add_links("down1")
    routing.follow()
    assert lab.ifindex("down1") != before
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    assert told(routing) == ["partial", "active"]


def test_a_route_waits_as_soon_as_its_iif_has_gone_and_is_active_when_it_is_back(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    lab.delete_link("up0")
    routing.follow()
    assert routing.state == "waiting"
    assert lab.entries() == set()
    assert lab.vifs() == {}
    lab.add_links("up0")
    routing.follow()
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    assert told(routing) == ["waiting", "active"]


def test_what_stays_loses_nothing_while_another_oif_goes_and_comes(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    with lab.sender().flow() as flow:
        for _ in range(3):
            lab.delete_link("down1")
            routing.follow()
            flow.wait_for(10)
            lab.add_links("down1")
            routing.follow()
            flow.wait_for(10)
    assert lab.arrived()["down0"] == flow.sent


def test_an_interface_that_comes_back_before_anybody_looked_is_used_under_its_new_index(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    lab.delete_link("down1")
    lab.delete_link("up0")
    lab.add_links("up0", "down1")
    routing.follow()
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    assert routing.state == "active"


def test_an_interface_that_moves_to_another_namespace_goes_and_comes_under_the_same_index(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    before = lab.ifindex("down1")
    with closing(Namespace()) as elsewhere:
        lab.router.ip(f"link set dev down1 netns {elsewhere.path}")
        routing.follow()
        assert routing.state == "partial"
        elsewhere.ip(f"link set dev down1 netns {lab.router.path}")
    lab.router.ip("link set dev down1 up")
    lab.wait_until_up()
    routing.follow()
    assert lab.ifindex("down1") == before
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}


def test_a_rename_is_a_going_and_a_coming(lab: Topology, routing: Routing, source: str) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    sender = lab.sender()
    lab.rename_link("down1", "lan0")
    routing.follow()
    assert routing.state == "partial"
    assert sorted(lab.vifs().values()) == ["down0", "up0"]
    lab.rename_link("lan0", "down1")
    lab.wait_until_up()
    routing.follow()
    sent = sender.send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}
    assert told(routing) == ["partial", "active"]


def test_two_interfaces_that_change_names_change_packets(
    lab: Topology, routing: Routing, source: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0"])
    before = lab.ifindex("down0")
    lab.rename_link("down0", "swap")
    lab.rename_link("down1", "down0")
    lab.rename_link("swap", "down1")
    lab.wait_until_up()
    routing.follow()
    sent = lab.sender().send(10)
    assert lab.ifindex("down0") != before
    assert lab.arrived() == {"down0": sent}
    assert routing.state == "active"


def test_down_and_up_is_no_going(lab: Topology, routing: Routing) -> None:
    routing.add(lab.addresses.source, lab.addresses.group, "up0", ["down0"])
    before = lab.entries()
    lab.router.ip("link set dev down0 down")
    routing.follow()
    assert routing.told == ("waiting", "Interface 'down0' is down")
    assert lab.entries() == before
    lab.router.ip("link set dev down0 up")
    lab.wait_until_up()
    routing.follow()
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent}
    assert told(routing) == ["waiting", "active"]


@pytest.mark.parametrize("name", ["up0", "down0"])
def test_a_route_waits_while_the_far_end_of_a_link_is_down(
    lab: Topology, routing: Routing, source: str, name: str
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0"])
    lab.outside.ip(f"link set dev {name} down")
    lab.router.ip(f"link show dev {name}")  # hurries the event, see wait_until_up
    routing.follow()
    assert routing.told == ("waiting", f"Interface '{name}' has no carrier")
    lab.outside.ip(f"link set dev {name} up")
    lab.wait_until_up()
    routing.follow()
    assert routing.told == ("active", "")


def test_a_bridge_whose_ports_have_gone_has_no_carrier(
    lab: Topology, routing: Routing, source: str
) -> None:
    lab.router.ip(
        "link add name bridge0 up type bridge",
        "link set dev down1 master bridge0",
        "link set dev down1 nomaster",  # before its first port the kernel takes it to be up
        "link show dev bridge0",
    )
    routing.follow()
    routing.add(source, lab.addresses.group, "up0", ["bridge0"])
    assert routing.told == ("waiting", "Interface 'bridge0' has no carrier")
    lab.router.ip("link set dev down1 master bridge0")
    lab.wait_until_up()
    lab.router.wait_until_up(["bridge0"])
    routing.follow()
    assert routing.told == ("active", "")
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down1": sent}


def test_a_port_that_joins_or_leaves_a_bridge_has_not_gone(lab: Topology, routing: Routing) -> None:
    routing.add(lab.addresses.source, lab.addresses.group, "up0", ["down0", "down1"])
    before = lab.vifs()
    lab.router.ip("link add name bridge0 type bridge")
    for command in ("master bridge0", "nomaster"):
        lab.router.ip(f"link set dev down1 {command}")
        routing.follow()
        assert routing.state == "active"
    assert lab.vifs() == before
    assert told(routing) == []
    sent = lab.sender().send(10)
    assert lab.arrived() == {"down0": sent, "down1": sent}


# VIF numbers


def test_a_number_is_not_used_again_while_an_entry_names_it(
    lab: Topology, routing: Routing, source: str
) -> None:
    addresses = lab.addresses
    routing.add(source, addresses.group, "up0", ["down0", "down1"])
    before = lab.vifs()
    lab.delete_link("down1")
    routing.add(source, addresses.other_group, "up0", ["up1"])
    (number,) = (number for number, name in before.items() if name == "down1")
    assert lab.vifs()[number] == "up1"
    sent = lab.sender().send(10)
    others = lab.sender(group=addresses.other_group).send(10)
    assert lab.arrived() == {"down0": sent, "up1": others}


def test_the_number_of_an_iif_is_not_used_again_while_an_entry_has_it(
    lab: Topology, routing: Routing, source: str
) -> None:
    addresses = lab.addresses
    routing.add(source, addresses.group, "up0", ["down0"])
    lab.delete_link("up0")
    routing.add(source, addresses.other_group, "up1", ["down1"])
    lab.sender("up1").send(10)
    others = lab.sender("up1", group=addresses.other_group).send(10)
    assert lab.arrived() == {"down1": others}


# Routes that wait


def test_a_start_without_any_interface_ends_right_when_all_have_come(
    family: socket.AddressFamily, source: str
) -> None:
    with Topology(family, downstreams=0, upstreams=0) as lab, Routing(lab.router) as routing:
        routing.add(source, lab.addresses.group, "up0", ["down0", "down1"], wait=True)
        assert routing.state == "waiting"
        states = []
        for name in ("down1", "up0", "down0"):
            lab.add_links(name)
            routing.follow()
            states.append(routing.state)
        assert states == ["waiting", "partial", "active"]
        sent = lab.sender().send(10)
        assert lab.arrived() == {"down0": sent, "down1": sent}


def test_more_interfaces_than_the_kernel_takes_wait_and_harm_nobody(
    family: socket.AddressFamily,
) -> None:
    with Topology(family, downstreams=MAX_VIFS, upstreams=0) as lab, Routing(lab.router) as routing:
        addresses = lab.addresses
        routing.add(addresses.source, addresses.group, "up0", lab.downstreams[:31], wait=True)
        routing.add(
            addresses.source, addresses.other_group, "up0", [lab.downstreams[31]], wait=True
        )
        lab.add_links("up0")
        routing.follow()
        assert sorted(routing.states().values()) == ["active", "waiting"]
        sent = lab.sender().send(10)
        lab.sender(group=addresses.other_group).send(10)
        assert lab.arrived() == dict.fromkeys(lab.downstreams[:31], sent)
        lab.delete_link("down0")
        routing.follow()
        assert sorted(routing.states().values()) == ["active", "partial"]
        lab.packets()
        others = lab.sender(group=addresses.other_group).send(10)
        assert lab.arrived() == {"down31": others}


# Events that were lost


def lose_events(lab: Topology, routing: Routing, act: Callable[[], object]) -> None:
    """Do something of which not all events have room in the socket's buffer."""
    with socket.socket(fileno=socket.dup(routing.links.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    act()
    lab.router.ip(*(f"link set dev lo mtu {65536 - n % 2}" for n in range(20)))


def delete_and_add(lab: Topology, *names: str) -> None:
    for name in names:
        lab.delete_link(name)
    lab.add_links(*names)


def go_and_come_with_the_same_index(lab: Topology) -> None:
    with closing(Namespace()) as elsewhere:
        lab.router.ip(f"link set dev down1 netns {elsewhere.path}")
        elsewhere.ip(f"link set dev down1 netns {lab.router.path}")
    lab.router.ip("link set dev down1 up")
    lab.wait_until_up()


@pytest.mark.parametrize(
    ("act", "state", "oifs"),
    [
        (lambda lab: lab.delete_link("down1"), "partial", ["down0"]),
        (lambda lab: lab.delete_link("up0"), "waiting", []),
        (lambda lab: delete_and_add(lab, "up0", "down1"), "active", ["down0", "down1"]),
        (lambda lab: lab.rename_link("down1", "lan0"), "partial", ["down0"]),
        (go_and_come_with_the_same_index, "active", ["down0", "down1"]),
    ],
    ids=["oif gone", "iif gone", "both anew", "renamed", "oif anew under the same index"],
)
def test_lost_events_lead_to_a_full_look_and_the_right_state(
    lab: Topology,
    routing: Routing,
    source: str,
    act: Callable[[Topology], object],
    state: str,
    oifs: Sequence[str],
) -> None:
    routing.add(source, lab.addresses.group, "up0", ["down0", "down1"])
    lose_events(lab, routing, lambda: act(lab))
    routing.follow()
    assert Missed() in routing.events
    assert routing.state == state
    if oifs:
        lab.wait_until_up()
        sent = lab.sender().send(10)
        assert lab.arrived() == dict.fromkeys(oifs, sent)


def test_an_interface_that_flaps_beside_a_route_without_room_is_told_as_it_is(
    lab: Topology, routing: Routing
) -> None:
    lab.router.ip(*[f"link add f{n} type veth peer name g{n}" for n in range(14)])
    others = "239.9.9." if lab.family == socket.AF_INET else "ff1e::9:"
    for n in range(14):
        routing.add(lab.addresses.source, f"{others}{n}", f"f{n}", [f"g{n}"])
    routing.add(lab.addresses.source, f"{others}77", "up1", ["down1"])
    routing.add(lab.addresses.source, lab.addresses.group, "up0", ["down0"])
    routing.add("*", f"{others}78", "up0", ["down0", "down9"], wait=True)
    lab.add_links("down9")
    routing.follow()
    lab.delete_link("down0")
    routing.follow()
    lab.add_links("down0")
    routing.follow()
    stream = f"({lab.addresses.source}, {lab.addresses.group})"
    assert routing.states()[stream] == "waiting"
    lab.sender().send(3)
    assert lab.arrived() == {}
    routing.delete(lab.addresses.source, f"{others}77")
    assert routing.states()[stream] == "active"
    sent = lab.sender().send(3)
    assert lab.arrived() == {"down0": sent}


# Names


def test_an_interface_whose_name_is_no_text_does_no_harm_to_what_a_pattern_is_for(
    lab: Topology,
) -> None:
    odd = "down\udcff"
    lab.router.ip_exactly("link", "add", "name", odd, "up", "type", "bridge")
    with Routing(lab.router, watched=["*"]) as routing:
        routing.add("*", lab.addresses.group, "up0", ["down*"])
        lab.router.ip_exactly("link", "delete", "dev", odd)
        lab.router.ip_exactly("link", "add", "name", odd, "up", "type", "bridge")
        lab.add_links("down2")
        routing.follow()
        sent = lab.sender().send(10)
        assert lab.arrived() == dict.fromkeys(["down0", "down1", "down2"], sent)
        assert set(lab.vifs().values()) == set(lab.links)

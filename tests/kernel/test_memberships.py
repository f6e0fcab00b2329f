"""What is joined arrives: through a switch that withholds what nobody has asked for.

up0 ──┐        ┌── down0
      │ router │
lan ──┘        └── down1
"""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from lab.delivery import deliveries
from lab.igmp import Member, members
from lab.routing import Routing
from lab.switch import Switch
from lab.topology import Topology

from mfc_dbus.documents.document import from_toml
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.membership import Membership, parse_memberships
from mfc_dbus.model.route import Route, parse_route

ADDRESSES = {socket.AF_INET: "10.9.0.1/24", socket.AF_INET6: "fe80::1/64"}
RANGES = {socket.AF_INET: "239.1.4.0/29", socket.AF_INET6: "ff1e::400/125"}
_TIMEOUT = 10.0


@pytest.fixture
def switch(lab: Topology) -> Iterator[Switch]:
    """One that goes by IGMPv3 and MLDv2, on the way to `lan`."""
    with Switch(lab) as switch:
        nodad = "nodad" if lab.family == socket.AF_INET6 else ""
        lab.router.ip(f"address add {ADDRESSES[lab.family]} dev lan {nodad}")
        yield switch


@pytest.fixture
def routing(lab: Topology, switch: Switch) -> Iterator[Routing]:
    """The switch withholds everything by now."""
    with Joins() as joins, Routing(lab.router, memberships=Memberships(joins)) as routing:
        do(routing, routing.controller.documents.apply(routes_of(lab, lab.addresses.group)))
        withheld(lab, lab.addresses.group)
        do(routing, routing.controller.documents.apply([]))
        yield routing


def do(routing: Routing, change: Coroutine[Any, Any, object]) -> None:
    with routing.router:
        asyncio.run(change)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def arrives(lab: Topology, switch: Switch, group: str) -> None:
    """Wait until the switch has heard of a join, and demand 3 of 3 packets of the group."""
    wait_until(lambda: group in switch.groups)
    sent = lab.sender("lan", group=group).send(3)
    expected = {"down0": sent}
    assert deliveries(lab, expected) == expected


def withheld(lab: Topology, group: str) -> None:
    """Wait until the switch lets nothing of a group through."""
    sender = lab.sender("lan", group=group)
    wait_until(lambda: not lab.arrived() if sender.send(1) else False)
    sender.send(3)
    assert lab.arrived() == {}


def routes_of(lab: Topology, *groups: str) -> list[Route]:
    return [parse_route("*", group, "lan", ["down0"]) for group in groups]


def joined(group: str, comment: str = "") -> list[Membership]:
    return parse_memberships(group, "*", "lan").memberships(comment)


def test_a_group_arrives_when_it_is_joined_and_no_other_does(
    lab: Topology, switch: Switch, routing: Routing
) -> None:
    one, other = lab.addresses.group, lab.addresses.other_group
    do(routing, routing.controller.documents.apply(routes_of(lab, one, other)))
    withheld(lab, one)
    do(routing, routing.controller.joining.join(joined(one)))
    arrives(lab, switch, one)
    withheld(lab, other)
    do(routing, routing.controller.joining.leave(parse_memberships(one, "*", "lan")))
    assert members(lab.router) == set()
    withheld(lab, one)


def test_all_groups_of_a_prefix_arrive_by_one_route_and_one_join(
    lab: Topology, switch: Switch, routing: Routing
) -> None:
    groups = RANGES[lab.family]
    do(routing, routing.controller.documents.apply(routes_of(lab, groups)))
    do(routing, routing.controller.joining.join(joined(groups)))
    with routing.hearing():
        for membership in joined(groups):
            arrives(lab, switch, socket.inet_ntop(lab.family, membership.group))


def test_a_document_has_streams_asked_for_and_forwarded_and_disturbs_none_that_stays(
    lab: Topology, switch: Switch, routing: Routing
) -> None:
    stays, comes = lab.addresses.group, lab.addresses.other_group
    route = '[[route]]\ngroup = "{0}"\niif = "lan"\noifs = ["down0"]\n'
    membership = '[[membership]]\ngroup = "{0}"\ninterface = "lan"\ncomment = "{1}"\n'

    def apply(*groups: str, comment: str = "") -> None:
        text = "".join((route + membership).format(group, comment) for group in groups)
        document = from_toml(text)
        do(routing, routing.controller.documents.apply(document.routes, document.memberships))

    apply(stays)
    arrives(lab, switch, stays)
    withheld(lab, comes)
    with lab.sender("lan", group=stays).flow(rate=1000) as flow:
        for number in range(4):
            flow.wait_for(100)
            apply(stays, comes, comment=f"{number}")
            assert members(lab.router) == {Member("lan", stays), Member("lan", comes)}
            flow.wait_for(100)
            apply(stays)
            assert members(lab.router) == {Member("lan", stays)}
        flow.wait_for(100)
    assert lab.arrived() == {"down0": flow.sent}
    apply(comes)
    arrives(lab, switch, comes)
    withheld(lab, stays)


def test_a_membership_follows_its_interface(lab: Topology) -> None:
    group = lab.addresses.group
    nodad = "nodad" if lab.family == socket.AF_INET6 else ""
    with Joins() as joins, Routing(lab.router, memberships=Memberships(joins)) as routing:
        do(
            routing,
            routing.controller.documents.apply(routes_of(lab, group), joined(group), wait=True),
        )
        for _ in range(2):  # each time another device, and another switch
            with Switch(lab) as switch:
                lab.router.ip(f"address add {ADDRESSES[lab.family]} dev lan {nodad}")
                routing.follow()
                assert members(lab.router) == {Member("lan", group)}
                arrives(lab, switch, group)
                lab.delete_link("lan")
                lab.outside.ip("link delete dev lan")
                routing.follow()
                assert members(lab.router) == set()


def test_a_group_arrives_that_is_joined_on_an_interface_without_the_multicast_flag(
    lab: Topology, switch: Switch, routing: Routing
) -> None:
    lab.router.ip("link set dev lan multicast off")
    routing.follow()
    do(routing, routing.controller.documents.apply(routes_of(lab, lab.addresses.group)))
    withheld(lab, lab.addresses.group)
    do(routing, routing.controller.joining.join(joined(lab.addresses.group)))
    arrives(lab, switch, lab.addresses.group)

"""Back by the interface on which a stream arrives, where a route says so.

up0 ──┐ router ┌── down0
      ├────────┤
up1 ──┘        └── down1
"""

from collections.abc import Sequence
from contextlib import closing

import pytest
from lab.fake import FakeKeeper
from lab.packets import Sender
from lab.routing import Routing
from lab.topology import Topology

from mfc_dbus.model.addresses import FAMILIES

PREFIXES = dict(zip(FAMILIES, ("239.1.0.0/16", "ff1e::/64"), strict=True))


def deliver(lab: Topology, routing: Routing, sender: Sender, *oifs: str) -> None:
    """Send a new stream, and then more of it: all of it arrives at these interfaces alone."""
    with routing.hearing():
        sent = sender.send(1)
        while not (arrived := lab.arrived()):
            pass
    assert arrived == dict.fromkeys(oifs, sent)
    sent = sender.send(20)
    assert lab.arrived() == dict.fromkeys(oifs, sent)


@pytest.mark.parametrize("source", ["one", "any", "prefix"])
@pytest.mark.parametrize("iif", ["up0", "up*"])
@pytest.mark.parametrize("oifs", [["up0", "down0"], ["up*", "down0"], ["up0"]])
def test_a_stream_leaves_by_its_iif_too_where_that_is_an_oif(
    lab: Topology, routing: Routing, source: str, iif: str, oifs: Sequence[str]
) -> None:
    group = PREFIXES[lab.family] if source == "prefix" else lab.addresses.group
    sources = lab.addresses.source if source == "one" else "*"
    routing.add(sources, group, iif, oifs, hairpin=True)
    others = {"up1"} if "up*" in oifs else set()
    with closing(lab.sender("up0")) as sender:
        deliver(lab, routing, sender, "up0", *others, *{"down0"}.intersection(oifs))
    assert routing.state == "active"


def test_without_it_nothing_is_sent_back_though_a_pattern_names_the_iif(
    lab: Topology, routing: Routing
) -> None:
    routing.add("*", lab.addresses.group, "up*", ["up*", "down0"])
    deliver(lab, routing, lab.sender("up0"), "up1", "down0")


def test_with_it_and_the_iif_none_of_the_oifs_the_kernel_has_an_entry_of_its_own(
    lab: Topology, routing: Routing
) -> None:
    routing.add("*", lab.addresses.group, "up0", ["down0"], hairpin=True)
    sent = lab.sender("up0").send(50)
    assert lab.arrived() == {"down0": sent}
    assert routing.learned() == set()


@pytest.mark.parametrize("source", ["one", "any"])
def test_it_is_switched_on_and_off_under_a_stream_that_goes_on(
    lab: Topology, routing: Routing, source: str
) -> None:
    sources = lab.addresses.source if source == "one" else "*"
    sender = lab.sender("up0")
    for _ in range(2):
        routing.add(sources, lab.addresses.group, "up0", ["down0"], replace=True)
        sent = sender.send(10)
        assert lab.arrived() == {"down0": sent}
        again = ["up0", "down0"]
        routing.add(sources, lab.addresses.group, "up0", again, replace=True, hairpin=True)
        deliver(lab, routing, sender, "up0", "down0")
    sent = sender.send(1)
    assert lab.arrived() == {"up0": sent, "down0": sent}


@pytest.mark.parametrize("source", ["one", "any"])
def test_each_interface_is_used_once_and_follows_its_device(
    lab: Topology, routing: Routing, source: str
) -> None:
    sources = lab.addresses.source if source == "one" else "*"
    routing.add(sources, lab.addresses.group, "up0", ["up0", "down0"], hairpin=True)
    for name in ("up0", "down0"):
        lab.delete_link(name)
        routing.follow()
        lab.add_links(name)
        routing.follow()
        deliver(lab, routing, lab.sender("up0"), "up0", "down0")
    (table,) = [each for each in routing.controller.tables.values() if each.id.family == lab.family]
    assert {vif.name: vif.references for vif in table.vifs} == {"up0": 1, "down0": 1}


@pytest.mark.parametrize("source", ["one", "any"])
def test_a_new_process_takes_it_up_and_touches_nothing(lab: Topology, source: str) -> None:
    sources = lab.addresses.source if source == "one" else "*"
    keeper, sender = FakeKeeper(), lab.sender("up0")
    with Routing(lab.router, keeper) as routing:
        routing.add(sources, lab.addresses.group, "up0", ["up0", "down0"], hairpin=True)
        deliver(lab, routing, sender, "up0", "down0")
        kept = routing.leave_sockets()
    with Routing(lab.router, keeper, kept) as routing:
        sent = sender.send(20)
        assert lab.arrived() == {"up0": sent, "down0": sent}
        written = [table.written for table in routing.controller.tables.values()]
        assert written == [0, 0]

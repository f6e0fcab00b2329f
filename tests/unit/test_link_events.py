"""Interfaces of names that no route can say: the kernel takes nearly any bytes."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.fake import FakeKeeper, FakeKernel, FakeLinks
from lab.ground import Ground

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.link_events import LinkEvents
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed, Turned
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.interfaces import is_nameable, parse_interface
from mfc_dbus.model.route import TableId, parse_route
from mfc_dbus.routing.table import Table

ODD_NAMES = ["\udcff", "eth\udcff", "eth\x01", "eth\x1b[m", "eth*", "[ab]", "eth?", "a\u2028b"]


def vifs(ground: Ground) -> set[str]:
    return {vif.name for vif in ground.controller.tables[TableId(FAMILIES[0])].vifs}


@given(st.binary(min_size=1, max_size=15))
def test_what_is_nameable_is_what_a_route_can_name_as_one_interface(data: bytes) -> None:
    name = data.decode(errors="surrogateescape")
    try:
        sayable = parse_interface(name) == name and not set(name) & set("*?[")
    except InvalidArgs:
        sayable = False
    assert is_nameable(name) == sayable


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_pattern_is_not_for_an_interface_that_no_route_can_name(name: str) -> None:
    ground = Ground("eth0", name)
    settings = Settings(discovery_interfaces=("*",), router_discovery_interfaces=("*",))
    ground.links.begin_anew()
    route = parse_route("*", "239.1.1.1", "up", ["*", "[ab]", "eth*"])
    ground.begin([route], settings=settings)
    assert vifs(ground) == {"eth0"}
    ground.links.add("up")
    ground.controller.follow()
    assert vifs(ground) == {"eth0", "up"}
    assert ground.states() == {"(*, 239.1.1.1)": "active"}


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_route_follows_its_interface_out_of_its_name_and_back(name: str) -> None:
    ground = Ground("eth0", "eth1")
    ground.add("*", "239.1.1.1", "eth0", "eth1")
    ground.links.rename("eth0", name)
    ground.controller.follow()
    assert ground.states() == {"(*, 239.1.1.1)": "waiting"}
    assert vifs(ground) == set()
    ground.links.rename(name, "eth0")
    ground.controller.follow()
    assert ground.states() == {"(*, 239.1.1.1)": "active"}


def test_of_an_interface_that_is_left_alone_nothing_is_told_but_that_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd, plain = Link("a\udcff", 7, multicast=True), Link("eth0", 8, multicast=True)
    events: list[Event] = [Came(odd), Came(plain), Turned(odd), Gone(odd), Missed()]

    class Links:
        behind = False

        def update(self) -> list[Event]:
            return events

    with caplog.at_level(logging.WARNING):
        assert LinkEvents(Links()).hear() == [Came(plain), Missed()]
    assert caplog.messages == [
        "Interface 'a\\udcff' (ifindex 7) is left alone: no route can name it"
    ]


class _FewAtATime(FakeLinks):
    """Tells of one event in each update, as the kernel's links do of hundreds."""

    @property
    def behind(self) -> bool:
        return bool(self._events)

    def update(self) -> list[Event]:
        told, self._events = self._events[:1], self._events[1:]
        return told


def test_very_much_is_followed_in_parts_and_others_are_served_in_between() -> None:
    links = _FewAtATime("eth0", "eth1")
    tables = [Table(TableId(family), FakeKernel(links)) for family in FAMILIES]
    controller = Controller(tables, links, FakeKeeper())
    controller.takeover.restore([], None)
    assert controller.present.keys() == {"eth0", "eth1"}  # a start learns of all
    seen: list[int] = []

    async def test() -> None:
        for number in range(10):
            links.add(f"v{number}")
        controller.follow()
        while len(controller.present) < 12:
            seen.append(len(controller.present))
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(test(), 10))
    assert {*seen} == {*range(3, 12)}

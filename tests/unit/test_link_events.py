"""Interfaces of names that no route can say: the kernel takes nearly any bytes."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.ground import Ground

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.link_events import LinkEvents
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Missed, Turned
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.interfaces import is_nameable, parse_interface
from mfc_dbus.model.route import TableId, parse_route

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
        def update(self) -> list[Event]:
            return events

    with caplog.at_level(logging.WARNING):
        assert LinkEvents(Links()).hear() == [Came(plain), Missed()]
    assert caplog.messages == [
        "Interface 'a\\udcff' (ifindex 7) is left alone: no route can name it"
    ]

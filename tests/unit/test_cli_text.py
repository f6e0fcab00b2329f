"""What reaches a terminal, or the bus."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus.backend import decode, encode
from mfc_dbus.cli.text import oifs, on_bus
from mfc_dbus.cli.verbs.show import to_json
from mfc_dbus.client import RouteInfo
from mfc_dbus.model.quoting import printable

ANYTHING = st.text(st.characters(exclude_categories=[]))


@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_reaches_it(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\n", r"\x1b[31mred\n"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("ночь 🌒", "ночь 🌒"),
    ],
)
def test_control_characters_are_shown_by_their_numbers(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANYTHING)
def test_the_bus_carries_what_it_is_said_to_carry(text: str) -> None:
    if on_bus(text):
        assert decode("s", encode("s", [text])) == [text]
    else:
        assert re.search("[\0\ud800-\udfff]", text)


def test_oifs_are_shown_with_their_thresholds() -> None:
    values: dict[str, Any] = {"source": "*", "group": "239.1.1.1", "iif": "a", "state": "active"}
    route = RouteInfo(**values, oifs=("b", "c"), ttls={"c": 16})
    assert oifs(route) == ["b", "c(ttl>16)"]
    assert oifs(route._replace(oifs=(), ttls={})) == ["(stop)"]


def test_json_has_an_object_a_line_whatever_is_in_the_strings() -> None:
    routes = [
        RouteInfo("*", "239.1.1.1", "a", ("b", "c"), "active", {"c": 9}, comment='}, {"source": "'),
        RouteInfo("*", "239.1.1.2", "a", (), "active", comment="\n\x9b"),
    ]
    objects = [route.to_json() for route in routes]
    written = to_json(objects)
    assert json.loads(written) == json.loads(json.dumps(objects))
    assert len(written.splitlines()) == 2
    assert to_json([]) == "[]"

"""Routes that were encoded one by one are what the D-Bus library would have encoded at once."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus.backend import Variant, decode, encode
from mfc_dbus.control.status_changes import Status
from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.model.route import parse_route
from mfc_dbus.service.encoded_routes import ROUTE, ROUTES, WireRoutes, encode_route, signal_bodies

STATES = st.sampled_from(["active", "partial", "waiting", "unavailable"])
COMMENTS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=30)


@st.composite
def statuses(draw: st.DrawFn) -> Status:
    octet = draw(st.integers(1, 254))
    oifs = draw(st.lists(st.sampled_from(["b", "eth10", "enp0s31f6"]), min_size=1, unique=True))
    ttls = {oifs[0]: draw(st.integers(1, 254))}
    source = draw(st.sampled_from(["*", f"10.0.0.{octet}"]))
    route = parse_route(source, f"239.1.1.{octet}", "a", oifs, ttls, draw(COMMENTS))
    made = dataclasses.replace(
        route,
        persistent=draw(st.booleans()),
        expires=draw(st.integers(0, 2**63)),
        hairpin=draw(st.booleans()),
    )
    return Status(made, draw(STATES))


def plain(values: Any) -> Any:
    """Variants as pairs of signature and value, so that they compare."""
    if isinstance(values, Variant):
        return values.signature, plain(values.value)
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return values


def expected(each: Status) -> object:
    (value,) = decode(ROUTE, encode_route(each))
    return plain(value)


@given(statuses())
def test_the_last_dictionary_has_the_state_and_what_differs_from_its_default(each: Status) -> None:
    (value,) = decode(ROUTE, encode_route(each))
    *_, extra = plain(value)
    route, state, _ = each
    ttls = {oif.name: oif.ttl for oif in route.oifs if oif.ttl != 1}
    microseconds = route.expires // 1000
    assert extra == {
        name: value
        for name, value, told in (
            ("state", ("s", state), True),
            ("ttls", ("a{sy}", ttls), ttls),
            ("comment", ("s", route.comment), route.comment),
            ("persistent", ("b", False), not route.persistent),
            ("hairpin", ("b", True), route.hairpin),
            ("expires", ("t", microseconds), route.expires),
        )
        if told
    }


@given(st.lists(statuses(), max_size=20, unique_by=lambda status: status.route.key))
def test_the_property_decodes_to_every_route(some: list[Status]) -> None:
    wire = WireRoutes()
    for each in some:
        wire.put(each)
    (variant,) = decode("v", wire.as_variant())
    assert variant.signature == ROUTES
    assert plain(variant.value) == [expected(each) for each in some]


@given(st.lists(statuses(), max_size=20, unique_by=lambda status: status.route.key), COMMENTS)
def test_it_can_be_added_to_any_other_properties(some: list[Status], version: str) -> None:
    wire = WireRoutes()
    for each in some:
        wire.put(each)
    others = {"Version": Variant("s", version), "Generation": Variant("t", 2**63)}
    (properties,) = decode("a{sv}", wire.added_to(encode("a{sv}", [others])))
    assert set(properties) == {"Version", "Generation", "Routes"}
    assert properties["Version"].value == version
    assert plain(properties["Routes"].value) == [expected(each) for each in some]


@given(st.lists(statuses(), min_size=1, max_size=20))
def test_a_removed_route_leaves_nothing(some: list[Status]) -> None:
    wire = WireRoutes()
    empty = wire.as_variant()
    for each in some:
        wire.put(each)
    for each in {each.route.key: each for each in some}.values():
        wire.remove(each)
    assert wire.as_variant() == empty


def test_signals_carry_at_most_a_thousand_routes() -> None:
    routes = (parse_route("*", f"239.1.{n >> 8}.{n & 255}", "a", ["b"]) for n in range(2001))
    wire = WireRoutes()
    encoded = [wire.put(Status(route, "active")) for route in routes]
    decoded = [decode(ROUTES, body)[0] for body in signal_bodies(encoded)]
    assert [len(part) for part in decoded] == [1000, 1000, 1]
    assert [each[1] for part in decoded for each in part][-1] == "239.1.7.208"


def test_no_signal_tells_of_no_route() -> None:
    assert list(signal_bodies([])) == []


def test_more_than_24_mib_is_refused_and_less_is_not() -> None:
    wire = WireRoutes()

    def put(numbers: range) -> None:
        for number in numbers:
            group = f"239.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            wire.put(Status(parse_route("*", group, "a", ["b"], {}, "x" * 200), "active"))

    put(range(60_000))
    assert not wire.too_long
    assert 16 * 1024 * 1024 < len(wire.as_variant()) <= 24 * 1024 * 1024
    put(range(60_000, 100_000))
    assert wire.too_long
    with pytest.raises(LimitExceeded, match="All 100000 routes are more than 24 MiB"):
        wire.as_variant()

"""Routes that were encoded one by one are what the D-Bus library would have encoded at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus.backend import Variant, decode, encode
from mfc_dbus.errors import LimitExceeded
from mfc_dbus.model import Route, parse_route
from mfc_dbus.wire import ROUTES, WireRoutes, encode_route, signal_bodies

COMMENTS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=30)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    octet = draw(st.integers(1, 254))
    oifs = draw(st.lists(st.sampled_from(["b", "eth10", "enp0s31f6"]), min_size=1, unique=True))
    ttls = {oifs[0]: draw(st.integers(1, 254))}
    source = draw(st.sampled_from(["*", f"10.0.0.{octet}"]))
    return parse_route(source, f"239.1.1.{octet}", "a", oifs, ttls, draw(COMMENTS))


def plain(values: object) -> object:
    """Variants as pairs of signature and value, so that they compare."""
    if isinstance(values, Variant):
        return values.signature, plain(values.value)
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return values


def expected(each: Route) -> object:
    (value,) = decode("(sssasa{sv})", encode_route(each))
    return plain(value)


@given(st.lists(routes(), max_size=20, unique_by=lambda route: route.key))
def test_the_property_decodes_to_every_route(some: list[Route]) -> None:
    wire = WireRoutes()
    for each in some:
        wire.put(each)
    (variant,) = decode("v", wire.as_variant())
    assert variant.signature == ROUTES
    assert plain(variant.value) == [expected(each) for each in some]


@given(st.lists(routes(), max_size=20, unique_by=lambda route: route.key), COMMENTS)
def test_it_can_be_added_to_any_other_properties(some: list[Route], version: str) -> None:
    wire = WireRoutes()
    for each in some:
        wire.put(each)
    others = {"Version": Variant("s", version), "Generation": Variant("t", 2**63)}
    (properties,) = decode("a{sv}", wire.added_to(encode("a{sv}", [others])))
    assert set(properties) == {"Version", "Generation", "Routes"}
    assert properties["Version"].value == version
    assert plain(properties["Routes"].value) == [expected(each) for each in some]


@given(st.lists(routes(), min_size=1, max_size=20))
def test_a_removed_route_leaves_nothing(some: list[Route]) -> None:
    wire = WireRoutes()
    empty = wire.as_variant()
    for each in some:
        wire.put(each)
    for each in {route.key: route for route in some}.values():
        wire.remove(each)
    assert wire.as_variant() == empty


def test_signals_carry_at_most_a_thousand_routes() -> None:
    encoded = [
        encode_route(parse_route("*", f"239.1.{n >> 8}.{n & 255}", "a", ["b"])) for n in range(2001)
    ]
    decoded = [decode(ROUTES, body)[0] for body in signal_bodies(encoded)]
    assert [len(part) for part in decoded] == [1000, 1000, 1]
    assert [each[1] for part in decoded for each in part][-1] == "239.1.7.208"


def test_no_signal_tells_of_no_route() -> None:
    assert list(signal_bodies([])) == []


def test_more_than_24_mib_is_refused_and_less_is_not() -> None:
    wire = WireRoutes()
    comment = "x" * 200
    for number in range(60_000):
        group = f"239.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        wire.put(parse_route("*", group, "a", ["b"], {}, comment))
    assert 16 * 1024 * 1024 < len(wire.as_variant()) <= 24 * 1024 * 1024
    for number in range(60_000, 100_000):
        group = f"239.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        wire.put(parse_route("*", group, "a", ["b"], {}, comment))
    with pytest.raises(LimitExceeded, match="All 100000 routes are more than 24 MiB"):
        wire.as_variant()

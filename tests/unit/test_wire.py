"""Routes that were encoded one by one are what the D-Bus library would have encoded at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from mfc_dbus.bus.backend import Variant, decode, encode
from mfc_dbus.control.view import View
from mfc_dbus.model.addresses import Prefix, host_prefix
from mfc_dbus.model.errors import LimitExceeded
from mfc_dbus.model.members import ROUTE, ROUTES
from mfc_dbus.model.route import Oif, RouteKey, parse_route
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Flow, Status, Stream
from mfc_dbus.service.encoded_routes import (
    EncodedRoutes,
    encode_route,
    signal_bodies,
)
from mfc_dbus.service.listed_streams import Sort, StreamsQuery, list_streams

STATES = st.sampled_from(RouteState)
COMMENTS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=30)


@st.composite
def statuses(draw: st.DrawFn) -> Status:
    octet = draw(st.integers(1, 254))
    oifs = draw(st.lists(st.sampled_from(["b", "eth10", "enp0s31f6"]), min_size=1, unique=True))
    ttls = {oifs[0]: draw(st.integers(1, 254))}
    source = draw(st.sampled_from(["*", f"10.0.0.{octet}"]))
    route = parse_route(source, f"239.1.1.{octet}", "a", oifs, ttls, draw(COMMENTS))
    made = structs.replace(
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


@given(statuses())
def test_a_route_is_encoded_as_the_library_would(each: Status) -> None:
    encoded = encode_route(each)
    assert encoded == encode(ROUTE, decode(ROUTE, encoded))


@given(st.lists(statuses(), max_size=20, unique_by=lambda status: status.route.key))
def test_the_property_decodes_to_every_route(some: list[Status]) -> None:
    wire = EncodedRoutes()
    for each in some:
        wire.put(each)
    (variant,) = decode("v", wire.as_variant())
    assert variant.signature == ROUTES
    assert plain(variant.value) == [expected(each) for each in some]


@given(st.lists(statuses(), max_size=20, unique_by=lambda status: status.route.key), COMMENTS)
def test_it_can_be_added_to_any_other_properties(some: list[Status], version: str) -> None:
    wire = EncodedRoutes()
    for each in some:
        wire.put(each)
    others = {"Version": Variant("s", version), "Generation": Variant("t", 2**63)}
    (properties,) = decode("a{sv}", wire.added_to(encode("a{sv}", [others])))
    assert set(properties) == {"Version", "Generation", "Routes"}
    assert properties["Version"].value == version
    assert plain(properties["Routes"].value) == [expected(each) for each in some]


@given(st.lists(statuses(), min_size=1, max_size=20))
def test_a_removed_route_leaves_nothing(some: list[Status]) -> None:
    wire = EncodedRoutes()
    empty = wire.as_variant()
    for each in some:
        wire.put(each)
    for each in {each.route.key: each for each in some}.values():
        wire.remove(each)
    assert wire.as_variant() == empty


def test_signals_carry_at_most_a_thousand_routes() -> None:
    routes = (parse_route("*", f"239.1.{n >> 8}.{n & 255}", "a", ["b"]) for n in range(2001))
    wire = EncodedRoutes()
    encoded = [wire.put(Status(route, RouteState.ACTIVE)) for route in routes]
    decoded = [decode(ROUTES, body)[0] for body in signal_bodies(encoded)]
    assert [len(part) for part in decoded] == [1000, 1000, 1]
    assert [each[1] for part in decoded for each in part][-1] == "239.1.7.208"


def test_no_signal_tells_of_no_route() -> None:
    assert list(signal_bodies([])) == []


@pytest.mark.slow
def test_more_than_24_mib_is_refused_and_less_is_not() -> None:
    wire = EncodedRoutes()

    def put(numbers: range) -> None:
        for number in numbers:
            group = f"239.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            wire.put(Status(parse_route("*", group, "a", ["b"], {}, "x" * 200), RouteState.ACTIVE))

    put(range(60_000))
    assert not wire.too_long
    assert 16 * 1024 * 1024 < len(wire.as_variant()) <= 24 * 1024 * 1024
    put(range(60_000, 100_000))
    assert wire.too_long
    with pytest.raises(LimitExceeded, match="All 100000 routes are more than 24 MiB"):
        wire.as_variant()


FLOWS = st.builds(
    Flow,
    packets=st.integers(2**32, 2**64 - 1),
    bytes=st.integers(0, 2**64 - 1),
    wrong_if=st.integers(0, 2**32),
    read=st.just(2**40),
    packets_per_second=st.none() | st.floats(0, 1e9),
    bits_per_second=st.none() | st.floats(0, 1e12),
    seen=st.sampled_from([0, 2**39]),
)
OIFS = st.sampled_from(["b", "eth10", "enp0s31f6"]).map(Oif)
ANY = Prefix(bytes(4), 0)
STREAMS = st.builds(
    Stream,
    table=st.integers(0, 9),
    source=st.just(ANY) | st.integers(1, 255).map(lambda n: host_prefix(bytes((10, n, 0, 1)))),
    group=st.integers(1, 255).map(lambda n: host_prefix(bytes((239, n, n, 1)))),
    iif=st.sampled_from(["a", "eth10", "enp0s31f6"]),
    oifs=st.lists(OIFS, max_size=3).map(tuple),
    learned=st.booleans(),
    route=st.just(RouteKey(ANY, Prefix(bytes((239, 0, 0, 0)), 8), "eth*")),
    route_iif=st.sampled_from(["a", "eth*"]),
    comment=COMMENTS,
    flow=st.none() | FLOWS,
)


class _View:
    """Of streams alone."""

    def __init__(self, streams: list[Stream]) -> None:
        self._streams = streams

    async def streams(self, *, counted: bool) -> AsyncIterator[Stream]:
        for each in self._streams:
            yield each


@given(st.lists(STREAMS, max_size=5))
def test_streams_that_were_encoded_one_by_one_are_what_would_have_been_encoded_at_once(
    streams: list[Stream],
) -> None:
    body = asyncio.run(list_streams(cast(View, _View(streams)), StreamsQuery(sort=Sort.GROUP)))
    assert isinstance(body, bytes)
    told, count = decode("aa{sv}u", body)
    assert encode("aa{sv}u", [told, count]) == body
    assert len(told) == count == len(streams)
    ordered = sorted(streams, key=lambda each: (each.group, each.source, each.iif, each.table))
    for each, stream in zip(told, ordered, strict=True):
        assert each["oifs"].value == [oif.name for oif in stream.oifs]
        assert each["group"].value == str(stream.group)
        assert ("packets" in each) == (stream.flow is not None)

"""Lists of the applet: what is seen of a thing, in which order, and which places change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.applet.listing import Kind, Listing, address, changed, kinds
from mfc_dbus.applet.state import State
from mfc_dbus.client.info import (
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    StreamInfo,
    UnroutedEvent,
)

ROUTE = RouteInfo("10.0.0.1", "239.1.1.1", "eth1", ("eth2",), "active", comment="the lobby")
STREAM = StreamInfo(
    "10.0.0.1", "239.1.1.1", "eth1", ("eth2",), False, "10.0.0.1", "239.1.1.1", "eth1"
)
KINDS = {kind.name: kind for kind in kinds()}

keys = st.lists(st.tuples(st.sampled_from("abcdefgh")), unique=True)


@given(keys, keys)
def test_the_part_that_changed_leads_from_one_list_to_the_other(
    before: list[tuple[str]], after: list[tuple[str]]
) -> None:
    place, gone, new = changed(before, after)
    assert [*before[:place], *after[place : place + new], *before[place + gone :]] == after


routes = st.builds(
    ROUTE._replace,
    group=st.integers(1, 20).map(lambda n: f"239.1.1.{n}"),
    iif=st.sampled_from(["eth1", "eth2", "eth10"]),
    state=st.sampled_from(["active", "waiting"]),
)


@given(
    st.lists(routes),
    st.lists(st.tuples(st.booleans(), routes)),
    st.sampled_from(KINDS["routes"].sorts),
    st.sampled_from(["", "eth1", "WAITING"]),
)
def test_one_by_one_it_becomes_what_all_at_once_is(
    first: list[RouteInfo], then: list[tuple[bool, RouteInfo]], sort: Any, text: str
) -> None:
    listing, whole = Listing(KINDS["routes"]), Listing(KINDS["routes"])
    for each in (listing, whole):
        each.sort, each.text = sort, text
    known = {route.key: route for route in first}
    listing.refill(known.values())
    seen = [*listing.keys]
    for is_put, route in then:
        change = listing.put(route) if is_put else listing.drop(route)
        if is_put:
            known[route.key] = route
        else:
            known.pop(route.key, None)
        if change is not None:
            place, gone, new = change
            seen[place : place + gone] = listing.keys[place : place + new]
        assert seen == listing.keys
    whole.refill(known.values())
    assert listing.keys == whole.keys
    assert dict(listing.values) == dict(whole.values)


def test_addresses_are_sorted_as_numbers() -> None:
    texts = ["239.1.1.10", "239.1.1.9", "ff3e::1", "*", "239.1.0.0/16", "what"]
    in_order = ["*", "239.1.0.0/16", "239.1.1.9", "239.1.1.10", "ff3e::1", "what"]
    assert sorted(texts, key=address) == in_order


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("routes", ROUTE, "239.1.1.1 from 10.0.0.1|eth1 → eth2  ·  the lobby|Active"),
        ("routes", ROUTE._replace(source="*", oifs=(), state="odd"), "any source|stopped|odd"),
        ("streams", STREAM._replace(bits_per_second=4.2e6), "4.20 Mbit/s|Flows"),
        ("streams", STREAM._replace(idle=65.0), "idle for 1 min|Idle"),
        ("streams", STREAM._replace(learned=True), "of 239.1.1.1 from 10.0.0.1"),
        ("streams", STREAM._replace(oifs=()), "stopped|Stopped"),
        (
            "memberships",
            MembershipInfo("*", "239.1.1.1", "eth1", "failed", "no room"),
            "239.1.1.1 from any source|on eth1  ·  no room|Failed",
        ),
        (
            "interfaces",
            InterfaceInfo("eth1", "ipv4", 3, 7, 2, "active", 1, 1, 1500, 0, 100),
            "eth1|IPv4, VIF 3 of 32  ·  table 100  ·  2 routes|1.50 kB in, 0 B out",
        ),
        ("unrouted", UnroutedEvent("10.0.0.9", "239.9.9.9", "eth1", 0), "arrives on eth1"),
    ],
)
def test_a_row_says_what_counts(kind: str, value: Any, words: str) -> None:
    row = " ".join(map(str, KINDS[kind].row(value, State())))
    for each in words.split("|"):
        assert each in row


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_order_of_every_list_works(kind: Kind[Any]) -> None:
    state = State()
    state.set_routes([ROUTE, ROUTE._replace(group="239.1.1.2")])
    state.set_streams([STREAM, STREAM._replace(group="239.1.1.2", learned=True, idle=3.0)], 2)
    state.set_memberships(
        MembershipInfo("*", f"239.1.1.{n}", "eth1", "joined") for n in range(1, 3)
    )
    state.interfaces = [InterfaceInfo(f"eth{n}", "ipv4", n, n, 1, "active") for n in range(2)]
    for n in range(2):
        state.see_unrouted(UnroutedEvent("10.0.0.9", f"239.9.9.{n}", "eth1", 0), 0.0)
    for sort in kind.sorts:
        listing = Listing(kind)
        listing.sort = sort
        listing.refill(kind.values(state))
        assert len(listing.keys) == 2

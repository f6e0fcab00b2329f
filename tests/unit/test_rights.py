"""What a change takes from whom, beside a scan over all routes for each packet."""

import itertools
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lab.reference import specificity
from lab.strategies import GROUPS, INTERFACES, NAMES, SOURCES, routes
from msgspec.structs import replace

from mfc_dbus.control.rights import (
    BULK,
    Loser,
    Question,
    Touched,
    check_touched,
    route_details,
    touched,
)
from mfc_dbus.model.addresses import host_prefix, parse_group_prefix, parse_stream
from mfc_dbus.model.errors import AccessDenied
from mfc_dbus.model.interfaces import matches, may_meet
from mfc_dbus.model.route import Oif, Route, parse_route
from mfc_dbus.routing.routes import Routes

Packet = tuple[bytes, bytes, str]
PACKETS: list[Packet] = [
    (sources.address, groups.address, iif)
    for sources, groups in itertools.starmap(parse_stream, itertools.product(SOURCES, GROUPS))
    for iif in INTERFACES
]


def index(several: Collection[Route]) -> Routes:
    made = Routes()
    for route in several:
        made.put(route)
    return made


def details(questions: Sequence[Question]) -> list[Mapping[str, str]]:
    """What polkit is told with each."""
    return [each.details for each in questions]


def decider(several: Collection[Route], packet: Packet) -> Route | None:
    """The route that says what becomes of a packet, by a scan."""
    source, group, iif = packet
    covering = [
        route
        for route in several
        if route.enabled
        and route.source.covers(host_prefix(source))
        and route.group.covers(host_prefix(group))
    ]
    for route in covering:
        if route.is_sg_on_one_iif:  # also of what arrives elsewhere, which it drops
            return route
    return max(
        (route for route in covering if matches(route.iif, iif)),
        key=specificity,
        default=None,
    )


switched = st.builds(
    lambda route, enabled: replace(route, enabled=enabled),
    routes(),
    st.sampled_from([True, True, False]),
)


@given(st.lists(switched, max_size=12), switched)
def test_polkit_is_asked_about_every_packet_on_which_another_route_decides_then(
    several: list[Route], new: Route
) -> None:
    before = {route.key: route for route in several}
    after = before | {new.key: new}
    old = before.get(new.key)
    questions = details(touched(index(before.values()), new).questions(new))
    check_asked(questions, before.values(), after.values(), old, new)


@given(st.lists(switched, min_size=1, max_size=12), st.integers(0), NAMES)
def test_so_it_is_where_a_route_becomes_another_by_its_iif(
    several: list[Route], chosen: int, iif: str
) -> None:
    before = {route.key: route for route in several}
    old = [*before.values()][chosen % len(before)]
    new = replace(old, iif=iif)
    assume(new.key not in before)
    after = {key: route for key, route in before.items() if route is not old} | {new.key: new}
    questions = details(touched(index(before.values()), new, old).questions(new))
    assert len({*map(str, questions)}) == len(questions)
    check_asked(questions, before.values(), after.values(), old, new)


def check_asked(
    questions: Sequence[Mapping[str, str]],
    before: Collection[Route],
    after: Collection[Route],
    old: Route | None,
    new: Route,
) -> None:
    """Demand that all packets are asked about whose decider is another one after the change."""
    assert route_details(new) in questions
    for packet in PACKETS:
        was = decider(before, packet)
        if was is None or was is decider(after, packet):
            continue
        if was is old:
            assert questions[0] == route_details(old)
            continue
        stream = {name: route_details(new)[name] for name in ("source", "group", "table")}
        assert any(
            each == stream | {"iif": each["iif"], "oifs": route_details(was)["oifs"]}
            and matches(each["iif"], packet[2])
            for each in questions
        )


@given(st.lists(switched, max_size=12), switched)
def test_nobody_is_asked_about_routes_that_lose_nothing(several: list[Route], new: Route) -> None:
    before = {route.key: route for route in several}
    losers = touched(index(before.values()), new).losers
    assert losers is not None
    for route, iif in losers:
        assert route.source.overlaps(new.source)
        assert route.group.covers(new.group)
        assert may_meet(route.iif, iif)
        assert new.is_sg_on_one_iif or may_meet(new.iif, iif)
        assert specificity(route) < specificity(new)
    assert len(set(losers)) == len(losers)


def fate(several: Collection[Route], packet: Packet) -> str:
    """By which oifs a packet leaves, in a row; none where it does not."""
    route = decider(several, packet)
    if route is None or not matches(route.iif, packet[2]):
        return ""
    return route_details(route)["oifs"]


@given(st.lists(switched, max_size=12), routes(), st.none() | st.sampled_from(["", "eth1"]))
def test_who_is_granted_some_packets_changes_what_becomes_of_no_others(
    several: list[Route], drawn: Route, oifs: str | None
) -> None:
    """The grant is of groups of 239.0.0.0/8 that arrive on eth0; of some oifs or of all."""
    group = drawn.group if drawn.group.address[0] == 239 else parse_group_prefix("239.0.0.0/8")
    leaving = drawn.oifs if oifs is None else tuple(Oif(name) for name in oifs.split())
    new = replace(drawn, group=group, iif="eth0", oifs=leaving)
    before = {route.key: route for route in several}
    assume(
        all(
            each.get("iif") == "eth0"
            and each["group"].startswith("239.")
            and oifs in (None, each["oifs"])
            for each in details(touched(index(before.values()), new).questions(new))
        )
    )
    after = before | {new.key: new}
    for packet in PACKETS:
        was = decider(before.values(), packet)
        granted = (
            packet[1][0] == 239
            and packet[2] == "eth0"
            and (was is None or oifs in (None, route_details(was)["oifs"]))
        )
        if not granted:
            assert fate(after.values(), packet) == fate(before.values(), packet)


WIDE = parse_route("*", "239.1.0.0/16", "eth0", ["eth3"])


@pytest.mark.parametrize(
    ("present", "new", "asked"),
    [
        pytest.param(WIDE, ("10.0.0.1", "239.1.7.7", "eth2", []), [("eth0", "eth3")], id="a stop"),
        pytest.param(WIDE, ("10.0.0.1", "239.1.7.7", "eth0", ["eth3"]), [], id="the same oifs"),
        pytest.param(
            WIDE, ("10.0.0.1", "239.1.7.7", "eth0", ["eth4"]), [("eth0", "eth3")], id="other oifs"
        ),
        pytest.param(WIDE, ("*", "239.1.7.7", "eth2", ["eth0"]), [], id="any source"),
        pytest.param(WIDE, ("*", "239.1.7.0/24", "eth2", []), [], id="a prefix elsewhere"),
        pytest.param(
            WIDE, ("*", "239.1.7.0/24", "eth*", []), [("eth0", "eth3")], id="a pattern takes in"
        ),
        pytest.param(
            WIDE, ("10.0.0.1", "239.1.7.7", "eth[23]", []), [], id="a pattern that does not"
        ),
        pytest.param(WIDE, ("*", "239.0.0.0/8", "eth0", []), [], id="a wider one"),
        pytest.param(WIDE, ("*", "239.2.0.0/16", "eth0", []), [], id="another one"),
        pytest.param(
            parse_route("10.0.0.0/8", "239.0.0.0/8", "eth2", ["eth3"]),
            ("*", "239.1.0.0/16", "eth2", []),
            [("eth2", "eth3")],
            id="fewer groups count before fewer sources",
        ),
        pytest.param(
            parse_route("*", "239.1.0.0/16", "eth*", ["lan"]),
            ("*", "239.1.0.0/16", "eth2", []),
            [("eth2", "lan")],
            id="a name counts before a pattern",
        ),
        pytest.param(
            parse_route("*", "239.1.0.0/16", "eth*", ["lan"]),
            ("10.0.0.1", "239.1.7.7", "eth2", []),
            [("eth*", "lan")],
            id="of a pattern all interfaces",
        ),
        pytest.param(
            parse_route("*", "239.0.0.0/8", "eth0", []),
            ("10.0.0.1", "239.1.7.7", "eth2", ["eth3"]),
            [("eth0", "")],
            id="what is stopped",
        ),
    ],
)
def test_a_route_is_asked_for_with_what_it_takes_from_another(
    present: Route, new: tuple[str, str, str, list[str]], asked: list[tuple[str, str]]
) -> None:
    route = parse_route(*new)
    own, *others = details(touched(index([present]), route).questions(route))
    assert (own["iif"], own["oifs"]) == (new[2], " ".join(new[3]))
    stream = {"source": own["source"], "group": own["group"], "table": "0"}
    assert others == [stream | {"iif": iif, "oifs": oifs} for iif, oifs in asked]


def test_of_the_routes_from_one_interface_only_the_most_specific_loses() -> None:
    several = [
        parse_route("*", "239.0.0.0/8", "eth0", ["eth4"]),
        parse_route("*", "239.1.0.0/16", "eth0", ["eth3"]),
        parse_route("*", "224.0.0.0/4", "eth*", ["lan"]),
    ]
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [])
    losers = touched(index(several), new).losers
    assert losers == ((several[1], "eth0"), (several[2], "eth*"))


def test_what_is_replaced_is_asked_for_first_and_with_it_whatever_it_took() -> None:
    old = parse_route("10.0.0.1", "239.1.7.7", "eth2", ["eth3", "eth4"])
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", ["eth3"])
    questions = details(touched(index([WIDE, old]), new).questions(new))
    assert [each["oifs"] for each in questions] == ["eth3 eth4", "eth3"]


def test_what_a_pattern_did_not_take_its_replacement_does() -> None:
    old = parse_route("10.0.0.1", "239.1.7.7", "eth[23]", [])
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [])
    elsewhere = parse_route("*", "239.0.0.0/8", "eth3", ["eth4"])
    assert touched(index([WIDE, elsewhere, old]), new).losers == ((WIDE, "eth0"),)


def test_to_enable_a_route_is_asked_for_with_what_it_takes_as_to_add_it() -> None:
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", ["eth3"])
    off = replace(new, enabled=False)
    assert touched(index([WIDE, off]), new) == Touched(off, (Loser(WIDE, "eth0"),))
    asked = touched(index([WIDE, off]), new).questions(new)
    assert details(asked) == details(touched(index([WIDE]), new).questions(new))


def test_to_disable_a_route_is_asked_for_alone_as_to_delete_it() -> None:
    old = parse_route("10.0.0.1", "239.1.7.7", "eth2", ["eth3"])
    off = replace(old, enabled=False)
    asked = touched(index([WIDE, old]), off).questions(off)
    assert details(asked) == details(Touched(old).questions(None))


def test_a_route_that_comes_disabled_takes_nothing_and_loses_nothing() -> None:
    off = parse_route("10.0.0.1", "239.1.7.7", "eth2", [], enabled=False)
    assert touched(index([WIDE]), off) == Touched(None)
    wide_off = replace(WIDE, enabled=False)
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [])
    assert touched(index([wide_off]), new) == Touched(None)


def test_a_route_that_moves_is_asked_for_where_it_was_and_with_what_it_takes_where_it_comes() -> (
    None
):
    there = parse_route("*", "239.0.0.0/8", "eth2", ["eth4"])
    moved = replace(WIDE, iif="eth2")
    asked = details(touched(index([WIDE, there]), moved, WIDE).questions(moved))
    assert [(each["iif"], each["oifs"]) for each in asked] == [
        ("eth0", "eth3"),
        ("eth2", "eth3"),
        ("eth2", "eth4"),
    ]


def test_a_route_that_moves_out_of_its_pattern_takes_from_closer_patterns() -> None:
    old = parse_route("*", "239.1.0.0/16", "eth*", ["lan"])
    closer = parse_route("*", "239.1.0.0/16", "eth[0-3]", ["dmz"])
    moved = replace(old, iif="eth2")
    assert touched(index([old, closer]), moved, old) == Touched(old, (Loser(closer, "eth2"),))


def test_the_purpose_of_a_question_says_what_becomes_of_which_packets() -> None:
    old = parse_route("10.0.0.1", "239.1.7.7", "eth[23]", ["lan"], table=100)
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [], table=100)
    wide = parse_route("*", "239.0.0.0/8", "eth*", ["lan"], table=100)
    asked = touched(index([old, wide]), new).questions(new)
    stream = "($(source), $(group)) from $(iif) to"
    assert [each.purpose for each in asked] == [
        f"replace the multicast route {stream} $(oifs) in table $(table)",
        f"add the multicast route {stream} nowhere in table $(table)",
        f"take from a wider multicast route the stream {stream} $(oifs) in table $(table)",
    ]
    (deleted,) = Touched(WIDE).questions(None)
    assert deleted.purpose == f"delete the multicast route {stream} $(oifs)"


def test_what_is_deleted_is_asked_for_alone() -> None:
    assert [each["group"] for each in details(Touched(WIDE).questions(None))] == ["239.1.0.0/16"]


@pytest.mark.parametrize("number", [17, 10_000])
def test_many_routes_are_one_question(number: int) -> None:
    several = index([parse_route("*", "239.0.0.0/8", f"ppp{n}", ["eth3"]) for n in range(number)])
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [])
    own, many = touched(several, new).questions(new)
    assert (own.details["iif"], many) == ("eth2", BULK)


def test_many_sources_on_one_interface_are_not_all_looked_at() -> None:
    several = index(
        [
            parse_route(f"10.{n // 256}.{n % 256}.0/24", "239.0.0.0/8", "eth0", [])
            for n in range(6000)
        ]
    )
    new = parse_route("*", "239.1.0.0/16", "eth2", [])
    assert touched(several, new) == Touched(None, None)


def test_what_was_shown_is_compared_whole() -> None:
    new = parse_route("10.0.0.1", "239.1.7.7", "eth2", [])
    other = parse_route("*", "239.1.0.0/16", "eth0", ["eth3"], comment="another")
    shown = touched(index([WIDE]), new)
    check_touched(shown, touched(index([WIDE]), new))
    with pytest.raises(AccessDenied, match="takes streams from were changed meanwhile"):
        check_touched(shown, touched(index([other]), new))
    with pytest.raises(AccessDenied, match="takes streams from were changed meanwhile"):
        check_touched(shown, touched(index([]), new))
    with pytest.raises(AccessDenied, match=r"Route \(\*, 239.1.0.0/16\) was changed meanwhile"):
        check_touched(Touched(WIDE), Touched(other))
    with pytest.raises(AccessDenied, match="was changed meanwhile"):
        check_touched(Touched(None), Touched(WIDE))

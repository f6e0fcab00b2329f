"""What a change of a part makes of a route, and what of it is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.strategies import routes
from msgspec import structs

from mfc_dbus.model.errors import InvalidArgs, TooManyInterfaces
from mfc_dbus.model.route import Route, parse_route
from mfc_dbus.model.route_change import change_route

NOW = 7_000_000_000
ROUTE = parse_route(
    "10.0.0.1", "239.1.1.1", "eth1", ["eth2", "eth3"], {"eth3": 9}, "the lobby", table=5
)
TIMED = structs.replace(ROUTE, persistent=False, expires=8_000_000_000)


def changed(route: Route = ROUTE, **changes: Any) -> Route:
    given = {name.replace("_", "-"): value for name, value in changes.items()}
    return change_route(route, given, NOW)


@given(routes())
def test_what_is_not_said_stays(route: Route) -> None:
    assert changed(route) == route
    off = changed(route, enabled=False)
    assert off == structs.replace(route, enabled=False)
    assert changed(off, enabled=True) == route


@pytest.mark.parametrize("route", [ROUTE, TIMED])
@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"comment": ""}, "comment", ""),
        ({"to_iif": "eth*"}, "iif", "eth*"),
        ({"hairpin": True}, "hairpin", True),
        ({"persistent": False}, "persistent", False),
        ({"add_oifs": [], "remove_oifs": []}, "hairpin", False),
    ],
)
def test_a_change_is_of_what_it_names_alone(
    route: Route, changes: dict[str, Any], field: str, value: object
) -> None:
    assert changed(route, **changes) == structs.replace(route, **{field: value})


def test_oifs_are_added_behind_those_that_stay_with_their_thresholds() -> None:
    oifs = changed(add_oifs=["eth5", "eth4"], remove_oifs=["eth2"], ttls={"eth4": 3}).oifs
    assert [tuple(oif) for oif in oifs] == [("eth3", 9), ("eth5", 1), ("eth4", 3)]
    assert changed(ttls={"eth3": 1}).ttls == {}
    assert changed(remove_oifs=["eth3"]).ttls == {}
    assert changed(remove_oifs=["eth2", "eth3"]).oifs == ()


def test_a_timeout_begins_now_and_makes_it_transient() -> None:
    timed = changed(timeout=60)
    assert (timed.expires, timed.persistent) == (67_000_000_000, False)
    assert changed(TIMED, timeout=60).expires == 67_000_000_000
    assert changed(TIMED, comment="other").expires == TIMED.expires
    ended = changed(TIMED, timeout=0)
    assert (ended.expires, ended.persistent) == (0, False)
    assert changed(TIMED, timeout=0, persistent=True) == ROUTE
    assert changed(timeout=0) == ROUTE


@pytest.mark.parametrize(
    ("route", "changes", "sentence"),
    [
        (ROUTE, {"add_oifs": ["eth2"]}, "Interface 'eth2' is an oif of route .* already"),
        (ROUTE, {"add_oifs": ["eth4", "eth4"]}, "Interface 'eth4' is an oif of route .* already"),
        (ROUTE, {"remove_oifs": ["eth9"]}, "Interface 'eth9' is no oif of route"),
        (ROUTE, {"remove_oifs": ["eth2", "eth2"]}, "Interface 'eth2' is no oif of route"),
        (ROUTE, {"add_oifs": ["eth2"], "remove_oifs": ["eth2"]}, "'eth2' is both to be added and"),
        (ROUTE, {"ttls": {"eth4": 9}}, "'ttls' names 'eth4', which is not an oif"),
        (ROUTE, {"ttls": {"eth3": 9}, "remove_oifs": ["eth3"]}, "'ttls' names 'eth3'"),
        (ROUTE, {"ttls": {"eth3": 255}}, "TTL threshold 255 of 'eth3'"),
        (ROUTE, {"to_iif": "eth2"}, "Interface 'eth2' is both the iif and an oif"),
        (ROUTE, {"add_oifs": ["eth1"]}, "Interface 'eth1' is both the iif and an oif"),
        (ROUTE, {"to_iif": ""}, "'' is not an interface name"),
        (ROUTE, {"comment": "a\nb"}, "control characters"),
        (ROUTE, {"timeout": 9, "persistent": True}, "with a timeout is never persistent$"),
        (TIMED, {"persistent": True}, "never persistent: with 'timeout' 0 it has none any more"),
        (
            parse_route("fd00::1", "ff05::1", "eth1", ["eth2"]),
            {"ttls": {"eth2": 9}},
            "IPv6 has no TTL thresholds",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    route: Route, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidArgs, match=sentence):
        changed(route, **changes)


@given(st.integers(30, 2000))
def test_too_many_oifs_are_refused(count: int) -> None:
    with pytest.raises(TooManyInterfaces, match="at most 31 oifs"):
        changed(add_oifs=[f"x{n}" for n in range(count)])

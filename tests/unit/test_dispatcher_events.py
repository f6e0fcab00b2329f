"""The events that scripts are told lead to how things are, whole or from wherever they were cut."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.client import MembershipInfo, RouteInfo
from mfc_dbus.dispatcher.environment import VARIABLES, arguments, environment
from mfc_dbus.dispatcher.events import ACTIONS, CausedBy, Event, Kind, Thing, Value, events_of

EXAMPLE = Path(__file__).parents[2] / "data/doc/examples/50-tell-of-routes"
ROUTE = RouteInfo("10.1.0.10", "239.1.2.3", "eth1", ("eth2", "eth3"), "active").to_json()
WAITING = {**ROUTE, "state": "waiting", "reason": "Interface 'eth1' is down"}
PARTIAL = {**ROUTE, "state": "partial", "reason": "Interface 'eth2' is down"}
OTHER = {**ROUTE, "oifs": ["eth4"]}
JOINED = MembershipInfo("*", "239.1.2.3", "eth1", "joined").to_json()
FAILED = {**JOINED, "state": "failed", "reason": "No room"}
STREAM = {"source": "10.1.0.10", "group": "239.1.2.3", "iif": "eth1", "oifs": ["eth2"], "table": 0}
_VALUES: dict[Kind, list[Value]] = {
    Kind.ROUTE: [ROUTE, WAITING, PARTIAL, OTHER, {**OTHER, "state": "waiting"}],
    Kind.MEMBERSHIP: [JOINED, FAILED, {**JOINED, "comment": "x"}],
    Kind.INTERFACE: [{"name": "eth1"}],
    Kind.STREAM: [STREAM, {**STREAM, "iif": "eth3"}],
    Kind.SERVICE: [{"instance": "1"}, {"instance": "2"}],
}


def between(kind: Kind, before: Value | None, after: Value | None) -> list[Event]:
    return [*events_of(Thing(kind, ("it",)), before, after)]


def actions(kind: Kind, before: Value | None, after: Value | None) -> list[str]:
    return [event.action for event in between(kind, before, after)]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, ROUTE, ["add", "up"]),
        (None, WAITING, ["add"]),
        (ROUTE, None, ["down", "remove"]),
        (PARTIAL, None, ["remove"]),
        (ROUTE, PARTIAL, ["down"]),
        (WAITING, ROUTE, ["up"]),
        (WAITING, PARTIAL, ["change"]),
        (ROUTE, OTHER, ["change"]),
        (ROUTE, {**OTHER, "state": "waiting"}, ["down", "change"]),
        (WAITING, OTHER, ["change", "up"]),
        (ROUTE, ROUTE, []),
    ],
)
def test_a_route_is_down_before_it_goes_or_changes_and_up_after_that(
    before: Value | None, after: Value | None, told: list[str]
) -> None:
    assert actions(Kind.ROUTE, before, after) == [f"route-{each}" for each in told]


@pytest.mark.parametrize(
    ("kind", "before", "after", "told"),
    [
        (Kind.MEMBERSHIP, None, JOINED, ["membership-join", "membership-up"]),
        (Kind.MEMBERSHIP, JOINED, FAILED, ["membership-down"]),
        (Kind.MEMBERSHIP, FAILED, None, ["membership-leave"]),
        (Kind.INTERFACE, None, {"name": "eth1"}, ["interface-up"]),
        (Kind.INTERFACE, {"name": "eth1"}, None, ["interface-down"]),
        (Kind.STREAM, None, STREAM, ["stream-begin"]),
        (Kind.STREAM, STREAM, {**STREAM, "iif": "eth3"}, []),
        (Kind.STREAM, STREAM, None, ["stream-end"]),
        (Kind.SERVICE, None, {"instance": "1"}, ["service-up"]),
        (Kind.SERVICE, {"instance": "1"}, {"instance": "2"}, ["service-down", "service-up"]),
        (Kind.SERVICE, {"instance": "2"}, None, ["service-down"]),
    ],
)
def test_other_things_have_the_events_that_they_can_have(
    kind: Kind, before: Value | None, after: Value | None, told: list[str]
) -> None:
    assert actions(kind, before, after) == told


@given(st.data())
def test_events_that_are_cut_off_go_on_where_they_were(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([*_VALUES]))
    values = st.one_of(st.none(), st.sampled_from(_VALUES[kind]))
    before, after = data.draw(values), data.draw(values)
    whole = between(kind, before, after)
    heard = before
    for number, event in enumerate(whole):
        assert event.action in ACTIONS
        assert between(kind, heard, after) == whole[number:] or number
        heard = event.left
        rest = [each.action for each in between(kind, heard, after)]
        assert rest == [each.action for each in whole[number + 1 :]]
    if kind is not Kind.STREAM or before is None or after is None:
        assert heard == after


def test_a_script_gets_what_there_is_in_its_environment() -> None:
    changed, raised = between(Kind.ROUTE, {**WAITING, "comment": "x"}, {**ROUTE, "comment": "y"})
    cause = CausedBy("call", "change", 1000, "alice", ":1.7", 42)
    event = raised._replace(cause=cause, generation=7)
    assert changed.action == "route-change"
    assert arguments(event) == ("10.1.0.10,239.1.2.3", "route-up")
    assert environment(event) == {
        "MFC_ACTION": "route-up",
        "MFC_SOURCE": "10.1.0.10",
        "MFC_GROUP": "239.1.2.3",
        "MFC_IIF": "eth1",
        "MFC_OIFS": "eth2 eth3",
        "MFC_STATE": "active",
        "MFC_OLD_STATE": "waiting",
        "MFC_REASON": "",
        "MFC_TABLE": "0",
        "MFC_COMMENT": "y",
        "MFC_INTERFACE": "",
        "MFC_GENERATION": "7",
        "MFC_CAUSE": "call",
        "MFC_UID": "1000",
        "MFC_USER": "alice",
    }


def test_the_example_tells_of_a_route_that_goes_down(tmp_path: Path) -> None:
    logger = tmp_path / "logger"
    logger.write_text('#!/bin/sh\necho "$*"\n')
    logger.chmod(0o755)
    told = []
    for event in between(Kind.ROUTE, ROUTE, WAITING) + between(Kind.ROUTE, None, WAITING):
        variables = {**environment(event), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            [EXAMPLE, *arguments(event)], env=variables, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        told.append(done.stdout)
    assert told == [
        "--tag multicast --priority daemon.warning -- "
        "Route 10.1.0.10,239.1.2.3 from eth1 to eth2 eth3 is waiting (unknown cause). "
        "Interface 'eth1' is down\n",
        "",
    ]


def test_each_kind_has_its_first_argument() -> None:
    for kind, value, subject in (
        (Kind.SERVICE, {"instance": "1"}, "service"),
        (Kind.INTERFACE, {"name": "eth1"}, "eth1"),
        (Kind.MEMBERSHIP, JOINED, "*,239.1.2.3"),
        (Kind.STREAM, STREAM, "10.1.0.10,239.1.2.3"),
    ):
        event = between(kind, None, value)[0]
        assert arguments(event)[0] == subject
        assert tuple(environment(event)) == VARIABLES or {*environment(event)} == {*VARIABLES}
        assert event.to_json()[kind] == value


@given(st.text(alphabet=st.characters(codec=None), max_size=20_000))
def test_no_string_of_the_bus_ends_a_line_or_is_too_long(text: str) -> None:
    value: dict[str, Any] = {**ROUTE, "comment": text, "group": text, "oifs": [text] * 31}
    (event, _) = between(Kind.ROUTE, None, value)
    for each in (*arguments(event), *environment(event).values()):
        assert each.isprintable()
        assert len(each.encode()) < 128 * 1024

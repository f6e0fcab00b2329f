"""A route's state says whether it forwards, and its reason what keeps it from that."""

import errno
import logging
from collections.abc import Callable
from unittest import mock

import pytest
from lab.fake import FakeLinks
from lab.ground import Ground

from mfc_dbus.control.change_log import ChangeLog
from mfc_dbus.control.states import state_of, states_of
from mfc_dbus.kernel.links import Link
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.cause import BY_INTERFACE, Act, asked
from mfc_dbus.model.route import MAX_VIFS, Route, TableId, parse_route
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status

IPV4 = TableId(FAMILIES[0])
STREAM = ("10.0.0.1", "239.1.1.1")
SOURCES = pytest.mark.parametrize("source", ["10.0.0.1", "*", "10.0.0.0/24"])


def restart(ground: Ground, *routes: Route) -> None:
    """Start a controller that gets no sockets of the old one, with routes that were stored."""
    for kernel in ground.kernels.values():
        kernel.clear()
    ground.links.begin_anew()
    ground.begin([*ground.keeper.routes.values(), *routes])


def told(ground: Ground) -> tuple[str, str]:
    """State and reason of the one route, as they were told last."""
    ground.controller.follow()
    (status,) = ground.controller.view.routes.values()
    return status.state, status.reason


Happening = Callable[[FakeLinks], None]


def down(name: str) -> Happening:
    return lambda links: links.turn(name, up=False, enabled=False)


def unplugged(name: str) -> Happening:
    return lambda links: links.turn(name, up=False)


def gone(name: str) -> Happening:
    return lambda links: links.remove(name)


@SOURCES
@pytest.mark.parametrize(
    ("happens", "state", "reason"),
    [
        ([], "active", ""),
        ([gone("eth0")], "waiting", "Interface 'eth0' is missing"),
        ([down("eth0")], "waiting", "Interface 'eth0' is down"),
        ([unplugged("eth0")], "waiting", "Interface 'eth0' has no carrier"),
        ([gone("eth1")], "partial", "Interface 'eth1' is missing"),
        ([down("eth1")], "partial", "Interface 'eth1' is down"),
        ([unplugged("eth1")], "partial", "Interface 'eth1' has no carrier"),
        ([gone("eth1"), gone("eth2")], "waiting", "Interfaces 'eth1', 'eth2' are missing"),
        ([down("eth1"), down("eth2")], "waiting", "Interfaces 'eth1', 'eth2' are down"),
        (
            [unplugged("eth1"), unplugged("eth2")],
            "waiting",
            "Interfaces 'eth1', 'eth2' have no carrier",
        ),
        (
            [unplugged("eth1"), gone("eth2")],
            "waiting",
            "Interface 'eth2' is missing; interface 'eth1' has no carrier",
        ),
        ([down("eth0"), gone("eth1")], "waiting", "Interface 'eth0' is down"),
    ],
)
def test_a_route_that_names_its_interfaces_is_as_they_are(
    source: str, happens: list[Happening], state: str, reason: str
) -> None:
    ground = Ground()
    ground.add(source, "239.1.1.1", "eth0", "eth1 eth2")
    for happening in happens:
        happening(ground.links)
    assert told(ground) == (state, reason)
    for name in ("eth0", "eth1", "eth2"):
        ground.links.add(name)
    assert told(ground) == ("active", "")


@SOURCES
def test_it_is_the_same_whether_it_came_before_or_after_what_happens(source: str) -> None:
    ground = Ground()
    ground.links.turn("eth1", up=False)
    ground.links.remove("eth2")
    ground.add(source, "239.1.1.1", "eth0", "eth1 eth2", wait=True)
    reason = "Interface 'eth2' is missing; interface 'eth1' has no carrier"
    assert told(ground) == ("waiting", reason)
    restart(ground)
    assert told(ground) == ("waiting", reason)
    ground.links.begin_anew()
    ground.begin(list(ground.keeper.routes.values()), kept_sockets=True)
    assert told(ground) == ("waiting", reason)


@SOURCES
def test_a_stop_is_active_while_its_iif_is_up(source: str) -> None:
    ground = Ground()
    ground.add(source, "239.1.1.1", "eth0", "")
    assert told(ground) == ("active", "")
    ground.links.turn("eth0", up=False)
    assert told(ground) == ("waiting", "Interface 'eth0' has no carrier")


@SOURCES
@pytest.mark.parametrize(
    ("oifs", "happens", "state", "reason"),
    [
        ("eth*", [down("eth1"), down("eth2")], "active", ""),
        ("eth[12]", [down("eth1")], "active", ""),
        ("eth[12]", [down("eth1"), gone("eth2")], "waiting", "No interface that 'eth[12]' matches"),
        ("eth2 new*", [], "active", ""),
        ("new*", [], "waiting", "No interface that 'new*' matches is up"),
        (
            "new* eth1",
            [down("eth1")],
            "waiting",
            "Interface 'eth1' is down; no interface that 'new*' matches is up",
        ),
        ("eth[23] eth1", [down("eth1")], "partial", "Interface 'eth1' is down"),
        ("eth0*", [], "waiting", "No interface that 'eth0*' matches is up"),
    ],
)
def test_of_a_pattern_of_oifs_one_interface_that_is_up_is_enough(
    source: str, oifs: str, happens: list[Happening], state: str, reason: str
) -> None:
    ground = Ground()
    ground.add(source, "239.1.1.1", "eth0", oifs)
    for happening in happens:
        happening(ground.links)
    shown = told(ground)
    assert shown[0] == state
    assert shown[1].startswith(reason)
    assert bool(shown[1]) == (state != "active")


def test_of_a_pattern_of_iifs_one_interface_that_is_up_is_enough() -> None:
    ground = Ground()
    ground.add("*", "239.1.1.1", "eth[01]", "eth2")
    ground.links.turn("eth0", up=False)
    assert told(ground) == ("active", "")
    ground.links.turn("eth1", up=False)
    nobody = ("waiting", "No interface that 'eth[01]' matches is up")
    assert told(ground) == nobody
    ground.links.remove("eth0")
    ground.links.remove("eth1")
    assert told(ground) == nobody


def test_what_is_sent_back_counts_and_where_it_is_not_an_interface_is_none_for_itself() -> None:
    ground = Ground()
    ground.add("*", "239.1.1.1", "eth0", "eth[0]", hairpin=True)
    assert told(ground) == ("active", "")
    ground.add("*", "239.1.1.1", "eth0", "eth[0]", replace=True)
    assert told(ground)[0] == "waiting"


def test_a_table_that_is_not_ours_has_its_reason_at_each_route() -> None:
    ground = Ground()
    ground.kernels[FAMILIES[0]].owner = "another"
    ground.links.begin_anew()
    ground.begin([parse_route(*STREAM, "eth0", ["eth1"])])
    sentence = "Another program owns the ipv4 multicast routing table"
    assert told(ground) == ("unavailable", sentence)


def test_what_there_was_no_room_for_has_its_reason_after_a_restart_too() -> None:
    ground = Ground(*(f"e{n}" for n in range(MAX_VIFS + 1)))
    ground.add("10.0.0.1", "239.1.1.1", "e0", " ".join(f"e{n}" for n in range(1, 17)))
    ground.add("10.0.0.1", "239.1.1.2", "e17", " ".join(f"e{n}" for n in range(18, 32)))
    late = parse_route("10.0.0.1", "239.1.1.3", "e32", ["e0"])
    restart(ground, late)
    status = ground.controller.view.routes[late.key]
    assert status.state == "waiting"
    assert status.reason.startswith("Interface 'e32' would be the 33rd of the routing table")


def test_what_the_kernel_refuses_has_its_reason() -> None:
    ground = Ground()
    route = parse_route(*STREAM, "eth0", ["eth1"])
    refused = OSError(errno.ENOMEM, "no memory")
    with mock.patch.object(ground.kernels[FAMILIES[0]], "add_mfc", side_effect=refused):
        restart(ground, route)
        state, reason = told(ground)
    assert state == "waiting"
    assert reason.startswith("The kernel refused: Cannot allocate memory")


def test_when_an_interface_turns_its_routes_are_told_and_the_kernel_is_left_alone() -> None:
    ground = Ground()
    named = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.add("10.0.0.1", "239.1.1.2", "eth2", "eth3")
    calls = [kernel.calls for kernel in ground.kernels.values()]
    ground.changes.clear()
    ground.links.turn("eth1", up=False)
    ground.controller.follow()
    reason = "Interface 'eth1' has no carrier"
    assert [change.changed for change in ground.changes] == [
        [Status(named, RouteState.WAITING, reason)]
    ]
    ground.links.turn("eth1", up=True)
    ground.controller.follow()
    assert [change.changed for change in ground.changes[1:]] == [[Status(named, RouteState.ACTIVE)]]
    assert [kernel.calls for kernel in ground.kernels.values()] == calls


def test_what_becomes_of_routes_is_logged_and_of_many_at_once_only_some(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ground = Ground()
    ground.add(*STREAM, "eth0", "eth1")
    with caplog.at_level(logging.INFO):
        ground.links.turn("eth1", up=False)
        ground.controller.follow()
        ground.links.turn("eth1", up=True)
        ground.controller.follow()
        assert caplog.messages == [
            "Route (10.0.0.1, 239.1.1.1) is waiting: Interface 'eth1' has no carrier",
            "Route (10.0.0.1, 239.1.1.1) is active",
        ]
        caplog.clear()
        now = 5.0
        log = ChangeLog(lambda: now)

        def note(group: str) -> None:
            route = parse_route("*", group, "eth0", [])
            before = Status(route, RouteState.WAITING)
            log.note(BY_INTERFACE, before, Status(route, RouteState.ACTIVE))

        for number in range(100):
            note(f"239.1.1.{number}")
        assert len(caplog.messages) == 10
        now = 7.0
        note("239.1.2.1")
    assert caplog.messages[10:] == [
        "and 90 more routes or memberships have another state",
        "Route (*, 239.1.2.1) is active",
    ]


def test_many_changes_are_logged_in_part_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 5.0
    log = ChangeLog(lambda: now)
    with caplog.at_level(logging.INFO):
        for number in range(1000):
            route = parse_route("*", f"239.1.{number // 250}.{number % 250}", "eth0", [])
            log.note(asked(Act.APPLY), None, Status(route, RouteState.ACTIVE))
        assert len(caplog.messages) == 250
        now = 6.0
        log.sum_up()
        log.sum_up()
    assert caplog.messages[250:] == ["and 750 more routes or memberships were changed"]


def test_the_log_says_in_time_how_many_it_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5.0
    monkeypatch.setattr("mfc_dbus.control.controller.ChangeLog", lambda: ChangeLog(lambda: now))
    ground = Ground()
    for number in range(15):
        ground.add("10.0.0.1", f"239.1.1.{number}", "eth0", "eth1")
    with caplog.at_level(logging.INFO):
        ground.links.turn("eth1", up=False)
        ground.controller.follow()
        assert len(caplog.messages) == 10
        ground.controller.follow()
        assert len(caplog.messages) == 10
        now = 6.0
        ground.controller.follow()
        ground.controller.follow()
    assert caplog.messages[10:] == ["and 5 more routes or memberships have another state"]


def test_a_reason_is_short_and_routes_with_the_same_share_it() -> None:
    ground = Ground("eth0")
    oifs = [f"veth-number-{n}" for n in range(31)]
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", oifs) for n in range(2)]
    restart(ground, *routes)
    present = {"eth0": Link("eth0", 1, multicast=True, up=True, enabled=True)}
    table = ground.controller.tables[IPV4]
    (one, text), (other, same) = (state_of(table, route, present) for route in routes)
    assert (one, other) == ("waiting", "waiting")
    assert text is same
    assert text == (
        "Interfaces 'veth-number-0', 'veth-number-1', 'veth-number-2' and 28 more are missing"
    )


def test_the_states_of_many_are_those_of_each() -> None:
    ground = Ground()
    for number, oifs in enumerate(("eth1", "eth1", "eth2", "eth1 eth3", "eth3 eth1", "eth?", "")):
        for source in ("10.0.0.1", "*", "10.0.0.0/24"):
            ground.add(source, f"239.1.1.{number}", "eth0", oifs)
    ground.links.turn("eth2", up=False)
    ground.links.remove("eth1")
    ground.controller.follow()
    ground.add("10.0.0.1", "239.1.1.9", "eth0", "eth1 eth2", wait=True)
    table, present = ground.controller.tables[IPV4], ground.controller.present
    each = [state_of(table, route, present) for route in table.routes]
    assert [*states_of(table, table.routes, present)] == each
    assert len({state for state, _ in each}) == 3

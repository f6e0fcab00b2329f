"""The controller on a kernel in memory: whole or not at all, and always what the model says."""

import asyncio
import errno
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lab.fake import FakeKeeper, FakeKernel, FakeLinks, Oifs
from lab.ground import INTERFACES, Ground, expected, run
from lab.listening import Listening
from lab.parts import in_small_parts
from lab.reference import forwards, iif_names, placed_oifs
from lab.strategies import effort
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.status_changes import Change
from mfc_dbus.model.addresses import (
    FAMILIES,
    Family,
    format_source,
    parse_group_prefix,
    parse_stream,
)
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.errors import (
    InvalidArgs,
    KernelError,
    LimitExceeded,
    NoSuchInterface,
    NoSuchRoute,
    RequestError,
    RouteExists,
    StoreError,
    TableBusy,
    TooManyInterfaces,
)
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, RouteName, TableId, parse_route
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status
from mfc_dbus.routing.table import Table


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_a_route_reaches_the_kernel_with_its_vifs(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2", ttls={"eth2": 9})
    assert ground.held() == {expected(route)}
    assert ground.changes == [
        Change(added=[Status(route, RouteState.ACTIVE)], changed=[], removed=[])
    ]


def test_a_vif_goes_with_the_last_route_that_uses_it(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth2")
    ground.delete("10.0.0.1", "239.1.1.1")
    vifs = ground.controller.tables[TableId(FAMILIES[0])].vifs
    assert {(vif.name, vif.references) for vif in vifs} == {("eth0", 1), ("eth2", 1)}
    ground.delete("10.0.0.1", "239.1.1.2")
    assert [kernel.vifs for kernel in ground.kernels.values()] == [{}, {}]


async def half_done(ground: Ground) -> None:
    while ground.controller.is_whole:  # noqa: ASYNC110 - there is no event of this
        await asyncio.sleep(0)


@pytest.mark.parametrize("hairpin", [False, True])
@pytest.mark.parametrize("iif", ["eth0", "eth?", "eth*"])
@pytest.mark.parametrize("before", [(), ("eth0",), ("eth5",)])
def test_an_any_source_route_without_an_oif_stops_what_arrives_on_its_iifs(
    ground: Ground, before: Sequence[str], iif: str, hairpin: bool
) -> None:
    for name in before:
        assert ground.arrive("10.0.0.1", "239.1.1.1", name) is None
    ground.add("*", "239.1.1.1", iif, "", hairpin=hairpin)
    for source in ("10.0.0.1", "10.0.0.2"):
        assert ground.arrive(source, "239.1.1.1", "eth0") == frozenset()


@pytest.mark.parametrize("source", ["10.0.0.1", "*"])
def test_a_route_without_an_oif_is_in_the_kernel_and_stops_its_stream(
    ground: Ground, source: str
) -> None:
    route = ground.add(source, "239.1.1.1", "eth0", "")
    assert ground.held() == {expected(route)}
    assert list(ground.states().values()) == ["active"]
    ground.add(source, "239.1.1.1", "eth0", "eth1", replace=True)
    stopped = ground.add(source, "239.1.1.1", "eth0", "", replace=True)
    assert ground.held() == {expected(stopped)}


def test_what_is_there_is_not_added_again(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    before = ground.snapshot()
    with pytest.raises(RouteExists, match=r"\(10.0.0.1, 239.1.1.1\) exists already"):
        ground.add("10.0.0.1", "239.1.1.1", "eth2", "eth3")
    assert ground.snapshot() == before


def test_replace_changes_the_route_and_adds_where_there_is_none(ground: Ground) -> None:
    first = ground.add("10.0.0.1", "239.1.1.1", replace=True)
    second = ground.add("10.0.0.1", "239.1.1.1", "eth2", "eth3 eth1", replace=True)
    assert ground.held() == {expected(second)}
    assert ground.changes == [
        Change(added=[Status(first, RouteState.ACTIVE)], changed=[], removed=[]),
        Change(added=[], changed=[Status(second, RouteState.ACTIVE)], removed=[]),
    ]


def test_replace_with_the_same_route_is_no_change(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    before = ground.snapshot()
    ground.add("10.0.0.1", "239.1.1.1", replace=True)
    assert ground.snapshot() == before


def test_two_who_each_add_an_oif_at_once_both_have_theirs(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")

    async def both() -> None:
        await asyncio.gather(
            *(ground.changing("10.0.0.1", "239.1.1.1", add_oifs=[oif]) for oif in ("eth2", "eth3"))
        )

    run(both())
    whole = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2", "eth3"])
    assert ground.held() == {expected(whole)}
    assert ground.routes() == {whole}
    assert ground.keeper.routes == {whole.key: whole}
    assert [len(change.changed) for change in ground.changes] == [0, 1, 1]


def test_a_change_to_what_is_there_is_neither_done_nor_told_nor_stored(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    before, calls = ground.snapshot(), ground.kernels[FAMILIES[0]].calls
    ground.keeper.broken = True
    same: dict[str, Any] = {"to_iif": "eth0", "enabled": True, "comment": "", "ttls": {"eth1": 1}}
    assert ground.change("10.0.0.1", "239.1.1.1", **same) is None
    assert ground.kernels[FAMILIES[0]].calls == calls
    assert ground.snapshot() == before
    assert ground.routes() == {route}


def test_another_iif_makes_another_route_where_it_tells_them_apart(ground: Ground) -> None:
    one = ground.add("*", "239.1.1.1", "eth0", "eth5")
    other = ground.add("*", "239.1.1.1", "eth1", "eth5")
    with pytest.raises(InvalidArgs, match="exists from 'eth0', 'eth1': say which by 'iif'"):
        ground.change("*", "239.1.1.1", to_iif="eth2")
    before = ground.snapshot()
    with pytest.raises(RouteExists, match=r"\(\*, 239.1.1.1\) from 'eth1' exists already"):
        ground.change("*", "239.1.1.1", "eth0", to_iif="eth1")
    assert ground.snapshot() == before
    moved = ground.change("*", "239.1.1.1", "eth0", to_iif="eth2", add_oifs=["eth3"])
    assert moved == parse_route("*", "239.1.1.1", "eth2", ["eth5", "eth3"])
    assert ground.held() == {expected(moved), expected(other)}
    assert set(ground.keeper.routes.values()) == {moved, other}
    assert ground.changes[-1] == Change(
        added=[Status(moved, RouteState.ACTIVE)],
        changed=[],
        removed=[Status(one, RouteState.ACTIVE)],
    )


def test_another_iif_of_one_stream_is_a_change_of_its_route(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    moved = ground.change("10.0.0.1", "239.1.1.1", to_iif="eth2")
    assert moved is not None
    assert ground.held() == {expected(moved)}
    assert ground.changes[-1] == Change(
        added=[], changed=[Status(moved, RouteState.ACTIVE)], removed=[]
    )


def test_of_a_change_only_the_interfaces_that_are_new_must_be_there(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
    ground.links.remove("eth1")
    with pytest.raises(NoSuchInterface, match="Interface 'eth99' not found"):
        ground.change("10.0.0.1", "239.1.1.1", add_oifs=["eth99"])
    ground.change("10.0.0.1", "239.1.1.1", add_oifs=["eth3"], comment="eth1 is away")
    ground.change("10.0.0.1", "239.1.1.1", add_oifs=["eth98"], wait=True)
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "partial"}
    left = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth2", "eth3"])
    assert ground.held() == {expected(left)}


def test_what_cannot_be_changed_stays_as_it_is(ground: Ground) -> None:
    ground.add("*", "239.1.1.1", "eth0", "eth1")
    before = ground.snapshot()
    with pytest.raises(NoSuchRoute):
        ground.change("10.0.0.1", "239.1.1.1", enabled=False)
    for fails in ("store", 0, 1):
        ground.keeper.broken = fails == "store"
        ground.kernels[FAMILIES[0]].fail_in = fails if isinstance(fails, int) else None
        with pytest.raises((StoreError, KernelError)):
            ground.change("*", "239.1.1.1", add_oifs=["eth2"], to_iif="eth3")
        assert ground.snapshot() == before


def test_a_disabled_route_is_kept_and_nothing_of_it_is_in_the_kernel(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    off = ground.change("10.0.0.1", "239.1.1.1", enabled=False)
    assert off == structs.replace(route, enabled=False)
    assert not any(kernel.vifs or kernel.entries for kernel in ground.kernels.values())
    assert ground.changes[-1].changed == [Status(off, RouteState.DISABLED)]
    assert ground.keeper.routes == {off.key: off}
    with pytest.raises(RouteExists):
        ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.links.remove("eth1")
    ground.controller.follow()
    ground.links.begin_anew()
    ground.begin([off])
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "disabled"}
    ground.change("10.0.0.1", "239.1.1.1", add_oifs=["eth77"])
    with pytest.raises(NoSuchInterface, match="'eth1' not found"):
        ground.change("10.0.0.1", "239.1.1.1", enabled=True)
    ground.change("10.0.0.1", "239.1.1.1", enabled=True, wait=True)
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "waiting"}
    ground.links.add("eth1")
    ground.controller.follow()
    assert ground.held() == {expected(route)}


@pytest.mark.parametrize("source", ["10.0.0.1", "10.0.0.0/24", "*"])
def test_a_wider_route_decides_on_the_streams_of_a_disabled_one(
    ground: Ground, source: str
) -> None:
    ground.add("*", "239.0.0.0/8", "eth0", "eth5")
    ground.add(source, "239.1.1.1", "eth0", "eth1")
    narrow, wide = frozenset({("eth1", 1)}), frozenset({("eth5", 1)})
    assert ground.arrive("10.0.0.1", "239.1.1.1") == narrow
    ground.change(source, "239.1.1.1", enabled=False)
    assert ground.arrive("10.0.0.1", "239.1.1.1") == wide
    ground.change(source, "239.1.1.1", enabled=True)
    assert ground.arrive("10.0.0.1", "239.1.1.1") == narrow


def test_a_route_can_be_disabled_while_its_table_is_not_ours() -> None:
    ground = Ground()
    ground.add("10.0.0.1", "239.1.1.1")
    somebody_elses_table(ground, *ground.routes())
    with pytest.raises(TableBusy):
        ground.change("10.0.0.1", "239.1.1.1", comment="no")
    ground.change("10.0.0.1", "239.1.1.1", enabled=False)
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "disabled"}


def test_any_source_has_a_route_for_each_iif(ground: Ground) -> None:
    one = ground.add("*", "239.1.1.1", "eth0", "eth2")
    two = ground.add("*", "239.1.1.1", "eth1", "eth2")
    assert ground.held() == {expected(one), expected(two)}
    with pytest.raises(InvalidArgs, match="exists from 'eth0', 'eth1': say which by 'iif'"):
        ground.delete("*", "239.1.1.1", None)
    ground.delete("*", "239.1.1.1", "eth0")
    assert ground.held() == {expected(two)}
    ground.delete("*", "239.1.1.1", None)
    assert ground.held() == set()


@pytest.mark.parametrize(
    ("source", "group", "iif", "sentence"),
    [
        ("10.0.0.1", "239.1.1.1", None, r"no route \(10.0.0.1, 239.1.1.1\)"),
        ("*", "239.1.1.2", None, r"no route \(\*, 239.1.1.2\)"),
        ("*", "239.1.1.1", "eth5", r"no route \(\*, 239.1.1.1\) from 'eth5'"),
        ("*", "ff05::1", None, r"no route \(\*, ff05::1\)"),
    ],
)
def test_a_route_that_is_not_there_cannot_be_deleted(
    ground: Ground, source: str, group: str, iif: str | None, sentence: str
) -> None:
    ground.add("*", "239.1.1.1")
    with pytest.raises(NoSuchRoute, match=sentence):
        ground.delete(source, group, iif)


def test_interfaces_must_be_there(ground: Ground) -> None:
    with pytest.raises(NoSuchInterface, match="Interface 'eth99' not found"):
        ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth99")
    assert ground.held() == set()


def test_interfaces_need_no_multicast_flag_when_they_are_there_and_when_they_come(
    ground: Ground,
) -> None:
    ground.links.add("eth1", multicast=False)
    ground.controller.follow()
    there = ground.add("10.0.0.1", "239.1.1.1", "lo", "eth1")
    comes = ground.add("10.0.0.1", "239.1.1.2", "new", "eth1", wait=True)
    assert ground.held() == {expected(there)}
    ground.links.add("new", multicast=False)
    ground.controller.follow()
    assert ground.held() == {expected(there), expected(comes)}
    assert set(ground.states().values()) == {"active"}


def test_an_alternative_name_is_refused_with_that_word_also_where_one_would_wait(
    ground: Ground,
) -> None:
    ground.links.name_otherwise("eth1", "lan", "office")
    ground.controller.follow()
    sentence = "^'office' is an alternative name of interface 'eth1': say 'eth1'$"
    for wait in (False, True):
        with pytest.raises(NoSuchInterface, match=sentence):
            ground.add("10.0.0.1", "239.1.1.1", "office", "eth2", wait=wait)
        with pytest.raises(NoSuchInterface, match=sentence):
            ground.add("10.0.0.1", "239.1.1.1", "eth2", "office", wait=wait)
    ground.links.name_otherwise("eth1")
    ground.links.add("office")
    ground.controller.follow()
    ground.add("10.0.0.1", "239.1.1.1", "office", "eth2")


def test_a_route_follows_its_interfaces(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
    links = ground.links
    churn: list[Callable[[], None]] = [
        lambda: links.remove("eth2"),
        lambda: links.remove("eth0"),
        lambda: links.add("eth2"),
        lambda: links.add("eth0"),
        lambda: links.rename("eth1", "eth9"),
        lambda: links.rename("eth9", "eth1"),
    ]
    seen = []
    for happens in churn:
        happens()
        ground.controller.follow()
        seen.append((*ground.states().values(), len(ground.held())))
    assert seen == [
        ("partial", 1),
        ("waiting", 0),
        ("waiting", 0),
        ("active", 1),
        ("partial", 1),
        ("active", 1),
    ]
    assert ground.held() == {expected(route)}
    assert [len(change.changed) for change in ground.changes[1:]] == [1, 1, 1, 1, 1]


def test_a_vif_number_is_free_only_when_no_entry_names_it(ground: Ground) -> None:
    cut = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.links.remove("eth1")
    ground.links.add("eth7")
    other = ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth7")
    assert ground.held() == {expected(structs.replace(cut, oifs=())), expected(other)}


def test_a_device_that_was_made_again_at_once_is_used_under_its_new_index(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.links.add("eth1")
    other = ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth1")
    assert ground.held() == {expected(route), expected(other)}


def test_a_route_can_wait_for_interfaces_that_are_not_there_yet(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "new0", "new1", wait=True)
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "waiting"}
    ground.links.add("new0")
    ground.links.add("new1")
    ground.controller.follow()
    assert ground.states() == {"(10.0.0.1, 239.1.1.1)": "active"}


def test_more_interfaces_than_the_kernel_takes_wait_until_there_is_room() -> None:
    names = [f"e{number}" for number in range(MAX_VIFS + 1)]
    ground = Ground(*names[:-1])
    ground.add("10.0.0.1", "239.1.1.1", names[0], " ".join(names[1:16]))
    ground.add("10.0.0.1", "239.1.1.2", names[16], " ".join(names[17:32]))
    ground.add("10.0.0.1", "239.1.1.3", names[0], names[32], wait=True)
    ground.links.add(names[32])
    ground.controller.follow()
    assert list(ground.states().values()) == ["active", "active", "waiting"]
    ground.delete("10.0.0.1", "239.1.1.2")
    assert list(ground.states().values()) == ["active", "active"]


def test_a_timed_route_that_could_not_be_removed_is_removed_later(ground: Ground) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    run(ground.controller.add(structs.replace(route, expires=100)))
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        run(ground.controller.expire(150))
    ground.keeper.broken = False
    refusal = mock.patch.object(
        ground.kernels[FAMILIES[0]], "del_mfc", side_effect=OSError(errno.ENOMEM, "")
    )
    with refusal, pytest.raises(KernelError):
        run(ground.controller.expire(150))
    run(ground.controller.expire(150))
    assert ground.held() == set()


def test_what_cannot_be_stored_is_taken_back_and_told_to_nobody(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    before = ground.snapshot()
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.add("10.0.0.1", "239.1.1.2", "eth2", "eth3")
    with pytest.raises(StoreError):
        ground.add("10.0.0.1", "239.1.1.1", "eth2", "eth3", replace=True)
    with pytest.raises(StoreError):
        ground.delete("10.0.0.1", "239.1.1.1")
    with pytest.raises(StoreError):
        ground.flush()
    assert ground.snapshot() == before


def test_changes_that_wait_together_are_stored_together(ground: Ground) -> None:
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(20)]

    async def all_at_once() -> None:
        await asyncio.gather(*(ground.controller.add(route) for route in routes))

    run(all_at_once())
    assert ground.keeper.routes == {route.key: route for route in routes}
    assert ground.keeper.writes <= 2
    assert [len(change.added) for change in ground.changes] == [1] * 20


def test_of_changes_that_wait_together_only_those_fail_that_cannot_be_stored(
    ground: Ground,
) -> None:
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(4)]
    ground.keeper.refused = {routes[1].key, routes[2].key}

    async def all_at_once() -> list[BaseException | None]:
        adding = (ground.controller.add(route) for route in routes)
        return await asyncio.gather(*adding, return_exceptions=True)

    failed = [isinstance(result, StoreError) for result in run(all_at_once())]
    assert failed == [False, True, True, False]
    assert set(ground.keeper.routes) == {routes[0].key, routes[3].key}
    assert ground.held() == {expected(routes[0]), expected(routes[3])}
    assert [str(status.route) for change in ground.changes for status in change.added] == [
        "(10.0.0.1, 239.1.1.0)",
        "(10.0.0.1, 239.1.1.3)",
    ]


def test_a_timed_route_goes_when_its_time_has_run_out(ground: Ground) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    run(ground.controller.add(structs.replace(route, expires=100)))
    run(ground.controller.add(structs.replace(route, expires=200), replace=True))
    run(ground.controller.expire(150))
    assert len(ground.held()) == 1
    run(ground.controller.expire(200))
    assert ground.held() == set()
    assert ground.keeper.routes == {}


def test_a_route_whose_time_ran_out_while_nobody_watched_goes_at_the_start(ground: Ground) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    timed = structs.replace(route, expires=100)
    ground.keeper.routes[timed.key] = timed
    ground.begin([timed])
    run(ground.controller.expire(101))
    assert ground.held() == set()


def test_stored_routes_are_in_the_kernel_when_it_begins_and_told_to_nobody(ground: Ground) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    waiting = parse_route("10.0.0.1", "239.1.1.2", "eth0", ["new"])
    ground.links.begin_anew()
    ground.begin([route, waiting])
    assert ground.held() >= {expected(route)}
    assert list(ground.states().values()) == ["active", "waiting"]
    assert ground.changes == []


def replaced(ground: Ground) -> None:
    """A new process with the sockets of the old one."""
    ground.links.begin_anew()
    ground.begin(list(ground.keeper.routes.values()), kept_sockets=True)


def test_a_new_process_touches_nothing_that_is_right(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2", ttls={"eth2": 9})
    ground.add("*", "239.1.1.2", "eth0", "eth1")
    ground.add("fd00::1", "ff05::1", "eth3", "eth0")
    before = (ground.held(), ground.states())
    calls = [kernel.calls for kernel in ground.kernels.values()]
    replaced(ground)
    assert [kernel.calls for kernel in ground.kernels.values()] == calls
    assert (ground.held(), ground.states()) == before
    ground.delete("*", "239.1.1.2")
    assert len(ground.held()) == 2


@pytest.mark.parametrize("source", ["10.0.0.1", "*"])
def test_a_new_process_clears_numbers_of_devices_that_went_before_it_gives_them_away(
    ground: Ground, source: str
) -> None:
    ground.add(source, "239.1.1.1", "eth0", "eth1")
    ground.add(source, "239.1.1.2", "eth0", "new", wait=True)
    ground.links.remove("eth1")
    ground.links.add("new")
    replaced(ground)
    assert {(row[1][-1], row[3]) for row in ground.held()} == {  # type: ignore[index]
        (1, frozenset()),
        (2, frozenset({("new", 1)})),
    }


@pytest.mark.parametrize("source", ["10.0.0.1", "*"])
def test_a_new_process_removes_entries_whose_iif_has_gone(ground: Ground, source: str) -> None:
    ground.add(source, "239.1.1.1", "eth0", "eth1")
    ground.add(source, "239.1.1.2", "new", "eth2", wait=True)
    ground.links.remove("eth0")
    ground.links.add("new")
    replaced(ground)
    assert {(row[1][-1], row[2]) for row in ground.held()} == {(2, "new")}  # type: ignore[index]
    assert all(len(kernel.entries) <= 1 for kernel in ground.kernels.values())


def test_a_new_process_removes_what_nobody_wants(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    kept = ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth2")
    del ground.keeper.routes[parse_route("10.0.0.1", "239.1.1.1", "a", ["b"]).key]
    replaced(ground)
    assert ground.held() == {expected(kept)}
    assert [len(kernel.vifs) for kernel in ground.kernels.values()] == [2, 0]


def test_a_new_process_begins_anew_where_it_cannot_take_up_the_old(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.links.add("eth1")
    ground.kernels[FAMILIES[0]].fail_in = 0
    replaced(ground)
    assert ground.held() == {expected(route)}


def test_routes_of_a_table_that_is_not_ours_are_unavailable_until_it_is(ground: Ground) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    kernel = somebody_elses_table(ground, route)
    assert list(ground.states().values()) == ["unavailable"]
    kernel.owner = None
    run(ground.controller.retry_refused())
    assert list(ground.states().values()) == ["active"]
    assert ground.held() == {expected(route)}


def somebody_elses_table(ground: Ground, *routes: Route) -> FakeKernel:
    """Start anew with these routes, where another program owns the first table."""
    kernel = ground.kernels[FAMILIES[0]] = FakeKernel(ground.links)
    kernel.owner = "somebody else"
    ground.keeper.routes = {route.key: route for route in routes}
    ground.links.begin_anew()
    ground.begin(routes)
    return kernel


@pytest.mark.parametrize("looked", ["by a call that is refused", "by a change"])
def test_whatever_takes_a_table_puts_all_its_routes_in(ground: Ground, looked: str) -> None:
    route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
    other = parse_route("10.0.0.1", "239.1.1.2", "eth0", ["eth1"])
    kernel = somebody_elses_table(ground, route)
    kernel.owner = None
    if looked == "by a change":
        run(ground.controller.add(other))
    else:
        ground.controller.check_add(other, replace=False)
    assert expected(route) in ground.held()
    assert ground.states()[str(route)] == "active"


def test_routes_that_are_unavailable_can_be_deleted(ground: Ground) -> None:
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(4)]
    routes[2] = structs.replace(routes[2], expires=100)
    kernel = somebody_elses_table(ground, *routes)
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        ground.delete("10.0.0.1", "239.1.1.0")
    ground.keeper.broken = False
    assert ground.routes() == set(routes)
    ground.delete("10.0.0.1", "239.1.1.0")
    run(ground.controller.expire(100))
    assert ground.routes() == {routes[1], routes[3]}
    ground.add("fd00::1", "ff05::1")
    assert ground.flush() == 3
    assert ground.routes() == set()
    kernel.owner = None
    run(ground.controller.retry_refused())
    assert ground.held() == set()
    assert ground.keeper.routes == {}


IPV4, IPV6 = FAMILIES


def test_a_table_that_is_not_wanted_is_given_up_and_the_other_not_touched(ground: Ground) -> None:
    kept = ground.add("10.0.0.1", "239.1.1.1")
    left = ground.add("fd00::1", "ff05::1")
    calls = ground.kernels[IPV4].calls
    ground.configure(IPV4)
    assert ground.kernels[IPV4].calls == calls
    assert ground.held() == {expected(kept)}
    assert ground.kernels[IPV6].owner is None
    assert ground.kernels[IPV6].vifs == {}
    assert ground.states() == {str(kept): "active", str(left): "unavailable"}
    with pytest.raises(KernelError, match="The configuration leaves the ipv6 multicast routing"):
        ground.add("fd00::1", "ff05::2")
    ground.links.add("eth1")
    ground.controller.follow()
    assert ground.states() == {str(kept): "active", str(left): "unavailable"}

    calls = ground.kernels[IPV4].calls
    ground.configure(*FAMILIES)
    assert ground.held() == {expected(kept), expected(left)}
    assert ground.kernels[IPV4].calls == calls
    told = [status for change in ground.changes for status in change.changed]
    assert [state for route, state, _ in told if route == left] == ["unavailable", "active"]
    assert ground.keeper.routes.keys() == {kept.key, left.key}


def test_a_change_that_a_table_has_caused_says_so(ground: Ground) -> None:
    listener = ground.controller.status_changes.listener = Listening(ground.changes)
    ground.add("10.0.0.1", "239.1.1.1")
    ground.configure(IPV6)
    ground.configure(*FAMILIES)
    ground.links.remove("eth1")
    ground.controller.follow()
    assert [cause.kind for cause in listener.causes] == ["call", "table", "table", "interface"]


def test_a_change_of_more_than_100_routes_is_made_ready_in_slices(ground: Ground) -> None:
    listener = ground.controller.status_changes.listener = Listening(ground.changes)
    ground.configure(*FAMILIES, max_routes=1000)
    for octet, count in ((1, 100), (2, 101)):
        groups = [f"239.1.{octet}.{n}" for n in range(count)]
        ground.apply(*(parse_route("10.0.0.1", group, "eth0", ["eth1"]) for group in groups))
        assert listener.made_ready == (count > 100)


def test_settings_that_are_the_same_are_no_change(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    before = ground.snapshot(), [kernel.calls for kernel in ground.kernels.values()]
    ground.configure(*reversed(FAMILIES))
    assert (ground.snapshot(), [kernel.calls for kernel in ground.kernels.values()]) == before


def test_there_are_no_more_routes_than_the_settings_allow(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    ground.add("fd00::1", "ff05::1")
    ground.configure(*FAMILIES, max_routes=2)
    before = ground.snapshot()
    with pytest.raises(LimitExceeded, match="There are 2 routes, and the configuration allows"):
        ground.add("10.0.0.1", "239.1.1.2")
    with pytest.raises(LimitExceeded):
        ground.controller.check_add(
            parse_route("10.0.0.1", "239.1.1.2", "eth0", ["eth1"]), replace=True
        )
    assert ground.snapshot() == before
    ground.add("10.0.0.1", "239.1.1.1", "eth2", "eth3", replace=True)
    ground.configure(*FAMILIES, max_routes=0)
    ground.add("10.0.0.1", "239.1.1.1", replace=True)
    assert len(ground.routes()) == 2


def test_a_table_that_is_not_wanted_is_not_taken_and_one_that_was_kept_is_left(
    ground: Ground,
) -> None:
    route = ground.add("fd00::1", "ff05::1")
    ground.links.begin_anew()
    ground.begin([route], kept_sockets=True, settings=Settings((TableId(IPV4),)))
    assert ground.held() == set()
    assert ground.kernels[IPV6].owner is None
    assert ground.states() == {str(route): "unavailable"}
    ground.links.begin_anew()
    ground.begin([route], settings=Settings((TableId(IPV4),)))
    run(ground.controller.retry_refused())
    assert ground.kernels[IPV6].owner is None
    assert ground.states() == {str(route): "unavailable"}


def test_the_33rd_interface_is_refused_and_nothing_is_half_done() -> None:
    names = [f"e{number}" for number in range(MAX_VIFS + 2)]
    ground = Ground(*names)
    ground.add("10.0.0.1", "239.1.1.1", names[0], " ".join(names[1:31]))
    before = ground.snapshot()
    with pytest.raises(TooManyInterfaces, match="'e32' would be the 33rd"):
        ground.add("10.0.0.1", "239.1.1.2", names[0], " ".join(names[31:33]))
    assert ground.snapshot() == before
    ground.add("10.0.0.1", "239.1.1.2", names[0], names[31])
    ground.add("fd00::1", "ff05::1", names[32], names[33])


def test_flush_takes_all_or_what_is_asked_for(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.add("*", "239.1.2.1", "eth0", "eth1")
    kept = ground.add("*", "239.2.0.1", "eth2", "eth1")
    ground.add("fd00::1", "ff05::1", "eth0", "eth1")
    assert ground.flush("239.1.0.0/16") == 2
    assert ground.flush(iif="eth0") == 1
    assert ground.held() == {expected(kept)}
    assert ground.flush("239.1.0.0/16", "eth2") == 0
    assert ground.flush() == 1
    assert ground.flush() == 0
    assert [len(change.removed) for change in ground.changes[4:]] == [2, 1, 1]


CHANGES: dict[str, Callable[[Ground], object]] = {
    "add": lambda ground: ground.add("*", "239.9.9.9", "eth3", "eth4 eth5", ttls={"eth4": 7}),
    "replace": lambda ground: ground.add(
        "10.0.0.1", "239.1.1.1", "eth3", "eth4 eth1", replace=True
    ),
    "delete": lambda ground: ground.delete("*", "239.1.1.2"),
    "flush": lambda ground: ground.flush(),
    "apply": lambda ground: ground.apply(
        parse_route("10.0.0.1", "239.1.1.1", "eth3", ["eth4", "eth1"]),
        parse_route("fd00::1", "ff05::1", "eth0", ["eth1"]),
        parse_route("*", "ff05::2", "eth2", ["eth3"]),
        parse_route("*", "239.9.9.9", "eth3", ["eth4", "eth5"]),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_that_fails_takes_back_all_that_was_done(change: str) -> None:
    ground = Ground()
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
    ground.add("*", "239.1.1.2", "eth0", "eth5")
    ground.add("fd00::1", "ff05::1", "eth0", "eth1")
    before = ground.snapshot()
    held = ground.held()
    ground.keeper.broken = True
    with pytest.raises(StoreError):
        CHANGES[change](ground)
    assert ground.held() == held
    assert ground.routes() == set(ground.keeper.routes.values())
    assert len(ground.changes) == 3
    ground.keeper.broken = False
    if change == "apply":
        assert ground.apply(*ground.keeper.routes.values()) == (0, 0, 0)
        assert ground.snapshot()[2:] == before[2:]


@pytest.mark.parametrize("change", CHANGES)
def test_a_failure_in_the_middle_takes_back_what_came_before(change: str) -> None:
    failures = 0
    for family in FAMILIES:
        armed = 0
        while True:
            ground = Ground()
            ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
            ground.add("*", "239.1.1.2", "eth0", "eth5")
            ground.add("fd00::1", "ff05::1", "eth0", "eth1")
            before = ground.snapshot()
            ground.kernels[family].fail_in = armed
            try:
                CHANGES[change](ground)
            except KernelError as error:
                assert "Cannot allocate memory" in str(error)
                assert ground.snapshot() == before
                armed += 1
            else:
                break
        failures += armed
    assert failures >= 2


def test_a_kernel_that_refuses_to_take_back_is_told_as_it_is(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = ground.kernels[FAMILIES[0]]
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(kernel, "add_mfc", refuse)
    monkeypatch.setattr(kernel, "del_vif", refuse)
    with pytest.raises(KernelError, match="Input/output error; and it refused to take back AddVif"):
        ground.add("10.0.0.1", "239.1.1.2", "eth2", "eth3")


def test_a_table_of_somebody_else_is_busy_until_he_leaves() -> None:
    ground = Ground()
    kernel = somebody_elses_table(ground)
    table = ground.controller.tables[TableId(FAMILIES[0])]
    with pytest.raises(TableBusy, match="Another program owns the ipv4 multicast routing table"):
        ground.add("10.0.0.1", "239.1.1.1")
    assert not table.owned
    ground.add("fd00::1", "ff05::1")
    kernel.owner = None
    ground.add("10.0.0.1", "239.1.1.1")
    assert table.owned
    assert table.reason == ""


def test_a_family_that_the_system_lacks_is_told_as_it_is() -> None:
    links = FakeLinks("eth0", "eth1")
    lacking = OSError(errno.EAFNOSUPPORT, "")
    table = Table(TableId(FAMILIES[1]), lacking)
    controller = Controller([table], links, FakeKeeper())
    controller.takeover.restore([])
    with pytest.raises(KernelError, match="does not route ipv6 multicast: Address family not"):
        run(controller.add(parse_route("*", "ff05::1", "eth0", ["eth1"])))


def test_who_waits_until_it_is_settled_sees_nothing_of_a_change_in_between(ground: Ground) -> None:
    old = [ground.add("10.0.0.1", f"239.1.1.{n}") for n in range(9)]
    new = [structs.replace(route, comment="new") for route in old]

    async def look() -> list[Route]:
        await ground.controller.until_whole()
        return [ground.controller.check_delete(RouteName(each.source, each.group)) for each in old]

    async def scenario() -> None:
        assert ground.controller.is_whole
        applying = asyncio.create_task(ground.controller.documents.apply(new))
        await half_done(ground)
        assert await look() == new
        await applying

    with in_small_parts():
        run(scenario())


class Forgetful:
    """A listener that fails once: at hearing, at making ready, or at telling of many; and at
    reading.
    """

    def __init__(self, ground: Ground, *, at: str) -> None:
        self.told: list[str] = []
        self.missed = 0
        self.fails = True
        self._at = at
        ground.controller.status_changes.listener = self

    def changed(self, change: Change, _: Cause) -> None:
        self._may_fail("listening")
        self._keep(change)

    async def prepare(self, change: Change, _: Cause) -> Callable[[], Awaitable[None]]:
        self._may_fail("preparing")
        kept = Change(*map(list, change))

        async def tell() -> None:
            self._may_fail("telling")
            self._keep(kept)

        return tell

    async def read_anew(self) -> None:
        self.missed += 1
        if self.missed == 1:
            raise RuntimeError("not even that")

    def _may_fail(self, where: str) -> None:
        if self.fails and where == self._at:
            self.fails = False
            raise RuntimeError("a fault in the listener")

    def _keep(self, change: Change) -> None:
        self.told += [str(each.route) for statuses in change for each in statuses]


@pytest.mark.parametrize("at", ["listening", "preparing", "telling"])
def test_a_fault_of_who_is_told_is_none_of_the_change_and_he_hears_that_he_missed_one(
    ground: Ground, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    forgetful = Forgetful(ground, at=at)
    few = [parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])]
    many = [*few, *(parse_route("10.0.0.1", f"239.1.2.{n}", "eth0", ["eth1"]) for n in (1, 2))]
    lost, next_ = (few, many) if at == "listening" else (many, few)
    with in_small_parts():
        assert ground.apply(*lost) == (len(lost), 0, 0)
        assert ground.states().keys() == {str(route) for route in lost}
        assert (forgetful.told, forgetful.missed) == ([], 0)
        for read in (1, 2, 2):  # once more, since the first time failed too
            run(ground.controller.tell_of_missed())
            assert forgetful.missed == read
        ground.apply(*next_)
    assert set(forgetful.told) == {str(route) for route in many} - {str(route) for route in few}
    run(ground.controller.tell_of_missed())
    assert forgetful.missed == 2
    assert "a fault in the listener" in caplog.text


def test_a_fault_of_who_is_told_of_one_change_keeps_others_from_nothing(ground: Ground) -> None:
    forgetful = Forgetful(ground, at="listening")

    async def change_together() -> None:
        routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in (1, 2, 3)]
        await asyncio.gather(*(ground.controller.add(route) for route in routes))

    run(change_together())
    assert forgetful.told == ["(10.0.0.1, 239.1.1.2)", "(10.0.0.1, 239.1.1.3)"]
    assert ground.controller.status_changes.missed
    assert len(ground.states()) == 3


class Machine(RuleBasedStateMachine):
    """Random changes, interfaces that come and go, failures at random, and a plain dictionary."""

    GROUPS = ("239.1.1.1", "239.1.1.2", "239.1.0.0/16", "239.0.0.0/8", "ff05::1", "ff00::/8")
    SOURCES = ("*", "10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/8", "fd00::1", "fd00::/64")
    STREAMS = (
        ("10.0.0.1", "239.1.1.1"),
        ("10.0.0.2", "239.1.1.1"),
        ("10.0.0.1", "239.1.1.2"),
        ("10.1.0.1", "239.2.1.1"),
        ("fd00::1", "ff05::1"),
        ("fd01::1", "ff05::1"),
    )

    groups = st.sampled_from(GROUPS)
    sources = st.sampled_from(SOURCES)
    interfaces = st.sampled_from(INTERFACES)
    names = st.sampled_from([*INTERFACES, "eth*", "eth[0-2]", "eth?"])
    failures = st.none() | st.integers(0, 6) | st.just("store")

    @initialize()
    def begin(self) -> None:
        self.ground = Ground()
        self.now = 10**15
        self.clock = mock.patch("mfc_dbus.streams.upcalls.since_boot", side_effect=lambda: self.now)
        self.clock.start()
        self.model: dict[RouteKey, Route] = {}
        self.told: dict[RouteKey, Status] = {}

    @rule(
        source=sources,
        group=groups,
        iif=names,
        oifs=st.lists(names, max_size=4),
        ttl=st.integers(0, 20),
        replace=st.booleans(),
        wait=st.booleans(),
        persistent=st.booleans(),
        hairpin=st.booleans(),
        enabled=st.sampled_from([True, True, True, False]),
        failure=failures,
    )
    def add(
        self,
        source: str,
        group: str,
        iif: str,
        oifs: list[str],
        ttl: int,
        replace: bool,
        wait: bool,
        persistent: bool,
        hairpin: bool,
        enabled: bool,
        failure: int | str | None,
    ) -> None:
        ttls = {oifs[0]: ttl} if ttl and oifs else {}
        try:
            route = parse_route(source, group, iif, oifs, ttls, hairpin=hairpin, enabled=enabled)
        except RequestError:
            return
        route = structs.replace(route, persistent=persistent)
        self._fail(failure)
        try:
            run(self.ground.controller.add(route, replace=replace, wait=wait))
        except RouteExists:
            assert route.key in self.model
            assert not replace
        except NoSuchInterface:
            assert not wait
            assert not self._named(route) <= self.ground.links.links.keys()
        except StoreError:
            assert failure == "store"
        except KernelError:
            assert failure is not None
        else:
            assert replace or route.key not in self.model
            assert wait or self._named(route) <= self.ground.links.links.keys()
            self.model[route.key] = route

    @rule(
        chosen=st.integers(0),
        oif=names,
        add_it=st.booleans(),
        to_iif=st.none() | names,
        enabled=st.none() | st.booleans(),
        failure=failures,
    )
    def change(
        self,
        chosen: int,
        oif: str,
        add_it: bool,
        to_iif: str | None,
        enabled: bool | None,
        failure: int | str | None,
    ) -> None:
        if not self.model:
            return
        before = [*self.model.values()][chosen % len(self.model)]
        changes: dict[str, Any] = {"add_oifs" if add_it else "remove_oifs": [oif]}
        changes |= {} if to_iif is None else {"to_iif": to_iif}
        changes |= {} if enabled is None else {"enabled": enabled}
        oifs = [each.name for each in before.oifs]
        self._fail(failure)
        try:
            after = self.ground.change(
                format_source(before.source), str(before.group), before.iif, wait=True, **changes
            )
        except InvalidArgs:
            iif = to_iif or before.iif
            assert (oif in oifs) == add_it or iif == oif or iif in oifs
        except RouteExists:
            assert to_iif != before.iif
        except StoreError:
            assert failure == "store"
        except KernelError:
            assert failure is not None
        else:
            assert after is not None
            assert (oif in {each.name for each in after.oifs}) == add_it
            assert after.enabled == (before.enabled if enabled is None else enabled)
            del self.model[before.key]
            assert after.key not in self.model
            self.model[after.key] = after

    @rule(source=sources, group=groups, iif=st.none() | names, failure=failures)
    def delete(self, source: str, group: str, iif: str | None, failure: int | str | None) -> None:
        try:
            stream = parse_stream(source, group)
        except InvalidArgs:
            return
        matching = [
            route
            for route in self.model.values()
            if (route.source, route.group) == stream and iif in (None, route.iif)
        ]
        self._fail(failure)
        try:
            run(self.ground.controller.delete(RouteName(*stream, iif)))
        except NoSuchRoute:
            assert not matching
        except InvalidArgs:
            assert len(matching) > 1
        except StoreError:
            assert failure == "store"
        except KernelError:
            assert failure is not None
        else:
            (route,) = matching
            del self.model[route.key]

    @rule(
        entries=st.lists(
            st.tuples(
                *(sources, groups, interfaces),
                st.lists(interfaces, min_size=1, unique=True),
                st.sampled_from([True, True, False]),
            ),
            max_size=6,
        ),
        merge=st.booleans(),
        wait=st.booleans(),
        dry_run=st.booleans(),
        failure=failures,
        sound=st.sampled_from(FAMILIES),
    )
    def apply(
        self,
        entries: list[tuple[str, str, str, list[str], bool]],
        merge: bool,
        wait: bool,
        dry_run: bool,
        failure: int | str | None,
        sound: Family,
    ) -> None:
        wanted: dict[RouteKey, Route] = {}
        for entry in entries:
            try:
                route = parse_route(*entry[:4], enabled=entry[4])
            except RequestError:
                continue
            wanted[route.key] = route
        before = dict(self.model)
        after = before | wanted if merge else wanted
        counts = (
            len(after.keys() - before.keys()),
            sum(before[key] != after[key] for key in after.keys() & before.keys()),
            len(before.keys() - after.keys()),
        )
        fresh = [route for key, route in wanted.items() if before.get(key) != route]
        self._fail(failure)
        self.ground.kernels[sound].fail_in = None  # or it fails while the other's is taken back
        try:
            told = self.ground.apply(*wanted.values(), merge=merge, wait=wait, dry_run=dry_run)
        except NoSuchInterface:
            assert not wait
            named = {name for each in fresh for name in each.interfaces if not is_pattern(name)}
            assert not named <= self.ground.links.links.keys()
        except StoreError:
            assert failure == "store"
        except KernelError as error:
            assert failure is not None, error
        else:
            assert told == counts
            self.model = before if dry_run else after

    @rule(group=st.sampled_from([None, "239.1.0.0/16", "ff05::1"]), iif=st.none() | names)
    def flush(self, group: str | None, iif: str | None) -> None:
        prefix = parse_group_prefix(group) if group else None
        deletable = [
            route
            for route in self.model.values()
            if (iif is None or route.iif == iif) and (prefix is None or prefix.covers(route.group))
        ]
        assert self.ground.flush(group, iif) == len(deletable)
        for route in deletable:
            del self.model[route.key]

    def teardown(self) -> None:
        self.clock.stop()

    @rule(stream=st.sampled_from(STREAMS), name=interfaces)
    def stream_arrives(self, stream: tuple[str, str], name: str) -> None:
        """Until it has moved here from where it came before, which is silent."""
        if name not in self.ground.links.links:
            return
        for _ in range(6):
            self.ground.arrive(*stream, name)
            self.now += 10**9
            self.ground.controller.do_due(self.now)
        assert self.ground.arrive(*stream, name) == self._forwards(*stream, name)

    @rule(streams=st.sets(st.sampled_from(STREAMS)), late=st.booleans())
    def time_passes(self, streams: set[tuple[str, str]], late: bool) -> None:
        """Some streams go on, from wherever they came."""
        for family in FAMILIES:
            for learned in list(self.ground.controller.tables[TableId(family)].learned):
                if (str(learned.source), str(learned.group)) in streams:
                    self.ground.arrive(str(learned.source), str(learned.group), learned.iif)
        self.now += 60 * 10**9 if late else 10**9
        self.ground.controller.do_due(self.now)

    @rule(name=interfaces)
    def interface_comes_anew(self, name: str) -> None:
        """Also one that is there: deleted, and made again under another ifindex."""
        self.ground.links.add(name)

    @rule(name=interfaces)
    def interface_goes(self, name: str) -> None:
        if name in self.ground.links.links:
            self.ground.links.remove(name)

    @rule(name=interfaces, up=st.booleans(), enabled=st.booleans())
    def interface_turns(self, name: str, up: bool, enabled: bool) -> None:
        if name in self.ground.links.links:
            self.ground.links.turn(name, up=up and enabled, enabled=enabled)

    @rule(name=interfaces, new=interfaces)
    def interface_is_renamed(self, name: str, new: str) -> None:
        if name in self.ground.links.links and new not in self.ground.links.links:
            self.ground.links.rename(name, new)

    @rule()
    def daemon_restarts(self) -> None:
        """A new process does not get the old one's sockets here, so the kernel forgets."""
        self._collect()
        for kernel in self.ground.kernels.values():
            kernel.clear()
        self.ground.links.begin_anew()
        self.ground.begin(list(self.ground.keeper.routes.values()))
        self.told = dict(self.ground.controller.view.routes)

    @rule(
        churn=st.lists(
            st.tuples(st.sampled_from(["add", "remove", "rename"]), interfaces, interfaces)
        ),
        read=st.none() | st.integers(0, 2),
    )
    def daemon_is_replaced(self, churn: list[tuple[str, str, str]], read: int | None) -> None:
        """A new process takes up the sockets, after interfaces have come and gone unseen.

        read: how many entries it reads before it begins; it finds the others later.
        """
        self._collect()
        for what, name, new in churn:
            links = self.ground.links
            if what == "add":
                links.add(name)
            elif name in links.links and what == "remove":
                links.remove(name)
            elif name in links.links and new not in links.links:
                links.rename(name, new)
        calls = [kernel.calls for kernel in self.ground.kernels.values()]
        whole = all(state in ("active", "disabled") for _, state, _ in self.told.values())
        self.ground.links.begin_anew()
        self.ground.begin(list(self.ground.keeper.routes.values()), kept_sockets=True, read=read)
        self.told = dict(self.ground.controller.view.routes)
        if read is not None:
            self.ground.verify()
        elif whole and not churn:
            assert calls == [kernel.calls for kernel in self.ground.kernels.values()]

    def _fail(self, failure: int | str | None) -> None:
        self.ground.keeper.broken = failure == "store"
        for kernel in self.ground.kernels.values():
            kernel.fail_in = failure if isinstance(failure, int) else None

    def _collect(self) -> None:
        """Take in what was told."""
        for change in self.ground.changes:
            for status in change.added:
                assert status.route.key not in self.told
                self.told[status.route.key] = status
            for status in change.changed:
                assert self.told[status.route.key] != status
                self.told[status.route.key] = status
            for status in change.removed:
                assert self.told.pop(status.route.key) == status
        self.ground.changes.clear()

    @invariant()
    def all_agree(self) -> None:
        self._fail(None)
        self.ground.controller.follow()
        present = self.ground.links.links
        assert self.ground.routes() == set(self.model.values())
        assert self.ground.keeper.routes == self.model
        uses = {key: self._uses(route) for key, route in self.model.items()}
        for family, kernel in self.ground.kernels.items():
            used = [
                name for key, names in uses.items() if key.group.family == family for name in names
            ]
            table = self.ground.controller.tables[TableId(family)]
            assert {vif.name: vif.references for vif in table.vifs} == {
                name: used.count(name) for name in used
            }
            assert kernel.vifs == {vif.number: vif.ifindex for vif in table.vifs}
            placed = [each for each in table.installed.values() if isinstance(each, Route)]
            assert len(kernel.entries) == len(placed) + len(table.learned)
        for source, group in self.STREAMS:
            for name in present:
                self._check_forwarding(source, group, name)

        self._collect()
        assert self.told.keys() == self.model.keys()
        for key, route in self.model.items():
            told = self.told[key]
            assert told == Status(route, self._state(route, uses[key]), told.reason)
            assert bool(told.reason) == (told.state not in ("active", "disabled"))

    def _check_forwarding(self, source: str, group: str, name: str) -> None:
        sources, groups = parse_stream(source, group)
        decision = self.ground.kernels[groups.family].decide(sources.address, groups.address, name)
        expected = self._forwards(source, group, name)
        if decision.oifs is not None:
            assert decision.oifs == expected
        elif expected is not None:
            assert decision.upcall is not None

    def _forwards(self, source: str, group: str, name: str) -> Oifs | None:
        sources, groups = (prefix.address for prefix in parse_stream(source, group))
        present = self.ground.links.links
        enabled = [route for route in self.model.values() if route.enabled]
        return forwards(enabled, present, sources, groups, name)

    def _named(self, route: Route) -> set[str]:
        return set(route.interfaces).intersection(INTERFACES)

    def _uses(self, route: Route) -> set[str]:
        """The interfaces that a route is to have in the kernel."""
        if not route.enabled:
            return set()
        present = self.ground.links.links
        iifs = {name for name in present if name in iif_names(route, present)}
        if not iifs:
            return set()
        one = next(iter(iifs)) if len(iifs) == 1 and route.iif in present else ""
        return iifs | {name for name, _ in placed_oifs(route, present, one)}

    def _state(self, route: Route, uses: set[str]) -> RouteState:
        if not route.enabled:
            return RouteState.DISABLED
        up = {name for name in uses if self.ground.links.links[name].up}
        iifs = up & iif_names(route, self.ground.links.links)
        oifs = {name for iif in iifs for name, _ in placed_oifs(route, up, iif)}
        if not iifs or (route.oifs and not oifs):
            return RouteState.WAITING
        named = self._named(route) - {route.iif}
        return RouteState.ACTIVE if named <= up else RouteState.PARTIAL


TestMachine = Machine.TestCase
TestMachine.settings = effort(runs=200, steps=40)


class MachineInParts(Machine):
    """The same, with each change done as if it were of many routes."""

    @initialize()
    def begin(self) -> None:
        self._parts = ExitStack()
        self._parts.enter_context(in_small_parts())
        super().begin()

    def teardown(self) -> None:
        self._parts.close()
        super().teardown()


@pytest.mark.slow
def test_no_state_machine_is_cut_off_where_all_is_slow() -> None:
    tests = [f"{__file__}::TestMachine", "--hypothesis-profile=quick"]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0.001"]
    done = subprocess.run([*pytest_, *tests], capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout


TestMachineInParts = MachineInParts.TestCase
TestMachineInParts.settings = effort(runs=50, steps=40)

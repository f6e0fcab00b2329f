"""What concerns many routes is done in parts: others are served in between."""

import asyncio
import errno
import itertools
from collections.abc import Iterator
from contextlib import suppress
from unittest import mock

import pytest
from lab.fake import FakeKernel
from lab.ground import Ground, expected, run
from lab.parts import pausing_everywhere
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.loop.slices import Slices
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.route import Route, TableId, parse_route
from mfc_dbus.routing import transition

IPV4 = FAMILIES[0]
MANY = 250
PART = 60  # routes of one part, or a few more
STREAM = ("10.0.0.1", "239.1.0.7")


def routes(iif: str = "eth0", *oifs: str, first: int = 0, number: int = MANY) -> list[Route]:
    return [
        parse_route("10.0.0.1", f"239.{first + 1}.{n >> 8}.{n & 255}", iif, oifs or ("eth1",))
        for n in range(number)
    ]


@pytest.fixture
def ground() -> Ground:
    """Many routes from eth0 to eth1, and one from eth2 to eth3."""
    ground = Ground()
    ground.configure(*FAMILIES, max_routes=100_000)
    ground.apply(*routes(), parse_route("10.0.0.1", "239.9.9.9", "eth2", ["eth3"]))
    return ground


@pytest.fixture
def kernel(ground: Ground) -> FakeKernel:
    return ground.kernels[IPV4]


def parts(ground: Ground) -> Iterator[int]:
    """Work all off; how many calls of the kernel each part took."""
    kernel = ground.kernels[IPV4]
    more = True
    while more:
        before = kernel.calls
        more = ground.controller.work()
        yield kernel.calls - before


def leaves(ground: Ground, source: str, group: str, iif: str) -> set[str]:
    return {name for name, _ in ground.arrive(source, group, iif) or ()}


def test_an_interface_goes_and_comes_in_parts(ground: Ground, kernel: FakeKernel) -> None:
    for change in (ground.links.remove, ground.links.add):
        change("eth1")
        before = kernel.calls
        ground.controller.follow()
        assert kernel.calls == before
        assert max(parts(ground)) <= PART
    assert ground.held() == {expected(route) for route in ground.routes()}
    assert {*ground.states().values()} == {"active"}


def test_an_interface_of_few_routes_is_not_held_up(ground: Ground) -> None:
    ground.links.remove("eth1")
    ground.links.remove("eth3")
    ground.controller.follow()
    assert leaves(ground, "10.0.0.1", "239.9.9.9", "eth2") == set()
    assert ground.states()["(10.0.0.1, 239.9.9.9)"] == "waiting"
    ground.links.add("eth3")
    ground.controller.follow()
    assert leaves(ground, "10.0.0.1", "239.9.9.9", "eth2") == {"eth3"}


def test_two_interfaces_of_many_routes_take_turns(ground: Ground) -> None:
    ground.apply(*routes("eth4", "eth5", first=1), merge=True)
    ground.links.remove("eth1")
    ground.controller.follow()
    ground.links.remove("eth5")
    ground.controller.follow()
    for _ in range(4):
        ground.controller.work()
    waiting = [route for route, state in ground.states().items() if state == "waiting"]
    assert {route.split(".")[-3] for route in waiting} == {"1", "2"}


@pytest.mark.parametrize("renamed", [False, True])
def test_what_comes_under_an_old_name_or_ifindex_waits_until_all_have_let_go(
    ground: Ground, kernel: FakeKernel, renamed: bool
) -> None:
    ground.add("10.0.0.1", "239.8.8.8", "eth2", "new", wait=True)
    number = next(
        vif for vif, ifindex in kernel.vifs.items() if ifindex == ifindex_of(ground, "eth1")
    )
    if renamed:
        ground.links.rename("eth1", "new")
    else:
        ground.links.add("eth1")
    name = "new" if renamed else "eth1"
    ground.controller.follow()
    while any(number in dict(entry.ttls) for entry in kernel.entries):
        assert [*kernel.vifs.values()].count(ifindex_of(ground, name)) == int(renamed)
        assert leaves(ground, "10.0.0.1", "239.8.8.8", "eth2") == set()
        ground.controller.work()
    assert max(parts(ground)) <= PART
    assert [*kernel.vifs.values()].count(ifindex_of(ground, name)) == 1
    if renamed:
        assert leaves(ground, "10.0.0.1", "239.8.8.8", "eth2") == {"new"}
    else:
        assert leaves(ground, *STREAM, "eth0") == {"eth1"}


def ifindex_of(ground: Ground, name: str) -> int:
    return ground.links.links[name].ifindex


def test_one_that_does_not_come_to_rest_ends_where_it_is(ground: Ground) -> None:
    for number in range(12):
        (ground.links.remove if number % 2 else ground.links.add)("eth1")
        ground.controller.follow()
        ground.controller.work()
    ground.links.add("eth1")
    ground.controller.follow()
    assert len([*parts(ground)]) < 40
    assert ground.held() == {expected(route) for route in ground.routes()}


def test_a_route_on_an_interface_that_is_not_there_for_routes_yet_waits_for_that_alone(
    ground: Ground,
) -> None:
    async def test() -> None:
        ground.links.add("eth1")  # deleted, and made again
        ground.controller.follow()
        other = parse_route("10.0.0.2", "239.7.7.8", "eth2", ["eth3"])
        await ground.controller.add(other)
        assert {*ground.states().values()} == {"active"}  # nobody has looked at the others yet
        keeping_up = asyncio.create_task(ground.controller.keep_up())
        route = parse_route("10.0.0.2", "239.7.7.7", "eth0", ["eth1"])
        ground.controller.check_add(route, replace=False)
        await ground.controller.add(route)
        assert leaves(ground, "10.0.0.2", "239.7.7.7", "eth0") == {"eth1"}
        keeping_up.cancel()
        with suppress(asyncio.CancelledError):
            await keeping_up

    run(test())


def test_a_table_that_is_won_is_filled_in_parts(ground: Ground, kernel: FakeKernel) -> None:
    kernel.clear()
    kernel.owner = other = object()
    ground.links.begin_anew()
    ground.begin([*ground.keeper.routes.values()], settings=Settings(max_routes=1000))
    assert {*ground.states().values()} == {"unavailable"}
    kernel.owner = None if kernel.owner is other else other
    before = kernel.calls
    ground.controller.follow()
    assert kernel.calls - before <= 2
    assert max(parts(ground)) <= PART
    assert ground.held() == {expected(route) for route in ground.routes()}
    assert {*ground.states().values()} == {"active"}


def test_routes_without_room_are_tried_as_far_as_there_is_room() -> None:
    """Two kinds of them, and room for one."""
    ground = Ground("a", "b", "x", "y", *(f"eth{n}" for n in range(30)))
    ground.configure(*FAMILIES, max_routes=100_000)
    ground.links.remove("x")
    ground.links.remove("y")
    ground.apply(
        *(parse_route("10.0.0.1", f"239.9.9.{n}", "a", [f"eth{n}"]) for n in range(30)),
        *routes("a", "x"),
        *routes("a", "y", first=1),
        parse_route("10.0.0.1", "239.9.9.99", "a", ["b"]),
        wait=True,
    )
    ground.links.add("x")
    ground.links.add("y")
    ground.controller.follow()
    assert max(parts(ground)) <= 2 * PART
    assert [*ground.states().values()].count("waiting") == 2 * MANY
    kernel = ground.kernels[IPV4]
    before = kernel.calls
    ground.delete("10.0.0.1", "239.9.9.99")
    assert kernel.calls - before <= PART
    assert sum(parts(ground)) <= MANY + PART
    assert [*ground.states().values()].count("waiting") == MANY


def test_many_routes_expire_in_parts(ground: Ground, kernel: FakeKernel) -> None:
    timed = [structs.replace(each, expires=5, persistent=False) for each in routes(first=1)]
    ground.apply(*timed, merge=True)
    calls: list[int] = []

    async def pause(_: Slices) -> None:
        calls.append(kernel.calls)

    with pausing_everywhere(pause):
        run(ground.controller.expire(10))
    calls.append(kernel.calls)
    assert max(after - before for before, after in itertools.pairwise(calls)) <= PART
    assert len(ground.routes()) == MANY + 1


def test_a_pattern_is_looked_at_once_for_all_interfaces_that_come_together() -> None:
    ground = Ground("a")
    ground.add("*", "239.0.0.0/8", "a", "v*")
    for number in range(200):
        ground.links.add(f"v{number}")
    with mock.patch("mfc_dbus.control.installer.install", wraps=transition.install) as install:
        ground.controller.follow()
        assert install.call_count <= 3
        for number in range(200):
            ground.links.remove(f"v{number}")
        ground.controller.follow()
        assert install.call_count <= 6
    assert ground.states() == {"(*, 239.0.0.0/8)": "waiting"}


def test_doubt_is_removed_in_parts_before_anybody_needs_the_number(ground: Ground) -> None:
    ground.links.remove("eth1")  # while no daemon runs
    ground.links.begin_anew()
    ground.begin(
        [*ground.keeper.routes.values()], kept_sockets=True, settings=Settings(max_routes=1000)
    )
    kernel = ground.kernels[IPV4]
    table = ground.controller.tables[TableId(IPV4)]
    assert table.doubtful
    written: list[int] = []

    async def pause(_: Slices) -> None:
        written.append(kernel.calls)
        await asyncio.sleep(0)

    async def test() -> None:
        route = parse_route("10.0.0.2", "239.7.7.7", "eth0", ["eth5"])
        adding = asyncio.create_task(ground.controller.add(route))
        await asyncio.sleep(0)
        assert route.key not in table.installed
        keeping_up = asyncio.create_task(ground.controller.keep_up())
        await adding
        assert not table.doubtful
        keeping_up.cancel()
        with suppress(asyncio.CancelledError):
            await keeping_up

    with pausing_everywhere(pause):
        run(test())
    assert max(after - before for before, after in itertools.pairwise(written)) <= 3
    assert leaves(ground, "10.0.0.2", "239.7.7.7", "eth0") == {"eth5"}


def test_of_thousands_of_interfaces_of_a_pattern_few_are_tried_and_named() -> None:
    ground = Ground("a", *(f"v{number}" for number in range(400)))
    kernel = ground.kernels[IPV4]
    ground.add("*", "239.0.0.0/8", "a", "v*")
    (status,) = ground.controller.view.routes.values()
    assert status.reason.count("'v") <= 20
    assert "more left out" in status.reason
    with mock.patch.object(kernel, "add_vif", side_effect=OSError(errno.EADDRNOTAVAIL, "")):
        for vif in [*kernel.vifs.values()][1:]:
            name = next(each for each in ground.links.links.values() if each.ifindex == vif).name
            ground.links.remove(name)
        with mock.patch("mfc_dbus.control.installer.install", wraps=transition.install) as install:
            ground.controller.follow()
            while ground.controller.work():
                pass
            assert install.call_count < 200
    run(ground.controller.retry_refused())
    while ground.controller.work():
        pass
    assert len(kernel.vifs) == 32


def test_routes_of_a_pattern_over_many_interfaces_are_looked_at_in_smaller_parts() -> None:
    ground = Ground("a", *(f"v{number}" for number in range(400)))
    for number in range(30):
        ground.add("*", f"239.{number}.0.0/16", "a", "v*")
    ground.links.add("v400")
    with mock.patch("mfc_dbus.control.installer.install", wraps=transition.install) as install:
        ground.controller.follow()
        assert install.call_count == 0
        while ground.controller.work():
            pass
        assert max(len(each.args[0][0].new) for each in install.call_args_list) <= 8


def test_few_patterns_over_thousands_of_interfaces_are_looked_at_at_once() -> None:
    ground = Ground("a", *(f"v{number}" for number in range(1_900)))
    for number in range(60):
        ground.add("*", f"239.{number}.0.0/16", "a", f"[v{number}]*")  # each pattern another
    ground.links.remove("v0")
    with mock.patch("mfc_dbus.control.installer.install", wraps=transition.install) as install:
        ground.controller.follow()
        assert 0 < sum(len(each.args[0][0].new) for each in install.call_args_list) <= 40
        while ground.controller.work():
            pass
    assert {*ground.states().values()} == {"partial"}
    assert len(ground.kernels[IPV4].vifs) == 32

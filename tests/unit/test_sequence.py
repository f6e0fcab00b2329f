"""A change of many routes is done in parts: others are served meanwhile, and see nothing of it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import product

import pytest
from lab.fake import Oifs
from lab.ground import Ground, expected, run
from lab.parts import AtPauses, in_small_parts
from msgspec import structs

from mfc_dbus.config.settings import Settings
from mfc_dbus.control.states import state_of
from mfc_dbus.model.addresses import FAMILIES
from mfc_dbus.model.errors import KernelError, StoreError, TableBusy, TooManyInterfaces
from mfc_dbus.model.route import Route, RouteKey, parse_route
from mfc_dbus.model.status import Status

IPV4 = FAMILIES[0]
FILE = "/etc/mfc-dbus/routes.d/a.toml"


def streams(first: int, number: int, iif: str = "eth0", *oifs: str) -> list[Route]:
    return [
        parse_route("10.0.0.1", f"239.1.1.{n}", iif, oifs or ("eth1",))
        for n in range(first, first + number)
    ]


CHANGES: dict[str, Callable[[Ground], object]] = {
    "apply": lambda ground: ground.apply(*streams(2, 4, "eth2", "eth3")),
    "merge": lambda ground: ground.apply(*streams(2, 4, "eth2", "eth3"), merge=True),
    "flush": lambda ground: ground.flush(),
    "reload": lambda ground: run(
        ground.controller.documents.configure(
            Settings(), [structs.replace(each, file=FILE) for each in streams(2, 4, "eth2")]
        )
    ),
}


@pytest.fixture
def ground() -> Ground:
    ground = Ground()
    ground.apply(*streams(0, 4), parse_route("*", "239.2.0.0/16", "eth0", ["eth1"]))
    return ground


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_sees_half_of_it(ground: Ground, change: str) -> None:
    told, whole = ground.controller.view.routes, []
    before = dict(told)
    seen: list[Mapping[RouteKey, Status]] = []

    def look() -> None:
        seen.append(dict(ground.controller.view.routes))
        whole.append(ground.controller.is_whole)

    with in_small_parts(look):
        CHANGES[change](ground)
    after = dict(ground.controller.view.routes)
    assert after != before
    assert {each == before for each in seen} >= {True}
    assert all(each in (before, after) for each in seen)
    assert False in whole
    assert ground.controller.is_whole
    assert len(ground.changes) == 2
    assert {status.route for status in after.values()} == ground.routes()


@pytest.mark.parametrize("change", CHANGES)
def test_streams_are_learned_meanwhile(ground: Ground, change: str) -> None:
    arrived: list[Oifs | None] = []

    def arrive() -> None:
        if not ground.controller.is_whole and not arrived:
            arrived.append(ground.arrive("10.0.0.9", "239.2.3.4"))

    with in_small_parts(arrive):
        CHANGES[change](ground)
    assert arrived == [frozenset([("eth1", 1)])]


@pytest.mark.parametrize("change", CHANGES)
def test_interfaces_are_followed_meanwhile(ground: Ground, change: str) -> None:
    def look() -> None:
        ground.controller.follow()
        if pauses.count in (3, 4):
            assert all("eth1" not in str(entry) for entry in ground.held())

    acts = {3: lambda: ground.links.remove("eth1"), 5: lambda: ground.links.add("eth1")}
    pauses = AtPauses(acts, look)
    with in_small_parts(pauses):
        CHANGES[change](ground)
    assert pauses.count > 5
    assert ground.held() == {expected(each) for each in ground.routes() if each.is_sg}
    assert {*ground.states().values()} <= {"active"}


def change_while_an_interface_turns(
    ground: Ground, change: str, moment: int, *, comes: bool, broken: bool
) -> int:
    """Do a change, at whose given pause eth7 comes or eth1 goes. Return how many pauses it had."""
    links = ground.links
    turn = partial(links.add, "eth7") if comes else partial(links.remove, "eth1")
    pauses = AtPauses({moment: turn}, ground.controller.follow)
    ground.keeper.broken = broken
    with in_small_parts(pauses), pytest.raises(StoreError) if broken else nullcontext():
        CHANGES[change](ground)
    return pauses.count


# Where there is little time, each change is tried with one of the four.
QUICK = {
    ("apply", False, False),
    ("merge", True, False),
    ("flush", True, True),
    ("reload", False, True),
}
TURNS = [
    pytest.param(*turn, marks=() if turn in QUICK else pytest.mark.slow)
    for turn in product(CHANGES, (False, True), (False, True))
]


@pytest.mark.parametrize(("change", "comes", "broken"), TURNS)
def test_what_happens_to_interfaces_at_any_moment_is_told_at_the_end(
    change: str, comes: bool, broken: bool
) -> None:
    moment, pauses = 0, 1
    while moment < pauses:
        moment += 1
        ground = Ground()
        oifs = ("eth1", "eth7")
        wide = parse_route("*", "239.2.0.0/16", "eth0", oifs)
        ground.apply(*streams(0, 4, "eth0", *oifs), wide, wait=True)
        pauses = change_while_an_interface_turns(ground, change, moment, comes=comes, broken=broken)
        controller = ground.controller
        for key, status in controller.view.routes.items():
            now = state_of(controller.tables[key.table_id], status.route, controller.present)
            assert (moment, status[1:]) == (moment, now)
        assert {each.route for each in controller.view.routes.values()} == ground.routes()
    assert pauses > 10


@pytest.mark.parametrize("change", CHANGES)
def test_a_failure_in_any_part_takes_back_all_before_it(change: str) -> None:
    failures = 0
    while True:
        ground = Ground()
        ground.apply(*streams(0, 4), parse_route("*", "239.2.0.0/16", "eth0", ["eth1"]))
        held, routes, told = ground.held(), ground.routes(), dict(ground.controller.view.routes)
        ground.kernels[IPV4].fail_in = failures
        try:
            with in_small_parts():
                CHANGES[change](ground)
        except KernelError:
            assert ground.held() == held
            assert ground.routes() == routes
            assert ground.controller.view.routes == told
            assert ground.controller.is_whole
            assert len(ground.changes) == 1
            failures += 1
        else:
            break
    assert failures > 4


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_that_fails_takes_it_back_in_parts(ground: Ground, change: str) -> None:
    held, routes, told = ground.held(), ground.routes(), dict(ground.controller.view.routes)
    halves = []

    def look() -> None:
        if ground.keeper.broken and ground.held() != held:
            halves.append(ground.controller.is_whole)

    ground.keeper.broken = True
    with in_small_parts(look), pytest.raises(StoreError):
        CHANGES[change](ground)
    assert halves.count(False) > 4
    assert ground.held() == held
    assert ground.routes() == routes
    assert ground.controller.view.routes == told
    assert len(ground.changes) == 1


def test_it_is_taken_back_with_the_interfaces_that_there_are_then(ground: Ground) -> None:
    take = AtPauses({3: lambda: ground.links.remove("eth1")}, ground.controller.follow)
    ground.keeper.broken = True
    with in_small_parts(take), pytest.raises(StoreError):
        ground.apply(*streams(2, 4, "eth2", "eth3"))
    assert ground.held() == {expected(structs.replace(each, oifs=())) for each in streams(0, 4)}
    assert {*ground.states().values()} == {"waiting"}
    ground.links.add("eth1")
    ground.controller.follow()
    assert ground.held() == {expected(each) for each in streams(0, 4)}


def test_what_takes_the_place_of_others_comes_before_they_go(ground: Ground) -> None:
    forwarded = []

    def arrive() -> None:
        forwarded.append(ground.arrive("10.0.0.1", "239.1.1.1"))

    wide = [parse_route("*", f"239.{n}.0.0/16", "eth0", ["eth1"]) for n in (1, 3, 4)]
    off = [structs.replace(each, enabled=False) for each in streams(0, 4)]
    for wanted in (wide, streams(0, 4), [*wide, *off], streams(0, 4), wide):
        with in_small_parts(arrive):
            ground.apply(*wanted)
        assert ground.routes() == {*wanted}
    assert {*forwarded} == {frozenset([("eth1", 1)])}


def test_what_stays_is_not_touched(ground: Ground) -> None:
    with in_small_parts():
        ground.apply(*streams(0, 40))
    kernel = ground.kernels[IPV4]
    calls = kernel.calls
    with in_small_parts():
        ground.apply(*streams(0, 39), *streams(50, 2))
    assert kernel.calls - calls == 3


def test_interfaces_take_the_place_of_all_others_in_parts() -> None:
    def routes_of(first: int) -> list[Route]:
        return [
            parse_route("10.0.0.1", f"239.1.1.{n}", f"eth{first + n}", [f"eth{first + n + 1}"])
            for n in range(0, 32, 2)
        ]

    failures = 0
    while True:
        ground = Ground(*(f"eth{n}" for n in range(64)))
        ground.apply(*routes_of(0), *streams(100, 4))
        held = ground.held()
        ground.kernels[IPV4].fail_in = failures
        try:
            with in_small_parts():
                ground.apply(*routes_of(32))
        except KernelError:
            assert ground.held() == held
            failures += 7
        else:
            break
    assert failures > 50
    assert ground.held() == {expected(route) for route in routes_of(32)}
    assert {*ground.states().values()} == {"active"}


@pytest.fixture
def crowded() -> Ground:
    """All VIFs are used, by routes that name them, and one more route has no room."""
    ground = Ground(*(f"eth{n}" for n in range(40)))
    ground.apply(*streams(0, 6), *streams(100, 1, "eth0", *(f"eth{n}" for n in range(2, 32))))
    ground.links.remove("eth39")
    ground.add("10.0.0.3", "239.3.0.1", "eth39", "eth0", wait=True)
    ground.links.add("eth39")
    ground.controller.follow()
    return ground


def keep_up(ground: Ground) -> None:
    ground.controller.follow()
    while ground.controller.work():
        pass


def test_what_it_frees_on_its_way_is_given_to_no_other(crowded: Ground) -> None:
    with in_small_parts(lambda: keep_up(crowded)):
        crowded.apply(*streams(0, 6, "eth0", "eth35"), merge=True)
    keep_up(crowded)
    assert crowded.states().pop("(10.0.0.3, 239.3.0.1)") == "waiting"
    assert {expected(route) for route in streams(0, 6, "eth0", "eth35")} < crowded.held()


def test_what_it_has_freed_is_there_to_take_it_back(crowded: Ground) -> None:
    held = crowded.held()
    crowded.keeper.broken = True
    with in_small_parts(lambda: keep_up(crowded)), pytest.raises(StoreError):
        crowded.apply(*streams(0, 6, "eth0", "eth2"), merge=True)
    assert crowded.held() == held


def test_what_it_has_freed_is_given_away_when_it_is_done(crowded: Ground) -> None:
    with in_small_parts(lambda: keep_up(crowded)):
        crowded.apply(*streams(0, 6, "eth0", "eth2"), merge=True)
    assert {*crowded.states().values()} == {"active"}


@pytest.mark.parametrize("dry_run", [False, True])
def test_interfaces_without_room_are_told_before_the_kernel_is_touched(dry_run: bool) -> None:
    ground = Ground(*(f"eth{n}" for n in range(64)))
    ground.apply(*streams(0, 4))
    before, calls = ground.snapshot(), ground.kernels[IPV4].calls
    wanted = [
        parse_route("10.0.0.1", f"239.1.2.{n}", f"eth{n}", [f"eth{n + 1}"]) for n in range(2, 36, 2)
    ]
    with in_small_parts(), pytest.raises(TooManyInterfaces, match="would be the 33rd"):
        ground.apply(*streams(0, 4), *wanted, dry_run=dry_run)
    assert ground.snapshot() == before
    assert ground.kernels[IPV4].calls == calls


def test_a_table_that_is_not_ours_is_told_before_the_other_is_touched() -> None:
    ground = Ground()
    ground.kernels[FAMILIES[1]].owner = "somebody else"
    ground.links.begin_anew()
    ground.begin([])
    calls = ground.kernels[IPV4].calls
    more = [parse_route("fd00::1", f"ff05::{n}", "eth0", ["eth1"]) for n in range(4)]
    with in_small_parts(), pytest.raises(TableBusy):
        ground.apply(*streams(0, 4), *more)
    assert ground.kernels[IPV4].calls == calls
    assert not ground.routes()


def test_an_end_in_the_middle_of_it_waits_until_it_is_whole(ground: Ground) -> None:
    wanted = streams(0, 9, "eth2", "eth3")

    async def end() -> None:
        controller = ground.controller
        applying = asyncio.create_task(controller.documents.apply(wanted))
        while controller.is_whole:  # noqa: ASYNC110 - there is no event of this
            await asyncio.sleep(0)
        adding = asyncio.create_task(controller.add(streams(20, 1)[0]))
        await asyncio.sleep(0)
        await controller.close()
        assert controller.is_whole
        assert applying.done()
        late = asyncio.create_task(controller.add(streams(30, 1)[0]))
        await asyncio.wait([adding, late])
        assert adding.cancelled()
        assert late.cancelled()

    with in_small_parts():
        run(end())
    assert ground.held() == {expected(route) for route in wanted}
    assert {*ground.keeper.routes.values()} == {*wanted}


def test_a_cancelled_one_is_taken_back(ground: Ground) -> None:
    held = ground.held()

    async def cancel() -> None:
        asyncio.create_task(ground.controller.documents.apply(streams(0, 9, "eth2", "eth3")))  # noqa: RUF006
        while ground.controller.is_whole:  # noqa: ASYNC110 - there is no event of this
            await asyncio.sleep(0)

    with in_small_parts():
        run(cancel())
    assert ground.held() == held

"""Where the kernel has no room for a route, or refuses it: nobody else's packets suffer."""

import asyncio
import errno
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from lab import fake
from lab.ground import INTERFACES, Ground, expected, run
from lab.parts import looking_one_by_one, pausing_everywhere
from lab.reference import forwards
from lab.strategies import effort
from msgspec import structs

from mfc_dbus.control import installer
from mfc_dbus.control.states import state_of
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import Slices
from mfc_dbus.model.addresses import FAMILIES, parse_stream
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.desired import Edit, Key
from mfc_dbus.model.errors import (
    InvalidArgs,
    KernelError,
    RequestError,
    StoreError,
    TooManyInterfaces,
)
from mfc_dbus.model.route import Route, RouteKey, RouteName, TableId, parse_route
from mfc_dbus.model.status import Status
from mfc_dbus.routing import adoption, sequence, transition, vifs
from mfc_dbus.routing.steps import uses
from mfc_dbus.routing.transition import Transition
from mfc_dbus.streams import watched

IPV4 = FAMILIES[0]
STREAM = ("10.0.0.1", "239.1.1.1")


def leaves(ground: Ground, source: str, group: str, iif: str) -> set[str]:
    """The interfaces by which a packet that arrives now leaves."""
    return {name for name, _ in ground.arrive(source, group, iif) or ()}


# An interface that goes and comes, beside a route that lacks one


def test_its_place_may_be_taken_until_there_is_room_and_nobody_is_told_otherwise() -> None:
    ground = Ground("a0", "a1", *(f"eth{n}" for n in range(30)))
    for n in range(0, 30, 2):
        ground.add("10.0.0.1", f"239.1.1.{n}", f"eth{n}", f"eth{n + 1}")
    ground.add("10.0.0.3", "239.3.3.3", "a0", "a1")
    ground.add("10.0.0.2", "239.2.2.2", "a0", "a1 a9", wait=True)
    ground.links.add("a9")
    ground.controller.follow()
    assert leaves(ground, "10.0.0.2", "239.2.2.2", "a0") == {"a1"}
    ground.links.add("a1")  # deleted, and made again
    ground.controller.follow()
    for source, group, state in (
        ("10.0.0.3", "239.3.3.3", "waiting"),
        ("10.0.0.2", "239.2.2.2", "partial"),
    ):
        assert ground.states()[f"({source}, {group})"] == state
        assert "a1" not in leaves(ground, source, group, "a0")
    ground.delete("10.0.0.1", "239.1.1.0")
    assert leaves(ground, "10.0.0.2", "239.2.2.2", "a0") == {"a1", "a9"}
    assert leaves(ground, "10.0.0.3", "239.3.3.3", "a0") == {"a1"}
    assert {*ground.states().values()} == {"active"}


def test_it_is_used_again_where_the_kernel_refuses_another() -> None:
    ground = Ground("a0", "a1")
    ground.add("10.0.0.3", "239.3.3.3", "a0", "a1")
    ground.add("10.0.0.2", "239.2.2.2", "a0", "a1 a9", wait=True)
    kernel = ground.kernels[IPV4]
    ground.links.add("a9")
    bad, add_vif = ground.links.links["a9"].ifindex, kernel.add_vif

    def refuse(vif: int, ifindex: int) -> None:
        if ifindex == bad:
            raise OSError(errno.EOVERFLOW, "")
        add_vif(vif, ifindex)

    with mock.patch.object(kernel, "add_vif", refuse):
        ground.controller.follow()
        ground.links.add("a1")
        ground.controller.follow()
        for stream in (("10.0.0.3", "239.3.3.3"), ("10.0.0.2", "239.2.2.2")):
            assert leaves(ground, *stream, "a0") == {"a1"}


# A change that cannot be stored


@pytest.fixture
def full() -> Ground:
    """A route, a pattern that has all other VIFs and wants two more, and a store that is broken."""
    ground = Ground("a0", "a1", *(f"eth{n}" for n in range(32)))
    ground.add(*STREAM, "a0", "a1")
    ground.add("*", "239.0.0.0/8", "eth0", "eth*")
    ground.keeper.broken = True
    return ground


def test_what_it_would_free_is_not_given_away(full: Ground) -> None:
    with pytest.raises(StoreError):
        full.delete(*STREAM)
    assert leaves(full, *STREAM, "a0") == {"a1"}
    assert full.states()["(10.0.0.1, 239.1.1.1)"] == "active"


def test_the_old_route_is_in_place_of_the_new_one(full: Ground) -> None:
    with pytest.raises(StoreError):
        full.add(*STREAM, "a0", "eth0", replace=True)
    assert leaves(full, *STREAM, "a0") == {"a1"}


def test_what_was_taken_meanwhile_comes_back_when_there_is_room(full: Ground) -> None:
    async def delete_while_an_interface_comes() -> None:
        deleting = asyncio.ensure_future(
            full.controller.delete(RouteName(*parse_route(*STREAM, "a0", ["a1"]).key[:2]))
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        full.links.add("eth31")
        full.controller.follow()
        with pytest.raises(StoreError):
            await deleting

    run(delete_while_an_interface_comes())
    full.keeper.broken = False
    full.delete("*", "239.0.0.0/8")
    assert full.states() == {"(10.0.0.1, 239.1.1.1)": "active"}
    assert leaves(full, *STREAM, "a0") == {"a1"}


def test_what_nobody_foresaw_leaves_everything_as_it_was(full: Ground) -> None:
    full.keeper.broken = False
    before = full.snapshot()
    with (
        mock.patch("mfc_dbus.routing.transition.plan", side_effect=KeyError),
        pytest.raises(KeyError),
    ):
        full.add(*STREAM, "a0", "eth0", replace=True)
    assert full.snapshot() == before
    full.delete(*STREAM)


def test_a_store_that_fails_in_its_own_way_is_an_answer_too(full: Ground) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError

    before = full.snapshot()
    with mock.patch.object(full.keeper, "write", fail), pytest.raises(RuntimeError):
        run(
            asyncio.wait_for(
                full.controller.delete(RouteName(*parse_route(*STREAM, "a", []).key[:2])), 10
            )
        )
    assert full.snapshot() == before


# A full table


def routes_of(first: int, number: int) -> list[Route]:
    return [
        parse_route("10.0.0.1", f"239.1.1.{n}", f"eth{n}", [f"eth{n + 1}"])
        for n in range(first, first + number, 2)
    ]


def test_other_interfaces_may_take_the_place_of_all() -> None:
    ground = Ground(*(f"eth{n}" for n in range(64)))
    before, after = routes_of(0, 32), routes_of(32, 32)
    ground.apply(*before)
    for fail_in in range(120):
        ground.kernels[IPV4].fail_in = fail_in
        was = ground.snapshot()
        try:
            ground.apply(*after)
        except KernelError:
            assert ground.snapshot() == was
        else:
            break
    ground.kernels[IPV4].fail_in = None
    assert ground.held() == {expected(route) for route in after}
    with pytest.raises(TooManyInterfaces):
        ground.apply(*before, *after)
    assert ground.held() == {expected(route) for route in after}


def test_a_route_of_a_full_table_may_have_another_oif() -> None:
    ground = Ground(*(f"eth{n}" for n in range(34)))
    ground.apply(*routes_of(0, 32))
    ground.add("10.0.0.1", "239.1.1.0", "eth0", "eth32", replace=True)
    assert leaves(ground, "10.0.0.1", "239.1.1.0", "eth0") == {"eth32"}


def test_a_stream_may_have_another_owner_while_interfaces_take_places_of_others() -> None:
    ground = Ground(*(f"eth{n}" for n in range(34)))
    ground.add("*", "239.1.1.1", "eth*", "")
    ground.arrive("10.0.0.1", "239.1.1.1", "eth0")
    ground.apply(
        parse_route("*", "239.1.1.1", "eth9", ["eth8"]),  # which the pattern had no room for
        parse_route("*", "239.1.0.0/16", "eth0", ["eth31"]),
    )
    assert leaves(ground, "10.0.0.1", "239.1.1.1", "eth0") == {"eth31"}
    assert {*ground.states().values()} == {"active"}


def test_a_stream_whose_route_stays_stays_while_interfaces_change_places() -> None:
    ground = Ground("a", "b", "c", "d", "x", *(f"eth{n}" for n in range(28)))
    for n in range(0, 28, 2):
        ground.add("10.0.0.1", f"239.9.1.{n}", f"eth{n}", f"eth{n + 1}")
    ground.add("10.0.0.0/8", "239.1.0.0/16", "a", "b")
    ground.add("10.0.0.0/16", "239.1.0.0/24", "c", "d")
    assert leaves(ground, "10.0.0.1", "239.1.0.1", "a") == {"b"}
    kernel = ground.kernels[IPV4]
    with mock.patch.object(kernel, "del_mfc", wraps=kernel.del_mfc) as delete:
        ground.add("10.0.0.0/16", "239.1.0.0/24", "c", "x", replace=True)
    delete.assert_not_called()
    assert leaves(ground, "10.0.0.2", "239.1.0.1", "c") == {"x"}


@pytest.mark.parametrize("number", range(8))
def test_of_a_route_without_room_the_iif_comes_first(number: int) -> None:
    ground = Ground(*(f"eth{n}" for n in range(31)), "z")
    for n in range(0, 30, 2):
        ground.add("10.0.0.1", f"239.9.1.{n}", f"eth{n}", f"eth{n + 1}")
    ground.add("10.0.0.1", "239.9.1.30", "eth30", "eth0")
    ground.add("10.0.0.1", "239.9.1.31", "eth0", "z")
    iif, oif = f"i{number}", f"o{number}"
    ground.add(*STREAM, iif, f"eth0 {oif}", wait=True)
    ground.links.add(iif)
    ground.links.add(oif)
    ground.controller.follow()
    ground.delete("10.0.0.1", "239.9.1.31")  # room for one
    assert leaves(ground, *STREAM, iif) == {"eth0"}


def test_a_pattern_that_the_kernel_refuses_in_part_says_so() -> None:
    ground = Ground("a0", "a1")
    ground.add("10.0.0.0/8", "239.2.0.0/16", "a0", "a*")
    kernel = ground.kernels[IPV4]
    ground.links.add("a9")
    with mock.patch.object(kernel, "add_vif", side_effect=OSError(errno.EOVERFLOW, "")):
        ground.controller.follow()
    (status,) = ground.controller.view.routes.values()
    assert status.state == "partial"
    assert status.reason.startswith("The kernel refused: ")
    assert status.reason.endswith(": 'a9' left out")
    run(ground.controller.retry_refused())
    (status,) = ground.controller.view.routes.values()
    assert status[1:] == ("active", "")


def test_what_lacked_an_interface_that_has_a_vif_now_is_tried_at_once() -> None:
    ground = Ground(*(f"eth{n}" for n in range(33)))
    ground.apply(*routes_of(0, 32))
    waiting = [parse_route("10.0.0.2", f"239.2.0.{n}", "eth0", ["eth32"]) for n in range(40)]
    ground.links.remove("eth32")
    ground.controller.follow()
    ground.apply(*ground.routes(), *waiting, wait=True)
    ground.links.add("eth32")
    ground.controller.follow()
    assert [*ground.states().values()].count("waiting") == 40
    ground.add("10.0.0.1", "239.1.1.30", "eth30", "eth32", replace=True)
    assert {*ground.states().values()} == {"active"}


def test_what_has_no_room_is_no_part_of_the_cost_of_a_change() -> None:
    ground = Ground("a0", *(f"eth{n}" for n in range(34)))
    ground.apply(*routes_of(0, 32))
    ground.links.remove("eth32")
    ground.controller.follow()
    waiting = [parse_route("10.0.0.2", f"239.2.0.{n}", "eth0", ["eth32"]) for n in range(50)]
    ground.apply(*ground.routes(), *waiting, wait=True)
    ground.links.add("eth32")
    ground.controller.follow()
    with mock.patch("mfc_dbus.control.installer.install", wraps=transition.install) as install:
        ground.add("10.0.0.3", "239.1.1.1", "eth0", "eth1")
        assert install.call_count == 1
        ground.delete("10.0.0.1", "239.1.1.30")
    assert {*ground.states().values()} == {"active"}


# Doubtful numbers


def test_a_number_stays_doubtful_until_the_doubt_is_removed() -> None:
    ground = Ground("eth0", "eth1", "eth2", "eth3")
    ground.add("*", "239.1.1.1", "eth0", "eth*")
    ground.links.remove("eth1")  # while no daemon runs
    ground.links.begin_anew()
    ground.begin([*ground.keeper.routes.values()], kept_sockets=True)
    ground.links.add("new7")
    ground.kernels[IPV4].fail_in = 0
    with pytest.raises(KernelError):
        ground.add("10.0.0.1", "239.3.3.3", "eth0", "new7")
    ground.add("10.0.0.1", "239.3.3.3", "eth0", "new7")
    assert leaves(ground, "10.0.0.9", "239.1.1.1", "eth0") == {"eth2", "eth3"}


# Timeouts


def test_a_timeout_that_is_renewed_again_and_again_takes_no_more_memory() -> None:
    ground = Ground()
    route = structs.replace(parse_route(*STREAM, "eth0", ["eth1"]), persistent=False)
    timed = [structs.replace(route, expires=10**18 + n) for n in range(400)]

    async def renew() -> None:
        for n, each in enumerate(timed):
            await ground.controller.add(each, replace=True)
            if n % 100 == 0:
                await ground.controller.expire(since_boot())  # as once a second

    run(renew())
    assert len(ground.controller._timeouts) < 200
    run(ground.controller.expire(10**18 + 398))
    assert ground.routes() == {timed[-1]}
    run(ground.controller.expire(10**18 + 399))
    assert ground.routes() == set()


def test_what_is_outdated_is_forgotten_in_slices() -> None:
    ground = Ground()
    route = structs.replace(parse_route(*STREAM, "eth0", ["eth1"]), persistent=False)
    for n in range(100):
        run(ground.controller.add(structs.replace(route, expires=10**18 + n), replace=True))
    assert len(ground.controller._timeouts) == 100
    pauses: list[Slices] = []

    async def pause(slices: Slices) -> None:
        pauses.append(slices)

    with pausing_everywhere(pause):
        run(ground.controller.expire(0))
    assert len(ground.controller._timeouts) == 1
    assert len(pauses) >= 100


def test_a_route_that_the_kernel_keeps_holds_up_no_other() -> None:
    ground = Ground()
    for n in range(3):
        route = parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"])
        run(ground.controller.add(structs.replace(route, expires=n + 1, persistent=False)))
    kernel = ground.kernels[IPV4]
    delete, stuck = kernel.del_mfc, next(e for e in kernel.entries if e.group[-1] == 0)

    def refuse(entry: MFCEntry) -> None:
        if entry.group == stuck.group:
            raise OSError(errno.ENOMEM, "")
        delete(entry)

    with mock.patch.object(kernel, "del_mfc", refuse), pytest.raises(KernelError):
        run(ground.controller.expire(10))
    assert [str(route) for route in ground.routes()] == ["(10.0.0.1, 239.1.1.0)"]
    run(ground.controller.expire(10))
    assert ground.routes() == set()


def test_a_table_without_a_route_that_is_due_is_left_alone() -> None:
    ground = Ground()
    timed = structs.replace(parse_route(*STREAM, "eth0", ["eth1"]), expires=1, persistent=False)
    run(ground.controller.add(timed))
    changes: list[Sequence[Transition]] = []
    run(ground.controller._timeouts.expire(1, ground.controller.tables, changes.append))
    assert [[each.old for each in transitions] for transitions in changes] == [[[timed]]]


def test_what_the_kernel_refused_once_is_tried_again_before_long() -> None:
    ground = Ground("eth0")
    routes = [parse_route("10.0.0.1", f"239.1.1.{n}", "eth0", ["eth1"]) for n in range(40)]
    ground.apply(*routes, wait=True)
    with mock.patch.object(ground.kernels[IPV4], "add_vif", side_effect=OSError(errno.ENOMEM, "")):
        ground.links.add("eth1")
        ground.controller.follow()
        run(ground.controller.retry_refused())
    assert {*ground.states().values()} == {"waiting"}
    run(ground.controller.retry_refused())
    assert {*ground.states().values()} == {"active"}
    assert ground.held() == {expected(route) for route in routes}


class Clock:
    """Time that passes when it is looked at."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += self._seconds
        return self._now


@pytest.mark.parametrize("seconds", [0.0, 0.006])
def test_what_is_refused_in_one_table_keeps_no_other_from_being_tried(seconds: float) -> None:
    ground = Ground("eth0")
    ipv4, ipv6 = (ground.kernels[family] for family in FAMILIES)
    streams = [("10.0.0.1", f"239.1.1.{n}") for n in range(40)]
    other = ("fd00::1", "ff05::1")
    routes = [parse_route(*stream, "eth0", ["eth1"]) for stream in (*streams, other)]
    ground.apply(*routes, wait=True)
    refusal = OSError(errno.ENOMEM, "")
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(installer, "time", Clock(seconds)))
        stack.enter_context(mock.patch.object(ipv4, "add_vif", side_effect=refusal))
        with mock.patch.object(ipv6, "add_vif", side_effect=refusal):
            ground.links.add("eth1")
            ground.controller.follow()
        assert {*ground.states().values()} == {"waiting"}
        for _ in FAMILIES:
            run(ground.controller.retry_refused())
        assert ground.states()["(fd00::1, ff05::1)"] == "active"


# Anything at all, with room for four interfaces of six


class Scarcity(RuleBasedStateMachine):
    """Whatever happens, no packet goes where no route says, and no room is wasted."""

    LIMIT = 4
    MODULES = (vifs, watched, transition, sequence, adoption, installer, fake)
    STREAMS = (("10.0.0.1", "239.1.1.1"), ("10.0.0.2", "239.1.1.1"), ("10.0.0.1", "239.2.1.1"))

    groups = st.sampled_from(["239.1.1.1", "239.1.0.0/16", "239.0.0.0/8"])
    sources = st.sampled_from(["*", "10.0.0.1", "10.0.0.2", "10.0.0.0/8"])
    names = st.sampled_from([*INTERFACES, "eth*", "eth[0-2]"])
    routes = st.tuples(sources, groups, names, st.lists(names, max_size=3, unique=True))
    failures = st.none() | st.integers(0, 6) | st.just("store")
    churn = st.lists(
        st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(INTERFACES)), max_size=4
    )

    def __init__(self) -> None:
        super().__init__()
        self._patched = ExitStack()
        for module in self.MODULES:
            self._patched.enter_context(mock.patch.object(module, "MAX_VIFS", self.LIMIT))
        # All that is refused is tried again in a round, however slow the machine is.
        self._patched.enter_context(mock.patch.object(installer, "_RETRYING", 600))
        self.ground = Ground()
        self.model: dict[RouteKey, Route] = {}

    def teardown(self) -> None:
        self._patched.close()

    @rule(entry=routes, replace=st.booleans(), failure=failures, churn=churn)
    def add(
        self,
        entry: tuple[str, str, str, list[str]],
        replace: bool,
        failure: int | str | None,
        churn: list[tuple[str, str]],
    ) -> None:
        with suppress(InvalidArgs):
            route = parse_route(*entry)
            change = self.ground.controller.add(route, replace=replace, wait=True)
            if self._done(change, failure, churn):
                self.model[route.key] = route

    @rule(data=st.data(), failure=failures, churn=churn)
    def delete(
        self, data: st.DataObject, failure: int | str | None, churn: list[tuple[str, str]]
    ) -> None:
        if self.model:
            route = data.draw(st.sampled_from(sorted(self.model.values(), key=repr)))
            change = self.ground.controller.delete(RouteName(route.source, route.group, route.iif))
            if self._done(change, failure, churn):
                del self.model[route.key]

    @rule(entries=st.lists(routes, max_size=4), failure=failures, churn=churn)
    def apply(
        self,
        entries: list[tuple[str, str, str, list[str]]],
        failure: int | str | None,
        churn: list[tuple[str, str]],
    ) -> None:
        wanted = {}
        for entry in entries:
            with suppress(InvalidArgs):
                route = parse_route(*entry)
                wanted[route.key] = route
        change = self.ground.controller.documents.apply([*wanted.values()], wait=True)
        if self._done(change, failure, churn):
            self.model = wanted

    @rule(churn=churn)
    def interfaces_come_and_go(self, churn: list[tuple[str, str]]) -> None:
        self._churn(churn)

    @rule(stream=st.sampled_from(STREAMS), name=st.sampled_from(INTERFACES))
    def stream_arrives(self, stream: tuple[str, str], name: str) -> None:
        if name in self.ground.links.links:
            self.ground.arrive(*stream, name)

    @rule(churn=churn, read=st.none() | st.integers(0, 2), meanwhile=churn)
    def daemon_is_replaced(
        self, churn: list[tuple[str, str]], read: int | None, meanwhile: list[tuple[str, str]]
    ) -> None:
        """A new process takes up the sockets. meanwhile: before it has found all that is there."""
        self._churn(churn)
        self.ground.links.begin_anew()
        self.ground.begin([*self.model.values()], kept_sockets=True, read=read)
        self._churn(meanwhile)
        self.ground.verify()

    @invariant()
    def all_agree(self) -> None:
        controller, kernel = self.ground.controller, self.ground.kernels[IPV4]
        table = controller.tables[TableId(IPV4)]
        self._settle()
        assert self.ground.routes() == {*self.model.values()}
        assert self.ground.keeper.routes == self.model
        assert kernel.vifs == {vif.number: vif.ifindex for vif in table.vifs}
        references = {vif.name: vif.references for vif in table.vifs if vif.references}
        assert references == uses(table.installed.values())
        assert len(references) <= self.LIMIT
        present = self.ground.links.links
        for route in self.model.values():
            if route.iif in present and route.key not in table.installed:
                assert len({*references, route.iif}) > self.LIMIT
                # What only patterns have would not be enough for all that it names.
                loose = {name for name in references if not table.is_named(name, but=())}
                named = {name for name in route.interfaces if name in present}
                assert len({*references} - (loose - named) | named) > self.LIMIT
            status = controller.view.routes[route.key]
            assert status == Status(route, *state_of(table, route, present))
            assert bool(status.reason) == (status.state != "active")
        # Where one has no room, a wider one may take its streams.
        placed = [route for route in self.model.values() if route.key in table.installed]
        for stream in self.STREAMS:
            source, group = (prefix.address for prefix in parse_stream(*stream))
            for name in present:
                oifs = kernel.decide(source, group, name).oifs
                if oifs is not None:
                    allowed = forwards(placed, present, source, group, name)
                    assert allowed is not None
                    assert oifs <= allowed

    def _settle(self) -> None:
        self.ground.controller.follow()
        for _ in range(2):
            run(self.ground.controller.retry_refused())

    def _done(
        self,
        change: Coroutine[Any, Any, object],
        failure: int | str | None,
        churn: list[tuple[str, str]],
    ) -> bool:
        """Whether a change was done that may fail, and while which interfaces come and go."""
        kernel, keeper = self.ground.kernels[IPV4], self.ground.keeper
        kernel.fail_in = failure if isinstance(failure, int) else None
        keeper.broken = failure == "store"
        write = keeper.write

        async def write_late(edits: Mapping[Key, Edit], *_: object) -> None:
            kernel.fail_in = None
            self._churn(churn)
            self.ground.controller.follow()
            await write(edits)

        try:
            with mock.patch.object(keeper, "write", write_late):
                run(change)
        except RequestError:
            return False
        finally:
            kernel.fail_in, keeper.broken = None, False
        return True

    def _churn(self, churn: list[tuple[str, str]]) -> None:
        for what, name in churn:
            if what == "add":
                self.ground.links.add(name)
            elif name in self.ground.links.links:
                self.ground.links.remove(name)


TestScarcity = Scarcity.TestCase


class InParts(Scarcity):
    """The same where the routes of an interface are looked at one by one, as those of many are."""

    def __init__(self) -> None:
        super().__init__()
        self._patched.enter_context(looking_one_by_one())

    @rule(churn=Scarcity.churn, parts=st.lists(st.integers(0, 4), min_size=4, max_size=4))
    def interfaces_come_and_go_meanwhile(
        self, churn: list[tuple[str, str]], parts: list[int]
    ) -> None:
        for event, number in zip(churn, parts, strict=False):
            self._churn([event])
            self.ground.controller.follow()
            self._no_packet_goes_elsewhere()
            for _ in range(number):
                self.ground.controller.work()
                self._no_packet_goes_elsewhere()

    def _done(
        self,
        change: Coroutine[Any, Any, object],
        failure: int | str | None,
        churn: list[tuple[str, str]],
    ) -> bool:
        self._work()  # it would wait for that
        return super()._done(change, failure, churn)

    def _settle(self) -> None:
        for _ in range(3):
            self._work()
            run(self.ground.controller.retry_refused())
        self._work()

    def _work(self) -> None:
        self.ground.controller.follow()
        while self.ground.controller.work():
            self._no_packet_goes_elsewhere()

    def _no_packet_goes_elsewhere(self) -> None:
        """Whatever is not done yet, it leaves by interfaces of its routes alone."""
        for stream in self.STREAMS:
            source, group = (prefix.address for prefix in parse_stream(*stream))
            for name in self.ground.links.links:
                oifs = self.ground.kernels[IPV4].decide(source, group, name).oifs or frozenset()
                allowed = [
                    forwards([route], INTERFACES, source, group, name) or frozenset()
                    for route in self.model.values()
                ]
                assert oifs <= frozenset().union(*allowed)


TestInParts = InParts.TestCase
TestInParts.settings = effort(runs=40, steps=20)

"""The controller on a kernel in memory: whole or not at all, and always what the model says."""

import errno
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lab.fake import FakeKernel, FakeLinks

from mfc_dbus.controller import Change, Controller
from mfc_dbus.errors import (
    InterfaceNotMulticast,
    InvalidArgs,
    KernelError,
    NoSuchInterface,
    NoSuchRoute,
    RequestError,
    RouteExists,
    TableBusy,
    TooManyInterfaces,
)
from mfc_dbus.model import FAMILIES, MAX_VIFS, Route, parse_group_prefix, parse_route, parse_stream
from mfc_dbus.table import Table

INTERFACES = [f"eth{number}" for number in range(6)]


class Ground:
    """A controller over fake kernels, and what it has told."""

    def __init__(self, *interfaces: str) -> None:
        self.links = FakeLinks(*(interfaces or INTERFACES), silent=("lo",))
        self.kernels = {family: FakeKernel(self.links) for family in FAMILIES}
        self.changes: list[Change] = []
        self.controller = Controller(
            [Table(family, kernel) for family, kernel in self.kernels.items()],
            self.links,
            self.changes.append,
        )

    def add(
        self,
        source: str,
        group: str,
        iif: str = "eth0",
        oifs: str = "eth1",
        *,
        replace: bool = False,
        ttls: dict[str, int] | None = None,
    ) -> Route:
        route = parse_route(source, group, iif, oifs.split(), ttls)
        self.controller.add(route, replace=replace)
        return route

    def held(self) -> set[tuple[object, ...]]:
        return {row for kernel in self.kernels.values() for row in kernel.named(self.links.links)}

    def snapshot(self) -> object:
        """All that there is, to be compared later."""
        return (
            [(dict(kernel.vifs), kernel.entries) for kernel in self.kernels.values()],
            [sorted(table.vifs) for table in self.controller.tables.values()],
            set(self.controller.routes()),
            len(self.changes),
        )


@pytest.fixture
def ground() -> Ground:
    return Ground()


def expected(route: Route) -> tuple[object, ...]:
    return (route.source, route.group, route.iif, frozenset(tuple(oif) for oif in route.oifs))


def test_a_route_reaches_the_kernel_with_its_vifs(ground: Ground) -> None:
    route = ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2", ttls={"eth2": 9})
    assert ground.held() == {expected(route)}
    assert ground.changes == [Change(added=[route], changed=[], removed=[])]


def test_a_vif_goes_with_the_last_route_that_uses_it(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth2")
    ground.controller.delete(*parse_stream("10.0.0.1", "239.1.1.1"), None)
    vifs = ground.controller.tables[FAMILIES[0]].vifs
    assert {(vif.name, vif.references) for vif in vifs} == {("eth0", 1), ("eth2", 1)}
    ground.controller.delete(*parse_stream("10.0.0.1", "239.1.1.2"), None)
    assert [kernel.vifs for kernel in ground.kernels.values()] == [{}, {}]


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
    assert [(c.added, c.changed, c.removed) for c in ground.changes] == [
        ([first], [], []),
        ([], [second], []),
    ]


def test_replace_with_the_same_route_is_no_change(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1")
    before = ground.snapshot()
    ground.add("10.0.0.1", "239.1.1.1", replace=True)
    assert ground.snapshot() == before


def test_any_source_has_a_route_for_each_iif(ground: Ground) -> None:
    one = ground.add("*", "239.1.1.1", "eth0", "eth2")
    two = ground.add("*", "239.1.1.1", "eth1", "eth2")
    assert ground.held() == {expected(one), expected(two)}
    stream = parse_stream("*", "239.1.1.1")
    with pytest.raises(InvalidArgs, match="exists from 'eth0', 'eth1': say which by 'iif'"):
        ground.controller.delete(*stream, None)
    ground.controller.delete(*stream, "eth0")
    assert ground.held() == {expected(two)}
    ground.controller.delete(*stream, None)
    assert ground.held() == set()


@pytest.mark.parametrize(("iif", "oifs"), [("eth1", "eth2"), ("eth2", "eth0"), ("eth1", "eth0")])
def test_any_source_routes_that_the_kernel_would_mix_up_are_refused(
    ground: Ground, iif: str, oifs: str
) -> None:
    ground.add("*", "239.1.1.1", "eth0", "eth1")
    before = ground.snapshot()
    with pytest.raises(KernelError, match="cannot both be in the kernel"):
        ground.add("*", "239.1.1.1", iif, oifs)
    assert ground.snapshot() == before
    ground.add("*", "239.1.1.2", iif, oifs)
    ground.add("10.0.0.1", "239.1.1.1", iif, oifs)


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
        ground.controller.delete(*parse_stream(source, group), iif)


def test_interfaces_must_be_there_and_carry_multicast(ground: Ground) -> None:
    with pytest.raises(NoSuchInterface, match="Interface 'eth99' not found"):
        ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth99")
    with pytest.raises(InterfaceNotMulticast, match="'lo'"):
        ground.add("10.0.0.1", "239.1.1.1", "lo", "eth1")
    assert ground.held() == set()


def test_another_device_under_an_old_name_is_not_taken_for_the_first(ground: Ground) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    ground.links.add("eth1")
    with pytest.raises(KernelError, match="'eth1' is not the one that other routes were made for"):
        ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth1")
    ground.controller.delete(*parse_stream("10.0.0.1", "239.1.1.1"), None)
    ground.add("10.0.0.1", "239.1.1.2", "eth0", "eth1")


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
    assert ground.controller.flush(parse_group_prefix("239.1.0.0/16")) == 2
    assert ground.controller.flush(iif="eth0") == 1
    assert ground.held() == {expected(kept)}
    assert ground.controller.flush(parse_group_prefix("239.1.0.0/16"), "eth2") == 0
    assert ground.controller.flush() == 1
    assert ground.controller.flush() == 0
    assert [len(change.removed) for change in ground.changes[4:]] == [2, 1, 1]


CHANGES: dict[str, Callable[[Ground], object]] = {
    "add": lambda ground: ground.add("*", "239.9.9.9", "eth3", "eth4 eth5", ttls={"eth4": 7}),
    "replace": lambda ground: ground.add(
        "10.0.0.1", "239.1.1.1", "eth3", "eth4 eth1", replace=True
    ),
    "delete": lambda ground: ground.controller.delete(*parse_stream("*", "239.1.1.2"), None),
    "flush": lambda ground: ground.controller.flush(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_failure_in_the_middle_takes_back_what_came_before(change: str) -> None:
    failures = 0
    while True:
        ground = Ground()
        ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1 eth2")
        ground.add("*", "239.1.1.2", "eth0", "eth5")
        ground.add("fd00::1", "ff05::1", "eth0", "eth1")
        before = ground.snapshot()
        for kernel in ground.kernels.values():
            kernel.fail_in = failures
        try:
            CHANGES[change](ground)
        except KernelError as error:
            assert "Cannot allocate memory" in str(error)
            for kernel in ground.kernels.values():
                kernel.fail_in = None
            assert ground.snapshot() == before
            failures += 1
        else:
            break
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
    kernel = ground.kernels[FAMILIES[0]]
    kernel.owner = "somebody else"
    table = ground.controller.tables[FAMILIES[0]]
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
    controller = Controller([Table(FAMILIES[1], lacking)], links, lambda change: None)
    with pytest.raises(KernelError, match="does not route ipv6 multicast: Address family not"):
        controller.add(parse_route("*", "ff05::1", "eth0", ["eth1"]), replace=False)


class Machine(RuleBasedStateMachine):
    """Random changes, with failures at random, against routes in a plain dictionary."""

    GROUPS = ("239.1.1.1", "239.1.1.2", "ff05::1")
    SOURCES = ("*", "10.0.0.1", "10.0.0.2", "fd00::1")

    groups = st.sampled_from(GROUPS)
    sources = st.sampled_from(SOURCES)
    interfaces = st.sampled_from(INTERFACES)
    failures = st.none() | st.integers(0, 6)

    @initialize()
    def begin(self) -> None:
        self.ground = Ground()
        self.model: dict[object, Route] = {}

    @rule(
        source=sources,
        group=groups,
        iif=interfaces,
        oifs=st.lists(interfaces, max_size=4),
        ttl=st.integers(0, 20),
        replace=st.booleans(),
        fail_in=failures,
    )
    def add(
        self,
        source: str,
        group: str,
        iif: str,
        oifs: list[str],
        ttl: int,
        replace: bool,
        fail_in: int | None,
    ) -> None:
        ttls = {oifs[0]: ttl} if ttl and oifs else {}
        try:
            route = parse_route(source, group, iif, oifs, ttls)
        except RequestError:
            return
        self._fail(fail_in)
        try:
            self.ground.controller.add(route, replace=replace)
        except RouteExists:
            assert route.key in self.model
            assert not replace
        except KernelError as error:
            assert fail_in is not None or "cannot both be in the kernel" in str(error)
        else:
            assert replace or route.key not in self.model
            self.model[route.key] = route

    @rule(source=sources, group=groups, iif=st.none() | interfaces, fail_in=failures)
    def delete(self, source: str, group: str, iif: str | None, fail_in: int | None) -> None:
        try:
            stream = parse_stream(source, group)
        except InvalidArgs:
            return
        matching = [
            route
            for route in self.model.values()
            if (route.source, route.group) == stream and iif in (None, route.iif)
        ]
        self._fail(fail_in)
        try:
            self.ground.controller.delete(*stream, iif)
        except NoSuchRoute:
            assert not matching
        except InvalidArgs:
            assert len(matching) > 1
        except KernelError:
            assert fail_in is not None
        else:
            (route,) = matching
            del self.model[route.key]

    @rule(group=st.sampled_from([None, "239.1.0.0/16", "ff05::1"]), iif=st.none() | interfaces)
    def flush(self, group: str | None, iif: str | None) -> None:
        prefix = parse_group_prefix(group) if group else None
        doomed = [
            route
            for route in self.model.values()
            if (iif is None or route.iif == iif) and (prefix is None or route.group in prefix)
        ]
        assert self.ground.controller.flush(prefix, iif) == len(doomed)
        for route in doomed:
            del self.model[route.key]

    def _fail(self, fail_in: int | None) -> None:
        for kernel in self.ground.kernels.values():
            kernel.fail_in = fail_in

    @invariant()
    def the_kernel_holds_what_the_model_says(self) -> None:
        self._fail(None)
        assert self.ground.held() == {expected(route) for route in self.model.values()}
        assert set(self.ground.controller.routes()) == set(self.model.values())

    @invariant()
    def a_vif_is_there_just_while_a_route_uses_it(self) -> None:
        for family, kernel in self.ground.kernels.items():
            used = [
                name
                for route in self.model.values()
                if route.family == family
                for name in route.interfaces
            ]
            vifs = self.ground.controller.tables[family].vifs
            assert {vif.name: vif.references for vif in vifs} == {
                name: used.count(name) for name in used
            }
            assert kernel.vifs == {vif.number: vif.ifindex for vif in vifs}

    @invariant()
    def what_was_told_adds_up_to_what_there_is(self) -> None:
        told: dict[object, Route] = {}
        for change in self.ground.changes:
            for route in change.added:
                assert route.key not in told
                told[route.key] = route
            for route in change.changed:
                assert told[route.key] != route
                told[route.key] = route
            for route in change.removed:
                assert told.pop(route.key) == route
        assert told == self.model


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

"""Learning on a kernel in memory: what is learned, how much, how long, and whole or not at all.

That it follows the routes in everything is shown by the state machine of test_controller.py.
"""

import contextlib
import logging
import socket
import time
from typing import cast
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from lab.fake import FakeKernel
from lab.ground import Ground, run
from lab.listing import Listing
from lab.reference import forwards
from lab.strategies import effort

from mfc_dbus.config.settings import Settings
from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, Upcall
from mfc_dbus.model.addresses import FAMILIES, parse_stream
from mfc_dbus.model.errors import KernelError, RouteExists
from mfc_dbus.model.route import TableId
from mfc_dbus.model.status import UnroutedStream

IPV4, IPV6 = FAMILIES
SECOND = 1_000_000_000


class Discoverer:
    """Whom the controller tells."""

    def __init__(self) -> None:
        self.streams: list[UnroutedStream] = []

    def arrived(self, stream: UnroutedStream) -> None:
        self.streams.append(stream)

    def watched(self) -> None:
        """It is seen in the kernel."""


@pytest.fixture
def ground() -> Ground:
    return Ground()


@pytest.fixture
def kernel(ground: Ground) -> FakeKernel:
    return ground.kernels[IPV4]


def learned(ground: Ground) -> set[str]:
    return {
        f"{each.source} {each.group} {each.iif} > {','.join(oif.name for oif in each.oifs)}"
        for table in ground.controller.tables.values()
        for each in table.learned
    }


def test_nothing_is_stored_or_told_of_what_is_learned(ground: Ground) -> None:
    ground.add("10.0.0.0/8", "239.0.0.0/8", "eth0", "eth1 eth2", ttls={"eth2": 9})
    before = ground.keeper.writes, len(ground.changes)
    assert ground.arrive("10.0.0.1", "239.1.1.1") == frozenset({("eth1", 1), ("eth2", 9)})
    assert (ground.keeper.writes, len(ground.changes)) == before
    assert learned(ground) == {"10.0.0.1 239.1.1.1 eth0 > eth1,eth2"}


@pytest.mark.parametrize(
    ("source", "group"),
    [("10.0.0.1", "224.0.0.5"), ("::", "ff05::1"), ("fd00::1", "ff12::1")],
)
def test_what_no_entry_can_forward_is_not_learned(ground: Ground, source: str, group: str) -> None:
    ground.add("*", "224.0.0.0/4" if ":" not in group else "ff00::/8")
    vif = 0
    family = IPV6 if ":" in group else IPV4
    upcall = Upcall(IGMPMSG_NOCACHE, vif, _packed(source), _packed(group))
    ground.kernels[family].waiting.append(upcall)
    ground.controller.read_upcalls(TableId(family))
    assert learned(ground) == set()


def test_an_upcall_that_makes_no_sense_does_nothing(ground: Ground, kernel: FakeKernel) -> None:
    ground.add("*", "239.0.0.0/8")
    source, group = _packed("10.0.0.1"), _packed("239.1.1.1")
    kernel.waiting += [
        Upcall(3, 0, source, group),
        Upcall(IGMPMSG_NOCACHE, 0, source, _packed("238.1.1.1")),
    ]
    ground.controller.read_upcalls(TableId(IPV4))
    assert learned(ground) == set()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("change", ["gone", "renamed"])
def test_a_stream_that_the_kernel_asked_about_is_forwarded_when_its_interface_has_gone_since(
    ground: Ground, kernel: FakeKernel, change: str, late: bool
) -> None:
    def add() -> None:
        ground.add("10.0.0.0/8", "239.0.0.0/8", "eth[12]", "eth3")

    ground.add("10.9.0.0/16", "239.9.0.0/16", "eth[12]", "eth3")  # so that they have VIFs
    if not late:
        add()
    kernel.arrive(_packed("10.0.0.1"), _packed("239.1.1.1"), "eth1")
    if change == "gone":
        ground.links.remove("eth1")
    else:
        ground.links.rename("eth1", "eth9")
    ground.controller.read_upcalls(TableId(IPV4))
    if late:
        add()
    assert ground.arrive("10.0.0.1", "239.1.1.1", "eth2") == frozenset({("eth3", 1)})


@pytest.mark.slow
def test_what_nobody_has_a_route_for_is_remembered_for_a_time_and_to_a_number(
    ground: Ground, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0
    monkeypatch.setattr("mfc_dbus.streams.upcalls.since_boot", lambda: now)
    ground.add("10.9.9.9", "239.9.9.9")

    def arrive(group: int) -> None:
        ground.arrive("10.0.0.1", f"239.1.{group >> 8}.{group & 255}")

    arrive(0)
    now += 12 * SECOND
    for group in range(1, 5001):
        arrive(group)
    now += 8 * SECOND
    ground.add("*", "239.0.0.0/8", "eth0", "eth1")
    assert len(learned(ground)) == 64  # so that others are served in between
    while ground.controller.next_due == 0:
        ground.controller.do_due(now)
    streams = learned(ground)
    assert len(streams) == 4096
    assert "10.0.0.1 239.1.19.136 eth0 > eth1" in streams
    now += 120 * SECOND
    ground.controller.do_due(now)
    ground.controller.do_due(now + 120 * SECOND)
    assert len(learned(ground)) < 4096


def test_under_a_flood_only_some_are_heard_at_a_time(ground: Ground, kernel: FakeKernel) -> None:
    ground.add("*", "239.0.0.0/8")
    for n in range(1000):
        kernel.arrive(_packed("10.0.0.1"), bytes((239, 1, n // 250, n % 250)), "eth0")
    ground.controller.read_upcalls(TableId(IPV4))
    assert len(learned(ground)) == 64


def test_no_more_is_learned_than_the_settings_allow_and_that_is_logged_once(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    run(ground.controller.documents.configure(Settings(max_learned=2)))
    ground.add("*", "239.0.0.0/8")
    for n in range(5):
        for _ in range(2):
            ground.arrive("10.0.0.1", f"239.1.1.{n}")
    assert learned(ground) == {
        "10.0.0.1 239.1.1.0 eth0 > eth1",
        "10.0.0.1 239.1.1.1 eth0 > eth1",
    }
    assert caplog.text.count("2 streams are learned") == 1
    ground.add("*", "239.0.0.0/8", "eth3", "eth4")
    ground.delete("*", "239.0.0.0/8", "eth0")
    ground.kernels[IPV4].unresolved.clear()  # after 10 s it asks again
    assert ground.arrive("10.0.0.1", "239.1.1.4", "eth3") == frozenset({("eth4", 1)})


def test_what_one_packet_came_of_goes_first_when_room_is_needed(ground: Ground) -> None:
    run(ground.controller.documents.configure(Settings(max_learned=3)))
    ground.add("*", "239.0.0.0/8")
    for n in (1, 2, 2, 3):
        ground.arrive("10.0.0.1", f"239.1.1.{n}")
    for n in range(10, 20):
        ground.arrive("10.0.0.2", f"239.1.1.{n}")
    ground.arrive("10.0.0.2", "239.1.1.19")
    assert learned(ground) == {
        "10.0.0.1 239.1.1.2 eth0 > eth1",
        "10.0.0.2 239.1.1.18 eth0 > eth1",
        "10.0.0.2 239.1.1.19 eth0 > eth1",
    }


def test_what_no_packet_came_of_goes_before_that_and_takes_no_room(
    ground: Ground, kernel: FakeKernel
) -> None:
    run(ground.controller.documents.configure(Settings(max_learned=3)))
    ground.add("*", "239.0.0.0/8")
    discoverer = Discoverer()
    ground.controller.set_discoverer(discoverer)
    ground.arrive("10.0.0.1", "239.1.1.1")
    for n in range(2, 20):
        look_up(ground, "10.0.0.1", f"239.1.1.{n}")
    look_up(ground, "10.0.0.1", "238.1.1.1")
    assert len(learned(ground)) == 3
    for n in (30, 31):
        ground.arrive("10.0.0.1", f"239.1.1.{n}")
    kept = {f"10.0.0.1 239.1.1.{n} eth0 > eth1" for n in (1, 30, 31)}
    assert learned(ground) == kept
    look_up(ground, "10.0.0.1", "239.1.1.40")
    assert learned(ground) == kept
    assert kernel.unresolved == {}
    assert discoverer.streams == []


def test_a_stream_that_somebody_looked_up_is_forwarded_when_it_comes(ground: Ground) -> None:
    ground.add("*", "239.0.0.0/8")
    look_up(ground, "10.0.0.1", "239.1.1.1")
    kernel = ground.kernels[IPV4]
    oifs = kernel.arrive(_packed("10.0.0.1"), _packed("239.1.1.1"), "eth0")
    assert oifs == frozenset({("eth1", 1)})


def test_a_stream_goes_after_its_time_and_what_flows_stays(ground: Ground) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ground.add("*", "239.0.0.0/8")
    assert ground.controller.next_due is None
    ground.arrive("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "239.1.1.2")
    assert ground.controller.next_due is not None
    assert 14 * SECOND < ground.controller.next_due - now < 16 * SECOND
    for seconds in range(0, 200, 5):
        ground.arrive("10.0.0.1", "239.1.1.1")
        ground.controller.do_due(now + seconds * SECOND)
        assert len(learned(ground)) == 2 or seconds > 60
        assert len(learned(ground)) == 1 or seconds < 80
    for seconds in range(200, 290, 5):
        ground.controller.do_due(now + seconds * SECOND)
    assert learned(ground) == set()
    assert ground.controller.next_due is None
    assert [len(each.entries) for each in ground.kernels.values()] == [0, 0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What time it is, to be changed."""
    now = [0]
    monkeypatch.setattr("mfc_dbus.streams.upcalls.since_boot", lambda: now[0])
    return now


def test_a_stream_goes_however_often_the_table_is_looked_at(
    ground: Ground, clock: list[int]
) -> None:
    ground.add("*", "239.0.0.0/8")
    for _ in range(2):
        ground.arrive("10.0.0.1", "239.1.1.1")
    for _ in range(10):
        clock[0] += 10 * SECOND
        ground.controller.do_due(clock[0])
        ground.verify(TableId(IPV4))
    assert learned(ground) == set()


def test_a_shorter_expiry_holds_for_what_was_learned_before(
    ground: Ground, clock: list[int]
) -> None:
    run(ground.controller.documents.configure(Settings(learned_expiry=86400 * SECOND)))
    ground.add("*", "239.0.0.0/8")
    ground.arrive("10.0.0.1", "239.1.1.1")
    run(ground.controller.documents.configure(Settings(learned_expiry=60 * SECOND)))
    ground.arrive("10.0.0.1", "239.1.1.2")
    assert ground.controller.next_due == 15 * SECOND
    for _ in range(20):
        clock[0] += 5 * SECOND
        ground.controller.do_due(clock[0])
    assert learned(ground) == set()


def test_what_the_kernel_of_another_owner_asks_is_read_and_not_answered(
    ground: Ground, kernel: FakeKernel
) -> None:
    ground.add("*", "239.0.0.0/8")
    ground.configure(IPV6)
    kernel.waiting.append(Upcall(IGMPMSG_NOCACHE, 0, _packed("10.0.0.1"), _packed("239.1.1.1")))
    ground.controller.read_upcalls(TableId(IPV4))
    assert not kernel.waiting
    assert learned(ground) == set()


def test_looking_is_done_in_slices(
    ground: Ground, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfc_dbus.streams.upcalls._LOOKS", 50)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ground.add("*", "239.0.0.0/8")
    for n in range(120):
        kernel.arrive(_packed("10.0.0.1"), bytes((239, 1, 1, n)), "eth0")
    while kernel.waiting:
        ground.controller.read_upcalls(TableId(IPV4))
    late = now + 100 * SECOND
    left = []
    for _ in range(3):
        ground.controller.do_due(late)
        left.append(len(learned(ground)))
    assert left == [70, 20, 0]


@pytest.mark.parametrize("change", ["replace", "delete", "exact", "conflict"])
def test_a_failure_in_the_middle_takes_what_was_learned_back_too(change: str) -> None:
    failures = 0
    while True:
        ground = Ground()
        ground.add("*", "239.0.0.0/8", "eth0", "eth1 eth2")
        ground.add("*", "239.1.1.1", "eth0", "eth3")
        ground.arrive("10.0.0.1", "239.1.1.2")
        ground.arrive("10.0.0.2", "239.1.1.2")
        before = ground.snapshot(), learned(ground)
        ground.kernels[IPV4].fail_in = failures
        try:
            if change == "replace":
                ground.add("*", "239.0.0.0/8", "eth0", "eth4", replace=True)
            elif change == "delete":
                ground.delete("*", "239.0.0.0/8")
            elif change == "exact":
                ground.add("10.0.0.1", "239.1.1.2", "eth4", "eth5")
            else:
                ground.add("*", "239.1.1.1", "eth3", "eth0 eth5")
        except KernelError:
            ground.kernels[IPV4].fail_in = None
            assert (ground.snapshot(), learned(ground)) == before
            failures += 1
        else:
            break
    assert failures >= 2


def test_the_next_process_keeps_what_is_right_and_removes_what_nobody_covers(
    ground: Ground, kernel: FakeKernel
) -> None:
    wide = ground.add("*", "239.0.0.0/8", "eth0", "eth1")
    other = ground.add("*", "238.0.0.0/8", "eth0", "eth2")
    ground.arrive("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "238.1.1.1")
    calls = kernel.calls
    ground.links.begin_anew()
    ground.begin([wide, other], kept_sockets=True)
    assert kernel.calls == calls
    assert len(learned(ground)) == 2
    assert ground.controller.next_due is not None
    ground.links.begin_anew()
    ground.begin([wide], kept_sockets=True)
    assert learned(ground) == {"10.0.0.1 239.1.1.1 eth0 > eth1"}
    assert len(kernel.entries) == 1


def test_patterns_are_for_what_carries_multicast_and_never_for_lo_or_the_way_back() -> None:
    ground = Ground("lo", "eth0", "eth1", "mute0")
    ground.links.add("mute0", multicast=False)
    ground.add("*", "239.0.0.0/8", "eth*", "*")
    assert ground.states() == {"(*, 239.0.0.0/8)": "active"}
    assert ground.arrive("10.0.0.1", "239.1.1.1", "eth0") == frozenset({("eth1", 1)})
    assert ground.arrive("10.0.0.2", "239.1.1.1", "eth1") == frozenset({("eth0", 1)})
    ground.add("*", "239.1.1.1", "wlan?", "eth0")
    assert ground.states()["(*, 239.1.1.1)"] == "waiting"
    ground.links.add("wlan0")
    ground.controller.follow()
    assert ground.states()["(*, 239.1.1.1)"] == "active"
    assert ground.arrive("10.0.0.1", "239.1.1.1", "eth0") == frozenset({("eth1", 1), ("wlan0", 1)})


def test_what_a_native_route_says_is_not_learned_and_no_longer_when_it_comes(
    ground: Ground, kernel: FakeKernel
) -> None:
    ground.add("*", "239.0.0.0/8", "eth0", "eth1")
    ground.arrive("10.0.0.1", "239.1.1.1")
    ground.add("*", "239.1.1.1", "eth0", "eth2")
    assert learned(ground) == set()
    assert ground.arrive("10.0.0.1", "239.1.1.1") == frozenset({("eth2", 1)})
    ground.add("*", "239.0.0.0/8", "eth3", "eth1")
    assert ground.arrive("10.0.0.1", "239.1.1.1", "eth3") == frozenset({("eth1", 1)})
    # It moves back, to where it need not be learned.
    assert ground.arrive("10.0.0.1", "239.1.1.1") == frozenset({("eth2", 1)})
    assert learned(ground) == set()
    assert len(kernel.entries) == 1


def test_the_next_process_does_not_learn_a_route_that_was_deleted_beside_a_native_one(
    ground: Ground, kernel: FakeKernel
) -> None:
    ground.add("10.0.0.1", "239.1.1.1", "eth0", "eth1")
    native = ground.add("*", "239.1.1.1", "eth0", "eth2")
    ground.links.begin_anew()
    ground.begin([native], kept_sockets=True)
    assert learned(ground) == set()
    assert len(kernel.entries) == 1


def test_packets_that_arrive_elsewhere_are_not_listed_as_its_own(ground: Ground) -> None:
    listing = Listing(ground)

    def packets() -> int:
        (stream,) = listing.ask(learned=True)
        listing.pass_time(1)
        return cast(int, stream["packets"])

    ground.add("*", "239.0.0.0/8", "eth0", "eth1")
    ground.add("*", "238.0.0.0/8", "eth2", "eth1")
    for _ in range(3):
        ground.arrive("10.0.0.1", "239.1.1.1", "eth2")
    assert packets() == 0
    for _ in range(2):
        ground.arrive("10.0.0.1", "239.1.1.1", "eth0")
    assert packets() == 2


def test_of_two_entries_of_the_kernels_own_none_loses_its_stream_to_one_that_nothing_covers() -> (
    None
):
    ground = Ground()
    ground.links.begin_anew()
    ground.begin([], settings=Settings(discovery_interfaces=("eth3",)))
    for iif in ("eth0", "eth1"):
        ground.add("*", "239.1.1.1", iif, "eth5")
    ground.add("*", "239.0.0.0/8", "eth2", "eth5")
    lost = 0
    for _ in range(20):
        ground.arrive("10.0.0.1", "239.1.1.1", "eth3")
        kernel = ground.kernels[IPV4]
        lost += kernel.arrive(_packed("10.0.0.1"), _packed("239.1.1.1"), "eth1") is None
        ground.controller.read_upcalls(TableId(IPV4))
    assert lost == 1


class Arrivals(RuleBasedStateMachine):
    """One stream and few routes, in all orders: where it comes and is covered it is forwarded.

    It comes from one interface at a time, or from another too that nothing covers.
    """

    STREAM = "10.0.0.1", "239.1.1.1"
    NAMES = ("eth0", "eth1", "eth2", "eth3")
    sources = st.sampled_from(["*", "10.0.0.0/8"])
    groups = st.sampled_from(["239.1.1.1", "239.1.0.0/16", "239.0.0.0/8"])
    iifs = st.sampled_from([*NAMES, "eth[01]", "eth*"])
    names = st.sampled_from(NAMES)

    @initialize()
    def begin(self) -> None:
        self.ground = Ground(*self.NAMES, "eth9")
        self.ground.links.begin_anew()
        self.ground.begin([], settings=Settings(discovery_interfaces=("eth*",)))
        self.kernel = self.ground.kernels[IPV4]
        self.kernel.told = set()
        self.now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.clock = mock.patch("mfc_dbus.streams.upcalls.since_boot", side_effect=lambda: self.now)
        self.clock.start()

    def teardown(self) -> None:
        self.clock.stop()

    @rule(source=sources, group=groups, iif=iifs)
    def add(self, source: str, group: str, iif: str) -> None:
        with contextlib.suppress(RouteExists):
            self.ground.add(source, group, iif, "eth9")

    @rule(which=st.integers(0, 3))
    def delete(self, which: int) -> None:
        for one in sorted(self.ground.routes(), key=str)[which : which + 1]:
            source = str(one.source) if one.source.length else "*"
            self.ground.delete(source, str(one.group), one.iif)

    @precondition(lambda self: any(map(self.covers, self.NAMES)))
    @rule(data=st.data(), order=st.booleans())
    def stream_arrives(self, data: st.DataObject, order: bool) -> None:
        name = data.draw(st.sampled_from([each for each in self.NAMES if self.covers(each)]))
        other = data.draw(self.names)
        others = [other] if not self.covers(other) else []
        for _ in range(20):
            for _ in range(3):
                for each in [name, *others] if order else [*others, name]:
                    self.ground.arrive(*self.STREAM, each)
            self.pass_time(1)
        sources, groups = parse_stream(*self.STREAM)
        oifs = self.kernel.arrive(sources.address, groups.address, name)
        assert oifs == frozenset({("eth9", 1)})

    @rule(name=names)
    def stream_arrives_where_nothing_covers_it(self, name: str) -> None:
        if not self.covers(name):
            assert self.ground.arrive(*self.STREAM, name) is None

    @rule(seconds=st.sampled_from([1, 5, 30, 100]))
    def time_passes(self, seconds: int) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 10**9
            second = self.now // 10**9
            if second % 3 == 0:
                self.kernel.told = set()
            if second % 10 == 0:
                self.kernel.unresolved.clear()
            self.ground.controller.do_due(self.now)

    @rule(read=st.sampled_from([None, 0]))
    def daemon_is_replaced(self, read: int | None) -> None:
        self.ground.links.begin_anew()
        self.ground.begin(
            [*self.ground.routes()],
            kept_sockets=True,
            read=read,
            settings=Settings(discovery_interfaces=("eth*",)),
        )
        self.ground.verify()

    def covers(self, name: str) -> bool:
        packed = [prefix.address for prefix in parse_stream(*self.STREAM)]
        links = self.ground.links.links
        return forwards(self.ground.routes(), links, packed[0], packed[1], name) is not None


TestArrivals = Arrivals.TestCase
TestArrivals.settings = effort(runs=200, steps=20)


def look_up(ground: Ground, source: str, group: str, iif: str = "eth0") -> None:
    """Ask for the route of a stream, as anybody may: the kernel asks in turn."""
    kernel, stream = ground.kernels[IPV4], (_packed(source), _packed(group))
    (vif,) = (vif.number for vif in ground.controller.tables[TableId(IPV4)].vifs if vif.name == iif)
    if kernel.decide(*stream, iif).upcall == IGMPMSG_NOCACHE and stream not in kernel.unresolved:
        kernel.unresolved[stream] = []
        kernel.waiting.append(Upcall(IGMPMSG_NOCACHE, vif, *stream, has_packet=False))
    ground.controller.read_upcalls(TableId(IPV4))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)

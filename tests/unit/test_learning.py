"""Learning on a kernel in memory: what is learned, how much, how long, and whole or not at all.

That it follows the routes in everything is shown by the state machine of test_controller.py.
"""

import logging
import socket
import time

import pytest
from lab.fake import FakeKernel, FakeReader
from lab.ground import Ground, run

from mfc_dbus.addresses import FAMILIES
from mfc_dbus.config import Config
from mfc_dbus.drift import Drift
from mfc_dbus.errors import KernelError
from mfc_dbus.kernel.abi import IGMPMSG_NOCACHE, Upcall
from mfc_dbus.model import TableId

IPV4, IPV6 = FAMILIES
SECOND = 1_000_000_000


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
    [("10.0.0.1", "224.0.0.5"), ("fe80::1", "ff05::1"), ("fd00::1", "ff12::1")],
)
def test_what_must_stay_on_its_link_is_not_learned(ground: Ground, source: str, group: str) -> None:
    ground.add("*", "224.0.0.0/4" if ":" not in group else "ff00::/8")
    vif = 0
    packed = [_packed(each) for each in (source, group)]
    family = IPV6 if ":" in group else IPV4
    ground.kernels[family].waiting.append(Upcall(IGMPMSG_NOCACHE, vif, *packed))
    ground.controller.hear(TableId(family))
    assert learned(ground) == set()


def test_an_upcall_that_makes_no_sense_does_nothing(ground: Ground, kernel: FakeKernel) -> None:
    ground.add("*", "239.0.0.0/8")
    source, group = _packed("10.0.0.1"), _packed("239.1.1.1")
    kernel.waiting += [
        Upcall(IGMPMSG_NOCACHE, 31, source, group),
        Upcall(3, 0, source, group),
        Upcall(IGMPMSG_NOCACHE, 0, source, _packed("238.1.1.1")),
    ]
    ground.controller.hear(TableId(IPV4))
    assert learned(ground) == set()


def test_what_nobody_has_a_route_for_is_remembered_for_a_time_and_to_a_number(
    ground: Ground, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0
    monkeypatch.setattr("mfc_dbus.upcalls._now", lambda: now)
    ground.add("10.9.9.9", "239.9.9.9")

    def arrive(group: int) -> None:
        ground.arrive("10.0.0.1", f"239.1.{group >> 8}.{group & 255}")

    arrive(0)
    now += 12 * SECOND
    for group in range(1, 5001):
        arrive(group)
    now += 8 * SECOND
    ground.add("*", "239.0.0.0/8", "eth0", "eth1")
    streams = learned(ground)
    assert len(streams) == 4096
    assert "10.0.0.1 239.1.19.136 eth0 > eth1" in streams
    now += 120 * SECOND
    ground.controller.look(now)
    ground.controller.look(now + 120 * SECOND)
    assert len(learned(ground)) < 4096


def test_under_a_flood_only_some_are_heard_at_a_time(ground: Ground, kernel: FakeKernel) -> None:
    ground.add("*", "239.0.0.0/8")
    for n in range(1000):
        kernel.arrive(_packed("10.0.0.1"), bytes((239, 1, n // 250, n % 250)), "eth0")
    ground.controller.hear(TableId(IPV4))
    assert len(learned(ground)) == 64


def test_no_more_is_learned_than_the_settings_allow_and_that_is_logged_once(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    run(ground.controller.configure(Config(max_learned=2)))
    ground.add("*", "239.0.0.0/8")
    ground.add("*", "239.0.0.0/8", "eth3", "eth4")
    for n in range(5):
        ground.arrive("10.0.0.1", f"239.1.1.{n}")
    assert learned(ground) == {
        "10.0.0.1 239.1.1.0 eth0 > eth1",
        "10.0.0.1 239.1.1.1 eth0 > eth1",
    }
    assert caplog.text.count("2 streams are learned") == 1
    assert ground.arrive("10.0.0.1", "239.1.1.0", "eth3") == frozenset(
        {("eth4", 1)}
    )  # it moves all the same
    ground.delete("*", "239.0.0.0/8", "eth3")
    assert ground.arrive("10.0.0.1", "239.1.1.4") == frozenset({("eth1", 1)})


def test_a_stream_goes_after_its_time_and_what_flows_stays(ground: Ground) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ground.add("*", "239.0.0.0/8")
    assert ground.controller.next_look is None
    ground.arrive("10.0.0.1", "239.1.1.1")
    ground.arrive("10.0.0.1", "239.1.1.2")
    assert ground.controller.next_look is not None
    assert 14 * SECOND < ground.controller.next_look - now < 16 * SECOND
    for seconds in range(0, 200, 5):
        ground.arrive("10.0.0.1", "239.1.1.1")
        ground.controller.look(now + seconds * SECOND)
        assert len(learned(ground)) == 2 or seconds > 60
        assert len(learned(ground)) == 1 or seconds < 80
    for seconds in range(200, 290, 5):
        ground.controller.look(now + seconds * SECOND)
    assert learned(ground) == set()
    assert ground.controller.next_look is None
    assert [len(each.entries) for each in ground.kernels.values()] == [0, 0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What time it is, to be changed."""
    now = [0]
    monkeypatch.setattr("mfc_dbus.upcalls._now", lambda: now[0])
    return now


def test_a_stream_goes_however_often_the_table_is_looked_at(
    ground: Ground, kernel: FakeKernel, clock: list[int]
) -> None:
    ground.add("*", "239.0.0.0/8")
    for _ in range(2):
        ground.arrive("10.0.0.1", "239.1.1.1")
    table = TableId(IPV4)
    reader = FakeReader({table: kernel})
    drift = Drift(ground.controller.tables, ground.controller.present, reader.changes, reader)
    for _ in range(10):
        clock[0] += 10 * SECOND
        ground.controller.look(clock[0])
        run(drift.verify([table]))
    assert learned(ground) == set()


def test_a_shorter_expiry_holds_for_what_was_learned_before(
    ground: Ground, clock: list[int]
) -> None:
    run(ground.controller.configure(Config(learned_expiry=86400 * SECOND)))
    ground.add("*", "239.0.0.0/8")
    ground.arrive("10.0.0.1", "239.1.1.1")
    run(ground.controller.configure(Config(learned_expiry=60 * SECOND)))
    ground.arrive("10.0.0.1", "239.1.1.2")
    assert ground.controller.next_look == 15 * SECOND
    for _ in range(20):
        clock[0] += 5 * SECOND
        ground.controller.look(clock[0])
    assert learned(ground) == set()


def test_what_the_kernel_of_another_owner_asks_is_read_and_not_answered(
    ground: Ground, kernel: FakeKernel
) -> None:
    ground.add("*", "239.0.0.0/8")
    ground.configure(IPV6)
    kernel.waiting.append(Upcall(IGMPMSG_NOCACHE, 0, _packed("10.0.0.1"), _packed("239.1.1.1")))
    ground.controller.hear(TableId(IPV4))
    assert not kernel.waiting
    assert learned(ground) == set()


def test_looking_is_done_in_slices(ground: Ground, kernel: FakeKernel) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ground.add("*", "239.0.0.0/8")
    for n in range(1200):
        kernel.arrive(_packed("10.0.0.1"), bytes((239, 1, n // 250, n % 250)), "eth0")
    while kernel.waiting:
        ground.controller.hear(TableId(IPV4))
    late = now + 100 * SECOND
    left = []
    for _ in range(3):
        ground.controller.look(late)
        left.append(len(learned(ground)))
    assert left == [700, 200, 0]


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
    assert ground.controller.next_look is not None
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


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)

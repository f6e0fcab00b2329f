"""Streams that arrive where no route covers them, or on several interfaces at once.

up0 ──┐ router ┌── down0
up1 ──┤        │
up2 ──┼────────┤
up3 ──┘        └── down1
"""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from lab.packets import Flow, Run, Sender
from lab.routing import Routing
from lab.topology import Topology

from mfc_dbus.model.route import TableId

WIDE = {socket.AF_INET: "239.0.0.0/8", socket.AF_INET6: "ff1e::/16"}
RATE = 500  # packets a second of each copy

pytestmark = pytest.mark.watching("up*")


@pytest.fixture
def lab(family: socket.AddressFamily) -> Iterator[Topology]:
    with Topology(family, downstreams=2, upstreams=4) as lab:
        yield lab


@pytest.fixture
def wide(family: socket.AddressFamily) -> str:
    return WIDE[family]


def is_found(lab: Topology, flow: Flow, begin: int, oif: str, count: int) -> bool:
    """Return whether, when so many packets were sent, as many as `count` of the next arrive."""
    flow.wait_for(begin)
    lab.arrived()
    flow.wait_for(count)
    return len(lab.arrived()[oif]) >= count


# Where no route covers it


def test_a_stream_that_was_first_seen_where_no_route_covers_it_loses_nothing(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up0", ["down0"])
    lab.sender("up2").send(3)
    routing.hear()
    assert lab.arrived() == {}
    sent = lab.sender("up0").send(350)
    assert lab.arrived() == {"down0": sent}
    addresses = lab.addresses
    assert routing.unrouted() == [(addresses.source, addresses.group, "up2")]


def test_it_is_told_of_where_it_arrives_although_it_is_learned_for_elsewhere(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up0", ["down0"])
    sender = lab.sender("up2")
    sender.send(1)
    addresses = lab.addresses
    assert routing.unrouted() == [(addresses.source, addresses.group, "up2")]
    assert routing.learned() == {(addresses.source, addresses.group, "up0", ("down0",))}


def test_of_many_covered_interfaces_the_one_that_brings_it_is_found(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up[0-2]", ["down0"])
    elsewhere, sender = lab.sender("up3"), lab.sender("up2")
    with routing.hearing():
        elsewhere.send(1)
        with elsewhere.flow(RATE), sender.flow(20) as flow:
            assert is_found(lab, flow, 150, "down0", 40)


def test_a_flood_of_uncovered_packets_asks_seldom(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up0", ["down0"])
    before = routing.controller.tables[TableId(lab.family)].written
    with routing.hearing(), lab.sender("up2").flow(2000) as flow:
        flow.wait_for(5000)
    assert routing.controller.tables[TableId(lab.family)].written - before <= 3


def test_the_kernels_own_entry_of_a_group_keeps_what_it_has(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", lab.addresses.group, "up0", ["down0"])
    routing.add("*", wide, "up1", ["down1"])
    own, other = lab.sender("up0"), lab.sender("up1")
    with routing.hearing(), lab.sender("up2").flow(RATE), own.flow(RATE) as flow:
        flow.wait_for(1000)
    assert lab.arrived() == {"down0": flow.sent}
    with routing.hearing(), lab.sender("up2").flow(100), other.flow(100) as flow:
        assert is_found(lab, flow, 700, "down1", 100)


# What waits when something changes


def test_a_stream_moves_at_once_to_a_covered_interface_after_a_rename(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "east", ["down0"], wait=True)
    sender = lab.sender("up2")
    sender.send(1)
    routing.hear()
    lab.rename_link("up2", "east")
    lab.wait_until_up()
    routing.follow()
    sender = lab.sender("east")
    sender.send(1)
    routing.hear()
    sent = sender.send(20)
    assert lab.arrived()["down0"][-20:] == sent


def test_a_stream_that_waits_is_found_by_a_route_of_another_interface(
    lab: Topology, routing: Routing, wide: str
) -> None:
    lab.sender("up2").send(1)
    routing.hear()
    routing.add("*", wide, "up0", ["down0"])
    sent = lab.sender("up0").send(20)
    assert lab.arrived() == {"down0": sent}


def test_a_stream_learned_for_elsewhere_is_found_by_the_route_that_comes(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up0", ["down0"])
    sender = lab.sender("up2")
    sender.send(1)
    routing.hear()
    routing.add("*", wide, "up2", ["down1"])
    sent = sender.send(20)
    assert lab.arrived() == {"down1": sent}


def test_so_it_is_by_the_kernels_own_entry(lab: Topology, routing: Routing, wide: str) -> None:
    routing.add("*", wide, "up0", ["down0"])
    sender = lab.sender("up2")
    sender.send(1)
    routing.hear()
    routing.add("*", lab.addresses.group, "up2", ["down1"])
    sent = sender.send(20)
    assert lab.arrived() == {"down1": sent}


@pytest.mark.parametrize("iif", ["up0", "up[0-2]"])
def test_what_waits_in_the_kernel_is_answered_by_the_next_process(
    lab: Topology, routing: Routing, wide: str, iif: str
) -> None:
    routing.add("*", wide, iif, ["down0"])
    waiting = lab.sender("up0").send(3)
    lab.arrived()
    routing.mroutes[lab.family].upcalls(10)  # as lost as if nobody had kept the socket's buffer
    kept = routing.leave_sockets()
    with Routing(lab.router, routing.keeper, kept) as routing:
        routing.hear()
        sent = lab.sender("up0").send(20)
        assert lab.arrived() == {"down0": waiting + sent}


def test_the_next_process_finds_it_on_whichever_interface(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up[0-2]", ["down0"])
    lab.sender("up2").send(3)
    lab.arrived()
    routing.mroutes[lab.family].upcalls(10)  # as lost as if nobody had kept the socket's buffer
    kept = routing.leave_sockets()
    with Routing(lab.router, routing.keeper, kept) as routing:
        routing.hear()
        sent = lab.sender("up2").send(20)
        assert lab.arrived() == {"down0": sent}


# On several covered interfaces


class Clock:
    """The time that the service sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._more = 0
        now: Callable[[int], int] = time.clock_gettime_ns
        monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: now(clock) + self._more)

    def pass_(self, seconds: float) -> None:
        self._more += int(seconds * 1e9)


class Copies:
    """The same numbered packets on some interfaces, at a steady rate, until the block ends."""

    def __init__(self, lab: Topology, *names: str) -> None:
        self.sent: dict[str, list[int]] = {name: [] for name in names}
        self._runs = {name: Run(lab.family, lab.run.magic) for name in names}
        self._senders = {
            name: Sender(run, lab.outside, name, lab.addresses.source, lab.addresses.group)
            for name, run in self._runs.items()
        }
        self._stopped = threading.Event()
        self._silent: set[str] = set()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Copies":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        for sender in self._senders.values():
            sender.close()

    def silence(self, name: str) -> int:
        """End one copy; the number of its last packet."""
        self._silent.add(name)
        return self.sent[name][-1]

    def run_for(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def _send(self) -> None:
        due = time.monotonic()
        for number in itertools.count(1):
            for name, run in self._runs.items():
                if name not in self._silent:
                    run.numbers = iter([number])
                    self.sent[name] += self._senders[name].send(1)
            due += 1 / RATE
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                break


def test_of_two_live_copies_one_is_forwarded_whole_and_the_other_when_it_falls_silent(
    lab: Topology, routing: Routing, wide: str
) -> None:
    routing.add("*", wide, "up[0-1]", ["down0"])
    with routing.hearing(), Copies(lab, "up0", "up1") as copies:
        copies.run_for(10)
        ((*_, present, _),) = routing.learned()
        other = {"up0": "up1", "up1": "up0"}[present]
        last = copies.silence(present)
        copies.run_for(5)
    arrived = lab.arrived()["down0"]
    sent = copies.sent[other]
    lost = sorted({*sent} - {*arrived})
    print(f"\n{len(lost)} of {len(sent)} lost, {1000 * len(lost) / RATE:.0f} ms")  # by pytest -s
    assert [number for number in lost if number <= last] == []
    assert len(arrived) == len({*arrived})
    assert len(lost) <= 2 * RATE
    assert routing.learned() == {(lab.addresses.source, lab.addresses.group, other, ("down0",))}


def test_of_slow_copies_none_is_lost_either(
    lab: Topology, routing: Routing, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    routing.add("*", wide, "up[0-1]", ["down0"])
    first, second = lab.sender("up0"), lab.sender("up1")
    clock = Clock(monkeypatch)
    sent = first.send(1)
    routing.hear()
    for _ in range(10):
        sent += first.send(1)
        second.send(1)
        routing.hear()
        for _ in range(4):
            clock.pass_(1.0)
            routing.look(0)
    assert lab.arrived() == {"down0": sent}

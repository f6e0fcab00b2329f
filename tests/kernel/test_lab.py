"""The test ground itself: what it counts is right, and it leaves nothing behind."""

import itertools
import os
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from lab.netns import Namespace
from lab.packets import Run, Sender, _Ring
from lab.privileges import ChildError, in_child
from lab.table import Table
from lab.topology import Topology


def this_namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def open_files() -> list[str]:
    return sorted(file.name for file in Path("/proc/self/fd").iterdir())


def test_a_namespace_is_entered_by_one_thread_and_left(namespace: Namespace) -> None:
    outside = this_namespace()
    elsewhere: list[str] = []
    with namespace:
        inside = this_namespace()
        with namespace:
            assert this_namespace() == inside
        assert this_namespace() == inside
        thread = threading.Thread(target=lambda: elsewhere.append(this_namespace()))
        thread.start()
        thread.join()
    assert inside != outside
    assert this_namespace() == outside
    assert elsewhere == [inside]  # a new thread is where its maker is


def test_a_topology_leaves_nothing(family: socket.AddressFamily) -> None:
    before = open_files(), this_namespace(), os.sched_getaffinity(0)
    with Topology(family) as lab:
        lab.sender().send(3)
        lab.arrived()
    assert (open_files(), this_namespace(), os.sched_getaffinity(0)) == before


def test_the_fence_misses_no_packet_from_any_cpu(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0", "down1"))
    sender = lab.sender()
    cpus = sorted(os.sched_getaffinity(0))
    for round_ in range(100):
        os.sched_setaffinity(0, {cpus[round_ % len(cpus)]})
        try:
            sent = sender.send(20)
        finally:
            os.sched_setaffinity(0, cpus)
        assert lab.arrived() == {"down0": sent, "down1": sent}


def test_a_packet_that_comes_twice_is_counted_twice(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    lab.run.numbers = itertools.cycle([1, 2, 2, 3])
    lab.sender().send(4)
    assert lab.arrived() == {"down0": [1, 2, 2, 3]}


def test_packets_of_another_run_are_not_counted(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    addresses = lab.addresses
    stranger = Sender(Run(lab.family), lab.outside, "up0", addresses.source, addresses.group)
    with closing(stranger):
        stranger.send(5)
    sent = lab.sender().send(5)
    assert lab.arrived() == {"down0": sent}


def test_a_collector_says_when_it_has_lost_a_packet(
    family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Ring, "_SLOTS", 256)
    with Topology(family) as lab, Table(lab) as table:
        table.mroute.init()
        table.add_vifs("up0", "down0")
        table.mroute.add_mfc(table.entry("up0", "down0"))
        sent = lab.sender().send(200)
        assert lab.arrived() == {"down0": sent}
        lab.sender().send(300)
        with pytest.raises(BufferError):
            lab._collector.so_far()


def test_a_flow_keeps_its_rate_and_stops(lab: Topology, table: Table) -> None:
    table.mroute.add_mfc(table.entry("up0", "down0"))
    begin = time.monotonic()
    with lab.sender().flow(rate=1000) as flow:
        flow.wait_for(200)
        seconds = time.monotonic() - begin
    assert 0.19 < seconds < 2
    assert lab.arrived() == {"down0": flow.sent}
    assert lab.arrived() == {}


def test_a_child_that_fails_tells_why() -> None:
    with pytest.raises(ChildError, match="ZeroDivisionError"):
        in_child(lambda: str(1 // 0))

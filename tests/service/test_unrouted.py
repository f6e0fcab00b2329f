"""UnroutedTraffic, with packets, and under a flood of streams.

up0 ──┐ router,  ┌── down0
      ├ mfc-dbusd┤
up1 ──┘          └── down1
"""

import asyncio
import itertools
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import CONFIGURATION, Daemon
from lab.growth import MOST, growth
from lab.privileges import Child
from lab.topology import Topology

from mfc_dbus.kernel import counters

WATCH = '[discovery]\ninterfaces = ["up*"]\n'
FAMILIES = [socket.AF_INET, socket.AF_INET6]
FLOOD = 6000  # streams
RATE = 2000  # a second: of more the kernel drops some where buffers are small
# From one flood to the next: the kernel forgets the first streams, all at once, before the second
# has ended, and so does what remembers them here.
INTERVAL = 6.0  # seconds
BOUND = 2.0  # seconds that a call of somebody else may take, on a busy machine
LEAK = 256 * FLOOD  # bytes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(WATCH)
    return tmp_path


@pytest.fixture
def daemon(own_bus: PrivateBus, lab: Topology, home: Path, library: str) -> Iterator[Daemon]:
    with Daemon(own_bus.address, lab.router, home=home, library=library) as daemon:
        yield daemon
        assert "Traceback" not in daemon.log


async def test_a_stream_that_no_route_covers_is_signalled_once(
    own_bus: PrivateBus, daemon: Daemon, lab: Topology
) -> None:
    addresses = lab.addresses
    route = Route(addresses.source, addresses.other_group, "up0", ["down0"])
    async with Caller.at(own_bus.address) as caller:
        await caller.add(route)
        generation = await caller.get("Generation")
        await caller.follow()
        for _ in range(5):
            lab.sender("up0", group=addresses.other_group).send(1)
            lab.sender("up1").send(1)
        await caller.until(lambda: bool(caller.told("UnroutedTraffic")))
        await caller.delete(route)
        lab.sender("up0", group=addresses.other_group).send(1)
        await caller.until(lambda: len(caller.told("UnroutedTraffic")) == 2)
        assert caller.told("UnroutedTraffic") == [
            [addresses.source, addresses.group, "up1", 0],
            [addresses.source, addresses.other_group, "up0", 0],
        ]
        assert await caller.get("Generation") == generation + 1


async def test_what_is_watched_is_shown_and_follows_a_reload(
    own_bus: PrivateBus, daemon: Daemon, lab: Topology
) -> None:
    async def shown() -> dict[str, tuple[int, str]]:
        interfaces = await caller.get("Interfaces")
        family = "ipv4" if lab.family == socket.AF_INET else "ipv6"
        return {
            one["name"]: (one["references"], one["state"])
            for one in interfaces
            if one["family"] == family
        }

    async with Caller.at(own_bus.address) as caller:
        assert await shown() == {"up0": (0, "active"), "up1": (0, "active")}
        await caller.follow()
        daemon.configure('discovery.interfaces = ["up0", "down*"]')
        await caller.reload()
        assert await shown() == dict.fromkeys(("up0", "down0", "down1"), (0, "active"))
        await caller.until(lambda: bool(caller.told("PropertiesChanged")))
        assert "Interfaces" in caller.told("PropertiesChanged")[0][2]
        daemon.configure("")
        await caller.reload()
        assert await shown() == {}
        assert lab.vifs() == {}


async def test_a_flood_of_random_streams_keeps_nobody_waiting_and_is_told_in_part(
    own_bus: PrivateBus, daemon: Daemon, lab: Topology
) -> None:
    addresses = lab.addresses
    covered = Route(addresses.source, addresses.group, "up0", ["down0"])
    other = Route(addresses.source, addresses.other_group, "up0", ["down0"])
    streams = iter(random.sample(range(1 << 24), MOST * FLOOD))
    seconds: list[float] = []
    async with Caller.at(own_bus.address) as caller:
        await caller.add(covered)
        await caller.follow()

        async def send_some() -> None:
            some = [*itertools.islice(streams, FLOOD)]
            seconds.extend(await during(flood(lab, some), caller, other))

        cpu, start = cpu_seconds(daemon), time.monotonic()
        with lab.sender().flow(rate=100) as flow:
            grown = await growth(daemon, LEAK, send_some)
        took, cpu = time.monotonic() - start, cpu_seconds(daemon) - cpu
        told = [tuple(body) for body in caller.told("UnroutedTraffic")]
        known = heard(daemon, lab) - len(flow.sent)
    arrived = {packet.number for packet in lab.packets()["down0"] if packet.group == covered.group}
    # Shown by pytest -s.
    median = sorted(seconds)[len(seconds) // 2]
    print(
        f"\n{len(grown)} floods in {took:.1f} s: {known} heard, {len(told)} told, "
        f"{cpu / took:.0%} CPU, {[each >> 10 for each in grown]} KiB more; {len(seconds)} calls: "
        f"median {median:.4f} s, longest {max(seconds):.4f} s"
    )
    assert len(told) <= 100 + 20 * (took + 1)
    assert len(set(told)) == len(told)
    assert max(seconds) < BOUND
    assert known > len(grown) * FLOOD * 3 // 4
    assert grown[-1] < LEAK
    assert arrived >= set(flow.sent)


def flood(lab: Topology, streams: Sequence[int]) -> Child:
    """Send a packet of each stream, and wait for the next flood."""

    def run() -> str:
        sender, start = lab.sender(), time.monotonic()
        for number, stream in enumerate(streams):
            time.sleep(max(0, start + number / RATE - time.monotonic()))
            bits = stream.to_bytes(3)
            if lab.family == socket.AF_INET:
                group = socket.inet_ntoa(b"\xee" + bits)
            else:
                group = f"ff1e::{bits[:2].hex()}:{bits[2:].hex()}99"
            sender.send_to(group)
        time.sleep(max(0, start + INTERVAL - time.monotonic()))
        return ""

    return Child(run)


async def during(flood: Child, caller: Caller, route: Route) -> list[float]:
    """Change and read until the flood is over: the seconds of each call."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(flood, over.set)
    seconds = []
    try:
        while not over.is_set():
            for call in (caller.add, caller.delete):
                start = time.monotonic()
                await call(route)
                seconds.append(time.monotonic() - start)
            await asyncio.sleep(0.01)
    finally:
        loop.remove_reader(flood)
        if not over.is_set():
            flood.kill()
    flood.wait()
    return seconds


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def heard(daemon: Daemon, lab: Topology) -> int:
    """How many packets to groups have arrived, but for upcalls that found no room at a socket."""
    with lab.router:
        if lab.family == socket.AF_INET:
            arrived = counters.ipv4()["IpExtInMcastPkts"]
        else:
            arrived = sum(counters.ipv6(name)["Ip6InMcastPkts"] for name in ("up0", "up1"))
    network = Path(f"/proc/{daemon.process.pid}/net")
    lines = [(network / name).read_text().splitlines()[1:] for name in ("raw", "raw6")]
    return arrived - sum(int(line.split()[-1]) for line in itertools.chain(*lines))

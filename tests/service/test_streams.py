"""ListStreams of the real daemon: what was sent is what is counted, and many ask for one look.

eth2 and eth4 are outside, at the other ends of eth1 and eth3.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
from typing import Any

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, Route, refused
from lab.cli import CLI
from lab.daemon import Daemon
from lab.netns import Namespace
from lab.packets import Run, Sender

from mfc_dbus.bus.errors import BusError

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
ROUTES = [
    (Route("10.1.0.10", "239.7.1.1", "eth1", ["eth3"]), "10.1.0.10", "239.7.1.1"),
    (Route("*", "239.7.1.2", "eth1", ["eth3"]), "10.1.0.11", "239.7.1.2"),
    (Route("fd01::10", "ff3e::7:1", "eth1", ["eth3"]), "fd01::10", "ff3e::7:1"),
    (Route("*", "ff3e::7:2", "eth1", ["eth3"]), "fd01::11", "ff3e::7:2"),
    (Route("10.1.0.10", "239.7.1.3", "eth1", []), "10.1.0.10", "239.7.1.3"),
]


@pytest.fixture
def senders(network: Namespace) -> Iterator[list[Sender]]:
    runs = {family: Run(family) for family in (IPV4, IPV6)}
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                closing(
                    Sender(runs[IPV6 if ":" in group else IPV4], network, "eth2", source, group)
                )
            )
            for _, source, group in ROUTES
        ]


async def until_counted(caller: Caller, packets: Sequence[int]) -> list[dict[str, Any]]:
    """Ask until the routes, in the order of their groups, have so many packets."""
    wanted = sorted(zip((group for *_, group in ROUTES), packets, strict=True))
    while True:
        streams, _ = await caller.streams(sort="group")
        if sorted((each["group"], each["packets"]) for each in streams) == wanted:
            return streams
        await caller.ping()


async def test_what_was_sent_is_what_is_counted_of_every_kind_of_route(
    bus: PrivateBus, daemon: Daemon, senders: list[Sender]
) -> None:
    async with Caller.at(bus.address) as caller:
        for route, *_ in ROUTES:
            await caller.add(route)
        await until_counted(caller, [0] * len(ROUTES))
        counts = [7, 20, 11, 30, 5]
        for sender, count in zip(senders, counts, strict=True):
            sender.send(count)
        streams = {each["group"]: each for each in await until_counted(caller, counts)}
        for (route, *_), sender, count in zip(ROUTES, senders, counts, strict=True):
            stream = streams[route.group]
            assert stream["source"] == route.source
            assert stream["oifs"] == route.oifs
            assert stream["bytes"] == count * sender.packet_size
            if "packets-per-second" not in stream:  # it was new shortly before the last look
                continue
            # Both were counted between the same two looks, maybe a look before the last one.
            assert 0 <= stream["packets-per-second"] <= count
            assert (stream["packets-per-second"] > 0) == (stream["idle"] == 0)
            bits = 8 * sender.packet_size * stream["packets-per-second"]
            assert stream["bits-per-second"] == pytest.approx(bits)


async def test_what_arrives_by_another_interface_is_told_apart(
    bus: PrivateBus, daemon: Daemon, network: Namespace, senders: list[Sender]
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(Route("10.1.0.10", "239.7.1.1", "eth1", ["eth3"]))
        senders[0].send(3)
        elsewhere = Sender(Run(IPV4), network, "eth4", "10.1.0.10", "239.7.1.1")
        with closing(elsewhere):
            elsewhere.send(9)
        while True:
            ((stream,), _) = await caller.streams()
            if (stream["packets"], stream["wrong-if"]) == (3, 9):
                break


async def test_64_callers_are_answered_at_once(bus: PrivateBus, daemon: Daemon) -> None:
    groups = [f"239.1.{n >> 8}.{n & 255}" for n in range(2000)]
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller.at(bus.address)) for _ in range(64)]
        await callers[0].apply(
            {"route": [{"group": group, "iif": "eth1", "oifs": ["eth2"]} for group in groups]}
        )
        answers = await asyncio.gather(*(caller.streams(limit=5) for caller in callers))
        assert {total for _, total in answers} == {2000}


async def test_a_caller_waits_for_one_answer_at_a_time(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller, Caller.at(bus.address) as other:
        await caller.apply(
            {
                "route": [
                    {"group": f"239.1.{n >> 8}.{n & 255}", "iif": "eth1", "oifs": ["eth2"]}
                    for n in range(3000)
                ]
            }
        )
        calls = [caller.streams(limit=limit) for limit in range(1, 20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [each for each in answers if isinstance(each, BusError)]
        assert {each.name for each in refusals} == {f"{OWN}.LimitExceeded"}
        assert len(refusals) < len(answers)
        assert (await other.streams())[1] == 3000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sort": "speed"}, "'speed' is nothing to sort by"),
        ({"limit": 1001}, "at most 1000"),
        ({"group": "1.2.3.4"}, "'1.2.3.4' is no prefix of multicast groups"),
        (
            {"state": "x"},
            "There is no option 'state'; there are 'group', 'source', 'iif', 'oif'",
        ),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    options: dict[str, Any], sentence: str, bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await refused(caller.streams(**options), f"{STANDARD}.InvalidArgs", sentence)


async def test_anybody_may_ask(bus: PrivateBus, daemon: Daemon, nobody: int) -> None:
    async with Caller.at(bus.address) as root, Caller.at(bus.address, nobody) as stranger:
        await root.add()
        assert (await stranger.streams())[1] == 1


async def test_whoever_needs_no_counters_has_none_read(
    bus: PrivateBus, daemon: Daemon, senders: list[Sender]
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(ROUTES[0][0])
        (stream,), total = await caller.streams(counters=False)
        assert (stream["group"], total) == ("239.7.1.1", 1)
        assert not stream.keys() & {"packets", "bytes", "wrong-if", "idle"}
        assert "packets" in (await caller.streams())[0][0]  # the kernel may have held some before


# The command line


def test_show_streams_waits_for_rates_and_learned_ones_are_shown_at_once(
    cli: CLI, senders: list[Sender]
) -> None:
    cli.apply('[[route]]\ngroup = "239.7.0.0/16"\niif = "eth1"\noifs = ["eth3"]\n')
    for _ in range(2):
        senders[0].send(5)
        senders[1].send(1)
    while len(cli.json("show", "learned")) < 2:
        pass
    streams = cli.json("show", "streams")
    assert {each["group"] for each in streams} == {"239.7.1.1", "239.7.1.2"}
    # Only what was learned between two looks has none yet.
    assert any(each["packets_per_second"] is not None for each in streams)
    assert [each["group"] for each in cli.json("show", "streams", "239.7.1.2")] == ["239.7.1.2"]
    assert cli.json("show", "streams", "--oif", "eth4") == []
    lines = cli("show", "streams", "-s", "10.1.0.10").stdout.splitlines()
    titles = "SOURCE GROUP IIF OIFS PACKETS/S BIT/S IDLE PACKETS TABLE COMMENT"
    assert " ".join(lines[0].split()) == titles
    assert lines[1].split()[:4] == ["10.1.0.10", "239.7.1.1", "eth1", "eth3"]
    assert len(lines) == 2
    done = cli("show", "streams", "--state", "active")
    assert (done.returncode, "--state is not for streams" in done.stderr) == (2, True)

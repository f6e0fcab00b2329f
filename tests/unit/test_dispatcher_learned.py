"""All learned streams are read, however many of them one group has, or none."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import cast

import pytest

from mfc_dbus.client import Client, StreamInfo
from mfc_dbus.dispatcher.learned import LearnedStreams

LIMIT = 1000  # of one answer


class Streams:
    """Answers ListStreams."""

    def __init__(self, *streams: tuple[str, str]) -> None:
        self.all = streams

    async def streams(
        self, *, group: str | None, source: str | None, **_: object
    ) -> tuple[Sequence[StreamInfo], int]:
        found = [
            each
            for each in self.all
            if (group is None or _within(each[1], group))
            and (source is None or _within(each[0], source))
        ]
        return [stream(*each) for each in found[:LIMIT]], len(found)


def stream(source: str, group: str) -> StreamInfo:
    return StreamInfo(source, group, "up", ("down",), True, "*", "239.0.0.0/8", "up")


def _within(address: str, prefix: str) -> bool:
    network = ip_network(prefix)
    return isinstance(network, IPv4Network) and IPv4Address(address) in network


def read(streams: Streams) -> LearnedStreams:
    learned = LearnedStreams(cast("Client", streams), lambda: True)
    asyncio.run(learned.read())
    return learned


def test_one_group_may_have_more_than_an_answer_has_room_for() -> None:
    sources = [f"10.0.{number >> 8}.{number & 255}" for number in range(3 * LIMIT)]
    streams = Streams(*((source, "239.1.1.1") for source in sources), ("10.1.1.1", "239.1.1.2"))
    found = read(streams).streams
    assert found is not None
    assert {each.source for each in found.values()} == {*sources, "10.1.1.1"}
    assert read(Streams()).streams == {}


def test_of_too_many_none_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    streams = Streams(("10.1.1.1", "239.1.1.2"))
    learned = LearnedStreams(cast("Client", streams), lambda: True)
    assert asyncio.run(learned.read())
    before = learned.streams
    same = ("10.1.1.1", "239.1.1.1")
    for many in (2 * LIMIT, 11 * LIMIT):  # of what cannot be told apart; and of all
        streams.all = (same,) * many
        assert not asyncio.run(learned.read())
        assert learned.streams == before
    assert "More than" in caplog.text

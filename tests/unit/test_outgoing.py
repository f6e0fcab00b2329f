"""What goes out, to a bus that reads slowly or not at all."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mfc_dbus.bus import outgoing as outgoing_module
from mfc_dbus.bus.frames import Framer, MessageType
from mfc_dbus.bus.outgoing import Outgoing


class Pipe(asyncio.Transport):
    """Keeps what it is given to write. unread: how much of it is left, each time it is asked.

    given_up: why it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unread = [0]  # the last one for ever
        self.given_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unread.pop(0) if len(self.unread) > 1 else self.unread[0]


def through(test: Callable[[Outgoing, Pipe], Awaitable[None]]) -> None:
    """Run a test of messages through a pipe."""

    async def run() -> None:
        pipe = Pipe()
        outgoing = Outgoing(pipe.given_up.set_result)
        outgoing.begin(pipe)
        await test(outgoing, pipe)

    asyncio.run(run())


def test_a_message_and_the_next_turns_go_out_at_once_and_their_serials_begin_again() -> None:
    async def test(outgoing: Outgoing, pipe: Pipe) -> None:
        outgoing._serial = 0xFFFFFFFE
        for member in ("A", "B"):
            outgoing.send(MessageType.SIGNAL, "s", [member], path="/", member=member)
            assert not pipe.written
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        (written,) = pipe.written
        frames = Framer(lambda _: True).feed(written)
        assert [(f.header.member, f.header.serial) for f in frames] == [("A", 0xFFFFFFFF), ("B", 1)]

    through(test)


def test_a_message_without_a_body_is_written_once_and_whole() -> None:
    async def test(outgoing: Outgoing, pipe: Pipe) -> None:
        outgoing.send(MessageType.METHOD_CALL, "", [], path="/", member="Ping")
        outgoing.flush()
        (written,) = pipe.written
        (frame,) = Framer(lambda _: True).feed(written)
        assert (frame.header.member, frame.body) == ("Ping", b"")

    through(test)


def test_a_bus_that_reads_nothing_for_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_module, "_LOOK", 0.01)
    monkeypatch.setattr(outgoing_module, "_STALLED", 3)

    async def test(outgoing: Outgoing, pipe: Pipe) -> None:
        # As long as it reads a little now and then, it is only slow.
        pipe.unread = [3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1]
        outgoing.pause()
        assert "has read nothing" in await asyncio.wait_for(pipe.given_up, 10)
        assert pipe.unread == [1]

    through(test)


def test_nobody_waits_for_a_bus_that_has_gone() -> None:
    async def test(outgoing: Outgoing, _: Pipe) -> None:
        outgoing.pause()
        waiting = asyncio.create_task(outgoing.writable())
        await asyncio.sleep(0)
        outgoing.end()
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(outgoing.writable(), 10)

    through(test)


def test_a_bus_that_reads_again_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_module, "_LOOK", 0.001)

    async def test(outgoing: Outgoing, pipe: Pipe) -> None:
        outgoing.pause()
        outgoing.resume()
        await asyncio.sleep(0.05)
        assert not pipe.given_up.done()

    through(test)


def test_what_the_bus_takes_is_seen_though_nothing_leaves_here() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        ours, bus = socket.socketpair()
        outgoing = Outgoing(lambda reason: None)
        with ours, bus:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            outgoing.begin(transport)
            for _ in range(100):
                outgoing.send(MessageType.SIGNAL, "ay", [bytes(8192)], path="/", member="A")
                outgoing.flush()
            here, left = transport.get_write_buffer_size(), outgoing._count_left()
            assert 0 < here < left
            # As dbus-daemon reads, from a socket that has no room yet for a message more.
            while outgoing._count_left() == left:
                assert bus.recv(2048)
            assert outgoing._count_left() < left
            assert transport.get_write_buffer_size() == here
            transport.abort()

    asyncio.run(run())

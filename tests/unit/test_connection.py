"""A connection to a bus that is slow, and calls of somebody who sends too many."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mfc_dbus.bus import outgoing
from mfc_dbus.bus.backend import decode, encode
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Flag, Framer, Header, MessageType, write_header
from mfc_dbus.bus.names import BUS

LARGE = bytes(1024 * 1024)


class SlowBus(asyncio.Transport):
    """A transport to a bus that reads nothing until `read`; user 7 has the names ":7.1" and on."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._framer = Framer(lambda _: True)
        self.written = 0
        self.aborted = False
        self.reading = True
        self._connection = connection
        connection.connection_made(self)

    def is_closing(self) -> bool:
        return False

    def writelines(self, data: Any) -> None:
        pieces = list(data)
        size = sum(map(len, pieces))
        self.written += size
        for frame in self._framer.feed(b"".join(pieces)):
            if frame.header.member == "GetConnectionUnixUser":
                (name,) = decode("s", frame.body)
                body = [int(name.removeprefix(":").partition(".")[0])]
                asyncio.get_running_loop().call_soon(self._answer, frame.header.serial, "u", body)
            elif frame.header.member == "AddMatch":
                asyncio.get_running_loop().call_soon(self._answer, frame.header.serial, "", [])
        if size > 64 * 1024:
            self._connection.pause_writing()

    def _answer(self, serial: int, signature: str, body: list[int]) -> None:
        encoded = encode(signature, body)
        header = Header(
            *("<", MessageType.METHOD_RETURN, 0, 1, len(encoded)),
            signature=signature,
            sender=BUS,
            reply_serial=serial,
        )
        self._connection.data_received(bytes(write_header(header)) + encoded)

    def read(self) -> None:
        self._connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.written

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Service:
    """Answers each call with a megabyte."""

    def __init__(self, connection: Connection) -> None:
        self.handled: list[Header] = []
        self._connection = connection

    def refuse(self, header: Header) -> BusError | None:
        return None

    def reads_late(self, _header: Header) -> bool:
        return False

    async def handle(self, call: Call) -> None:
        self.handled.append(call.header)
        self._connection.reply(call.header, "ay", LARGE)


def calls(number: int, sender: str, flags: int = 0) -> bytes:
    return b"".join(
        write_header(
            Header("<", MessageType.METHOD_CALL, flags, n, 0, path="/a", member="M", sender=sender)
        )
        for n in range(1, number + 1)
    )


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def test_large_replies_are_made_one_at_a_time_as_the_bus_takes_them() -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        connection.data_received(calls(20, ":0.7"))
        for number in range(1, 21):
            await settle()
            assert len(service.handled) == number
            assert not bus.reading
            assert bus.written < number * (len(LARGE) + 1024)
            bus.read()
        await settle()
        assert len(service.handled) == 20
        assert bus.reading

    asyncio.run(scenario())


def test_a_caller_is_reached_while_another_sends_without_end() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        flood = calls(2_000, ":0.7", Flag.NO_REPLY_EXPECTED)
        for _ in range(10):
            connection.data_received(flood)
            await asyncio.sleep(0)
        connection.data_received(calls(1, ":0.8", Flag.NO_REPLY_EXPECTED))
        for _ in range(30):
            connection.data_received(flood)
            await asyncio.sleep(0)
        assert ":0.8" in {header.sender for header in service.handled}
        await settle()
        # Most of what the other sent was read and left out.
        assert len(service.handled) < 500

    asyncio.run(scenario())


def test_many_connections_of_a_user_keep_nobody_else_waiting() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        for _ in range(4):
            for number in range(200):
                connection.data_received(calls(1, f":7.{number}", Flag.NO_REPLY_EXPECTED))
            await asyncio.sleep(0)
        before = len(service.handled)
        connection.data_received(calls(8, ":8.1", Flag.NO_REPLY_EXPECTED))
        await settle()
        senders = [header.sender for header in service.handled]
        assert senders.count(":8.1") == 8
        last = len(senders) - 1 - senders[::-1].index(":8.1")
        assert last - before < 8 * 4  # each user in turn, and what was taken already

    asyncio.run(scenario())


def test_what_waits_when_the_bus_goes_is_not_done() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        connection.data_received(calls(20, ":0.7", Flag.NO_REPLY_EXPECTED))
        connection.connection_lost(None)
        await settle()
        assert service.handled == []

    asyncio.run(scenario())


def test_a_bus_that_greets_nobody_costs_no_descriptor(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "bus"
        ended: asyncio.Queue[bytes] = asyncio.Queue()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"OK 0123\r\n")
            await reader.readuntil(b"Hello")
            ended.put_nowait(await reader.read())
            writer.close()

        async with await asyncio.start_unix_server(greet, path):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await Connection.open(f"unix:path={path}", timeout=0.1)
                await asyncio.wait_for(ended.get(), 10)

    asyncio.run(scenario())


def test_a_bus_that_reads_nothing_for_long_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_LOOK", 0.001)

    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        connection.pause_writing()
        assert "has read nothing" in await asyncio.wait_for(connection.wait_closed(), 10)
        assert bus.aborted

    asyncio.run(scenario())


def test_nobody_else_answers_for_the_bus() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        call = asyncio.ensure_future(connection.call_bus("GetId"))
        await asyncio.sleep(0)
        for sender in (":0.7", BUS):
            await asyncio.sleep(0)
            assert not call.done()
            reply = Header("<", MessageType.METHOD_RETURN, 0, 9, 0, sender=sender, reply_serial=1)
            connection.data_received(bytes(write_header(reply)))
        assert await call == []

    asyncio.run(scenario())

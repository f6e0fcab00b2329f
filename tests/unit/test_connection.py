"""A connection to a bus that is slow, and calls of somebody who sends too many."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from mfc_dbus.bus import outgoing
from mfc_dbus.bus.backend import decode, encode
from mfc_dbus.bus.calls import Call
from mfc_dbus.bus.connection import Connection, Signal
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Flag, Framer, Header, MessageType, write_header
from mfc_dbus.bus.names import BUS, ERROR

OWNED = "NameOwnerChanged"
LARGE = bytes(1024 * 1024)
SIGNALS = 100
SIGNAL = 96 * 1024  # bytes of each, as of 1,000 routes


class SlowBus(asyncio.Transport):
    """A transport to a bus that reads nothing until `read`; user 7 has the names ":7.1" and on.

    gone: the names that nobody has any more. held: the questions whose they are that `tell` answers
    later; None while each is answered at once.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._framer = Framer(lambda _: True)
        self.written = 0
        self.aborted = False
        self.reading = True
        self.gone: set[str] = set()
        self.held: list[tuple[int, str]] | None = None
        self._connection = connection
        connection.connection_made(self)

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        size = len(data)
        self.written += size
        for frame in self._framer.feed(data):
            if frame.header.member == "GetConnectionUnixUser":
                (name,) = decode("s", frame.body)
                if self.held is None:
                    asyncio.get_running_loop().call_soon(self._name, frame.header.serial, name)
                else:
                    self.held.append((frame.header.serial, name))
            elif frame.header.member == "AddMatch":
                asyncio.get_running_loop().call_soon(self._answer, frame.header.serial, "", [])
        if size > 64 * 1024:
            self._connection.pause_writing()

    def tell(self) -> None:
        """Answer what was held."""
        held, self.held = self.held or [], None
        for serial, name in held:
            self._name(serial, name)

    def leave(self, name: str) -> None:
        """Let a connection close, and tell whoever asked for that."""
        self.gone.add(name)
        self._send(
            MessageType.SIGNAL, "sss", [name, name, ""], path="/", interface=BUS, member=OWNED
        )

    def _name(self, serial: int, name: str) -> None:
        if name in self.gone:
            error = f"{ERROR}.NameHasNoOwner"
            self._send(MessageType.ERROR, "s", [""], error_name=error, reply_serial=serial)
        else:
            self._answer(serial, "u", [int(name.removeprefix(":").partition(".")[0])])

    def _answer(self, serial: int, signature: str, body: list[int]) -> None:
        self._send(MessageType.METHOD_RETURN, signature, body, reply_serial=serial)

    def _send(self, type_: MessageType, signature: str, body: list[Any], **fields: Any) -> None:
        encoded = encode(signature, body)
        header = Header(
            *("<", type_, 0, 1, len(encoded)), signature=signature, sender=BUS, **fields
        )
        self._connection.data_received(bytes(write_header(header)) + encoded)

    def read(self) -> None:
        self._connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.written

    def close(self) -> None:
        """Nothing is over while it reads nothing."""

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Service:
    """Answers each call, with a megabyte if not told otherwise."""

    def __init__(self, connection: Connection, answer: bytes = LARGE) -> None:
        self.handled: list[Header] = []
        self._connection = connection
        self._answer = answer

    def refuse(self, header: Header) -> BusError | None:
        return None

    def reads_late(self, _header: Header) -> bool:
        return False

    async def handle(self, call: Call) -> None:
        self.handled.append(call.header)
        self._connection.reply(call.header, "ay", self._answer)


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


def test_a_call_is_answered_between_many_signals() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = Connection()
        ours, bus = socket.socketpair()
        with bus:
            bus.setblocking(False)
            await loop.create_connection(lambda: connection, sock=ours)
            connection.serve(Service(connection, answer=b""))

            async def emit_many() -> None:
                for _ in range(SIGNALS):
                    await connection.writable()
                    connection.emit("/", "a.b", "Changed", "ay", bytes(SIGNAL))

            async def read() -> list[int]:
                framer = Framer(lambda _: True)
                came: list[int] = []
                while came.count(MessageType.SIGNAL) < SIGNALS:
                    for frame in framer.feed(await loop.sock_recv(bus, 2048)):
                        if not came:
                            await loop.sock_sendall(bus, calls(1, ":0.7"))
                        came.append(frame.header.type)
                return came

            came, _ = await asyncio.wait_for(asyncio.gather(read(), emit_many()), 60)
            # What was on its way when the call came, and one or two that went out before its turn.
            assert MessageType.METHOD_RETURN in came[:10]
            await connection.close()

    asyncio.run(scenario())


def test_a_caller_is_reached_while_another_sends_without_end() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        flood = calls(2_000, ":0.7", Flag.NO_REPLY_EXPECTED)
        for _ in range(4):
            connection.data_received(flood)
            await asyncio.sleep(0)
        connection.data_received(calls(1, ":0.8", Flag.NO_REPLY_EXPECTED))
        for _ in range(12):
            connection.data_received(flood)
            await asyncio.sleep(0)
        assert ":0.8" in {header.sender for header in service.handled}
        await settle()
        # Most of what the other sent was read and left out.
        assert len(service.handled) < 200

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


@pytest.mark.parametrize("told", [True, False], ids=["the bus tells", "it had left before"])
def test_who_sends_and_leaves_is_not_answered_and_keeps_nobody_waiting(told: bool) -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        names = [f":7.{number}" for number in range(100)]
        if not told:
            bus.gone.update(names)
        for name in names:
            connection.data_received(calls(5, name))
            await asyncio.sleep(0)
            if told:
                bus.leave(name)
        connection.data_received(calls(3, ":8.1"))
        for _ in range(100):
            await settle()
            bus.read()
        senders = [header.sender for header in service.handled]
        assert senders.count(":8.1") == 3
        # Before eight wait, nobody asks whose they are.
        assert set(senders) <= {*names[:8], ":8.1"}

    asyncio.run(scenario())


def test_a_call_that_was_to_begin_when_its_sender_left_is_not_answered() -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        # One is answered, which fills the output; the others begin when there is room.
        connection.data_received(calls(1, ":0.1") + calls(7, ":7.1") + calls(1, ":8.1"))
        await settle()
        assert [header.sender for header in service.handled] == [":0.1"]
        bus.leave(":7.1")
        await settle()
        bus.read()
        await settle()
        assert [header.sender for header in service.handled] == [":0.1", ":8.1"]

    asyncio.run(scenario())


def test_large_calls_of_who_has_left_make_room_for_others() -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        connection.serve(Service(connection))
        connection.data_received(calls(1, ":0.1"))
        await settle()
        assert not bus.reading
        large = encode("ay", [bytes(20_000)])
        header = Header(
            "<", MessageType.METHOD_CALL, 0, 1, len(large), path="/a", member="M", sender=":7.1"
        )
        sent = bytes(write_header(header._replace(signature="ay"))) + large
        connection.data_received(sent)
        assert connection._calls
        assert connection._calls._large._bytes
        bus.leave(":7.1")
        assert not connection._calls._large._bytes

    asyncio.run(scenario())


def test_all_who_cannot_be_named_yet_share_one_turn() -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        bus.held = []
        service = Service(connection)
        connection.serve(service)
        connection.data_received(calls(8, ":8.1", Flag.NO_REPLY_EXPECTED))
        for number in range(200):
            connection.data_received(calls(1, f":7.{number}", Flag.NO_REPLY_EXPECTED))
        await settle()
        senders = [header.sender for header in service.handled]
        assert len(senders) == 208
        # Of the first seven strangers nobody asks whose they are.
        assert 207 - senders[::-1].index(":8.1") <= 8 * 2 + 7

    asyncio.run(scenario())


def test_answers_that_waited_to_know_their_callers_are_made_one_at_a_time() -> None:
    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        service = Service(connection)
        connection.serve(service)
        connection.data_received(calls(2, ":9.1"))  # so much unread that all are looked up
        for _ in range(2):
            await settle()
            bus.read()
        bus.held = []
        for number in range(20):
            connection.data_received(calls(1, f":{number}.1"))
        await settle()
        assert len(service.handled) == 2
        bus.tell()
        for number in range(20):
            await settle()
            assert len(service.handled) == 3 + number
            bus.read()

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


def test_a_bus_that_takes_nothing_more_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_LOOK", 0.001)

    async def scenario() -> None:
        connection = Connection()
        bus = SlowBus(connection)
        connection.notify(BUS, "/", BUS, "Ping", "", [])
        await asyncio.wait_for(connection.close(), 10)
        assert bus.aborted

    asyncio.run(scenario())


def test_a_connection_whose_bus_has_gone_closes() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        connection = Connection()
        await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
        theirs.close()
        assert "has gone" in await asyncio.wait_for(connection.wait_closed(), 10)
        await connection.close()

    asyncio.run(scenario())


def test_signals_of_strangers_are_neither_kept_nor_read() -> None:
    async def scenario() -> None:
        connection = Connection()
        SlowBus(connection)
        signals: list[Signal] = []
        await connection.subscribe("type='signal'", signals.append)
        connection.heard = ":0.8"
        body = encode("ay", [bytes(100_000)])
        for sender in (":0.7", ":0.8", BUS):
            header = Header("<", MessageType.SIGNAL, 0, 9, len(body), "/x", "x.Y", "Z")
            header = header._replace(sender=sender, signature="ay")
            connection.data_received(bytes(write_header(header)) + body[:-1])
            assert (len(connection._framer._buffer) < 1000) == (sender == ":0.7")
            connection.data_received(body[-1:])
        assert [signal.sender for signal in signals] == [":0.8", BUS]

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

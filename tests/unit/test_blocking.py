"""A connection without an event loop, to a bus that follows a script."""

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from mfc_dbus.bus.blocking import BlockingConnection, finish
from mfc_dbus.bus.codec import decode, encode
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.frames import Flag, Frame, Framer, Header, MessageType, read_header, write_header
from mfc_dbus.bus.names import BUS, PEER, UNKNOWN_METHOD

SERVICE = "org.example.Service"
CALLER = ":1.5"


class ScriptedBus:
    """The far end of a connection: lets it in, and then does what it is told."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._framer = Framer(lambda _: True)
        self._frames: list[Frame] = []
        self.greeting = b""

    def let_in(self) -> None:
        while b"\r\n" not in self.greeting:
            self.greeting += self._sock.recv(100)
        self._sock.sendall(b"OK 1234\r\n")
        assert self._sock.recv(7) == b"BEGIN\r\n"
        self.reply(self.next(), "s", [":1.7"], sender=BUS)

    def next(self) -> Frame:
        """Receive the next message."""
        while not self._frames:
            received = self._sock.recv(4096)
            if not received:
                raise EOFError
            self._frames += self._framer.feed(received)
        return self._frames.pop(0)

    def reply(
        self, call: Frame, signature: str = "", body: Any = (), *, sender: str = CALLER
    ) -> None:
        self.send(
            MessageType.METHOD_RETURN,
            encode(signature, body),
            signature=signature,
            reply_serial=call.header.serial,
            sender=sender,
        )

    def send(self, type_: MessageType, body: bytes = b"", **fields: Any) -> None:
        self.write(write_header(Header("<", type_, 0, 99, len(body), **fields)) + body)

    def write(self, data: bytes | bytearray) -> None:
        self._sock.sendall(data)


@contextmanager
def connected(script: Callable[[ScriptedBus], None]) -> Iterator[BlockingConnection]:
    """A connection that was let in, to a bus that does this next."""
    ours, theirs = socket.socketpair()
    failures: list[BaseException] = []

    def serve() -> None:
        with theirs:
            try:
                bus = ScriptedBus(theirs)
                bus.let_in()
                script(bus)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with closing(BlockingConnection.open(sock=ours, timeout=10)) as connection:
            yield connection
    finally:
        thread.join()
    assert not failures


def ask(
    connection: BlockingConnection, what: str = "?", *, timeout: float = 10.0, **options: Any
) -> list[Any]:
    """Call a method, as a program would."""
    return finish(
        connection.call(SERVICE, "/x", SERVICE, "Ask", "s", [what], timeout=timeout, **options)
    )


def test_a_call_carries_its_arguments_and_flags_and_returns_what_is_answered() -> None:
    def script(bus: ScriptedBus) -> None:
        call = bus.next()
        calls.append(call)
        bus.reply(call, "su", ["yes", 7])
        bus.send(
            MessageType.ERROR,
            encode("s", ["No"]),
            signature="s",
            error_name="org.example.Refused",
            reply_serial=bus.next().header.serial,
            sender=CALLER,
        )

    calls: list[Frame] = []
    with connected(script) as connection:
        assert ask(connection, interactive=True, activate=False, returns="su") == ["yes", 7]
        with pytest.raises(BusError, match="No") as refusal:
            ask(connection)
    assert refusal.value.name == "org.example.Refused"
    header, body = calls[0]
    assert decode(header.signature, body) == ["?"]
    assert (header.destination, header.path, header.interface) == (SERVICE, "/x", SERVICE)
    assert header.flags == Flag.ALLOW_INTERACTIVE_AUTHORIZATION | Flag.NO_AUTO_START


def test_what_nobody_asked_for_is_passed_over_undecoded() -> None:
    def script(bus: ScriptedBus) -> None:
        call = bus.next()
        bus.send(MessageType.SIGNAL, b"\xff" * 9, signature="v", path="/x", sender=CALLER)
        bus.reply(call._replace(header=call.header._replace(serial=1)), "s", ["late"])
        bus.reply(call, "s", ["it"])

    with connected(script) as connection:
        assert ask(connection) == ["it"]


@pytest.mark.parametrize("kind", [MessageType.SIGNAL, MessageType.METHOD_CALL])
def test_what_is_no_answer_is_not_taken_for_one(kind: MessageType) -> None:
    def script(bus: ScriptedBus) -> None:
        call = bus.next()
        lie = encode("s", ["a lie"])
        header = Header("<", kind, Flag.NO_REPLY_EXPECTED, 99, len(lie), path="/x", sender=CALLER)
        header = header._replace(reply_serial=call.header.serial, signature="s")
        bus.write(write_header(header) + lie)
        bus.reply(call, "s", ["it"])

    with connected(script) as connection:
        assert ask(connection) == ["it"]


class Flood:
    """The socket of a connection to which a stranger sends without end: a read always finds more.

    Each call is answered after so many reads.
    """

    def __init__(self, message: bytes | bytearray, *, answer_after: int) -> None:
        self.sent: list[Header] = []
        self.waits: list[float] = []
        self._message = bytes(message)
        self._answer_after = answer_after
        self._reads = 0  # since anything was called

    def settimeout(self, seconds: float) -> None:
        self.waits.append(seconds)

    def sendall(self, data: bytes) -> None:
        header = read_header(data)
        assert header is not None
        self.sent.append(header)
        if header.type == MessageType.METHOD_CALL:
            self._reads = 0

    def recv(self, _: int) -> bytes:
        self._reads += 1
        calls = [each for each in self.sent if each.type == MessageType.METHOD_CALL]
        assert calls or self._reads < 1000, "the call is never made"
        if not calls or self._reads < self._answer_after:
            return self._message
        answer = Header("<", MessageType.METHOD_RETURN, 0, 99, 0, sender=CALLER)
        return bytes(write_header(answer._replace(reply_serial=calls[-1].serial)))


def flooded(kind: MessageType, body: bytes, *, answer_after: int) -> tuple[Flood, list[Any]]:
    header = Header("<", kind, 0, 9, len(body), path="/x", member="X", sender=CALLER)
    flood = Flood(write_header(header) + body, answer_after=answer_after)
    connection = BlockingConnection(cast("socket.socket", flood))
    answer = ask(connection, timeout=5)
    assert len(connection._framer._buffer) < 1000
    return flood, answer


def test_a_call_is_made_and_answered_though_a_stranger_sends_without_end() -> None:
    flood, answer = flooded(MessageType.SIGNAL, bytes(100_000), answer_after=300)
    assert answer == []
    assert len(flood.sent) == 1


def test_strangers_who_call_are_waited_for_no_longer_than_the_answer() -> None:
    flood, _ = flooded(MessageType.METHOD_CALL, b"", answer_after=1)
    assert len(flood.sent) > 2  # they were refused
    assert max(flood.waits) <= 5


def test_nothing_is_waited_for_when_the_time_is_over() -> None:
    signal = write_header(Header("<", MessageType.SIGNAL, 0, 9, 0, path="/x", sender=CALLER))
    connection = BlockingConnection(cast("socket.socket", Flood(signal, answer_after=10**9)))
    with pytest.raises(TimeoutError):
        ask(connection, timeout=0.05)


@contextmanager
def connected_at_a_path(
    directory: Path, serve: Callable[[socket.socket], None]
) -> Iterator[BlockingConnection]:
    """Connect to a bus that a thread serves at a listening socket, until that ends."""
    path = str(directory / "bus")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(10)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        with closing(BlockingConnection.open(f"unix:path={path}", timeout=10)) as connection:
            yield connection
        thread.join()


@pytest.mark.parametrize(("signals", "connections"), [(1, 1), (10, 2)])
def test_a_flood_that_came_between_two_calls_is_left_behind_with_its_connection(
    signals: int, connections: int, tmp_path: Path
) -> None:
    asked, sent = threading.Event(), threading.Event()
    calls: list[int] = []  # on each connection

    def serve(listening: socket.socket) -> None:
        while len(calls) < connections:
            with listening.accept()[0] as sock:
                bus = ScriptedBus(sock)
                bus.let_in()
                calls.append(0)
                with suppress(EOFError, ConnectionError):
                    while True:
                        bus.reply(bus.next(), "s", ["it"])
                        calls[-1] += 1
                        assert asked.wait(10)
                        for _ in range(0 if sent.is_set() else signals):
                            bus.send(MessageType.SIGNAL, bytes(1000), path="/x", sender=CALLER)
                        sent.set()

    with connected_at_a_path(tmp_path, serve) as connection:
        assert ask(connection) == ["it"]
        asked.set()
        assert sent.wait(10)
        assert ask(connection) == ["it"]
        assert ask(connection) == ["it"]
    assert calls == ([1, 2] if connections == 2 else [3])


@pytest.mark.parametrize("gone", [False, True])
def test_a_flooded_bus_that_lets_nobody_in_again_is_lost(gone: bool, tmp_path: Path) -> None:
    entered, flooded = threading.Event(), threading.Event()

    def serve(listening: socket.socket) -> None:
        with listening.accept()[0] as sock:
            bus = ScriptedBus(sock)
            bus.let_in()
            assert entered.wait(10)
            bus.write(bytes(5000))
            if gone:
                listening.close()
            flooded.set()
            with suppress(EOFError, ConnectionError):
                bus.next()
        if not gone:
            listening.accept()[0].close()

    with connected_at_a_path(tmp_path, serve) as connection:
        entered.set()
        assert flooded.wait(10)
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                ask(connection)


def test_over_a_socket_that_was_given_a_flood_is_read_through() -> None:
    sent = threading.Event()

    def script(bus: ScriptedBus) -> None:
        for _ in range(10):
            bus.send(MessageType.SIGNAL, bytes(1000), path="/x", sender=CALLER)
        sent.set()
        bus.reply(bus.next(), "s", ["it"])

    with connected(script) as connection:
        assert sent.wait(10)
        assert ask(connection) == ["it"]


def test_nobody_else_answers_for_the_bus() -> None:
    def script(bus: ScriptedBus) -> None:
        call = bus.next()
        bus.reply(call, "s", ["a stranger"])
        bus.reply(call, "s", ["the bus"], sender=BUS)

    with connected(script) as connection:
        assert finish(connection.call_bus("GetId")) == ["the bus"]


def test_who_calls_is_answered_before_anything_more_is_asked_of_him() -> None:
    def script(bus: ScriptedBus) -> None:
        bus.reply(bus.next())
        bus.send(MessageType.METHOD_CALL, path="/", interface=PEER, member="Ping", sender=CALLER)
        called.set()
        for _ in range(3):
            message = bus.next().header
            seen.append((message.type, message.error_name or message.member))
            if message.type == MessageType.METHOD_CALL:
                bus.reply(Frame(message, b""))

    called = threading.Event()
    seen: list[tuple[int, str]] = []
    with connected(script) as connection:
        assert ask(connection) == []
        assert called.wait(10)
        assert ask(connection) == []
    assert seen == [
        (MessageType.ERROR, UNKNOWN_METHOD),
        (MessageType.METHOD_CALL, "Ping"),
        (MessageType.METHOD_CALL, "Ask"),
    ]


def test_a_large_answer_arrives_whole() -> None:
    text = "x" * 3_000_000
    with connected(lambda bus: bus.reply(bus.next(), "s", [text])) as connection:
        assert ask(connection) == [text]


def test_a_call_that_nobody_answers_ends_and_its_late_answer_is_not_taken_for_the_next() -> None:
    def script(bus: ScriptedBus) -> None:
        first = bus.next()
        second = bus.next()
        bus.reply(first, "s", ["late"])
        bus.reply(second, "s", ["in time"])

    with connected(script) as connection:
        with pytest.raises(TimeoutError):
            ask(connection, timeout=0.01)
        assert ask(connection) == ["in time"]


def test_a_late_answer_of_which_a_part_had_come_is_not_taken_for_the_next() -> None:
    given_up = threading.Event()

    def script(bus: ScriptedBus) -> None:
        first = bus.next()
        late = encode("s", ["late"])
        serial = first.header.serial
        kind = MessageType.METHOD_RETURN
        header = Header("<", kind, 0, 99, len(late), reply_serial=serial, signature="s")
        bus.write(write_header(header))
        assert given_up.wait(10)
        second = bus.next()
        bus.write(late)
        bus.reply(second, "s", ["in time"])

    with connected(script) as connection:
        with pytest.raises(TimeoutError):
            ask(connection, timeout=0.2)
        given_up.set()
        assert ask(connection) == ["in time"]


def test_after_a_call_of_which_a_part_was_sent_the_bus_is_lost() -> None:
    given_up = threading.Event()

    def script(_: ScriptedBus) -> None:
        assert given_up.wait(10)

    with connected(script) as connection:
        try:
            with pytest.raises(TimeoutError):
                ask(connection, "?" * 1_000_000, timeout=0.2)
            with pytest.raises(ConnectionLost):
                ask(connection)
        finally:
            given_up.set()


def test_a_bus_that_goes_is_lost() -> None:
    def script(bus: ScriptedBus) -> None:
        bus.next()

    with connected(script) as connection:
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                ask(connection)


def test_what_is_no_d_bus_is_a_lost_bus() -> None:
    def script(bus: ScriptedBus) -> None:
        bus.next()
        bus._sock.sendall(b"HTTP/1.1 400 Bad Request\r\n")

    with connected(script) as connection, pytest.raises(ConnectionLost, match="no byte order"):
        ask(connection)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "closed the connection before it let us in"),
        (b"REJECTED EXTERNAL\r\n", "says 'REJECTED EXTERNAL'"),
        (b"OK 1234\r\n", "hung up on uid"),
        (b"x" * 100_000, "says no end of things"),
    ],
)
def test_a_bus_that_does_not_let_us_in_says_so(said: bytes, sentence: str) -> None:
    def serve() -> None:
        with theirs, suppress(ConnectionError):
            theirs.recv(100)
            theirs.sendall(said)
            if said.startswith(b"OK"):
                theirs.recv(100)  # BEGIN

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(OSError, match=sentence):
        BlockingConnection.open(sock=ours, timeout=10)
    thread.join()
    assert ours.fileno() == -1


def test_a_bus_that_hangs_up_at_once_is_one_that_does_not_let_us_in() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(PermissionError, match="hung up on uid"):
        BlockingConnection.open(sock=ours, timeout=10)
    assert ours.fileno() == -1


def test_a_bus_that_says_nothing_is_not_waited_for_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(TimeoutError):
        BlockingConnection.open(sock=ours, timeout=0.01)


def test_only_what_never_waits_can_do_without_an_event_loop() -> None:
    class Waiting:
        def __await__(self) -> Generator[None]:
            yield

    async def wait() -> None:
        await Waiting()

    with pytest.raises(RuntimeError, match="needs an event loop"):
        finish(wait())

"""A connection for a program that does one thing after the other, and needs no event loop.

Its coroutines never wait for an event loop: a call is over when it returns. So code that is written
with `await` for the other connection (connection.py) runs over this one too, by `finish`.
"""

import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar

from mfc_dbus.bus import auth
from mfc_dbus.bus.codec import encode, read_reply
from mfc_dbus.bus.errors import ConnectionLost
from mfc_dbus.bus.frames import (
    Flag,
    Frame,
    Framer,
    Header,
    MessageType,
    ProtocolError,
    call_flags,
    write_header,
)
from mfc_dbus.bus.names import BUS, BUS_PATH, PEER, UNKNOWN_METHOD

_BUS_TIMEOUT = 30.0  # seconds
_CHUNK = 256 * 1024
_CHUNKS = 16  # more than waits in a socket: whoever sends on and on holds up no call
# Bytes that may wait when a call begins: what the bus and a service send us on their own is less.
_FEW = 4096
_REPLIES = (MessageType.METHOD_RETURN, MessageType.ERROR)
_Done = TypeVar("_Done")


def finish(work: Coroutine[Any, Any, _Done]) -> _Done:
    """Return the result of a coroutine that never waits for an event loop; else RuntimeError."""
    try:
        work.send(None)
    except StopIteration as end:
        done: _Done = end.value
        return done
    work.close()
    raise RuntimeError("This needs an event loop")


class BlockingConnection:
    """One connection, made by `open`.

    Nobody reads between two calls. Where strangers send much meanwhile, the bus has no room left
    for an answer: then the next call goes over a new connection, which has another unique name.
    """

    def __init__(
        self, sock: socket.socket, connect: Callable[[float], socket.socket] | None = None
    ) -> None:
        """connect: makes another socket by a deadline; None where there can be no other."""
        self._sock = sock
        self._connect = connect
        self._framer = Framer(self._admit)
        self._serial = 0  # of the message that was sent last
        self._awaited = 0  # serial of the call whose reply is waited for
        self._destination = ""  # of the call whose reply is waited for
        self._deadline = 0.0  # of all that is done for it
        self._was_called = False  # whether somebody has called us since our last call

    @classmethod
    def open(
        cls, address: str | None = None, *, sock: socket.socket | None = None, timeout: float
    ) -> Self:
        """Connect to the system bus, to that of an address, or over a socket that is connected.

        timeout: in seconds, for the handshake with the bus; its first reply has 30 s. Raises
        OSError, TimeoutError, BusError, and ValueError for an address of the wrong form.
        """
        deadline = time.monotonic() + timeout
        connect = None if sock else partial(_connect, address)
        connection = cls(sock or _connect(address, deadline), connect)
        connection._enter(deadline)
        return connection

    def _enter(self, deadline: float) -> None:
        """Do the handshake with the bus over a new socket. Raises OSError, TimeoutError, BusError.

        deadline: for all but the first reply.
        """
        try:
            with auth.handshake():
                _authenticate(self._sock, deadline)
            self._deadline = time.monotonic() + _BUS_TIMEOUT
            with _losses():
                hello = self._exchange(
                    b"", destination=BUS, path=BUS_PATH, interface=BUS, member="Hello"
                )
            read_reply(hello, "Hello", None)
        except ConnectionLost as error:
            self.close()
            raise auth.hung_up(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._sock.close()

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] | bytes = (),
        *,
        timeout: float,
        interactive: bool = False,
        activate: bool = True,
        returns: str | None = None,
    ) -> list[Any]:
        """Call a method, with the arguments and errors of `Connection.call`."""
        flags = call_flags(interactive=interactive, activate=activate)
        deadline = time.monotonic() + timeout
        to = {"destination": destination, "path": path}
        with _losses():
            if self._connect and self._is_flooded():
                self.close()
                self._sock = self._connect(deadline)
                self._framer, self._was_called = Framer(self._admit), False
                self._enter(deadline)
            self._deadline = deadline
            self._refuse_calls()
            if self._was_called:
                # A service that has pinged us to learn whether we read its answers may refuse our
                # calls until it knows. When it has answered this Ping, it has seen our answer.
                self._was_called = False
                ping = to | {"interface": PEER, "member": "Ping"}
                self._exchange(b"", flags=Flag.NO_AUTO_START, **ping)
            frame = self._exchange(
                body if isinstance(body, bytes) else encode(signature, body),
                flags=flags,
                interface=interface,
                member=member,
                signature=signature,
                **to,
            )
        return read_reply(frame, member, returns)

    async def call_bus(
        self, member: str, signature: str = "", body: Sequence[Any] = ()
    ) -> list[Any]:
        """Call a method of the bus itself."""
        return await self.call(BUS, BUS_PATH, BUS, member, signature, body, timeout=_BUS_TIMEOUT)

    def _exchange(self, body: bytes, *, destination: str, **fields: Any) -> Frame:
        """Send a call, and wait for the reply to it."""
        self._destination = destination
        self._awaited = self._send(MessageType.METHOD_CALL, body, destination=destination, **fields)
        while True:
            _wait_until(self._deadline, self._sock)
            for frame in self._receive():
                # The other replies are late ones to earlier calls, whose beginning came in time.
                if frame.header.reply_serial == self._awaited:
                    return frame

    def _send(self, type_: MessageType, body: bytes, *, flags: int = 0, **fields: Any) -> int:
        """Send a message, and return its serial. fields: the others of its header."""
        self._serial = self._serial % 0xFFFFFFFF + 1
        header = Header("<", type_, flags, self._serial, len(body), **fields)
        _wait_until(self._deadline, self._sock)
        try:
            self._sock.sendall(write_header(header) + body)
        except TimeoutError:
            self._sock.close()  # half a message may have left, and no other can follow it
            raise
        return header.serial

    def _receive(self) -> list[Frame]:
        """Read from the socket once, and return the kept replies that are complete now."""
        received = self._sock.recv(_CHUNK)
        if not received:
            raise ConnectionLost("end of file")
        return list(self._framer.feed(received))

    def _is_flooded(self) -> bool:
        """Return whether much has come since our last call."""
        self._sock.settimeout(0)
        with suppress(BlockingIOError):
            return len(self._sock.recv(_FEW, socket.MSG_PEEK)) == _FEW
        return False

    def _refuse_calls(self) -> None:
        """Read the calls that have come since our last call: `_admit` answers them."""
        with suppress(BlockingIOError):
            for _ in range(_CHUNKS):
                self._sock.settimeout(0)  # each time, since sending an answer sets another timeout
                self._receive()

    def _admit(self, header: Header) -> bool:
        """Return whether a message is kept: the awaited reply alone is. Refuse any call."""
        if header.expects_reply:
            self._refuse(header)
        # Nobody else may answer for the bus.
        may_answer = header.sender == BUS or self._destination != BUS
        # A signal may have a reply's serial too, and anyone may send one.
        is_reply = header.type in _REPLIES and header.reply_serial == self._awaited
        return is_reply and may_answer

    def _refuse(self, call: Header) -> None:
        self._was_called = True
        self._send(
            MessageType.ERROR,
            encode("s", ["There is no method here"]),
            destination=call.sender,
            reply_serial=call.serial,
            error_name=UNKNOWN_METHOD,
            signature="s",
        )


@contextmanager
def _losses() -> Iterator[None]:
    """Raise ConnectionLost for an error that ends the connection; TimeoutError stays itself."""
    try:
        yield
    except TimeoutError:
        raise
    except (OSError, ProtocolError) as error:
        raise ConnectionLost(str(error)) from error


def _wait_until(deadline: float, sock: socket.socket) -> None:
    """Have what is done next with a socket wait no longer. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _connect(address: str | None, deadline: float) -> socket.socket:
    """Connect to the first socket of an address that answers. Raises OSError, ValueError."""
    error: OSError | None = None
    for name in auth.find_sockets(address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            _wait_until(deadline, sock)
            sock.connect(name)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    assert error is not None
    raise error


def _authenticate(sock: socket.socket, deadline: float) -> None:
    """Do the handshake with the bus. Raises OSError."""
    _wait_until(deadline, sock)
    sock.sendall(auth.ask(anonymous=False))
    answer = b""
    while not auth.is_whole(answer):
        _wait_until(deadline, sock)
        answer = auth.take_answer(answer, sock.recv(1024))
    auth.check(answer, anonymous=False)
    sock.sendall(auth.BEGIN)

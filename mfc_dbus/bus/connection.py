"""A connection to the bus: it sends calls and signals, and hands incoming messages on.

A message of a stranger is judged by its header before it is decoded.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from mfc_dbus.bus import auth
from mfc_dbus.bus.backend import Body, decode, encode
from mfc_dbus.bus.calls import IncomingCalls, Service
from mfc_dbus.bus.codec import read_reply
from mfc_dbus.bus.errors import BusError, ConnectionLost, DecodeError, NameTaken
from mfc_dbus.bus.frames import Flag, Frame, Framer, Header, MessageType, ProtocolError, call_flags
from mfc_dbus.bus.names import BUS, BUS_PATH, LIMITS_EXCEEDED, UNKNOWN_METHOD
from mfc_dbus.bus.outgoing import Outgoing
from mfc_dbus.bus.replies import Replies
from mfc_dbus.bus.unread import TOO_MUCH_UNREAD, Unread

_BUS_TIMEOUT = 30.0  # seconds, also for connecting
_HEARING = 0.001  # seconds for reading and answering calls between two parts of a long output
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER = 1


class Signal(NamedTuple):
    """A signal that came in. `sender` is a unique name, or the name of the bus itself."""

    sender: str
    path: str
    interface: str
    member: str
    body: list[Any]


class Connection(asyncio.Protocol):
    """One connection, made by `open`; messages are handled on the event loop that ran then."""

    def __init__(self) -> None:
        self.unique_name = ""
        # Whose signals are heard beside those of the bus: anyone may send signals to anyone.
        self.heard = ""
        self._framer = Framer(self._admit)
        self._transport: asyncio.Transport | None = None
        self._outgoing = Outgoing(self._give_up)
        self._replies = Replies()
        self._calls: IncomingCalls | None = None
        self._unread: Unread | None = None
        self._handlers: list[Callable[[Signal], None]] = []
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._closed: asyncio.Future[str] = self._loop.create_future()

    @classmethod
    async def open(
        cls,
        address: str | None = None,
        *,
        sock: socket.socket | None = None,
        anonymous: bool = False,
        timeout: float = _BUS_TIMEOUT,
    ) -> Self:
        """Connect to the system bus, to that of an address, or over a socket that is connected.

        anonymous: tell the bus no uid. timeout: in seconds, for all of it. Raises OSError,
        TimeoutError, BusError, and ValueError for an address of the wrong form.
        """
        async with asyncio.timeout(timeout):
            sock = sock or await _connect(address)
            connection = cls()
            try:
                sock.setblocking(False)
                with auth.handshake():
                    await _authenticate(sock, anonymous=anonymous)
                await connection._loop.create_connection(lambda: connection, sock=sock)
                connection.unique_name = await connection._say_hello()
            except BaseException:
                if connection._transport:
                    connection._transport.abort()
                sock.close()
                raise
        return connection

    async def _say_hello(self) -> str:
        """Ask for a unique name. Raises BusError, and PermissionError where the bus hangs up."""
        try:
            (unique_name,) = await self.call_bus("Hello")
        except ConnectionLost as error:
            raise auth.hung_up(error) from error
        return str(unique_name)

    def serve(self, service: Service) -> None:
        """Let a service answer the calls that come in from now on."""
        self._unread = Unread(self, self._see_off)
        self._calls = IncomingCalls(service, self._outgoing, self._unread, self._refuse)

    async def close(self) -> None:
        """Send what is still to be sent, and disconnect."""
        self._closing = True
        if self._transport and not self._closed.done():
            self._outgoing.finish()
            self._transport.close()
        await self.wait_closed()

    async def wait_closed(self) -> str:
        """Wait for the end of the connection; return the reason, empty where we closed it."""
        return await asyncio.shield(self._closed)

    async def writable(self) -> None:
        """Wait until the output is on its way, and calls that came meanwhile had their turn."""
        if self._outgoing.is_writable:
            return
        await self._outgoing.writable()
        # Nothing is read while the transport is full. Without this wait a caller could fill it
        # again in the same turn of the event loop, and nothing would be read until he is done.
        await asyncio.sleep(_HEARING)
        await self._outgoing.writable()

    # What goes out

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Body = (),
        *,
        timeout: float,
        interactive: bool = False,
        activate: bool = True,
        returns: str | None = None,
    ) -> list[Any]:
        """Call a method, and return the values of its reply.

        timeout: seconds. interactive: whether the user may be asked for a password. activate:
        whether the bus may start the service. returns: the signature that the reply must have.
        Raises BusError, TimeoutError, ConnectionLost.
        """
        if self._closed.done():
            raise ConnectionLost(self._closed.result())
        serial = self._outgoing.send(
            MessageType.METHOD_CALL,
            signature,
            body,
            flags=call_flags(interactive=interactive, activate=activate),
            destination=destination,
            path=path,
            interface=interface,
            member=member,
        )
        frame = await self._replies.wait(serial, destination, timeout)
        return read_reply(frame, member, returns, decode)

    def notify(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
    ) -> None:
        """Call a method whose reply does not matter."""
        self._outgoing.send(
            MessageType.METHOD_CALL,
            signature,
            body,
            flags=Flag.NO_REPLY_EXPECTED,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
        )

    async def call_bus(
        self, member: str, signature: str = "", body: Sequence[Any] = ()
    ) -> list[Any]:
        """Call a method of the bus itself."""
        return await self.call(BUS, BUS_PATH, BUS, member, signature, body, timeout=_BUS_TIMEOUT)

    async def own_name(self, name: str) -> None:
        """Take a name on the bus. Raises NameTaken; BusError where the bus does not allow it."""
        (reply,) = await self.call_bus("RequestName", "su", [name, _DO_NOT_QUEUE])
        if reply != _PRIMARY_OWNER:
            raise NameTaken(name)

    async def subscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        """Ask the bus for the signals of a match rule. Every handler sees every signal.

        Those of others than the bus come from `heard` alone.
        """
        self._handlers.append(handler)
        await self.call_bus("AddMatch", "s", [rule])

    def unsubscribe(self, rule: str, handler: Callable[[Signal], None]) -> None:
        """Take back one `subscribe`, also one that failed."""
        self._handlers.remove(handler)
        self.notify(BUS, BUS_PATH, BUS, "RemoveMatch", "s", [rule])

    def emit(self, path: str, interface: str, member: str, signature: str, body: Body) -> None:
        """Send a signal to everyone."""
        self._outgoing.send(
            MessageType.SIGNAL, signature, body, path=path, interface=interface, member=member
        )

    def reply(self, call: Header, signature: str = "", body: Body = ()) -> None:
        """Answer a call, if it expects an answer: an error where too much is unread already."""
        if not call.expects_reply:
            return
        encoded = body if isinstance(body, bytes | bytearray) else encode(signature, body)
        if self._unread and not self._unread.fits(call.sender, len(encoded)):
            self.reply_error(call, LIMITS_EXCEEDED, TOO_MUCH_UNREAD)
        else:
            self._answer(MessageType.METHOD_RETURN, call, signature, encoded)

    def reply_error(self, call: Header, name: str, message: str) -> None:
        """Answer a call with an error, if it expects an answer."""
        if call.expects_reply:
            # The bus disconnects whoever sends it a NUL or a lone surrogate.
            clean = message.replace("\0", "\N{REPLACEMENT CHARACTER}")
            body = [clean.encode(errors="replace").decode()]
            self._answer(MessageType.ERROR, call, "s", body, error_name=name)

    def _answer(
        self, type_: MessageType, call: Header, signature: str, body: Body, **fields: Any
    ) -> None:
        before = self._outgoing.total
        self._outgoing.send(
            type_,
            signature,
            body,
            destination=call.sender,
            reply_serial=call.serial,
            **fields,
        )
        if self._unread:
            self._unread.count(call.sender, self._outgoing.total - before)

    def _see_off(self, sender: str) -> None:
        if self._calls:
            self._calls.drop(sender)

    def _refuse(self, call: Header, error: BusError) -> None:
        self.reply_error(call, error.name, error.message)

    # What comes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._outgoing.begin(transport)

    def data_received(self, data: bytes) -> None:
        if self._calls:
            self._calls.count(len(data))
        try:
            for frame in self._framer.feed(data):
                self._receive(frame)
        except ProtocolError as error:
            self._give_up(f"what the bus sends makes no sense: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._finish("" if self._closing else f"the bus has gone: {error or 'end of file'}")

    def pause_writing(self) -> None:
        # No more calls are read while the answers to earlier ones cannot be sent.
        assert self._transport is not None
        self._transport.pause_reading()
        self._outgoing.pause()

    def resume_writing(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()
        self._outgoing.resume()
        if self._calls:
            self._calls.plan_turn()

    def _admit(self, header: Header) -> bool:
        """Return whether a message is kept, by its header. A call that is not is answered."""
        if header.type == MessageType.METHOD_CALL:
            if self._calls:
                return self._calls.admit(header)
            self._refuse(header, BusError(UNKNOWN_METHOD, "There is no method here"))
            return False
        if header.type == MessageType.SIGNAL:
            return header.sender in (BUS, self.heard)
        return self._replies.admit(header)

    def _receive(self, frame: Frame) -> None:
        header = frame.header
        if header.type == MessageType.METHOD_CALL:
            assert self._calls is not None
            self._calls.put(frame)
        elif header.type == MessageType.SIGNAL:
            self._receive_signal(frame)
        else:
            self._replies.put(frame)

    def _receive_signal(self, frame: Frame) -> None:
        header = frame.header
        try:
            body = decode(header.signature, frame.body, header.order)
        except DecodeError:
            return
        signal = Signal(header.sender, header.path, header.interface, header.member, body)
        for handler in list(self._handlers):
            handler(signal)

    def _give_up(self, reason: str) -> None:
        self._finish(reason)
        assert self._transport is not None
        self._transport.abort()

    def _finish(self, reason: str) -> None:
        if self._closed.done():
            return
        self._closed.set_result(reason)
        self._outgoing.end()
        self._replies.lose(reason or "the connection is closed")
        if self._calls:
            self._calls.cancel()
        if self._unread:
            self._unread.end()


async def _connect(address: str | None) -> socket.socket:
    """Connect to the first socket of an address that answers. Raises OSError, ValueError."""
    error: OSError | None = None
    for name in auth.find_sockets(address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, name)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    assert error is not None
    raise error


async def _authenticate(sock: socket.socket, *, anonymous: bool) -> None:
    """Do the handshake with the bus. Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, auth.ask(anonymous=anonymous))
    answer = b""
    while not auth.is_whole(answer):
        answer = auth.take_answer(answer, await loop.sock_recv(sock, 1024))
    auth.check(answer, anonymous=anonymous)
    await loop.sock_sendall(sock, auth.BEGIN)

"""What goes out: messages that are gathered and written at once, to a bus that may be slow."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

from mfc_dbus.bus.backend import Body, encode
from mfc_dbus.bus.frames import Header, MessageType, write_header

_LARGE = 64 * 1024  # bytes of a body that is not kept waiting for others to go with it
# The less of it waits in the kernel, the sooner the bus reads what comes next: it takes 2 KiB at a
# time, and where many talk at once that may be all in a second.
_SEND_BUFFER = 16 * 1024
_LOOK = 10.0  # seconds from one look whether the bus takes anything to the next
_STALLED = 12  # looks in a row at which it had taken nothing, until it counts as lost


class Outgoing:
    """The messages on their way to the bus.

    give_up: called with the reason where the bus takes nothing for long.
    """

    def __init__(self, give_up: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._serial = 0
        self.total = 0  # bytes that were sent, or will be
        self._pieces: list[bytes | bytearray] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._patience: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Write to this transport from now on."""
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            transport.set_write_buffer_limits(_SEND_BUFFER)

    def end(self) -> None:
        """Wait for nothing more, nor let anybody wait: what is sent from now on goes nowhere."""
        self._writable.set()
        if self._patience:
            self._patience.cancel()

    def send(
        self, type_: MessageType, signature: str, body: Body, *, flags: int = 0, **fields: Any
    ) -> int:
        """Put a message on its way; its serial. fields: of its header."""
        encoded = body if isinstance(body, bytes) else encode(signature, body)
        self._serial = self._serial % 0xFFFFFFFF + 1
        header = Header(
            "<", type_, flags, self._serial, len(encoded), signature=signature, **fields
        )
        # A change is a signal and a reply: what one turn of the event loop sends goes out at once.
        if not self._pieces:
            self._loop.call_soon(self.flush)
        written = write_header(header)
        self.total += len(written) + len(encoded)
        self._pieces.append(written)
        if encoded:  # from Python 3.12 on, asyncio spins on an empty piece that comes last
            self._pieces.append(encoded)
        if len(encoded) > _LARGE:
            self.flush()
        return header.serial

    def flush(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.writelines(self._pieces)
        self._pieces.clear()

    @property
    def is_writable(self) -> bool:
        """Whether what was sent is on its way, and does not wait here."""
        return self._writable.is_set()

    async def writable(self) -> None:
        """Wait until what was sent is on its way."""
        while not self._writable.is_set():
            await self._writable.wait()

    def pause(self) -> None:
        """Have nothing more sent, if it can be helped: the transport is full."""
        self._writable.clear()
        self._be_patient()

    def resume(self) -> None:
        """Go on: the transport has room again."""
        self._writable.set()
        if self._patience:
            self._patience.cancel()

    def _be_patient(self, stalled: int = 0) -> None:
        """Wait for the bus to take what is written, as long as it takes something now and then.

        It takes little while it is busy with others, and nothing while somebody leaves too much of
        ours unread; a new connection has none of that. stalled: at how many looks in a row nothing
        had been taken.
        """
        left = self._count_left()

        def look() -> None:
            if self._count_left() < left:
                self._be_patient()
            elif stalled + 1 < _STALLED:
                self._be_patient(stalled + 1)
            else:
                self._give_up(f"the bus has read nothing for {_STALLED * _LOOK:.0f} s")

        self._patience = self._loop.call_later(_LOOK, look)

    def _count_left(self) -> int:
        """Count the bytes that wait here and, by its own account, in the kernel."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        in_kernel = 0
        if sock is not None:
            (in_kernel,) = struct.unpack("@i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
        return self._transport.get_write_buffer_size() + in_kernel

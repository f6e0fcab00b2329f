"""The output of a connection: messages are gathered and written to a bus that may be slow."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

from mfc_dbus.bus.backend import Body, encode
from mfc_dbus.bus.frames import Header, MessageType, write_header

_LARGE = 64 * 1024  # bytes of a body that is written at once, and not gathered with others
# The bus reads 2 KiB at a time, and where many talk at once perhaps only once in a second: the less
# output waits in the kernel, the sooner the bus reads a new message.
_SEND_BUFFER = 16 * 1024
_LOOK = 10.0  # seconds between two looks at whether the bus reads
_STALLED = 12  # looks in a row since which the bus has read nothing, until it counts as lost


class Outgoing:
    """The messages on their way to the bus.

    give_up: is called with the reason where the bus has read nothing for long.
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
        """End all waiting, and nobody waits again: later messages go nowhere."""
        self._writable.set()
        if self._patience:
            self._patience.cancel()

    def send(
        self, type_: MessageType, signature: str, body: Body, *, flags: int = 0, **fields: Any
    ) -> int:
        """Put a message on its way, and return its serial. fields: the others of its header."""
        encoded = body if isinstance(body, bytes | bytearray) else encode(signature, body)
        self._serial = self._serial % 0xFFFFFFFF + 1
        header = Header(
            "<", type_, flags, self._serial, len(encoded), signature=signature, **fields
        )
        # A change sends a signal and a reply, from two tasks of which one wakes the other. They are
        # written together, since a timer comes after all that is ready by then.
        if not self._pieces:
            self._loop.call_later(0, self.flush)
        written = write_header(header)
        self.total += len(written) + len(encoded)
        self._pieces.append(written)
        if len(encoded) > _LARGE:
            self.flush()
            self._write(memoryview(encoded))
        else:
            self._pieces.append(encoded)
        return header.serial

    def flush(self) -> None:
        # Not writelines: in Python 3.12.1 and 3.13.0 it never tells that the transport is full.
        self._write(b"".join(self._pieces))
        self._pieces.clear()

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """Write what waits here, and let nobody wait for ever until the bus has taken it."""
        self.flush()
        if self.is_writable and self._transport:
            self._be_patient()

    @property
    def is_writable(self) -> bool:
        """Whether the output is on its way, and does not wait here."""
        return self._writable.is_set()

    async def writable(self) -> None:
        """Wait until the output is on its way."""
        while not self._writable.is_set():
            await self._writable.wait()

    def pause(self) -> None:
        """Let `writable` wait: the transport is full."""
        self._writable.clear()
        self._be_patient()

    def resume(self) -> None:
        """Let `writable` go on: the transport has room again."""
        self._writable.set()
        if self._patience:
            self._patience.cancel()

    def _be_patient(self, stalled: int = 0) -> None:
        """Wait for the bus to read the output, and give up when it has read nothing for long.

        The bus reads little while it is busy with others, and nothing while receivers leave too
        much of our output unread; a new connection starts with none unread. stalled: the looks in
        a row at which nothing had been read.
        """
        left = self._count_left()

        def judge() -> None:
            if self._count_left() < left:
                self._be_patient()
            elif stalled + 1 < _STALLED:
                self._be_patient(stalled + 1)
            else:
                self._give_up(f"the bus has read nothing for {_STALLED * _LOOK:.0f} s")

        self._patience = self._loop.call_later(_LOOK, judge)

    def _count_left(self) -> int:
        """Count the bytes that wait in the transport and in the kernel's socket buffer."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        in_kernel = 0
        if sock is not None:
            (in_kernel,) = struct.unpack("@i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
        return self._transport.get_write_buffer_size() + in_kernel

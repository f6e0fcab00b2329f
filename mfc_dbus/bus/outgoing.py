"""What goes out: messages that are gathered and written at once, to a bus that may be slow."""

import asyncio
from collections.abc import Callable
from typing import Any

from mfc_dbus.bus.backend import Body, encode
from mfc_dbus.bus.frames import Header, MessageType, write_header

_LARGE = 64 * 1024  # bytes of a body that is not kept waiting for others to go with it
_STALLED = 10.0  # seconds in which the bus takes nothing, until it counts as lost


class Outgoing:
    """The messages on their way to the bus.

    give_up: called with the reason where the bus takes nothing for long.
    """

    def __init__(self, give_up: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._serial = 0
        self._pieces: list[bytes | bytearray] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._patience: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Write to this transport from now on."""
        self._transport = transport

    def end(self) -> None:
        """Wait for nothing more."""
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
        self._pieces.append(write_header(header))
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

    def _be_patient(self) -> None:
        """Wait for the bus to take what is written, as long as it takes something now and then.

        It takes nothing while somebody leaves too many of our replies unread; a new connection has
        none of these.
        """
        assert self._transport is not None
        left = self._transport.get_write_buffer_size()

        def look() -> None:
            assert self._transport is not None
            if self._transport.get_write_buffer_size() < left:
                self._be_patient()
            else:
                self._give_up(f"the bus has read nothing for {_STALLED:.0f} s")

        self._patience = self._loop.call_later(_STALLED, look)

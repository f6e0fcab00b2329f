"""The replies to the calls that went out."""

import asyncio
from typing import NamedTuple

from mfc_dbus.bus.errors import ConnectionLost
from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.names import BUS


class _Pending(NamedTuple):
    """A call that went out, and the reply that it will have."""

    destination: str
    reply: asyncio.Future[Frame]


class Replies:
    """The replies that are waited for, by the serials of their calls."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}

    async def wait(self, serial: int, destination: str, timeout: float) -> Frame:
        """Wait for the reply to a call that was just sent. Raises TimeoutError, ConnectionLost."""
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._pending[serial] = _Pending(destination, reply)
        try:
            async with asyncio.timeout(timeout):
                return await reply
        finally:
            # An error that the reply holds has this frame in its traceback: see loop/outcome.py.
            del self._pending[serial], reply

    def admit(self, header: Header) -> bool:
        """Return whether a reply is kept, by its header."""
        pending = self._pending.get(header.reply_serial)
        # Nobody else may answer for the bus.
        return pending is not None and (header.sender == BUS or pending.destination != BUS)

    def put(self, frame: Frame) -> None:
        """Give an admitted reply to the caller who waits for it, if he still does."""
        pending = self._pending.get(frame.header.reply_serial)
        if pending and not pending.reply.done():
            pending.reply.set_result(frame)

    def lose(self, reason: str) -> None:
        """Raise ConnectionLost in all callers that wait."""
        for pending in self._pending.values():
            if not pending.reply.done():
                pending.reply.set_exception(ConnectionLost(reason))

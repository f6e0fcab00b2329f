"""The replies to the calls that went out."""

import asyncio
from typing import Any, NamedTuple

from mfc_dbus.bus.backend import DecodeError, decode
from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.frames import Frame, Header, MessageType
from mfc_dbus.bus.names import BUS, INVALID_SIGNATURE


class _Pending(NamedTuple):
    """A call that went out, and the reply to it."""

    destination: str
    reply: asyncio.Future[Frame]


class Replies:
    """Those that are waited for, by the serials of their calls."""

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
            del self._pending[serial]

    def admit(self, header: Header) -> bool:
        """Decide by its header whether a reply is kept."""
        pending = self._pending.get(header.reply_serial)
        # Nobody else may answer for the bus.
        return pending is not None and (header.sender == BUS or pending.destination != BUS)

    def put(self, frame: Frame) -> None:
        """Give a reply that was admitted to who waits for it, if he still does."""
        pending = self._pending.get(frame.header.reply_serial)
        if pending and not pending.reply.done():
            pending.reply.set_result(frame)

    def lose(self, reason: str) -> None:
        """Let nobody wait any more."""
        for pending in self._pending.values():
            if not pending.reply.done():
                pending.reply.set_exception(ConnectionLost(reason))


def read_reply(frame: Frame, member: str, returns: str | None) -> list[Any]:
    """Decode the body of a reply; returns: the signature that it must have. Raises BusError."""
    header = frame.header
    if header.type == MessageType.METHOD_RETURN and returns not in (None, header.signature):
        raise BusError(INVALID_SIGNATURE, f"{member} returned '{header.signature}'")
    try:
        values = decode(header.signature, frame.body, header.order)
    except DecodeError as error:
        raise BusError(INVALID_SIGNATURE, f"{member} returned what cannot be read") from error
    if header.type == MessageType.ERROR:
        message = values[0] if values and isinstance(values[0], str) else ""
        raise BusError(header.error_name, message)
    return values

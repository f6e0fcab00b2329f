"""What passes between the daemon and polkit on a bus, whoever is polkit there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple, Self

from lab.caller import Caller
from lab.polkit import NAME
from mfc_dbus.bus.backend import decode
from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.frames import Frame, Header, MessageType
from mfc_dbus.bus.names import BUS, BUS_PATH, PEER

_RULES = (
    f"type='method_call',destination='{NAME}',member='CheckAuthorization'",
    f"type='method_return',sender='{NAME}'",
    f"type='error',sender='{NAME}'",
    f"type='method_call',interface='{PEER}',member='Ping'",
)
_TIMEOUT = 20.0


class Question(NamedTuple):
    """What polkit was asked, and its answer: "yes", "challenge", "no", or the name of an error."""

    action: str
    details: dict[str, str]
    answer: str

    def __str__(self) -> str:
        told = " ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"{self.action.rpartition('.')[2]} {told}: {self.answer}"


class Eavesdropper(Connection):
    """A connection to which the bus copies polkit's questions and answers."""

    def __init__(self) -> None:
        super().__init__()
        self._unanswered: dict[tuple[str, int], tuple[str, dict[str, str]]] = {}
        self._answered: list[Question] = []
        self._pings: asyncio.Queue[str] = asyncio.Queue()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address: str) -> AsyncIterator[Self]:
        """Listen from now on. Only root may."""
        eavesdropper = await cls.open(address)
        try:
            await eavesdropper.call(
                BUS,
                BUS_PATH,
                f"{BUS}.Monitoring",
                "BecomeMonitor",
                "asu",
                [list(_RULES), 0],
                timeout=_TIMEOUT,
            )
            yield eavesdropper
        finally:
            await eavesdropper.close()

    async def questions(self, caller: Caller) -> list[Question]:
        """Return the questions that polkit has answered since the last time.

        caller: whose calls they were asked for. All of these have been answered.
        """
        await caller.ping()  # and the bus copies that after what went before it
        async with asyncio.timeout(_TIMEOUT):
            while await self._pings.get() != caller.unique_name:
                pass
        answered, self._answered = self._answered, []
        return answered

    def _admit(self, header: Header) -> bool:
        return self._is_copy(header) or super()._admit(header)

    def _receive(self, frame: Frame) -> None:
        header = frame.header
        if not self._is_copy(header):
            super()._receive(frame)
        elif header.member == "Ping":
            self._pings.put_nowait(header.sender)
        elif header.type == MessageType.METHOD_CALL:
            _, action, details, *_ = decode(header.signature, frame.body, header.order)
            self._unanswered[header.sender, header.serial] = (action, details)
        elif asked := self._unanswered.pop((header.destination, header.reply_serial), None):
            self._answered.append(Question(*asked, _answer(frame)))

    def _is_copy(self, header: Header) -> bool:
        # The first message, which is never a copy, says who this is.
        return self.unique_name not in ("", header.destination)


def _answer(frame: Frame) -> str:
    header = frame.header
    if header.type == MessageType.ERROR:
        return header.error_name
    ((authorized, challenge, _),) = decode(header.signature, frame.body, header.order)
    return "yes" if authorized else "challenge" if challenge else "no"

"""The calls that come in: judged by their headers, taken in turns, decoded and handled.

Nobody who sends a lot keeps the others waiting.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from mfc_dbus.bus.backend import DecodeError, decode
from mfc_dbus.bus.call_queue import Turns
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.large_calls import LargeCalls
from mfc_dbus.bus.names import INVALID_ARGS, LIMITS_EXCEEDED
from mfc_dbus.bus.outgoing import Outgoing
from mfc_dbus.bus.unread import TOO_MUCH_UNREAD, Unread
from mfc_dbus.bus.variants import strange

_MAX_SHOWN = 40  # characters of an option's name
# Before the event loop looks at anything else.
_CALLS_AT_ONCE = 8
_TURN = 0.005  # seconds; of calls that take long to decode, fewer
# Where so many bytes come at once there are more behind them, with somebody's call among them: most
# of the time goes to reading.
_CROWD = 16 * 1024
_READ_BETWEEN_TURNS = 256 * 1024
_MANY_SENDERS = 8  # who wait at once, and may be one user's


class Call(NamedTuple):
    """A method call that came in; its body, or what it will be read from."""

    header: Header
    body: list[Any]
    unread: bytes = b""

    def read(self) -> list[Any]:
        """Decode what is unread. Raises BusError."""
        return _arguments(self.header, self.unread)


class Service(Protocol):
    """What answers the calls that come in."""

    def refuse(self, header: Header) -> BusError | None:
        """Judge a call by its header: the error that answers it undecoded, or None."""

    def reads_late(self, header: Header) -> bool:
        """Whether it decodes the body of this call itself, when it has decided on the caller."""

    async def handle(self, call: Call) -> None:
        """Do what a call asks for, and reply. Must not raise."""


class IncomingCalls:
    """The calls of a service, from their headers until they are answered.

    answer: sends an error to a caller.
    """

    def __init__(
        self,
        service: Service,
        outgoing: Outgoing,
        unread: Unread,
        answer: Callable[[Header, BusError], None],
    ) -> None:
        self._service = service
        self._outgoing = outgoing
        self._unread = unread
        self._answer = answer
        self._turns = Turns(self._unread.user_of)
        self._large = LargeCalls()
        self._next_turn: asyncio.Handle | None = None
        self._came = 0  # bytes since a turn was thought of
        self._crowd = 0  # bytes since one was taken, where many came
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def admit(self, header: Header) -> bool:
        """Decide by its header whether a call is kept. One that is not is answered.

        Only where the caller has read next to nothing for long he hears nothing any more.
        """
        if header.expects_reply and not self._unread.has_room(header.sender):
            self._turn_away(header)
            return False
        if not self._turns.has_room(header):
            refusal: BusError | None = BusError(LIMITS_EXCEEDED, "Too many calls are waiting")
        else:
            refusal = self._service.refuse(header)
            if refusal is None and not self._large.admit(header):
                refusal = BusError(LIMITS_EXCEEDED, "Too many large calls are being handled")
        if refusal:
            self._answer(header, refusal)
        return refusal is None

    def put(self, frame: Frame) -> None:
        """Let a call that was admitted wait for its turn."""
        if len(self._turns) >= _MANY_SENDERS:
            self._unread.learn(frame.header.sender)
        self._turns.put(frame)
        self.plan_turn()

    def count(self, size: int) -> None:
        """Take into account that so many bytes came, of whatever kind."""
        self._came += size

    def plan_turn(self) -> None:
        """See to it that calls are taken, if any wait and what they send can be sent."""
        if self._turns and self._outgoing.is_writable and self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._take_turns)

    def cancel(self) -> None:
        """Cancel what is being handled, and forget what waits."""
        if self._next_turn:
            self._next_turn.cancel()
        self._turns = Turns(self._unread.user_of)
        for task in self._tasks:
            task.cancel()

    def _take_turns(self) -> None:
        self._next_turn = None
        self._crowd = self._crowd + self._came if self._came > _CROWD else 0
        self._came = 0
        if 0 < self._crowd < _READ_BETWEEN_TURNS:
            self.plan_turn()
            return
        self._crowd = 0
        until = self._loop.time() + _TURN
        for _ in range(_CALLS_AT_ONCE):
            if self._turns and self._outgoing.is_writable and self._loop.time() < until:
                self._start(self._turns.take())
        self.plan_turn()

    def _start(self, frame: Frame) -> None:
        header = frame.header
        if self._service.reads_late(header):
            call = Call(header, [], frame.body)
        else:
            try:
                call = Call(header, _arguments(header, frame.body))
            except BusError as error:
                self._answer(header, error)
                self._large.release(header)
                return
        task = self._loop.create_task(self._handle(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, call: Call) -> None:
        try:
            # A reply may be 24 MiB: one of them at a time, whoever else was taken with it.
            await self._outgoing.writable()
            if not call.header.expects_reply or await self._unread.room(call.header.sender):
                await self._service.handle(call)
            else:
                self._turn_away(call.header)
        finally:
            self._large.release(call.header)

    def _turn_away(self, header: Header) -> None:
        if self._unread.may_refuse(header.sender):
            self._answer(header, BusError(LIMITS_EXCEEDED, TOO_MUCH_UNREAD))


def _arguments(header: Header, body: bytes) -> list[Any]:
    """Decode the body of a call. Raises BusError."""
    try:
        found = strange(header.signature, body, header.order)
        if found:
            what = f"Option {found.name[:_MAX_SHOWN]!a}" if found.name else "An argument"
            raise BusError(
                INVALID_ARGS,
                f"{what} has type '{found.type}', which none has: it is one value, or 'as', or of "
                "TTL thresholds 'a{sy}'",
            )
        return decode(header.signature, body, header.order)
    except (ValueError, DecodeError):
        raise BusError(INVALID_ARGS, "The arguments cannot be decoded") from None

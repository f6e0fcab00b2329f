"""The calls that come in: judged by their headers, taken in turns, decoded and handled.

Nobody who sends a lot keeps the others waiting, nor does anybody who sends and leaves: a call whose
sender has left the bus before it began is not answered.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from mfc_dbus.bus.backend import decode
from mfc_dbus.bus.call_queue import CallQueue
from mfc_dbus.bus.errors import BusError, DecodeError
from mfc_dbus.bus.frames import Frame, Header
from mfc_dbus.bus.large_calls import LargeCalls
from mfc_dbus.bus.names import INVALID_ARGS, LIMITS_EXCEEDED
from mfc_dbus.bus.outgoing import Outgoing
from mfc_dbus.bus.unread import TOO_MUCH_UNREAD, Unread
from mfc_dbus.bus.variants import strange

_MAX_SHOWN = 40  # characters of an option's name
_CALLS_AT_ONCE = 8  # that are started before the event loop does anything else, or wait to begin
_TURN = 0.005  # seconds, after which fewer are started
# When so many bytes have come at once, more wait behind them, and another user's call may be among
# those: then so much is read before the next turn.
_CROWD = 16 * 1024
_READ_BETWEEN_TURNS = 256 * 1024
_MANY_SENDERS = 8  # that wait at once; then their users are looked up, since they may be one


class Call(NamedTuple):
    """A method call that came in, with its decoded body, or with the unread bytes of it.

    only_asks: whether it asks what would become of it, and does nothing.
    """

    header: Header
    body: list[Any]
    unread: bytes = b""
    only_asks: bool = False

    def read(self) -> list[Any]:
        """Decode the unread bytes. Raises BusError."""
        return _arguments(self.header, self.unread)


class Service(Protocol):
    """Answers the calls that come in."""

    def refuse(self, header: Header) -> BusError | None:
        """Return the error that answers a call of this header undecoded, or None."""

    def reads_late(self, header: Header) -> bool:
        """Return whether `handle` decodes this call's body itself, after it judged the caller."""

    async def handle(self, call: Call) -> None:
        """Do what a call asks for, and reply. It must not raise."""


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
        self._turns = CallQueue(self._unread.user_of)
        self._large = LargeCalls()
        self._next_turn: asyncio.Handle | None = None
        self._came = 0  # bytes since the last look at whether a turn is due
        self._crowd = 0  # bytes since the last turn, while many come at once
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[asyncio.Task[None], str] = {}  # of calls not begun yet: the senders
        self._loop = asyncio.get_running_loop()

    def admit(self, header: Header) -> bool:
        """Return whether a call is kept, by its header. A call that is not is answered.

        A caller who has left even many refusals unread gets no answer any more.
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
        """Count bytes that came over the connection, of messages of any kind."""
        self._came += size

    def plan_turn(self) -> None:
        """Plan the next turn, if calls wait and their answers can be sent."""
        if self._may_start and self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._take_turns)

    def drop(self, sender: str) -> None:
        """Leave out the calls of a sender who has left the bus, but those that have begun."""
        for frame in self._turns.drop(sender):
            self._large.release(frame.header)
        for task, name in self._starting.items():
            if name == sender:
                task.cancel()

    def cancel(self) -> None:
        """Cancel the calls that are being handled, and forget those that wait."""
        if self._next_turn:
            self._next_turn.cancel()
        self._turns = CallQueue(self._unread.user_of)
        for task in self._tasks:
            task.cancel()

    @property
    def _may_start(self) -> bool:
        """Whether a call waits whose answer can be sent, and few others are about to begin."""
        at_once = len(self._starting) < _CALLS_AT_ONCE
        return bool(self._turns) and at_once and self._outgoing.is_writable

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
            if self._may_start and self._loop.time() < until:
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
        self._starting[task] = header.sender
        task.add_done_callback(partial(self._end, header))

    async def _handle(self, call: Call) -> None:
        has_room = await self._until_room(call.header)
        self._begin(asyncio.current_task())
        if has_room:
            await self._service.handle(call)
        else:
            self._turn_away(call.header)

    async def _until_room(self, header: Header) -> bool:
        """Wait until an answer can be sent; return whether this caller may be sent one.

        A reply may have 24 MiB: the calls of one turn reply one after the other, whatever each of
        them waited for.
        """
        while True:
            await self._outgoing.writable()
            has_room = not header.expects_reply or await self._unread.room(header.sender)
            if self._outgoing.is_writable:
                return has_room

    def _begin(self, task: asyncio.Task[None] | None) -> None:
        if task and self._starting.pop(task, None):
            self.plan_turn()

    def _end(self, header: Header, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._large.release(header)
        self._begin(task)

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

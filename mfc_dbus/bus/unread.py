"""Counts the output that callers have not read yet, and limits it for each user and in all.

dbus-daemon reads nothing more from a connection of whose messages it still holds max_incoming_bytes
(127 MiB) because their receivers do not read them. A stranger could silence the service so, with as
many connections as he is allowed. A message counts as read when its receiver has disconnected, when
he has answered a Ping that was sent after it, or after ten minutes: a client that only ever waits
for the answers to its own calls answers no Ping.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

from mfc_dbus.bus.errors import BusError, ConnectionLost
from mfc_dbus.bus.names import BUS, ERROR, PEER

TOO_MUCH_UNREAD = "Too much of what this user was sent before is still unread"
SHARE = 16 * 1024  # bytes that each connection may leave unread, whatever its user's others do
_MAX_OF_USER = 8 * 1024 * 1024  # bytes, which one answer of at most 24 MiB may exceed
_MAX_OF_STRANGERS = 48 * 1024 * 1024  # likewise, of all users but root
_QUIET = 1024 * 1024  # bytes unread of all users but root, above which each caller is looked up
_MAX_LIGHT = 4096  # connections whose shares are remembered; a bus has 2,048
_WINDOW = 600.0  # seconds
_LOOK = 1.0  # seconds between two looks for messages that are so old
_PINGED = 256 * 1024  # bytes unread, from which on a caller is pinged, if he has room
_MAX_PINGS_OF_USER = 4
_MAX_PINGS = 32  # the bus lets a connection wait for 128 replies
_MAX_WAITING = 64  # calls of one connection that wait until its user is known
_MAX_REFUSALS = 16  # of one connection, which may leave these unread too
_ROOT = 0
_UNKNOWN = -1
_ANONYMOUS = -2  # all connections whose user the bus does not know, as one

_DEPARTURES = f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg2=''"
_NO_OWNER = f"{ERROR}.NameHasNoOwner"
# Errors with which the bus itself answers a Ping; any other answer comes from the receiver.
_OF_BUS = frozenset(
    f"{ERROR}.{name}" for name in ("AccessDenied", "LimitsExceeded", "NameHasNoOwner", "NoReply")
) | {f"{ERROR}.ServiceUnknown"}


class Bus(Protocol):
    """The methods of the connection that are used here."""

    async def call(
        self, destination: str, path: str, interface: str, member: str, *, timeout: float
    ) -> list[Any]: ...
    async def call_bus(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]: ...
    async def subscribe(self, rule: str, handler: Callable[[Any], None]) -> None: ...


class _Receiver:
    """A connection that was sent something.

    since: when the first of its unread bytes was sent. learned: set when its user was looked up;
    None where nobody has started to. waiting: the number of calls that wait for that.
    """

    __slots__ = ("learned", "pinged", "refusals", "since", "size", "uid", "waiting")

    def __init__(self, now: float) -> None:
        self.size = 0
        self.since = now
        self.uid = _UNKNOWN
        self.learned: asyncio.Event | None = None
        self.waiting = 0
        self.pinged = False
        self.refusals = 0


class Unread:
    """Counts unread bytes by connection and by user, and says who may be sent more.

    A connection with up to SHARE unread bytes is light, and one with more is heavy.
    """

    def __init__(self, bus: Bus, left: Callable[[str], None] = lambda _: None) -> None:
        """left: is called with the name of each connection that closes, once one was looked up."""
        self._bus = bus
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._light: OrderedDict[str, _Receiver] = OrderedDict()
        self._heavy: dict[str, _Receiver] = {}
        self._of_users: Counter[int] = Counter()  # bytes of heavy connections, root's left out
        self._pings: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribed = False
        self._forgot = self._loop.time()

    def has_room(self, receiver: str) -> bool:
        """Return whether this connection may be sent an answer; True while its user is unknown."""
        heavy = self._heavy.get(receiver)
        if heavy is None or heavy.uid in (_ROOT, _UNKNOWN):
            return True
        self._forget_old()
        return receiver not in self._heavy or self._has_users_room(heavy.uid)

    async def room(self, receiver: str) -> bool:
        """Wait until the user of this connection is known; return whether it may be sent an answer.

        A light one always may; but while much is unread its user is looked up, for `fits`.
        """
        known = self._heavy.get(receiver)
        if known is None and self._of_users.total() > _QUIET:
            known = self._find_light(receiver)
            self._learn_once(receiver, known)
        if known is not None and known.uid == _UNKNOWN and known.learned is not None:
            if known.waiting >= _MAX_WAITING:
                return False
            known.waiting += 1
            try:
                await known.learned.wait()
            finally:
                known.waiting -= 1
        return self.has_room(receiver)

    def learn(self, receiver: str) -> None:
        """Start to look up the user of this connection for `user_of`, unless that was done."""
        known = self._heavy.get(receiver) or self._find_light(receiver)
        self._learn_once(receiver, known)

    def user_of(self, receiver: str) -> int | str | None:
        """Return the uid of this connection, None while it is looked up, else the name."""
        known = self._heavy.get(receiver) or self._light.get(receiver)
        if known is None or known.learned is None:
            return receiver
        return None if known.uid == _UNKNOWN else known.uid

    def fits(self, receiver: str, size: int) -> bool:
        """Return whether a connection that has room may be sent an answer of this size."""
        known = self._heavy.get(receiver) or self._light.get(receiver)
        return (
            known is None
            or known.uid in (_ROOT, _UNKNOWN)
            or known.size + size <= SHARE
            or self._has_users_room(known.uid)
        )

    def may_refuse(self, receiver: str) -> bool:
        """Return whether a connection without room may be sent a refusal, and count that."""
        heavy = self._heavy.get(receiver)
        if heavy is None:
            return True
        self._ping(receiver, heavy, least=0)
        heavy.refusals += 1
        return heavy.refusals <= _MAX_REFUSALS

    def count(self, receiver: str, size: int) -> None:
        """Count bytes that were sent to a connection."""
        heavy = self._heavy.get(receiver)
        if heavy is None:
            self._count_light(receiver, size)
            return
        heavy.size += size
        self._add(heavy, size)
        self._ping(receiver, heavy)

    def end(self) -> None:
        """Cancel all lookups and pings."""
        for task in self._tasks:
            task.cancel()

    def _count_light(self, receiver: str, size: int) -> None:
        light = self._find_light(receiver)
        light.size += size
        if light.size > SHARE:
            del self._light[receiver]
            self._heavy[receiver] = light
            self._add(light, light.size)
            self._learn_once(receiver, light)
            self._ping(receiver, light)

    def _find_light(self, receiver: str) -> _Receiver:
        now = self._loop.time()
        light = self._light.get(receiver)
        if light is None or now - light.since > _WINDOW:
            self._light.pop(receiver, None)
            light = self._light[receiver] = _Receiver(now)
            if len(self._light) > _MAX_LIGHT:
                self._light.popitem(last=False)
        return light

    def _has_users_room(self, uid: int) -> bool:
        return self._of_users[uid] < _MAX_OF_USER and self._of_users.total() < _MAX_OF_STRANGERS

    def _learn_once(self, receiver: str, known: _Receiver) -> None:
        if known.learned is None:
            known.learned = asyncio.Event()
            self._start(self._learn(receiver, known, known.learned))

    async def _learn(self, receiver: str, known: _Receiver, learned: asyncio.Event) -> None:
        """Look up the user of a connection, and have the bus tell of all that close."""
        try:
            if not self._subscribed:
                self._subscribed = True
                await self._bus.subscribe(_DEPARTURES, self._hear)
            (uid,) = await self._bus.call_bus("GetConnectionUnixUser", "s", [receiver])
        except BusError as error:
            uid = _ANONYMOUS
            if error.name == _NO_OWNER:  # it has closed already
                self._see_off(receiver)
        except TimeoutError:
            uid = _ANONYMOUS
        finally:
            learned.set()
        is_heavy = self._heavy.get(receiver) is known
        if is_heavy:
            self._subtract(known, known.size)
        known.uid = uid
        if is_heavy:
            self._add(known, known.size)
            self._ping(receiver, known)

    def _ping(self, receiver: str, heavy: _Receiver, least: int = _PINGED) -> None:
        """Ping a caller with this many unread bytes: his answer shows that he has read them."""
        if (
            heavy.size >= least
            and not heavy.pinged
            and heavy.uid not in (_ROOT, _UNKNOWN)
            and self._pings[heavy.uid] < _MAX_PINGS_OF_USER
            and self._pings.total() < _MAX_PINGS
        ):
            heavy.pinged = True
            self._pings[heavy.uid] += 1
            self._start(self._await_pong(receiver, heavy, heavy.size))

    async def _await_pong(self, receiver: str, heavy: _Receiver, size: int) -> None:
        try:
            await self._bus.call(receiver, "/", PEER, "Ping", timeout=_WINDOW)
        except BusError as error:
            read = error.name not in _OF_BUS
        except TimeoutError:
            read = False
        else:
            read = True
        finally:
            self._pings[heavy.uid] -= 1
        if read and self._heavy.get(receiver) is heavy:
            heavy.pinged = False
            heavy.refusals = 0
            heavy.since = self._loop.time()
            heavy.size -= size
            self._subtract(heavy, size)
            if heavy.size <= SHARE:
                self._subtract(heavy, heavy.size)
                self._light[receiver] = self._heavy.pop(receiver)
            else:
                self._ping(receiver, heavy)

    def _hear(self, signal: Any) -> None:
        if signal.sender == BUS and signal.member == "NameOwnerChanged":
            name, _, owner = signal.body
            if not owner:
                self._see_off(name)

    def _see_off(self, name: str) -> None:
        self._forget(name)
        self._left(name)

    def _forget_old(self) -> None:
        """Count as read what was sent more than _WINDOW seconds ago."""
        now = self._loop.time()
        if now - self._forgot < _LOOK:
            return
        self._forgot = now
        for receiver, heavy in list(self._heavy.items()):
            if now - heavy.since > _WINDOW:
                self._forget(receiver)

    def _forget(self, receiver: str) -> None:
        self._light.pop(receiver, None)
        heavy = self._heavy.pop(receiver, None)
        if heavy is not None:
            self._subtract(heavy, heavy.size)

    def _add(self, heavy: _Receiver, size: int) -> None:
        if heavy.uid != _ROOT:
            self._of_users[heavy.uid] += size

    def _subtract(self, heavy: _Receiver, size: int) -> None:
        if heavy.uid != _ROOT:
            self._of_users[heavy.uid] -= size
            if not self._of_users[heavy.uid]:
                del self._of_users[heavy.uid]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(ConnectionLost):
            await work

"""Watches the service over the bus, and puts what scripts are to hear into the backlog."""

import asyncio
from collections.abc import Callable, Sequence

from mfc_dbus.bus.connection import Signal
from mfc_dbus.client import (
    CauseInfo,
    Client,
    ClientError,
    MembershipEvent,
    RouteEvent,
    UnroutedEvent,
)
from mfc_dbus.client import Event as ClientEvent
from mfc_dbus.client.follower import Follower
from mfc_dbus.client.info import unrouted_event
from mfc_dbus.client.remote import GONE
from mfc_dbus.dispatcher.backlog import Backlog
from mfc_dbus.dispatcher.comparison import (
    Comparison,
    Info,
    RunningService,
    Up,
    thing_of,
    uses,
    value_of,
)
from mfc_dbus.dispatcher.events import UNROUTED, CausedBy, Event, Kind, events_of
from mfc_dbus.dispatcher.learned import LearnedStreams
from mfc_dbus.model.states import InterfaceState

UNROUTED_TRAFFIC = "UnroutedTraffic"  # a signal
_BY_START = CausedBy("start")
_BY_INTERFACE = CausedBy("interface")
_AWAY = (*GONE, "Timeout")  # the service has gone or hangs: the bus tells of the next one


class Watch:
    """What is known of the service, from the signals that it sends."""

    def __init__(
        self, client: Client, follower: Follower, bus: str, wants_streams: Callable[[], bool]
    ) -> None:
        """bus: see `Client.bus_id`. wants_streams: whether scripts are to hear of streams now."""
        self.backlog = Backlog(self._compare_again, self._compare_streams_again)
        self._client = client
        self._follower = follower
        self._bus = bus
        self._is_known = False  # whether the backlog has all of this process of the service
        self._up: set[str] = set()
        self._learned = LearnedStreams(client, wants_streams)

    async def begin(self) -> None:
        """Compare with how things are now."""
        await self._know()
        if not self._is_known:
            self.backlog.put(self._compare(_BY_START))

    async def _follow(self, signal: Signal) -> None:
        follower = self._follower
        if signal.member == UNROUTED_TRAFFIC:
            if signal.sender == follower.owner:
                self.backlog.put(_unrouted(unrouted_event(signal.body)))
            return
        before = follower.owner
        events = await follower.follow(signal)
        if follower.owner != before:
            if self._is_known:
                self._put(RunningService(f"{self._bus} {before}"), None)
            self._is_known = False
        if not self._is_known:
            await self._know()  # the comparison has these events
            return
        for event in events:
            self._put_event(event)
        if signal.member == "PropertiesChanged" and "Interfaces" in signal.body[2]:
            await self._read_interfaces()

    async def run(self, signals: asyncio.Queue[Signal | None]) -> None:
        """Follow the signals until they end. Raises ClientError."""
        looking = asyncio.create_task(self._look_at_streams())
        try:
            while signal := await signals.get():
                await self._follow(signal)
                if looking.done():
                    looking.result()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look_at_streams(self) -> None:
        """Ask again and again which streams are learned, since no signal tells of it."""
        while True:
            await self._learned.until_due()
            before, owner = self._learned.streams, self._follower.owner
            is_known = self._is_known and await self._learned.read()
            if not is_known or self._follower.owner != owner:
                continue
            after = self._learned.streams or {}
            if before is None:
                self.backlog.put(self._compare_streams())
                continue
            for thing in before.keys() - after.keys():
                self._put(before[thing], None)
            for thing in after.keys() - before.keys():
                self._put(None, after[thing])

    async def _know(self) -> None:
        """Compare with all of a process of the service that is new, if it can be read."""
        if self._follower.owner and self._follower.compared:
            self._up = set()
            if await self._read_interfaces():
                self._learned.streams = None
                await self._learned.read()
                self._is_known = True
                self.backlog.put(self._compare(_BY_START))
                if self._learned.streams is not None:
                    self.backlog.put(self._compare_streams())

    async def _read_interfaces(self) -> bool:
        """Put which interfaces of routes came up and went down. Return whether they were read."""
        try:
            interfaces = await self._client.interfaces()
        except ClientError as error:
            if error.name not in _AWAY:
                raise
            return False
        states = {each.name: each.state for each in interfaces if each.references}
        up = {name for name, state in states.items() if state == InterfaceState.ACTIVE}
        # One that no route uses any more is not among them, and counts as it was.
        down = {name for name in self._up - up if name in states or self._is_used(name)}
        came, self._up = up - self._up, (self._up | up) - down
        if self._is_known:
            for name in sorted(down):
                self._put(Up(name), None, _BY_INTERFACE)
            for name in sorted(came):
                self._put(None, Up(name), _BY_INTERFACE)
        return True

    def _is_used(self, interface: str) -> bool:
        return uses(self._follower.routes.values(), interface)

    def _compare_again(self) -> Comparison:
        return self._compare()._replace(resync=True)

    def _compare(self, cause: CausedBy | None = None) -> Comparison:
        known: dict[Kind, Sequence[Info]] = {}
        if self._is_known or not self._follower.owner:
            known[Kind.SERVICE] = []
        if self._is_known:
            known = {
                Kind.SERVICE: [RunningService(f"{self._bus} {self._follower.owner}")],
                Kind.INTERFACE: [Up(name) for name in sorted(self._up)],
                Kind.MEMBERSHIP: [*self._follower.memberships.values()],
                Kind.ROUTE: [*self._follower.routes.values()],
            }
        return Comparison(known, cause, self._follower.generation)

    def _compare_streams_again(self) -> Comparison:
        return self._compare_streams()._replace(resync=True)

    def _compare_streams(self) -> Comparison:
        """Compare streams, where they are known."""
        streams = self._learned.streams
        known = {} if streams is None else {Kind.STREAM: [*streams.values()]}
        return Comparison(known, generation=self._follower.generation)

    def _put_event(self, event: ClientEvent) -> None:
        match event:
            case RouteEvent(event="removed") | MembershipEvent(event="membership-removed"):
                self._put(event.before, None, _cause(event.cause))
            case RouteEvent():
                self._put(event.before, event.route, _cause(event.cause))
            case MembershipEvent():
                self._put(event.before, event.membership, _cause(event.cause))

    def _put(self, before: Info | None, after: Info | None, cause: CausedBy | None = None) -> None:
        info = after or before
        assert info is not None
        values = (value_of(each) if each is not None else None for each in (before, after))
        for event in events_of(thing_of(info), *values):
            self.backlog.put(event._replace(cause=cause, generation=self._follower.generation))


def _unrouted(event: UnroutedEvent) -> Event:
    told = {name: value for name, value in event.to_json().items() if name != "event"}
    return Event(UNROUTED, Kind.STREAM, told)


def _cause(info: CauseInfo | None) -> CausedBy | None:
    if info is None:
        return None
    return CausedBy(info.cause, info.action, info.uid, info.user, info.sender, info.pid)

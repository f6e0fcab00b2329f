"""What the applet knows of the service, and what of it deserves attention (pure)."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from mfc_dbus.client.info import (
    InterfaceInfo,
    MembershipInfo,
    MembershipKey,
    RouteInfo,
    RouteKey,
    StreamInfo,
    UnroutedEvent,
)
from mfc_dbus.model.members import Action, Permission
from mfc_dbus.model.states import RouteState
from mfc_dbus.names import ANY_SOURCE

HISTORY = 60  # rates of a stream that are kept: one a second
IDLE = 5.0  # seconds after which a stream that flowed counts as idle
_FORGOTTEN = 25.0  # seconds: an unrouted stream is told of every ten, while it arrives
_MOST_UNROUTED = 1000

StreamKey = tuple[str, str, str, int]
Known = TypeVar("Known", bound=tuple[Any, ...])
Level = Literal["well", "attention", "away"]
_WAITING = (RouteState.WAITING, RouteState.PARTIAL, RouteState.UNAVAILABLE)


class Overview(NamedTuple):
    """How all of it is, for the tray and for notices."""

    level: Level
    waiting: int  # routes that forward nothing, or not by all oifs
    idle: int  # streams that flowed, and do no longer
    unrouted: int
    routes: int


def known(type_: type[Known], fields: Mapping[str, Any]) -> Known:
    """Make a value of what the bus has told; a newer service may tell more."""
    names = type_._fields  # type: ignore[attr-defined]
    values = {name.replace("-", "_"): value for name, value in fields.items()}
    told = {name: values[name] for name in names if name in values}
    if "oifs" in told:
        told["oifs"] = tuple(told["oifs"])
    return type_(**told)


def known_route(fields: Sequence[Any]) -> RouteInfo:
    """Make a route of its five fields in a signal."""
    source, group, iif, oifs, options = fields
    return known(RouteInfo, {"source": source, "group": group, "iif": iif, "oifs": oifs, **options})


def stream_key(stream: StreamInfo) -> StreamKey:
    return stream.source, stream.group, stream.iif, stream.table


class State:
    """Routes, streams and all else by their keys, as the service told of them last.

    available: whether the service runs; if not, all of this is of the past.
    """

    def __init__(self) -> None:
        self.available = False
        self.routes: dict[RouteKey, RouteInfo] = {}
        self.memberships: dict[MembershipKey, MembershipInfo] = {}
        self.interfaces: Sequence[InterfaceInfo] = ()
        self.streams: dict[StreamKey, StreamInfo] = {}
        self.more_streams = 0
        self.rates: dict[StreamKey, deque[float]] = {}
        self.unrouted: dict[UnroutedEvent, float] = {}
        self.permissions: Mapping[str, str] = {}
        self.troubled: dict[RouteKey, None] = {}  # routes that forward not all, in their order

    @property
    def overview(self) -> Overview:
        waiting = len(self.troubled)
        idle = sum(is_idle(stream) for stream in self.streams.values())
        level: Level = "attention" if waiting or idle or self.unrouted else "well"
        if not self.available:
            level = "away"
        return Overview(level, waiting, idle, len(self.unrouted), len(self.routes))

    def may(self, action: Action) -> Permission:
        """Return what the user may do; where nothing is known, nothing."""
        try:
            return Permission(self.permissions[action])
        except (KeyError, ValueError):
            return Permission.NO

    def set_routes(self, routes: Iterable[RouteInfo]) -> None:
        """Take these for all routes that there are."""
        self.routes.clear()
        self.troubled.clear()
        self.put_routes(routes)

    def put_routes(self, routes: Iterable[RouteInfo]) -> None:
        for route in routes:
            key = route.key
            self.routes[key] = route
            if route.state in _WAITING:
                self.troubled[key] = None
            elif self.troubled:
                self.troubled.pop(key, None)

    def drop_routes(self, routes: Iterable[RouteInfo]) -> None:
        for route in routes:
            self.routes.pop(route.key, None)
            self.troubled.pop(route.key, None)

    def set_memberships(self, memberships: Iterable[MembershipInfo]) -> None:
        self.memberships = {each.key: each for each in memberships}

    def set_streams(self, streams: Sequence[StreamInfo], total: int) -> None:
        """Take these for the busiest streams of `total`, and note their rates."""
        self.more_streams = max(total - len(streams), 0)
        self.streams = {stream_key(stream): stream for stream in streams}
        covered = {(told.source, told.group, told.iif, told.table) for told in streams}
        for each in [*self.unrouted]:
            if each[:4] in covered or (ANY_SOURCE, *each[1:4]) in covered:
                del self.unrouted[each]
        rates = {}
        for key, stream in self.streams.items():
            rates[key] = self.rates.get(key) or deque(maxlen=HISTORY)
            rates[key].append(stream.bits_per_second or 0.0)
        self.rates = rates

    def see_unrouted(self, stream: UnroutedEvent, now: float) -> None:
        if stream in self.unrouted or len(self.unrouted) < _MOST_UNROUTED:
            self.unrouted[stream] = now

    def forget_unrouted(self, now: float) -> bool:
        """Forget the unrouted streams that arrive no longer; return whether there were any."""
        old = [stream for stream, seen in self.unrouted.items() if now - seen > _FORGOTTEN]
        for stream in old:
            del self.unrouted[stream]
        return bool(old)


def stream_of(state: State, route: RouteInfo) -> StreamInfo | None:
    """Return the stream of a route, or what all those together are that were learned of it."""
    own = state.streams.get((route.source, route.group, route.iif, route.table))
    if own is not None and own.route_key == route.key:
        return own
    learned = [each for each in state.streams.values() if each.route_key == route.key]
    if not learned:
        return None
    return StreamInfo(
        *(route.source, route.group, route.iif, route.oifs, False, *route.key[:2], route.iif),
        packets=sum(each.packets or 0 for each in learned),
        bytes=sum(each.bytes or 0 for each in learned),
        wrong_if=sum(each.wrong_if or 0 for each in learned),
        packets_per_second=sum(each.packets_per_second or 0.0 for each in learned),
        bits_per_second=sum(each.bits_per_second or 0.0 for each in learned),
        table=route.table,
    )


def is_idle(stream: StreamInfo) -> bool:
    """Return whether a stream that was seen to flow does so no longer."""
    return stream.idle is not None and stream.idle >= IDLE and bool(stream.oifs)

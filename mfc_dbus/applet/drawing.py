"""What of the state is a band of the picture (pure)."""

from collections.abc import Iterator

from mfc_dbus.applet import texts
from mfc_dbus.applet.layout import MOST_BANDS, Drawn, Kind
from mfc_dbus.applet.state import State, stream_key
from mfc_dbus.client.info import RouteInfo, RouteKey, StreamInfo, UnroutedEvent

# The first word of a band's key says what it is; the others are that thing's own key.
STREAM, ROUTE, UNROUTED = "stream", "route", "unrouted"

Key = tuple[str, ...]


def key_of_stream(stream: StreamInfo) -> Key:
    """A stream that is a route's own entry has the route's key, so that it is the same thing."""
    if stream.learned:
        return (STREAM, *map(str, stream_key(stream)))
    return key_of_route(stream.route_key)


def key_of_route(key: RouteKey) -> Key:
    return (ROUTE, *map(str, key))


def key_of_unrouted(stream: UnroutedEvent) -> Key:
    return (UNROUTED, stream.source, stream.group, stream.iif, str(stream.table))


def candidates(state: State) -> Iterator[Drawn]:
    """Yield all that may be a band: streams, routes without one that is known, unrouted streams.

    Of very many routes that are quiet only as many as could be drawn.
    """
    for stream in state.unrouted:
        label = texts.stream(stream.source, stream.group)
        yield Drawn(
            key_of_unrouted(stream), Kind.UNROUTED, stream.iif, (), 0.0, label, stream.group
        )
    shown = set()
    for told in state.streams.values():
        shown.add(told.route_key)
        route = state.routes.get(told.route_key)
        yield _of_stream(told, route)
    for key in state.troubled:
        if key not in shown:
            shown.add(key)
            yield _of_route(state.routes[key])
    room = MOST_BANDS
    for route in state.routes.values():
        if room <= 0:
            break
        if route.key not in shown and route.enabled:
            room -= 1
            yield _of_route(route)


def _of_stream(told: StreamInfo, route: RouteInfo | None) -> Drawn:
    rate = told.bits_per_second or 0.0
    kind = Kind.FLOWING if rate else Kind.QUIET
    if not told.oifs:
        kind = Kind.STOPPED
    elif route is not None and route.state in ("waiting", "unavailable"):
        kind = Kind.WAITING
    by = texts.stream(told.route_source, told.route_group)
    label = texts.stream(told.source, told.group)
    return Drawn(
        key_of_stream(told), kind, told.iif, told.oifs, rate, label, told.group, by, told.learned
    )


def _of_route(route: RouteInfo) -> Drawn:
    kind = Kind.QUIET if route.oifs else Kind.STOPPED
    if route.state in ("waiting", "unavailable"):
        kind = Kind.WAITING
    label = texts.stream(route.source, route.group)
    return Drawn(
        key_of_route(route.key), kind, route.iif, route.oifs, 0.0, label, route.group, label
    )

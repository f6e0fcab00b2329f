"""Lists of what is known: how a thing is shown, sorted and searched; and an ordered list (pure).

A list holds the values that the service told, and makes a row of one only when it is to be seen.
"""

import bisect
import math
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from mfc_dbus.applet import texts
from mfc_dbus.applet.drawing import (
    Key,
    key_of_route,
    key_of_stream,
    key_of_unrouted,
)
from mfc_dbus.applet.layout import natural
from mfc_dbus.applet.state import State, stream_key
from mfc_dbus.applet.translation import _, ngettext
from mfc_dbus.client.info import (
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    StreamInfo,
    UnroutedEvent,
)
from mfc_dbus.model.route import MAX_VIFS

T = TypeVar("T")


class Row(NamedTuple):
    """What is seen of a thing. rates: of the last minute, None where it has none."""

    title: str
    subtitle: str
    badge: str = ""
    tone: str = ""
    number: str = ""  # such as a rate
    rates: Sequence[float] | None = None


class Sort(NamedTuple):
    """An order to choose. is_live: it changes each second."""

    name: str
    key: Callable[[Any], Any]
    is_live: bool = False


class Kind(NamedTuple, Generic[T]):
    """One kind of list."""

    name: str
    title: str
    icon: str
    values: Callable[[State], Iterable[T]]
    key: Callable[[T], Key]
    row: Callable[[T, State], Row]
    words: Callable[[T], str]  # in which is searched
    sorts: Sequence[Sort]
    empty: str  # title where there is none
    hint: str


def address(text: str) -> tuple[int, bytes, int]:
    """Return a key in the order of addresses; any source comes first."""
    base, _slash, length = text.partition("/")
    if base == "*":
        return 0, b"", 0
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in base else socket.AF_INET, base)
    except OSError:
        return 99, text.encode(), 0
    return len(packed), packed, int(length or 8 * len(packed))


def _by_group(each: Any) -> Any:
    return address(each.group), address(each.source)


def _route_row(route: RouteInfo, state: State) -> Row:
    ways = texts.way(route.iif, route.oifs)
    told = state.streams.get((route.source, route.group, route.iif, route.table))
    return Row(
        texts.stream(route.source, route.group),
        f"{ways}  ·  {route.comment}" if route.comment else ways,
        texts.state(route.state),
        texts.tone(route.state),
        texts.flow(told) if told else "",
        state.rates.get(stream_key(told)) if told else None,
    )


def _stream_row(told: StreamInfo, state: State) -> Row:
    ways = texts.way(told.iif, told.oifs)
    if told.learned:
        route = texts.stream(told.route_source, told.route_group)
        ways = _("{way}  ·  of {route}").format(way=ways, route=route)
    elif told.comment:
        ways = f"{ways}  ·  {told.comment}"
    idle = told.idle is not None and told.idle >= 2
    flows = bool(told.bits_per_second)
    badge, tone = (_("Idle"), "warning") if idle else (_("Flows"), "success") if flows else ("", "")
    if not told.oifs:
        badge, tone = _("Stopped"), "dim-label"
    title = texts.stream(told.source, told.group)
    return Row(title, ways, badge, tone, texts.flow(told), state.rates.get(stream_key(told)))


def _membership_row(membership: MembershipInfo, _state: State) -> Row:
    where = _("on {interface}").format(interface=membership.interface)
    return Row(
        texts.stream(membership.source, membership.group),
        "  ·  ".join(filter(None, (where, membership.comment, membership.reason))),
        texts.state(membership.state),
        texts.tone(membership.state),
    )


def _interface_row(interface: InterfaceInfo, _state: State) -> Row:
    family = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(interface.family, interface.family)
    parts = [
        _("{family}, VIF {vif} of {most}").format(family=family, vif=interface.vif, most=MAX_VIFS),
        ngettext("{count} route", "{count} routes", interface.references).format(
            count=interface.references
        ),
    ]
    if interface.table:
        parts.insert(1, _("table {number}").format(number=interface.table))
    traffic = _("{into} in, {out} out").format(
        into=texts.size(interface.bytes_in), out=texts.size(interface.bytes_out)
    )
    state = interface.state
    return Row(interface.name, "  ·  ".join(parts), texts.state(state), texts.tone(state), traffic)


def _unrouted_row(stream: UnroutedEvent, _state: State) -> Row:
    where = _("arrives on {iif}, and no route covers it").format(iif=stream.iif)
    return Row(texts.stream(stream.source, stream.group), where, _("Unrouted"), "warning")


def _magnitude(told: StreamInfo) -> int:
    """Return how fast a stream is in coarse steps, so that those of like rates keep their order."""
    return round(6 * math.log10(told.bits_per_second or 1.0))


def key_of_membership(membership: MembershipInfo) -> Key:
    return ("membership", *membership.key)


def key_of_interface(interface: InterfaceInfo) -> Key:
    return ("interface", interface.family, interface.name, str(interface.table))


def kinds() -> Sequence[Kind[Any]]:
    """Return the lists, in the words of the user's language."""
    by_group = Sort(_("Group"), _by_group)
    by_iif = Sort(_("Arrives on"), lambda each: (natural(each.iif), _by_group(each)))
    by_state = Sort(_("State"), lambda each: (_STATES.get(each.state, 0), _by_group(each)))
    by_rate = Sort(_("Rate"), lambda each: (-_magnitude(each), _by_group(each)), True)
    by_idle = Sort(_("Idle"), lambda each: (-(each.idle or 0.0), _by_group(each)), True)
    by_interface = Sort(_("Interface"), lambda each: (natural(each.interface), _by_group(each)))
    by_name = Sort(_("Name"), lambda each: (natural(each.name), each.family, each.table))
    by_traffic = Sort(
        _("Traffic"), lambda each: (-(each.bytes_in + each.bytes_out), natural(each.name)), True
    )
    return (
        Kind(
            "routes",
            _("Routes"),
            "network-transmit-symbolic",
            lambda state: state.routes.values(),
            lambda route: key_of_route(route.key),
            _route_row,
            lambda route: " ".join(
                (route.source, route.group, route.iif, *route.oifs, route.comment, route.state)
            ),
            (by_group, by_iif, by_state),
            _("No Routes Yet"),
            _("A route says where a stream arrives and by which interfaces it leaves."),
        ),
        Kind(
            "streams",
            _("Streams"),
            "media-playlist-consecutive-symbolic",
            lambda state: state.streams.values(),
            key_of_stream,
            _stream_row,
            lambda told: " ".join(
                (told.source, told.group, told.iif, *told.oifs, told.comment, told.route_group)
            ),
            (by_rate, by_group, by_idle, by_iif),
            _("No Streams"),
            _("Nothing that a route is for has arrived."),
        ),
        Kind(
            "memberships",
            _("Memberships"),
            "emblem-shared-symbolic",
            lambda state: state.memberships.values(),
            key_of_membership,
            _membership_row,
            lambda each: " ".join((each.source, each.group, each.interface, each.comment)),
            (by_group, by_interface, by_state),
            _("No Memberships"),
            _("Join a group so that switches and routers send its streams here."),
        ),
        Kind(
            "interfaces",
            _("Interfaces"),
            "network-wired-symbolic",
            lambda state: state.interfaces,
            key_of_interface,
            _interface_row,
            lambda each: f"{each.name} {each.family} {each.state}",
            (by_name, by_traffic),
            _("No Interfaces in Use"),
            _("Interfaces are here that routes use, or that are watched."),
        ),
        Kind(
            "unrouted",
            _("Unrouted"),
            "dialog-question-symbolic",
            lambda state: state.unrouted,
            key_of_unrouted,
            _unrouted_row,
            lambda each: f"{each.source} {each.group} {each.iif}",
            (by_group, by_iif),
            _("Nothing Is Unrouted"),
            _("Streams are here that arrive on an interface in use, and that no route covers."),
        ),
    )


_STATES = {"failed": -4, "unavailable": -3, "waiting": -2, "partial": -1}


class Listing(Generic[T]):
    """Values that pass a search, in an order; it says which places changed."""

    def __init__(self, kind: Kind[T]) -> None:
        self._kind = kind
        self.sort = kind.sorts[0]
        self.text = ""
        self._all: Mapping[Key, T] = {}
        self.keys: list[Key] = []
        self.values: Mapping[Key, T] = self._all

    def refill(self, values: Iterable[T]) -> tuple[int, int, int]:
        """Take these values. Return from which place on how many are gone, and how many are new."""
        wanted = self.text.casefold()
        words, key_of = self._kind.words, self._kind.key
        some = [each for each in values if not wanted or wanted in words(each).casefold()]
        some.sort(key=self.sort.key)
        self.values = {key_of(each): each for each in some}
        before, self.keys = self.keys, list(self.values)
        return changed(before, self.keys)

    def put(self, value: T) -> tuple[int, int, int] | None:
        """Take one value more, or in the place of the one with its key."""
        dropped = self.drop(value)
        wanted = self.text.casefold()
        if wanted and wanted not in self._kind.words(value).casefold():
            return dropped
        key = self._kind.key(value)
        place = bisect.bisect_left(self.keys, self.sort.key(value), key=self._sort_key)
        self.keys.insert(place, key)
        self.values[key] = value  # type: ignore[index]
        if dropped is None:
            return place, 0, 1
        first, last = sorted((dropped[0], place))
        return first, last - first + 1, last - first + 1

    def drop(self, value: T) -> tuple[int, int, int] | None:
        key = self._kind.key(value)
        if key not in self.values:
            return None
        place = bisect.bisect_left(self.keys, self.sort.key(self.values[key]), key=self._sort_key)
        while self.keys[place] != key:  # another one that is sorted as this
            place += 1
        del self.keys[place]
        del self.values[key]  # type: ignore[attr-defined]
        return place, 1, 0

    def _sort_key(self, key: Key) -> Any:
        return self.sort.key(self.values[key])


def changed(before: Sequence[Key], after: Sequence[Key]) -> tuple[int, int, int]:
    """Return the part that differs: where it begins, how long it was and how long it is."""
    shorter = min(len(before), len(after))
    if before == after:
        return 0, 0, 0
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    rest = range(1, shorter - head + 1)
    tail = next((n - 1 for n in rest if before[-n] != after[-n]), shorter - head)
    return head, len(before) - head - tail, len(after) - head - tail

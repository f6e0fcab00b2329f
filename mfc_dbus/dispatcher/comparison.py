"""Compares what scripts have heard with how things are: after a start, and when events were lost.

The events are made one by one, while scripts run: what scripts have heard meanwhile is seen.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mfc_dbus.client import MembershipInfo, RouteInfo, StreamInfo
from mfc_dbus.dispatcher.events import RESYNC, CausedBy, Event, Kind, Thing, Value, events_of
from mfc_dbus.model.interfaces import matches

_STREAM = ("source", "group", "iif", "oifs", "table", "comment")


class HeardSoFar(Protocol):
    """What scripts have heard."""

    def things(self, kind: Kind) -> Sequence[Thing]: ...
    def get(self, thing: Thing) -> Value | None: ...
    def forget(self, thing: Thing) -> None: ...


class RunningService(NamedTuple):
    """The service, as one process of it."""

    instance: str


class Up(NamedTuple):
    """An interface that is up."""

    name: str


Info = RouteInfo | MembershipInfo | StreamInfo | RunningService | Up


class Comparison(NamedTuple):
    """How things are: of each kind that is known, all. resync: whether events were lost."""

    known: Mapping[Kind, Sequence[Info]]
    cause: CausedBy | None = None
    generation: int | None = None
    resync: bool = False

    def events(self, heard: HeardSoFar) -> Iterator[Event]:
        """Yield the events that lead from what scripts have heard to this."""
        if self.resync:
            yield Event(RESYNC, Kind.SERVICE, {}, generation=self.generation)
        for kind, infos in self.known.items():
            there = {thing_of(info) for info in infos}
            for thing in heard.things(kind):
                if thing in there:
                    continue
                if kind is Kind.INTERFACE and not self._uses(*thing.key):
                    heard.forget(thing)
                    continue
                yield from self._stamped(events_of(thing, heard.get(thing), None))
            for info in infos:
                thing = thing_of(info)
                yield from self._stamped(events_of(thing, heard.get(thing), value_of(info)))

    def _stamped(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield event._replace(cause=self.cause, generation=self.generation)

    def _uses(self, interface: str) -> bool:
        routes = (info for info in self.known.get(Kind.ROUTE, ()) if isinstance(info, RouteInfo))
        return uses(routes, interface)


def uses(routes: Iterable[RouteInfo], interface: str) -> bool:
    """Return whether any of these routes is for an interface."""
    return any(
        matches(pattern, interface) for route in routes for pattern in (route.iif, *route.oifs)
    )


def thing_of(info: Info) -> Thing:
    match info:
        case RouteInfo():
            return Thing(Kind.ROUTE, tuple(map(str, info.key)))
        case MembershipInfo():
            return Thing(Kind.MEMBERSHIP, info.key)
        case StreamInfo():
            return Thing(Kind.STREAM, (info.source, info.group, str(info.table)))
        case RunningService():
            return Thing(Kind.SERVICE, ())
        case Up():
            return Thing(Kind.INTERFACE, (info.name,))


def value_of(info: Info) -> Value:
    """Return what JSON has of it."""
    values = info._asdict()
    if isinstance(info, StreamInfo):
        values = {name: values[name] for name in _STREAM}
    return {name: [*each] if isinstance(each, tuple) else each for name, each in values.items()}

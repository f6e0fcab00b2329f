"""Which route decides on a stream, and on which interfaces; what an explanation begins with."""

from bisect import insort
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter

from mfc_dbus.explain.situation import StreamQuestion
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.interfaces import is_pattern, matches
from mfc_dbus.model.route import Oif, Route, stream_key
from mfc_dbus.model.status import Sighting
from mfc_dbus.routing.learned_entries import natives
from mfc_dbus.routing.placement import LearnedRoute
from mfc_dbus.routing.table import Table

_MOST_LOOKS = 4000  # at routes that may share a stream
_MOST_NEAR = 3


def covering(table: Table, question: StreamQuestion) -> Iterator[Route]:
    """Find the enabled routes that cover a stream, the most specific first."""
    source, group = question.source, question.group
    exact = table.routes.get(stream_key(source.address, group.address, question.table))
    if exact is not None and exact.enabled and source.length and _from(exact, question):
        yield exact
    for route in islice(table.routes.sharing(source, group, question.iif or "*"), _MOST_LOOKS):
        if route is not None and route.source.covers(source) and route.group.covers(group):
            yield route


def _from(route: Route, question: StreamQuestion) -> bool:
    return not question.iif or matches(route.iif, question.iif)


def decide(
    table: Table,
    question: StreamQuestion,
    candidates: Sequence[Route],
    sightings: Sequence[Sighting],
) -> tuple[Route | None, str]:
    """Return the route that decides on a stream, and the interface that it should arrive on."""
    if not candidates:
        return None, ""
    first = candidates[0]
    stream = stream_key(question.source.address, question.group.address, question.table)
    learned = table.learned.get(stream)
    arrivals = [
        each.iif
        for each in sorted(sightings, key=lambda each: each.ago)
        if not question.source.length or each.source == question.source.address
    ]
    likely = dict.fromkeys([*arrivals, *([learned.iif] if learned is not None else [])])
    if not first.is_sg:
        for name in likely:
            best = table.routes.best(question.source.address, question.group.address, name)
            if best is not None and best in candidates:
                return best, name
    iif = question.iif or first.iif
    if is_pattern(iif):
        placed = table.installed.get(first.key)
        iifs = placed.iifs if isinstance(placed, LearnedRoute) else ()
        iif = next((name for name in likely if name in iifs), next(iter(iifs), iif))
    return first, iif


def equals(table: Table, question: StreamQuestion, route: Route) -> Sequence[str]:
    """Return the iifs of the any-source routes of a group among which only the iif decides.

    Empty where another than these decides, or an entry of its own has the stream. The kernel asks
    about none of them, so nothing tells by which of them a stream comes.
    """
    stream = stream_key(question.source.address, question.group.address, question.table)
    placed = table.installed.get(route.key)
    if route.source.length or isinstance(placed, LearnedRoute) or stream in table.learned:
        return []
    if route.group != question.group:
        return []
    own = table.routes.of_stream(route.source, route.group)
    return [each.iif for each in islice(own, _MOST_LOOKS) if each.enabled]


def disabled(table: Table, question: StreamQuestion) -> Iterator[Route]:
    """Find routes that are not enabled and would cover a stream."""
    for source in dict.fromkeys((question.source, Prefix(bytes(len(question.source.address)), 0))):
        for route in table.routes.of_stream(source, question.group):
            if not route.enabled and _from(route, question):
                yield route


async def nearest(table: Table, question: StreamQuestion) -> Sequence[Route]:
    """Find the routes that differ least from one that covers a stream."""
    best: list[tuple[tuple[int, int], Route]] = []  # the nearest first
    async for route in in_slices([*table.routes]):
        distance = _distance(route, question) if route.enabled else None
        if distance is not None:
            insort(best, (distance, route), key=itemgetter(0))
            del best[_MOST_NEAR:]
    return [route for _, route in best]


def _distance(route: Route, question: StreamQuestion) -> tuple[int, int] | None:
    """Return how far a route is from covering a stream; None where it has nothing of it."""
    if route.group.covers(question.group):
        return (0 if route.source.covers(question.source) else 1), 0
    bits = 8 * len(question.group.address)
    apart = int.from_bytes(route.group.address) ^ int.from_bytes(question.group.address)
    if apart.bit_length() > bits // 4 or not route.source.covers(question.source):
        return None
    return 2, apart.bit_length()


def leaving(route: Route, placed: object, iif: str) -> Sequence[Oif]:
    """Find the interfaces by which a stream should leave, those that are missing too."""
    there = placed.oifs if isinstance(placed, Route | LearnedRoute) else ()
    found = {oif.name: oif for oif in there}
    for oif in route.oifs:
        if not is_pattern(oif.name):
            found.setdefault(oif.name, oif)
    return [oif for oif in found.values() if oif.name != iif or route.hairpin]


def entry_key(table: Table, question: StreamQuestion, route: Route) -> tuple[bytes, bytes] | None:
    """Return source and group of the kernel's entry that has a stream; None where there is none, or
    several that the kernel's counters do not tell apart.
    """
    source, group = question.source.address, question.group.address
    stream = stream_key(source, group, question.table)
    if stream in table.learned or isinstance(table.installed.get(stream), Route):
        return source, group
    if isinstance(table.installed.get(route.key), Route):
        own = natives(table.routes, stream, table.installed.get)
        return (bytes(len(source)), group) if len(own) == 1 else None
    return None

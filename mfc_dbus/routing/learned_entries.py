"""The entries that were learned, found by stream, by owner and by group (pure)."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.route import Route, RouteKey
from mfc_dbus.routing.placement import Learned, Placement, Wide, learn
from mfc_dbus.routing.routes import Routes

K = TypeVar("K")


class LearnedEntries:
    """What was learned of one table's streams. The owner of an entry is the route it follows."""

    def __init__(self) -> None:
        self._entries: dict[RouteKey, Learned] = {}
        self._by_owner: dict[RouteKey, dict[RouteKey, None]] = {}  # ordered sets
        self._by_group: dict[Prefix, dict[RouteKey, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Learned]:
        return iter(self._entries.values())

    def __contains__(self, stream: RouteKey) -> bool:
        return stream in self._entries

    def __getitem__(self, stream: RouteKey) -> Learned:
        return self._entries[stream]

    def get(self, stream: RouteKey) -> Learned | None:
        return self._entries.get(stream)

    def put(self, entry: Learned) -> None:
        """Keep an entry, in place of the one of its stream."""
        self.remove(entry.key)
        self._entries[entry.key] = entry
        self._by_owner.setdefault(entry.owner, {})[entry.key] = None
        self._by_group.setdefault(entry.group, {})[entry.key] = None

    def remove(self, stream: RouteKey) -> None:
        """Forget an entry, if there is one."""
        entry = self._entries.pop(stream, None)
        if entry is None:
            return
        _discard(self._by_owner, entry.owner, stream)
        _discard(self._by_group, entry.group, stream)

    def clear(self) -> None:
        self._entries.clear()
        self._by_owner.clear()
        self._by_group.clear()

    def of(self, owner: RouteKey) -> Iterator[RouteKey]:
        """The streams that follow a route."""
        return iter(self._by_owner.get(owner, ()))

    def within(self, route: Route) -> Iterator[RouteKey]:
        """The streams that a route covers, whatever they follow."""
        if route.exact:
            key = RouteKey(route.source, route.group, "", route.table)
            if key in self._entries:
                yield key
        elif route.group.exact:
            for stream in self._by_group.get(route.group, ()):
                if stream.source.address in route.source:
                    yield stream
        else:
            for owner, streams in self._by_owner.items():
                if owner.group.overlaps(route.group) and owner.source.overlaps(route.source):
                    yield from (
                        stream
                        for stream in streams
                        if route.group.covers(stream.group) and route.source.covers(stream.source)
                    )


def derive(
    routes: Routes,
    stream: RouteKey,
    iif: str,
    placement: Callable[[RouteKey], Placement | None],
) -> Learned | None:
    """Make what is to be learned of a stream that arrives on an interface, if anything is.

    A native route needs no help, and one of this stream has the last word on it. placement: of a
    route.
    """
    if isinstance(placement(stream), Route):
        return None
    route = routes.best(stream.source.address, stream.group.address, iif)
    placed = placement(route.key) if route is not None else None
    return learn(stream, iif, placed) if isinstance(placed, Wide) else None


def follow(
    routes: Routes, learned: Learned, placement: Callable[[RouteKey], Placement | None]
) -> Learned | None:
    """Make what is to become of a learned entry, if anything is. placement: of a route."""
    if isinstance(placement(learned.owner), Route):
        own = derive_native(routes, learned.key, learned.iif, placement)
        if own is not None and own.owner == learned.owner:
            return own
    return derive(routes, learned.key, learned.iif, placement)


def derive_native(
    routes: Routes,
    stream: RouteKey,
    iif: str,
    placement: Callable[[RouteKey], Placement | None],
) -> Learned | None:
    """Make an entry that forwards a stream just as the kernel's own any-source entry does.

    None: it has none for what arrives on this interface. placement: of a route.
    """
    if isinstance(placement(stream), Route):
        return None
    route = routes.best(stream.source.address, stream.group.address, iif)
    placed = placement(route.key) if route is not None else None
    return Learned(stream, iif, placed.oifs, placed.key) if isinstance(placed, Route) else None


def elsewhere(
    routes: Routes,
    stream: RouteKey,
    iif: str,
    placement: Callable[[RouteKey], Placement | None],
) -> Iterator[Learned]:
    """Go through what could be learned of a stream, if it arrived on an interface but this one.

    There is nothing where the kernel has entries of its own at most, since these need no help. If
    not, they come first, lest they lose what they forward; then the most specific route. placement:
    of a route.
    """
    wide = _elsewhere(routes, stream, iif, placement)
    first = next(wide, None)
    if first is None:
        return
    for native in natives(routes, stream, placement):
        own = derive_native(routes, stream, native.iif, placement)
        if own is not None and own.iif != iif:
            yield own
    yield first
    yield from wide


def _elsewhere(
    routes: Routes,
    stream: RouteKey,
    iif: str,
    placement: Callable[[RouteKey], Placement | None],
) -> Iterator[Learned]:
    seen = {iif}
    wider = routes.sharing(stream.source, stream.group, "*")
    for key in chain((stream,), (route.key for route in wider if route is not None)):
        placed = placement(key)
        for name in placed.iifs if isinstance(placed, Wide) else ():
            if name not in seen:
                seen.add(name)
                learned = derive(routes, stream, name, placement)
                if learned is not None:
                    yield learned


def natives(
    routes: Routes, stream: RouteKey, placement: Callable[[RouteKey], Placement | None]
) -> list[Route]:
    """Find the any-source entries of the kernel's own that have a stream, on some interface."""
    any_source = Prefix(bytes(len(stream.source.address)), 0)
    placed = (placement(route.key) for route in routes.of_stream(any_source, stream.group))
    return [each for each in placed if isinstance(each, Route)]


def _discard(index: dict[K, dict[RouteKey, None]], key: K, stream: RouteKey) -> None:
    del index[key][stream]
    if not index[key]:
        del index[key]

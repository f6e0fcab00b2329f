"""The entries that were learned, found by stream, by owner and by group (pure)."""

from collections.abc import Callable, Iterator
from itertools import chain

from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.route import Route, RouteKey
from mfc_dbus.routing.placement import Learned, LearnedRoute, Placement, learn
from mfc_dbus.routing.routes import Routes, discard


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
        discard(self._by_owner, entry.owner, stream)
        discard(self._by_group, entry.group, stream)

    def clear(self) -> None:
        self._entries.clear()
        self._by_owner.clear()
        self._by_group.clear()

    def of(self, owner: RouteKey) -> Iterator[RouteKey]:
        """Return the streams whose entries follow a route."""
        return iter(self._by_owner.get(owner, ()))

    def within(self, route: Route) -> Iterator[RouteKey]:
        """Return the streams that a route covers, whichever route their entries follow."""
        if route.is_sg:
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
    """Return the entry to be learned for a stream that arrives on an interface.

    Return None where the route that decides on it is native, and so needs no learned entry, or
    where no route covers it. placement: finds what of a route is in the kernel.
    """
    if isinstance(placement(stream), Route):
        return None
    route = routes.best(stream.source.address, stream.group.address, iif)
    placed = placement(route.key) if route is not None else None
    return learn(stream, iif, placed) if isinstance(placed, LearnedRoute) else None


def follow(
    routes: Routes, learned: Learned, placement: Callable[[RouteKey], Placement | None]
) -> Learned | None:
    """Return what a learned entry has to become, None where it has to be deleted."""
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

    Return None where the kernel has no such entry for what arrives on this interface.
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
    """Yield the entries that would be learned for a stream if it arrived on other interfaces.

    Where only native routes cover it there is none: the kernel has their entries already. Otherwise
    the interfaces of the native ones come first, since a learned entry takes the stream from them;
    then come those of the most specific route. placement: finds what of a route is in the kernel.
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
        for name in placed.iifs if isinstance(placed, LearnedRoute) else ():
            if name not in seen:
                seen.add(name)
                learned = derive(routes, stream, name, placement)
                if learned is not None:
                    yield learned


def natives(
    routes: Routes, stream: RouteKey, placement: Callable[[RouteKey], Placement | None]
) -> list[Route]:
    """Find the native any-source routes of a stream's group, as far as they are in the kernel."""
    any_source = Prefix(bytes(len(stream.source.address)), 0)
    placed = (placement(route.key) for route in routes.of_stream(any_source, stream.group))
    return [each for each in placed if isinstance(each, Route)]

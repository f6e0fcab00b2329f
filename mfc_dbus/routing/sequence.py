"""A change of many routes, as a sequence of transitions of few: between two of them all is served.

It ends where one transition would. On the way there every stream is forwarded by the routes from
before or by those that come.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, islice
from typing import NamedTuple, TypeVar

from mfc_dbus.loop.slices import in_batches, in_slices
from mfc_dbus.model.difference import Difference, Replacement
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey
from mfc_dbus.routing.placement import place
from mfc_dbus.routing.present_links import PresentLinks
from mfc_dbus.routing.steps import count_by_name
from mfc_dbus.routing.table import Table
from mfc_dbus.routing.transition import Transition
from mfc_dbus.routing.vifs import too_many

T = TypeVar("T")

_FEW = 50  # routes of one transition: some milliseconds


class TableChange(NamedTuple):
    """What changes in one table. wait: the table need not be ours yet."""

    table: Table
    routes: Difference[Route]
    wait: bool = False


class Part(NamedTuple):
    """Transitions that are done together.

    within: the interfaces that the routes that stay may be on, None for any.
    """

    transitions: Sequence[Transition]
    within: frozenset[str] | None = None


async def split(changes: Sequence[TableChange], present: PresentLinks) -> Iterator[Part]:
    """Split a change into parts that are done one after the other.

    Raises what can be told beforehand: TableBusy, KernelError, TooManyInterfaces.
    """
    rooms = [await _find_room(each, present) for each in changes]
    if sum(len(each) for _, routes, _ in changes for each in routes) <= _FEW:
        whole = Part([_whole(table, routes) for table, routes, _ in changes])
        return iter([whole])
    return chain.from_iterable(
        _parts(table, routes, room) for (table, routes, _), room in zip(changes, rooms, strict=True)
    )


class _Room(NamedTuple):
    """The interfaces of a table that have VIFs before a change, and those that may after it."""

    before: frozenset[str]
    after: frozenset[str]

    @property
    def narrow(self) -> bool:
        """Whether some interfaces must lose their VIFs before others can have one."""
        return len(self.before | self.after) > MAX_VIFS


async def _find_room(change: TableChange, present: PresentLinks) -> _Room:
    """Count what uses the VIFs. Raises TooManyInterfaces, and what forbids to use them at all."""
    table, routes, wait = change
    if not table.owned:
        if not wait and any(route.enabled for route in _new(routes)):
            table.check_owned()
        return _Room(frozenset(), frozenset())
    changing: set[RouteKey] = set()
    leaving: Counter[tuple[str, ...]] = Counter()
    async for batch in in_batches(_old(routes)):
        for route in batch:
            changing.add(route.key)
            placed = table.installed.get(route.key)
            if placed is not None:
                leaving[placed.interfaces] += 1
    going = count_by_name(leaving)
    some: dict[tuple[str, ...], Route] = {}  # which stand for all that have the same interfaces
    async for batch in in_batches(_new(routes)):
        some |= {route.interfaces: route for route in batch}
    needed: dict[str, None] = {}
    wanted: dict[str, None] = {}  # by patterns, which take what is left
    before = table.vifs.used
    async for route in in_slices(some.values()):
        placed = place(route, present, native=False, preferred=before)
        named = route.interfaces
        for name in placed.interfaces if placed is not None else ():
            (needed if name in named else wanted)[name] = None
    used = [vif.name for vif in table.vifs if vif.references > going.get(vif.name, 0)]
    everything = frozenset([*used, *needed, *wanted])
    if len(everything) <= MAX_VIFS:
        return _Room(before, everything)
    named_before = [name for name in used if await _is_named(table, name, changing)]
    needed = dict.fromkeys(named_before) | needed
    wanted |= dict.fromkeys(used)
    if len(needed) > MAX_VIFS:
        raise too_many([*needed][MAX_VIFS])
    # First come the interfaces that have a VIF already.
    more = sorted((name for name in wanted if name not in needed), key=lambda n: n not in before)
    return _Room(before, frozenset([*needed, *more][:MAX_VIFS]))


async def _is_named(table: Table, name: str, changing: Set[RouteKey]) -> bool:
    """Return whether a route that stays is on an interface by its name, not by a pattern alone."""
    async for key in in_slices(table.routes.named(name)):
        if key not in changing and table.is_on(key, name):
            return True
    return False


def _parts(table: Table, routes: Difference[Route], room: _Room) -> Iterator[Part]:
    disabled = (each for each in routes.changed if not each.new.enabled)
    going = chain(
        (Part([Transition(table, few, [])]) for few in _by_few(routes.deleted)),
        (Part([_replace(table, few)]) for few in _by_few(disabled)),
    )
    if room.narrow:
        yield from going
        narrowed = (
            each.old
            for each in routes.changed
            if each.new.enabled and _leaves(table, each.old, room.after)
        )
        for few in _by_few(narrowed):
            yield Part([Transition.again(table, few)], room.after)
    for replaced in _by_few(each for each in routes.changed if each.new.enabled):
        yield Part([_replace(table, replaced)])
    for few in _by_few(routes.added):
        yield Part([Transition(table, [], few)])
    # What takes the place of others has come before they go, so that no packet falls in between.
    yield from going


def _leaves(table: Table, route: Route, names: frozenset[str]) -> bool:
    """Return whether what the kernel has of a route is on other interfaces than these."""
    placed = table.installed.get(route.key)
    return placed is not None and not names.issuperset(placed.interfaces)


def _whole(table: Table, routes: Difference[Route]) -> Transition:
    return Transition(table, [*_old(routes)], [*_new(routes)])


def _replace(table: Table, changed: Sequence[Replacement[Route]]) -> Transition:
    return Transition(table, [each.old for each in changed], [each.new for each in changed])


def _old(routes: Difference[Route]) -> Iterator[Route]:
    yield from routes.deleted
    yield from (each.old for each in routes.changed)


def _new(routes: Difference[Route]) -> Iterator[Route]:
    yield from routes.added
    yield from (each.new for each in routes.changed)


def _by_few(routes: Iterable[T]) -> Iterator[list[T]]:
    going_through = iter(routes)
    while few := list(islice(going_through, _FEW)):
        yield few

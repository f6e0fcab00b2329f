"""From the routes that are to those of a document: the smallest change, and what forbids it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.errors import RequestError, RouteConfigured
from mfc_dbus.model import Route, RouteKey, TableId
from mfc_dbus.problems import Problems
from mfc_dbus.table import Table, find_table
from mfc_dbus.transition import Transition

Tables = Mapping[TableId, Table]


class Replacement(NamedTuple):
    """A route in another's place."""

    old: Route
    new: Route


class Difference(NamedTuple):
    """What comes, what becomes another, and what goes. What stays is not in it."""

    added: Sequence[Route]
    changed: Sequence[Replacement]
    deleted: Sequence[Route]

    @property
    def growth(self) -> int:
        return len(self.added) - len(self.deleted)


def made_over_the_bus(route: Route) -> bool:
    """Whether a document applied over the bus speaks for this route by leaving it out.

    One with a timeout ends by itself, and no document can say when.
    """
    return not route.file and not route.expires


def from_a_file(route: Route) -> bool:
    """Whether the files of the configuration speak for it."""
    return bool(route.file)


def differences(
    tables: Tables, wanted: Sequence[Route], doomed: Callable[[Route], bool] | None
) -> Difference:
    """Compare; doomed: which routes go where they are not wanted, None for none at all."""
    added: list[Route] = []
    changed: list[Replacement] = []
    for route in wanted:
        table = tables.get(route.table_id)
        present = table.routes.get(route.key) if table else None
        if present is None:
            added.append(route)
        elif present != route:
            changed.append(Replacement(present, route))
    deleted: list[Route] = []
    if doomed is not None:
        keys = {route.key for route in wanted}
        for table in tables.values():
            deleted += [each for each in table.routes if doomed(each) and each.key not in keys]
    return Difference(added, changed, deleted)


def transitions(tables: Tables, difference: Difference) -> list[Transition]:
    """What is to be done, table by table."""
    made: list[Transition] = []
    for id_, table in tables.items():
        changed = [each for each in difference.changed if each.new.table_id == id_]
        old = [route for route in difference.deleted if route.table_id == id_]
        new = [route for route in difference.added if route.table_id == id_]
        old += [each.old for each in changed]
        new += [each.new for each in changed]
        if old or new:
            made.append(Transition(table, old, new))
    return made


def check(
    tables: Tables,
    wanted: Sequence[Route],
    difference: Difference,
    allowed: Callable[[Route, Iterable[Route]], None],
) -> None:
    """Raise all that forbids it, each with its place: file and route, or the path in the document.

    allowed: raises what forbids a new or changed route beside others from any source to its group.
    """
    touched = {route.key for route in difference.added}
    touched |= {each.new.key for each in difference.changed}
    gone = {route.key for route in difference.deleted}
    beside = _Beside(tables, wanted, gone)
    problems = Problems()
    for index, route in enumerate(wanted):
        if route.key in touched:
            try:
                present = find_table(tables, route.table_id).routes.get(route.key)
                if present is not None and not route.file:
                    check_configured(present)
                allowed(route, beside.of(route))
            except RequestError as error:
                if route.file:
                    problems.add_at(f"{route.file}: Route {route}", error)
                else:
                    problems.add(("route", index), error)
    problems.check()


def check_configured(route: Route) -> None:
    """Raise RouteConfigured where only a file may change this route."""
    if route.file:
        raise RouteConfigured(f"Route {route} comes from {route.file}, and is changed there")


class _Beside:
    """The routes from any source that a group will have."""

    def __init__(self, tables: Tables, wanted: Sequence[Route], gone: set[RouteKey]) -> None:
        self._tables = tables
        self._left_out = gone
        self._wanted: dict[tuple[TableId, bytes], dict[RouteKey, Route]] = {}
        for route in wanted:
            if route.any_source:
                self._wanted.setdefault((route.table_id, route.group), {})[route.key] = route

    def of(self, route: Route) -> Iterable[Route]:
        if not route.any_source:
            return ()
        wanted = self._wanted[route.table_id, route.group]
        present = self._tables[route.table_id].routes.of_stream(route.source, route.group)
        left = (
            each for each in present if each.key not in wanted and each.key not in self._left_out
        )
        return [*wanted.values(), *left]

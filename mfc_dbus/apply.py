"""From what there is to what a document says: the smallest change, and what forbids it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.difference import Difference, compare
from mfc_dbus.errors import RequestError, RouteConfigured
from mfc_dbus.kernel.links import Link
from mfc_dbus.memberships import Memberships
from mfc_dbus.model import Desired, Membership, Route, TableId
from mfc_dbus.presence import check_interface
from mfc_dbus.problems import Problems
from mfc_dbus.table import Table, find_table
from mfc_dbus.transition import Transition

Tables = Mapping[TableId, Table]


class Applied(NamedTuple):
    """What a document changes."""

    routes: Difference[Route]
    memberships: Difference[Membership]

    @property
    def counts(self) -> list[int]:
        """How many routes and memberships are added, changed and deleted."""
        return [len(one) + len(two) for one, two in zip(*self, strict=True)]


def made_over_the_bus(desired: Desired) -> bool:
    """Whether a document applied over the bus speaks for this by leaving it out.

    A route with a timeout ends by itself, and no document can say when.
    """
    return not desired.file and not (isinstance(desired, Route) and desired.expires)


def from_a_file(desired: Desired) -> bool:
    """Whether the files of the configuration speak for it."""
    return bool(desired.file)


def compare_all(
    tables: Tables,
    memberships: Memberships,
    wanted_routes: Sequence[Route],
    wanted_memberships: Sequence[Membership],
    doomed: Callable[[Desired], bool] | None,
) -> Applied:
    """doomed: which go where they are not wanted, None for none at all."""
    routes = (route for table in tables.values() for route in table.routes)
    return Applied(
        compare(lambda route: _present(tables, route), wanted_routes, routes, doomed),
        memberships.compare(wanted_memberships, doomed),
    )


def _present(tables: Tables, route: Route) -> Route | None:
    table = tables.get(route.table_id)
    return table.routes.get(route.key) if table else None


def transitions(tables: Tables, difference: Difference[Route]) -> list[Transition]:
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
    difference: Difference[Route],
    present: Mapping[str, Link],
    problems: Problems,
    *,
    wait: bool,
) -> None:
    """Add all that forbids it, each with its place: file and route, or the path in the document.

    present: the interfaces that there are. wait: those of a new or changed route need not be.
    """
    touched = {route.key for route in difference.added}
    touched |= {each.new.key for each in difference.changed}
    for index, route in enumerate(wanted):
        if route.key in touched:
            try:
                before = find_table(tables, route.table_id).routes.get(route.key)
                if before is not None and not route.file:
                    check_configured(before)
                check_interfaces(route, present, wait=wait)
            except RequestError as error:
                if route.file:
                    problems.add_at(f"{route.file}: Route {route}", error)
                else:
                    problems.add(("route", index), error)


def check_interfaces(route: Route, present: Mapping[str, Link], *, wait: bool) -> None:
    """Raise NoSuchInterface; of a pattern there may be any or none."""
    for name in route.interfaces:
        check_interface(name, present, wait=wait)


def check_configured(route: Route) -> None:
    """Raise RouteConfigured where only a file may change this route."""
    if route.file:
        raise RouteConfigured(f"Route {route} comes from {route.file}, and is changed there")

"""From what there is to what a document says: the smallest change, and what forbids it.

A document may be long: it is gone through in slices, while no other change is done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.documents.problem_lines import Problems
from mfc_dbus.kernel.links import Link
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.difference import Comparison, Difference
from mfc_dbus.model.errors import RequestError, RouteConfigured
from mfc_dbus.model.route import Desired, Membership, Route, TableId
from mfc_dbus.routing.presence import check_interface
from mfc_dbus.routing.table import Table, find_table

Tables = Mapping[TableId, Table]


class Applied(NamedTuple):
    """What a document changes.

    touched: where in the document the routes are that are added or changed.
    """

    routes: Mapping[TableId, Difference[Route]]
    memberships: Difference[Membership]
    touched: Sequence[int]

    @property
    def counts(self) -> list[int]:
        """How many routes and memberships are added, changed and deleted."""
        differences = (*self.routes.values(), self.memberships)
        return [sum(map(len, each)) for each in zip(*differences, strict=True)]

    @property
    def deleted(self) -> Iterator[Desired]:
        for difference in self.routes.values():
            yield from difference.deleted
        yield from self.memberships.deleted

    @property
    def growth(self) -> int:
        """How many routes there are more."""
        return sum(difference.growth for difference in self.routes.values())


def made_over_the_bus(desired: Desired) -> bool:
    """Whether a document applied over the bus speaks for this by leaving it out.

    A route with a timeout ends by itself, and no document can say when.
    """
    return not desired.file and not (isinstance(desired, Route) and desired.expires)


def from_a_file(desired: Desired) -> bool:
    """Whether the files of the configuration speak for it."""
    return bool(desired.file)


async def compare_all(
    tables: Tables,
    memberships: Memberships,
    wanted_routes: Sequence[Route],
    wanted_memberships: Sequence[Membership],
    doomed: Callable[[Desired], bool] | None,
) -> Applied:
    """doomed: which go where they are not wanted, None for none at all."""
    compared: dict[TableId, Comparison[Route]] = {}
    touched: list[int] = []
    async for index, route in in_slices(enumerate(wanted_routes)):
        id_ = route.table_id
        if id_ not in compared:
            compared[id_] = Comparison(lambda each: _present(tables, each))
        if compared[id_].want(route):
            touched.append(index)
    for id_, table in tables.items() if doomed is not None else ():
        comparison = compared.setdefault(id_, Comparison(lambda each: _present(tables, each)))
        async for route in in_slices(table.routes):
            if doomed is not None and doomed(route):
                comparison.doom(route)
    return Applied(
        {id_: comparison.difference for id_, comparison in compared.items()},
        memberships.compare(wanted_memberships, doomed),
        touched,
    )


def _present(tables: Tables, route: Route) -> Route | None:
    table = tables.get(route.table_id)
    return table.routes.get(route.key) if table else None


async def check(
    tables: Tables,
    wanted: Sequence[Route],
    touched: Sequence[int],
    present: Mapping[str, Link],
    problems: Problems,
    *,
    wait: bool,
) -> None:
    """Add all that forbids it, each with its path in the document, or in all files together.

    present: the interfaces that there are. wait: those of a new or changed route need not be.
    """
    async for index in in_slices(touched):
        route = wanted[index]
        try:
            before = find_table(tables, route.table_id).routes.get(route.key)
            if before is not None and not route.file:
                check_configured(before)
            check_interfaces(route, present, wait=wait)
        except RequestError as error:
            problems.add(("route", index), error)


def check_interfaces(route: Route, present: Mapping[str, Link], *, wait: bool) -> None:
    """Raise NoSuchInterface; of a pattern there may be any or none."""
    for name in route.interfaces:
        check_interface(name, present, wait=wait)


def check_configured(route: Route) -> None:
    """Raise RouteConfigured where only a file may change this route."""
    if route.file:
        raise RouteConfigured(f"Route {route} comes from {route.file}, and is changed there")

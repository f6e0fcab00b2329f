"""From what there is to what a document says: the smallest change, and what forbids it.

A document may be long: it is gone through in slices, while no other change is done. So are all
routes for those that a flush deletes.
"""

from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from typing import NamedTuple, TypeVar

from msgspec import structs

from mfc_dbus.kernel.links import Link
from mfc_dbus.loop.slices import in_batches
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.difference import Comparison, Difference
from mfc_dbus.model.errors import RequestError, RouteConfigured, RouteExists
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.problems import Problems
from mfc_dbus.model.route import Route, RouteKey, TableId
from mfc_dbus.routing.presence import check_interface
from mfc_dbus.routing.table import Table, find_table

Tables = Mapping[TableId, Table]
T = TypeVar("T", Route, Membership)


class Changes(NamedTuple):
    """What a document, a flush or an undo changes.

    touched: the indexes, in the document, of the routes that are added or changed.
    """

    routes: Mapping[TableId, Difference[Route]]
    memberships: Difference[Membership] = Difference()
    touched: Sequence[int] = ()

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
        """How many more routes there are after the change; negative for fewer."""
        return sum(difference.growth for difference in self.routes.values())


def owned_by_documents(desired: Desired) -> bool:
    """Return whether a document that is applied over the bus deletes this by leaving it out.

    It leaves alone what comes from a file, and routes with a timeout, which no document can name.
    """
    return not desired.file and not (isinstance(desired, Route) and desired.expires)


def removable(desired: Desired, *, persistent: bool) -> bool:
    """Return whether a document that names this can take it away.

    persistent: also what outlives a boot, and a route with a timeout.
    """
    if persistent:
        return not desired.file
    return owned_by_documents(desired) and not desired.persistent


def for_this_boot(wanted: T, there: T | None) -> T:
    """Return the wanted value as one that ends with the next boot.

    there: the present value in its place. If it differs in nothing but how long it lasts, it is
    returned instead, and so stays as it is: it is persistent, or it comes from a file. So does a
    membership, of which only the comment can be another one.
    """
    if isinstance(there, Membership) and (there.persistent or there.file):
        return there
    if there is not None:
        alike = structs.replace(wanted, persistent=there.persistent, file=there.file)
        if alike == there:
            return there
    return structs.replace(wanted, persistent=False)


def from_a_file(desired: Desired) -> bool:
    """Return whether this comes from a file of the configuration."""
    return bool(desired.file)


async def compare_all(
    tables: Tables,
    memberships: Memberships,
    wanted_routes: MutableSequence[Route],
    wanted_memberships: Sequence[Membership],
    deletable: Callable[[Desired], bool] | None,
    *,
    persistent: bool = True,
) -> Changes:
    """Return the smallest change from what there is to what is wanted.

    A route that is there already takes the place of its equal in `wanted_routes`, so that of many
    equal ones the second objects are freed one by one. deletable: returns whether something is
    deleted where it is not wanted; None deletes nothing. persistent: see `for_this_boot` if not.
    """
    compared: dict[TableId, Comparison[Route]] = {}
    touched: list[int] = []
    async for batch in in_batches(enumerate(wanted_routes)):
        for index, said in batch:
            id_ = said.table_id
            if id_ not in compared:
                compared[id_] = _compare(tables.get(id_))
            route = said if persistent else for_this_boot(said, compared[id_].find(said))
            wanted_routes[index] = route
            like = compared[id_].want(route)
            if like is None:
                touched.append(index)
            else:
                wanted_routes[index] = like
    for id_, table in tables.items() if deletable is not None else ():
        comparison = compared.setdefault(id_, _compare(table))
        async for present in in_batches(table.routes):
            for route in present:
                if deletable is not None and deletable(route):
                    comparison.doom(route)
    return Changes(
        {id_: comparison.difference for id_, comparison in compared.items()},
        compare_memberships(memberships, wanted_memberships, deletable, persistent=persistent),
        touched,
    )


def compare_memberships(
    memberships: Memberships,
    wanted: Sequence[Membership],
    deletable: Callable[[Desired], bool] | None,
    *,
    persistent: bool,
) -> Difference[Membership]:
    """Return the smallest change from the memberships that there are, as `compare_all` does."""
    if not persistent:
        wanted = [for_this_boot(each, memberships.desired(each.key)) for each in wanted]
    return memberships.compare(wanted, deletable)


def _compare(table: Table | None) -> Comparison[Route]:
    """Begin to compare what is wanted with what a table has; None where there is no such table."""
    return Comparison(lambda route: table.routes.get(route.key) if table else None)


async def find_flushed(
    tables: Tables, group: Prefix | None, iif: str | None, number: int | None
) -> Changes:
    """Find the routes of a group prefix, an iif and a table's number that no file has, and plan to
    delete them.

    None stands for any.
    """

    def flushed(route: Route) -> bool:
        return (
            not route.file
            and (number is None or route.table == number)
            and (iif is None or route.iif == iif)
            and (group is None or group.covers(route.group))
        )

    found = {}
    for id_, table in tables.items():
        deleted: list[Route] = []
        async for batch in in_batches(table.routes):
            deleted += filter(flushed, batch)
        found[id_] = Difference(deleted=deleted)
    return Changes(found)


async def find_named(
    tables: Tables,
    memberships: Memberships,
    routes: Sequence[Route],
    named: Sequence[Membership],
    removable: Callable[[Desired], bool],
) -> Changes:
    """Find the routes and memberships with the keys of these, and plan to delete those that are
    removable.
    """
    found: dict[TableId, dict[RouteKey, Route]] = {}
    async for batch in in_batches(routes):
        for route in batch:
            table = tables.get(route.table_id)
            present = table.routes.get(route.key) if table is not None else None
            if present is not None and removable(present):
                found.setdefault(route.table_id, {})[route.key] = present
    return Changes(
        {id_: Difference(deleted=[*deleted.values()]) for id_, deleted in found.items()},
        memberships.find_named(named, removable),
    )


async def find_problems(
    tables: Tables,
    wanted: Sequence[Route],
    touched: Sequence[int],
    present: Mapping[str, Link],
    problems: Problems,
    *,
    wait: bool,
    persistent: bool = True,
) -> None:
    """Add all problems that forbid the change, each with its path in the document, or in all files
    together.

    present: the interfaces that there are. wait: those of a new or changed route need not be.
    persistent: if not, the document is for this boot only.
    """
    found: set[tuple[str, ...]] = set()  # interfaces in order, which many routes have the same
    async for batch in in_batches(touched):
        for index in batch:
            route = wanted[index]
            try:
                before = find_table(tables, route.table_id).routes.get(route.key)
                if before is not None and not route.file:
                    check_configured(before)
                    if before.persistent and not persistent:
                        raise RouteExists(
                            f"Route {before} is persistent and another one, and would be lost with "
                            "the next boot: delete it first, or change it to last"
                        )
                if route.interfaces not in found:
                    check_interfaces(route, present, wait=wait)
                    found.add(route.interfaces)
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

"""What forbids a change, told before it is done: by what there is, and by the settings (pure)."""

from collections.abc import Mapping, Sequence

from mfc_dbus.config.settings import Config
from mfc_dbus.control import changes as apply
from mfc_dbus.control.changes import Applied
from mfc_dbus.documents.problem_lines import Problems
from mfc_dbus.kernel.links import Link
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import Prefix, stream
from mfc_dbus.model.errors import (
    ConfigError,
    InvalidArgs,
    LimitExceeded,
    NoSuchRoute,
    RouteExists,
)
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Membership, Route, RouteKey, TableId
from mfc_dbus.routing.table import Table, find_table
from mfc_dbus.routing.transition import Transition


class Checks:
    """Each raises what it finds. What only the kernel can tell is not asked here."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        memberships: Memberships,
        present: Mapping[str, Link],
        config: Config,
    ) -> None:
        """present: the interfaces that there are."""
        self.config = config
        self._tables = tables
        self._memberships = memberships
        self._present = present

    def adding(self, route: Route, *, replace: bool, wait: bool) -> Transition:
        """What adding a route is, or with `replace` changing the one of its key."""
        table = find_table(self._tables, route.table_id)
        present = table.routes.get(route.key)
        if present is not None and not replace:
            where = f" from {quote(route.iif)}" if route.key.iif else ""
            raise RouteExists(f"Route {route}{where} exists already")
        if present is not None:
            apply.check_configured(present)
        else:
            self.count(1)
        apply.check_interfaces(route, self._present, wait=wait)
        return Transition(table, [present] if present else [], [route])

    def deleting(self, source: Prefix, group: Prefix, iif: str | None, number: int) -> Route:
        """Find the one route of a stream; where there are several, `iif` says which."""
        table = find_table(self._tables, RouteKey(source, group, "", number).table_id)
        chosen = table.routes.of_stream(source, group, iif)
        if not chosen:
            where = f" from {quote(iif)}" if iif else ""
            raise NoSuchRoute(f"There is no route {stream(source, group)}{where}")
        if len(chosen) > 1:
            iifs = join(route.iif for route in chosen)
            raise InvalidArgs(f"Route {chosen[0]} exists from {iifs}: say which by 'iif'")
        apply.check_configured(chosen[0])
        return chosen[0]

    def count(self, growth: int) -> None:
        """Raise LimitExceeded where the settings do not allow so many routes more."""
        count = sum(len(table.routes) for table in self._tables.values())
        if growth > 0 and count + growth > self.config.max_routes:
            raise LimitExceeded(f"There are {count} routes, and the configuration allows no more")

    async def document(
        self,
        routes: Sequence[Route],
        memberships: Sequence[Membership],
        applied: Applied,
        *,
        wait: bool,
    ) -> None:
        """Raise all that forbids what a document or files say, each problem with its place."""
        problems = Problems()
        await apply.check(self._tables, routes, applied.touched, self._present, problems, wait=wait)
        self._memberships.check(
            memberships, applied.memberships, self._present, problems, wait=wait
        )
        problems.check()

    def settings(self, config: Config) -> None:
        """Raise ConfigError where other settings take privileges, which only a start has."""
        missing = [
            id_
            for id_ in config.tables
            if id_.number and not (id_ in self._tables and self._tables[id_].opened)
        ]
        if missing:
            what = f"'tables' has {join(map(str, missing))}"
        elif config.rules != self.config.rules:
            what = "'rules' are others"
        else:
            return
        raise ConfigError(f"{what}: restart the service for that, which loses no packet")

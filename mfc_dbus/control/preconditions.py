"""What forbids a change before it is begun: the present state, or the settings (pure)."""

from collections.abc import Callable, Mapping, Sequence

from mfc_dbus.config.settings import CurrentSettings, Settings
from mfc_dbus.control import changes
from mfc_dbus.control.changes import Changes
from mfc_dbus.kernel.links import Link
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.addresses import format_stream
from mfc_dbus.model.errors import (
    ConfigError,
    InvalidArgs,
    LimitExceeded,
    NoSuchRoute,
    RouteExists,
)
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.problems import Problems
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import Route, RouteName, TableId
from mfc_dbus.routing.presence import check_interface
from mfc_dbus.routing.table import Table, find_table
from mfc_dbus.routing.transition import Transition


class Preconditions:
    """Each method raises what forbids its change. What only the kernel knows is not asked here."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        memberships: Memberships,
        present: Mapping[str, Link],
        settings: CurrentSettings,
    ) -> None:
        """present: the interfaces that there are."""
        self._settings = settings
        self._tables = tables
        self._memberships = memberships
        self._present = present

    def adding(self, route: Route, *, replace: bool, wait: bool) -> Transition:
        """Return the transition that adds a route, or with `replace` changes the one of its key."""
        table = find_table(self._tables, route.table_id)
        present = table.routes.get(route.key)
        if present is not None and not replace:
            raise _exists(route)
        if present is not None:
            changes.check_configured(present)
        else:
            self._count(1)
        changes.check_interfaces(route, self._present, wait=wait)
        return Transition(table, [present] if present else [], [route])

    def changing(
        self, name: RouteName, edit: Callable[[Route], Route], *, wait: bool
    ) -> Transition:
        """Return the transition that makes of a route what `edit` returns."""
        old = self.changeable(name)
        new = edit(old)
        table = self._tables[old.table_id]
        if new.key != old.key and table.routes.get(new.key) is not None:
            raise _exists(new)
        for interface in new.interfaces:
            if interface not in old.interfaces:
                check_interface(interface, self._present, wait=wait)
        return Transition(table, [old], [new])

    def changeable(self, name: RouteName) -> Route:
        """Find a route. Raises NoSuchRoute, InvalidArgs where the name is that of several, and
        RouteConfigured where only a file may change it.
        """
        source, group, iif, _ = name
        chosen = find_table(self._tables, name.table_id).routes.of_stream(source, group, iif)
        if not chosen:
            where = f" from {quote(iif)}" if iif else ""
            raise NoSuchRoute(f"There is no route {format_stream(source, group)}{where}")
        if len(chosen) > 1:
            iifs = join(route.iif for route in chosen)
            raise InvalidArgs(f"Route {chosen[0]} exists from {iifs}: say which by 'iif'")
        changes.check_configured(chosen[0])
        return chosen[0]

    def count(self, planned: Changes) -> None:
        """Raise LimitExceeded where the settings do not allow so many routes or memberships."""
        self._count(planned.growth)
        self._memberships.check_count(planned.memberships.growth)

    def _count(self, growth: int) -> None:
        """Raise LimitExceeded where the settings do not allow `growth` more routes."""
        count = sum(len(table.routes) for table in self._tables.values())
        if growth > 0 and count + growth > self._settings.now.max_routes:
            raise LimitExceeded(f"There are {count} routes, and the configuration allows no more")

    async def document(
        self,
        routes: Sequence[Route],
        memberships: Sequence[Membership],
        planned: Changes,
        *,
        wait: bool,
        persistent: bool = True,
    ) -> None:
        """Raise all that forbids what a document or files say, each problem with its place.

        persistent: if not, it is for this boot only.
        """
        problems = Problems()
        await changes.find_problems(
            self._tables,
            routes,
            planned.touched,
            self._present,
            problems,
            wait=wait,
            persistent=persistent,
        )
        self._memberships.find_problems(
            memberships, planned.memberships, self._present, problems, wait=wait
        )
        problems.check()

    def check_settings(self, settings: Settings) -> None:
        """Raise ConfigError where other settings take privileges, which only a start has."""
        missing = [
            id_
            for id_ in settings.tables
            if id_.number and not (id_ in self._tables and self._tables[id_].opened)
        ]
        if missing:
            what = f"'tables' has {join(map(str, missing))}"
        elif settings.rules != self._settings.now.rules:
            what = "'rules' are others"
        else:
            return
        raise ConfigError(f"{what}: restart the service for that, which loses no packet")


def _exists(route: Route) -> RouteExists:
    where = f" from {quote(route.iif)}" if route.key.iif else ""
    return RouteExists(f"Route {route}{where} exists already")

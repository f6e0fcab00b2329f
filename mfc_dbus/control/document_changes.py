"""Changes of whole documents: one applied over the bus, or all files of the configuration."""

import logging
from collections import Counter
from collections.abc import MutableSequence, Sequence
from functools import partial

from mfc_dbus.config.settings import Settings
from mfc_dbus.control import changes
from mfc_dbus.control.bulk_changes import BulkChanges
from mfc_dbus.control.changes import Changes, Tables
from mfc_dbus.control.interface_follower import InterfaceFollower
from mfc_dbus.control.preconditions import Preconditions
from mfc_dbus.control.settings_in_force import SettingsInForce
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.cause import Act, Cause, CauseKind, asked
from mfc_dbus.model.errors import AccessDenied, ConfigError, RequestError
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import Route

log = logging.getLogger(__name__)


class DocumentChanges:
    """Has the routes and memberships of a document, by the smallest change.

    The controller's promises hold here too.
    """

    def __init__(
        self,
        tables: Tables,
        memberships: Memberships,
        preconditions: Preconditions,
        interfaces: InterfaceFollower,
        settings: SettingsInForce,
        bulk: BulkChanges,
    ) -> None:
        self._tables = tables
        self._memberships = memberships
        self._preconditions = preconditions
        self._interfaces = interfaces
        self._settings = settings
        self._bulk = bulk

    def changes_memberships(
        self,
        memberships: Sequence[Membership],
        *,
        merge: bool = False,
        remove: bool = False,
        persistent: bool = True,
    ) -> bool:
        """Return whether a document with these memberships would change any.

        remove: it is to be taken away. Raises LimitExceeded where there are too many, before they
        are looked at: others wait.
        """
        self._memberships.check_total(len(memberships))
        if remove:
            removable = partial(changes.removable, persistent=persistent)
            return bool(self._memberships.find_named(memberships, removable))
        deletable = None if merge else changes.owned_by_documents
        return any(
            changes.compare_memberships(
                self._memberships, memberships, deletable, persistent=persistent
            )
        )

    async def apply(
        self,
        routes: MutableSequence[Route],
        memberships: Sequence[Membership] = (),
        *,
        merge: bool = False,
        wait: bool = False,
        dry_run: bool = False,
        persistent: bool = True,
        joining: bool = True,
        cause: Cause | None = None,
    ) -> Sequence[int]:
        """Have these routes and memberships, and no others, of all that are made over the bus.

        Return how many that added, changed and deleted. A route that stays takes the place of its
        like in `routes`. merge: the others stay. wait: as in `add`. dry_run: return what it would
        change, and change nothing. persistent: if not, what is new ends with the next boot; see
        `changes.for_this_boot`. joining: whether the caller may change memberships. Raises what
        forbids the change; and KernelError where it is done, but for groups that the kernel refuses
        to leave.
        """
        deletable = None if merge else changes.owned_by_documents

        async def plan() -> tuple[Changes, tuple[Sequence[int], Sequence[Membership]]]:
            planned = await changes.compare_all(
                self._tables,
                self._memberships,
                routes,
                memberships,
                deletable,
                persistent=persistent,
            )
            _check_joining(planned, joining)
            self._preconditions.count(planned)
            await self._preconditions.document(
                routes, memberships, planned, wait=wait, persistent=persistent
            )
            return planned, (planned.counts, planned.memberships.deleted)

        await self._interfaces.until_all_there(routes, memberships)
        counts, left = await self._bulk.run(plan, cause or asked(Act.APPLY), dry_run=dry_run)
        self._memberships.check_left(left)
        return counts

    async def remove(
        self,
        routes: Sequence[Route],
        memberships: Sequence[Membership] = (),
        *,
        dry_run: bool = False,
        persistent: bool = True,
        joining: bool = True,
        cause: Cause | None = None,
    ) -> Sequence[int]:
        """Delete the routes and memberships with the keys of these, but for those of files.

        persistent: also those that outlive a boot, or have a timeout. What is not there is no
        error. Other options, what is returned and what is raised: as in `apply`.
        """
        removable = partial(changes.removable, persistent=persistent)

        async def plan() -> tuple[Changes, tuple[Sequence[int], Sequence[Membership]]]:
            planned = await changes.find_named(
                self._tables, self._memberships, routes, memberships, removable
            )
            _check_joining(planned, joining)
            return planned, (planned.counts, planned.memberships.deleted)

        counts, left = await self._bulk.run(plan, cause or asked(Act.APPLY), dry_run=dry_run)
        self._memberships.check_left(left)
        return counts

    async def configure(
        self,
        settings: Settings,
        routes: MutableSequence[Route] | None = None,
        memberships: Sequence[Membership] = (),
        cause: Cause | None = None,
    ) -> None:
        """Go by other settings, and have these routes and memberships of files, and no others.

        What stays is not touched, and is put into `routes` as in `apply`. What a file has takes the
        place of what was made over the bus.
        Raises ConfigError, with a line for each problem that begins with its path in these,
        TooManyInterfaces, KernelError or StoreError; then all is as it was.
        """

        routes = [] if routes is None else routes

        async def plan() -> tuple[Changes, Counter[str]]:
            self._preconditions.check_settings(settings)
            planned = await changes.compare_all(
                self._tables, self._memberships, routes, memberships, changes.from_a_file
            )
            try:
                await self._preconditions.document(routes, memberships, planned, wait=True)
            except RequestError as error:
                raise ConfigError(str(error)) from error
            return planned, Counter([each.file async for each in in_slices(planned.deleted)])

        await self._interfaces.until_all_there(routes, memberships)
        deleted = await self._bulk.run(
            plan,
            cause or Cause(CauseKind.RELOAD, Act.RELOAD),
            wait=True,
            settings=lambda: self._settings.changing_to(settings),
        )
        left = {route.file for route in routes} | {each.file for each in memberships}
        for file, count in deleted.items():
            if file not in left:
                log.warning("%s has gone, and with it %d routes and memberships", file, count)


def _check_joining(planned: Changes, joining: bool) -> None:
    """Raise AccessDenied for a change of memberships that the caller was not authorised for."""
    if any(planned.memberships) and not joining:
        raise AccessDenied("The memberships were changed meanwhile: try again")

"""Does a change of many routes and memberships in its turn, whole or not at all."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

from mfc_dbus.control.change_queue import ChangeQueue
from mfc_dbus.control.changes import Changes
from mfc_dbus.control.interface_follower import InterfaceFollower
from mfc_dbus.control.unstored import UnstoredChanges
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.sequence import TableChange, split
from mfc_dbus.routing.table import Table

T = TypeVar("T")


class BulkChanges:
    """The one way to do what was planned as `Changes`."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        memberships: Memberships,
        unstored: UnstoredChanges,
        queue: ChangeQueue,
        interfaces: InterfaceFollower,
    ) -> None:
        self._tables = tables
        self._memberships = memberships
        self._unstored = unstored
        self._queue = queue
        self._interfaces = interfaces

    async def run(
        self,
        plan: Callable[[], Coroutine[Any, Any, tuple[Changes, T]]],
        cause: Cause,
        *,
        wait: bool = False,
        dry_run: bool = False,
        settings: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> T:
        """Plan a change when its turn comes, and do it. Return what `plan` says of it, when all of
        it is stored.

        plan: returns the change and what is said of it, or raises what forbids the change. So
        nothing here keeps a long change, which is freed little by little. wait: the tables need not
        be ours yet. dry_run: do nothing. settings: makes the context in which all is done.
        """

        async def change() -> T:
            self._interfaces.follow()
            planned, said = await plan()
            present = self._interfaces.present
            with settings():
                parts = await split(
                    [
                        TableChange(self._tables[id_], routes, wait)
                        for id_, routes in planned.routes.items()
                        if routes
                    ],
                    present,
                )
                if not dry_run:
                    with self._memberships.changing(planned.memberships, present, cause):
                        await self._unstored.change_in_parts(parts, cause, wait=wait)
            return said

        return cast(T, await self._queue.run(change))

"""Joins and leaves groups: each a change in the queue, as those of routes are."""

from collections.abc import Callable, Mapping, Sequence

from mfc_dbus.control.change_queue import ChangeQueue
from mfc_dbus.control.interface_follower import InterfaceFollower
from mfc_dbus.kernel.links import Link
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.cause import Act, Cause, asked
from mfc_dbus.model.membership import Membership, MembershipRange


class Joining:
    """Changes memberships. The controller's promises hold here too."""

    def __init__(
        self,
        memberships: Memberships,
        known: Mapping[str, Link],
        queue: ChangeQueue,
        interfaces: InterfaceFollower,
        follow: Callable[[], None],
    ) -> None:
        """known: the interfaces that there are. follow: follows them, and tells what changed."""
        self._memberships = memberships
        self._known = known
        self._queue = queue
        self._interfaces = interfaces
        self._follow = follow

    def check_join(self, wanted: Sequence[Membership], *, wait: bool = False) -> None:
        """Raise what can be told of a join beforehand."""
        self._follow()
        self._memberships.check_join(wanted, self._known, wait=wait)

    async def join(
        self, wanted: Sequence[Membership], *, wait: bool = False, cause: Cause | None = None
    ) -> None:
        """Join groups on one interface, with `wait` also on one that is not there yet.

        Those that are joined already stay as they are.
        """

        def change() -> None:
            self._interfaces.follow()
            present = self._interfaces.present
            self._memberships.join(wanted, present, cause or asked(Act.JOIN), wait=wait)

        await self._interfaces.until_there([each.interface for each in wanted])
        await self._queue.run(change)

    async def leave(
        self,
        range_: MembershipRange,
        shown: Sequence[Membership] | None = None,
        cause: Cause | None = None,
    ) -> None:
        """Leave all groups of a range. shown: what the caller may leave of it, None for all.

        Raises KernelError too where the kernel refuses to leave some; that is tried again.
        """
        why = cause or asked(Act.LEAVE)
        left = await self._queue.run(lambda: self._memberships.leave(range_, why, shown))
        self._memberships.check_left(left)

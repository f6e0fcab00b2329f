"""What has become of memberships, to be told when it is stored; and what was told last."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from mfc_dbus.control.change_log import ChangeLog
from mfc_dbus.loop.events import Guard
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.membership import MembershipKey
from mfc_dbus.model.status import MembershipStatus

_AT_ONCE = 100  # memberships that are told of together: some milliseconds


class MembershipChange(NamedTuple):
    """What has become of memberships, of all by the same cause."""

    cause: Cause
    added: list[MembershipStatus]
    changed: list[MembershipStatus]
    removed: list[MembershipStatus]


MembershipListener = Callable[[MembershipChange], None]


class MembershipChanges:
    """Compares the memberships with what was told of them, and tells of what is another."""

    def __init__(self, memberships: Memberships, log: ChangeLog) -> None:
        self._memberships = memberships
        self._log = log
        self._signalled: dict[MembershipKey, MembershipStatus] = {}
        self._listener: MembershipListener = lambda _: None
        self._telling = Guard("the telling of memberships")

    def listen(self, listener: MembershipListener) -> None:
        """Call the listener for each change, after it was stored and before its caller is told."""
        self._listener = listener

    def begin(self) -> None:
        """Begin with the memberships that there are, of which nobody needs to be told."""
        self._signalled = {status.membership.key: status for status in self._memberships}
        self._memberships.take_touched()

    def tell(self) -> None:
        """Tell what has changed since the last time, by one cause after the other."""
        for some in self._touched():
            self._tell(some)

    async def tell_all(self) -> None:
        """Tell, of many in slices. Nobody else may tell meanwhile."""
        async for some in in_slices(self._touched()):
            self._tell(some)

    def _touched(self) -> Iterator[list[tuple[MembershipKey, Cause]]]:
        touched = iter(self._memberships.take_touched().items())
        while some := [*islice(touched, _AT_ONCE)]:
            yield some

    def _tell(self, touched: list[tuple[MembershipKey, Cause]]) -> None:
        changes: dict[Cause, MembershipChange] = {}
        for key, cause in touched:
            before, now = self._signalled.pop(key, None), self._memberships.find(key)
            if now is not None:
                self._signalled[key] = now
            if now == before:
                continue
            change = changes.setdefault(cause, MembershipChange(cause, [], [], []))
            if now is None:
                assert before is not None
                change.removed.append(before)
            else:
                (change.changed if before else change.added).append(now)
            self._log.note(cause, before, now)
        for change in changes.values():
            with self._telling:
                self._listener(change)

"""The static memberships: those desired, and those that the kernel has joined.

The controller passes on events of interfaces, and has edits stored, or taken back.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from mfc_dbus.kernel.links import Event, Gone, Link, Missed
from mfc_dbus.memberships.joins import Join, Joins
from mfc_dbus.model.cause import BY_INTERFACE, Cause
from mfc_dbus.model.desired import Edit
from mfc_dbus.model.difference import Difference, compare
from mfc_dbus.model.errors import (
    AccessDenied,
    KernelError,
    LimitExceeded,
    MembershipConfigured,
    MembershipExists,
    NoSuchMembership,
    RequestError,
)
from mfc_dbus.model.journal import Message, about
from mfc_dbus.model.membership import Membership, MembershipKey, MembershipRange
from mfc_dbus.model.problems import Problems
from mfc_dbus.model.states import MembershipState
from mfc_dbus.model.status import MembershipStatus
from mfc_dbus.routing.presence import check_interface

log = logging.getLogger(__name__)

_REFUSED = "the kernel refused to leave it"


class Memberships:
    """Keeps memberships joined while their interface is there. limit: returns the most allowed."""

    def __init__(self, joins: Joins | None = None) -> None:
        """joins: without it, new ones, whose sockets end with the process."""
        self.limit: Callable[[], int] = lambda: 0
        self._joins = joins or Joins()
        self._desired: dict[str, dict[MembershipKey, Membership]] = {}  # by interface
        self._count = 0
        self._joined: dict[MembershipKey, Join] = {}
        self._leaving: dict[Join, Membership] = {}  # to leave as soon as the deletion is stored
        # Deleted ones that are still joined, since the kernel refused to leave; and why.
        self._stuck: dict[Join, tuple[Membership, str]] = {}
        self._failed: dict[MembershipKey, str] = {}  # why the kernel refused to join
        self._edits: dict[MembershipKey, tuple[Cause, Edit]] = {}  # done, and not stored yet
        self._touched: dict[MembershipKey, Cause] = {}  # since they were taken last

    def __iter__(self) -> Iterator[MembershipStatus]:
        for by_key in self._desired.values():
            for membership in by_key.values():
                yield self._status(membership)
        for membership, reason in self._stuck.values():
            if not self.desired(membership.key):
                yield _left_in_vain(membership, reason)

    def find(self, key: MembershipKey) -> MembershipStatus | None:
        """Return the membership of a key, and how it is; None where there is none."""
        membership = self.desired(key)
        if membership is not None:
            return self._status(membership)
        stuck = (_left_in_vain(*each) for each in self._stuck.values() if each[0].key == key)
        return next(stuck, None)

    def _status(self, membership: Membership) -> MembershipStatus:
        key = membership.key
        reason = self._failed.get(key, "")
        if key in self._joined:
            return MembershipStatus(membership, MembershipState.JOINED, reason)
        state = MembershipState.FAILED if reason else MembershipState.WAITING
        return MembershipStatus(membership, state, reason)

    # Changing

    def check_join(
        self, wanted: Sequence[Membership], present: Mapping[str, Link], *, wait: bool
    ) -> Sequence[Membership]:
        """Return the wanted memberships that do not exist yet.

        wanted: all on one interface. present: the interfaces that exist. wait: allow that the
        memberships' interface does not. Raises MembershipExists where all of them exist,
        LimitExceeded, and what `check_interface` raises.
        """
        added = [membership for membership in wanted if not self.desired(membership.key)]
        if not added:
            many = f"and {len(wanted) - 1} more exist" if len(wanted) > 1 else "exists"
            raise MembershipExists(f"Membership {wanted[0]} {many} already")
        self.check_count(len(added))
        check_interface(added[0].interface, present, wait=wait)
        return added

    def check_total(self, total: int) -> None:
        """Raise LimitExceeded where the limit does not allow so many memberships."""
        self.check_count(total - self._count)

    def check_count(self, growth: int) -> None:
        if growth > 0 and self._count + growth > self.limit():
            raise LimitExceeded(
                f"There are {self._count} memberships, and the configuration allows no more"
            )

    def join(
        self,
        wanted: Sequence[Membership],
        present: Mapping[str, Link],
        cause: Cause,
        *,
        wait: bool,
    ) -> None:
        """Join all or none. Raises what `check_join` raises, and KernelError."""
        added = self.check_join(wanted, present, wait=wait)
        with self.changing(Difference(added), present, cause):
            pass

    def check_leave(self, range_: MembershipRange) -> Sequence[Membership]:
        """Return the memberships of a range.

        Raises NoSuchMembership, MembershipConfigured, and KernelError where all of them are deleted
        already, and the kernel refuses to leave one.
        """
        found = self._within(range_)
        if not found:
            self.check_left([each for each, _ in self._stuck.values() if range_.covers(each.key)])
            raise NoSuchMembership(f"There is no membership {range_}")
        for membership in found:
            _check_configured(membership)
        return found

    def leave(
        self,
        range_: MembershipRange,
        cause: Cause,
        shown: Sequence[Membership] | None = None,
    ) -> Sequence[Membership]:
        """Delete the memberships of a range, and return them. Raises what `check_leave` raises.

        shown: the memberships that the caller may leave; AccessDenied where the range has others
        by now. None: all.
        """
        found = self.check_leave(range_)
        if shown is not None and {*shown} != {*found}:
            raise AccessDenied(f"Membership {range_} was changed meanwhile: try again")
        for membership in found:
            self._drop(membership, cause)
        return found

    def check_left(self, left: Sequence[Membership]) -> None:
        """Raise KernelError where the kernel has refused to leave one of these deleted ones."""
        reasons = dict(self._stuck.values())
        for membership in left:
            if membership in reasons:
                sentence = f"Membership {membership} is no more, but {_REFUSED}"
                raise KernelError(f"{sentence}: {reasons[membership]}; it is tried again")

    # Changing many

    def compare(
        self, wanted: Sequence[Membership], deletable: Callable[[Membership], bool] | None
    ) -> Difference[Membership]:
        """Compare the desired memberships with wanted ones; deletable: see difference.compare."""
        present = [each for by_key in self._desired.values() for each in by_key.values()]
        return compare(lambda each: self.desired(each.key), wanted, present, deletable)

    def find_named(
        self, named: Sequence[Membership], removable: Callable[[Membership], bool]
    ) -> Difference[Membership]:
        """Plan to delete the desired memberships with the keys of these that are removable."""
        present = {each.key: self.desired(each.key) for each in named}
        return Difference(deleted=[each for each in present.values() if each and removable(each)])

    def find_problems(
        self,
        wanted: Sequence[Membership],
        difference: Difference[Membership],
        present: Mapping[str, Link],
        problems: Problems,
        *,
        wait: bool,
    ) -> None:
        """Add to `problems` all that forbids a difference, by the index of each in `wanted`."""
        added = {each.key for each in difference.added}
        replaced = {each.new.key: each.old for each in difference.changed}
        for index, membership in enumerate(wanted):
            try:
                if membership.key in added:
                    check_interface(membership.interface, present, wait=wait)
                if membership.key in replaced and not membership.file:
                    _check_configured(replaced[membership.key])
            except RequestError as error:
                problems.add(("membership", index), error)

    @contextmanager
    def changing(
        self, difference: Difference[Membership], present: Mapping[str, Link], cause: Cause
    ) -> Iterator[None]:
        """Add and replace memberships, run the body of the context, and then delete others.

        An error of the body undoes it all. Raises KernelError; then nothing was changed.
        """
        with ExitStack() as undo:
            for membership in difference.added:
                self._add(membership, present, cause)
                undo.callback(self._drop, membership, cause)
            for old, new in difference.changed:
                self._replace(old, new, cause)
                undo.callback(self._replace, new, old, cause)
            yield
            undo.pop_all()
        for membership in difference.deleted:
            self._drop(membership, cause)

    def restore(self, memberships: Iterable[Membership], present: Mapping[str, Link]) -> None:
        """Begin with stored memberships; those that cannot be joined now are tried again."""
        for membership in memberships:
            self._put(membership)
            self._try_to_join(membership, present)

    # What happens to the interfaces

    def follow(self, event: Event, present: Mapping[str, Link]) -> None:
        """Join the groups of an interface that came, and leave those of one that has gone."""
        if isinstance(event, Missed):
            self.retry_refused(present)
            return
        for membership in self._desired.get(event.link.name, {}).values():
            if isinstance(event, Gone):
                self._leave(membership)
            else:
                self._try_to_join(membership, present)
            self._touched.setdefault(membership.key, BY_INTERFACE)

    def retry_refused(self, present: Mapping[str, Link]) -> None:
        """Try again to join and to leave what the kernel refused, and join what it has lost.

        See `Joins.lost`.
        """
        try:
            lost = set(self._joins.lost())
        except OSError as error:  # it is tried again
            log.error("What the kernel has joined cannot be read: %s", _sentence(error))
            return
        for key in [key for key, join in self._joined.items() if join in lost]:
            membership = self._desired[key.interface][key]
            extra = about(Message.MEMBERSHIP_LOST, membership)
            log.warning("The kernel has lost membership %s: joining again", membership, extra=extra)
            self._leave(membership)
            self._try_to_join(membership, present)
            self._touched.setdefault(key, BY_INTERFACE)
        for join, (membership, _) in [*self._stuck.items()]:
            self._let_go(join, membership)
        for key in list(self._failed):
            self._try_to_join(self._desired[key.interface][key], present)
            self._touched.setdefault(key, BY_INTERFACE)

    # Storing and telling

    def take_edits(self) -> dict[MembershipKey, tuple[Cause, Edit]]:
        """Return the edits since the last call, to be stored, each with its last cause."""
        edits, self._edits = self._edits, {}
        return edits

    def take_back(self, edits: Mapping[MembershipKey, Edit], present: Mapping[str, Link]) -> None:
        """Undo edits that could not be stored."""
        for old, new in edits.values():
            if isinstance(old, Membership):
                self._put(old)
                self._try_to_join(old, present)
            elif isinstance(new, Membership):
                self._remove(new)
        self.leave_for_good()

    def leave_for_good(self) -> None:
        """Have the kernel leave deleted memberships, now that their deletion is stored."""
        leaving, self._leaving = self._leaving, {}
        for join, membership in leaving.items():
            self._let_go(join, membership)

    def take_touched(self) -> Mapping[MembershipKey, Cause]:
        """Return what may have changed since the last call, and what has caused that."""
        touched, self._touched = self._touched, {}
        return touched

    def _note(
        self,
        key: MembershipKey,
        old: Membership | None,
        new: Membership | None,
        cause: Cause,
    ) -> None:
        before = self._edits[key][1].old if key in self._edits else old
        self._edits[key] = cause, Edit(before, new)
        self._touched[key] = cause

    # What is desired, and what is joined

    def _add(self, membership: Membership, present: Mapping[str, Link], cause: Cause) -> None:
        link = present.get(membership.interface)
        if link is not None:
            try:
                self._join(membership, link)
            except OSError as error:
                sentence = f"Membership {membership}: The kernel refused: {_sentence(error)}"
                raise KernelError(sentence) from error
        self._put(membership)
        self._note(membership.key, None, membership, cause)

    def _drop(self, membership: Membership, cause: Cause) -> None:
        self._remove(membership)
        self._note(membership.key, membership, None, cause)

    def _replace(self, old: Membership, new: Membership, cause: Cause) -> None:
        """Change the comment, the origin or how it is kept; the group stays joined."""
        self._put(new)
        self._note(new.key, old, new, cause)

    def desired(self, key: MembershipKey) -> Membership | None:
        """Return the desired membership of a key, None where there is none."""
        return self._desired.get(key.interface, {}).get(key)

    def _within(self, range_: MembershipRange) -> Sequence[Membership]:
        by_key = self._desired.get(range_.interface, {})
        if range_.single:
            return [by_key[range_.single]] if range_.single in by_key else []
        return [membership for key, membership in by_key.items() if range_.covers(key)]

    def _put(self, membership: Membership) -> None:
        by_key = self._desired.setdefault(membership.interface, {})
        self._count += membership.key not in by_key
        by_key[membership.key] = membership

    def _remove(self, membership: Membership) -> None:
        self._failed.pop(membership.key, None)
        join = self._joined.pop(membership.key, None)
        if join is not None:
            self._leaving[join] = membership
        by_key = self._desired[membership.interface]
        del by_key[membership.key]
        if not by_key:
            del self._desired[membership.interface]
        self._count -= 1

    def _try_to_join(self, membership: Membership, present: Mapping[str, Link]) -> None:
        """Join a membership if its interface is there and it is not joined."""
        link = present.get(membership.interface)
        if link is None or membership.key in self._joined:
            return
        try:
            self._join(membership, link)
        except OSError as error:
            reason = _sentence(error)
            if self._failed.get(membership.key) != reason:
                _log_refusal("is not joined", membership, reason)
            self._failed[membership.key] = reason
        else:
            self._failed.pop(membership.key, None)

    def _join(self, membership: Membership, link: Link) -> None:
        join = Join(membership.group, link.ifindex, membership.source)
        if self._leaving.pop(join, None) is None and self._stuck.pop(join, None) is None:
            self._joins.join(join)
        self._joined[membership.key] = join

    def _leave(self, membership: Membership) -> None:
        self._failed.pop(membership.key, None)
        join = self._joined.pop(membership.key, None)
        if join is not None:
            self._let_go(join, membership)

    def _let_go(self, join: Join, membership: Membership) -> None:
        """Have the kernel leave; where it refuses, `retry_refused` tries again."""
        _, before = self._stuck.pop(join, (None, ""))
        try:
            self._joins.leave(join)
        except OSError as error:
            reason = _sentence(error)
            if reason != before:
                _log_refusal(f"is no more, but {_REFUSED}", membership, reason)
            self._stuck[join] = membership, reason
        self._touched.setdefault(membership.key, BY_INTERFACE)


def _log_refusal(what: str, membership: Membership, reason: str) -> None:
    extra = about(Message.KERNEL_REFUSED, membership, reason=reason)
    log.error("Membership %s %s: %s", membership, what, reason, extra=extra)


def _left_in_vain(membership: Membership, reason: str) -> MembershipStatus:
    return MembershipStatus(membership, MembershipState.FAILED, f"{_REFUSED}: {reason}")


def _check_configured(membership: Membership) -> None:
    """Raise MembershipConfigured where only a file may change this membership."""
    if membership.file:
        raise MembershipConfigured(
            f"Membership {membership} comes from {membership.file}, and is changed there"
        )


def _sentence(error: OSError) -> str:
    return os.strerror(error.errno or 0)

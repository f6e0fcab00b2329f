"""The static memberships: those desired, and those that the kernel has joined.

The controller tells what happens to the interfaces, and has what was done stored, or taken back.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from mfc_dbus.documents.problem_lines import Problems
from mfc_dbus.kernel.links import Event, Gone, Link, Missed
from mfc_dbus.memberships.joins import Join, Joins
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
from mfc_dbus.model.route import Edit, Membership, MembershipKey, MembershipRange
from mfc_dbus.routing.presence import check_interface

log = logging.getLogger(__name__)

_REFUSED = "the kernel refused to leave it"


class MembershipStatus(NamedTuple):
    """A membership, and whether it is joined: joined, waiting (its interface is missing), failed.

    reason: why it failed.
    """

    membership: Membership
    state: str
    reason: str


class Memberships:
    """Joined while their interface is there. `limit`: the most that there may be, not set here."""

    def __init__(self, joins: Joins | None = None) -> None:
        """joins: without it, those of sockets that nobody keeps."""
        self.limit = 0
        self._joins = joins or Joins()
        self._desired: dict[str, dict[MembershipKey, Membership]] = {}  # by interface
        self._count = 0
        self._joined: dict[MembershipKey, Join] = {}
        self._leaving: dict[Join, Membership] = {}  # as soon as that is stored
        # Joined against our will, since the kernel refused to leave; and why.
        self._stuck: dict[Join, tuple[Membership, str]] = {}
        self._failed: dict[MembershipKey, str] = {}  # why
        self._edits: dict[MembershipKey, Edit] = {}  # done, and not stored yet
        self._news = False  # to be told
        self._listener: Callable[[], None] | None = None

    def listen(self, listener: Callable[[], None]) -> None:
        """Have someone told of every change, after it was stored and before its caller is."""
        self._listener = listener

    def __iter__(self) -> Iterator[MembershipStatus]:
        for by_key in self._desired.values():
            for key, membership in by_key.items():
                reason = self._failed.get(key, "")
                state = "joined" if key in self._joined else "failed" if reason else "waiting"
                yield MembershipStatus(membership, state, reason)
        for membership, reason in self._stuck.values():
            if not self._find(membership.key):
                yield MembershipStatus(membership, "failed", f"{_REFUSED}: {reason}")

    # Changing

    def check_join(
        self, wanted: Sequence[Membership], present: Mapping[str, Link], *, wait: bool
    ) -> Sequence[Membership]:
        """Find those that there are not yet. Raises what can be told beforehand.

        wanted: on one interface. present: the interfaces that there are. wait: that of the
        memberships need not be.
        """
        added = [membership for membership in wanted if not self._find(membership.key)]
        if not added:
            many = f"and {len(wanted) - 1} more exist" if len(wanted) > 1 else "exists"
            raise MembershipExists(f"Membership {wanted[0]} {many} already")
        self.check_count(len(added))
        check_interface(added[0].interface, present, wait=wait)
        return added

    def check_total(self, total: int) -> None:
        """Raise LimitExceeded where there cannot be so many."""
        self.check_count(total - self._count)

    def check_count(self, growth: int) -> None:
        if growth > 0 and self._count + growth > self.limit:
            raise LimitExceeded(
                f"There are {self._count} memberships, and the configuration allows no more"
            )

    def join(
        self, wanted: Sequence[Membership], present: Mapping[str, Link], *, wait: bool
    ) -> None:
        """Raises what `check_join` does, and KernelError; then nothing was changed."""
        added = self.check_join(wanted, present, wait=wait)
        with self.changing(Difference(added), present):
            pass

    def check_leave(self, range_: MembershipRange) -> Sequence[Membership]:
        """Find those of a range that there are. Raises what can be told beforehand."""
        found = self._within(range_)
        if not found:
            raise NoSuchMembership(f"There is no membership {range_}")
        for membership in found:
            _check_configured(membership)
        return found

    def leave(
        self, range_: MembershipRange, shown: Sequence[Membership] | None = None
    ) -> Sequence[Membership]:
        """Desire a range no longer, and tell what it was. Raises what `check_leave` does.

        shown: what the caller may leave of it, None for all.
        """
        found = self.check_leave(range_)
        if shown is not None and {*shown} != {*found}:
            raise AccessDenied(f"Membership {range_} was changed meanwhile: try again")
        for membership in found:
            self._drop(membership)
        return found

    def check_left(self, left: Sequence[Membership]) -> None:
        """Raise KernelError where the kernel did not leave all of this when that was stored."""
        reasons = dict(self._stuck.values())
        for membership in left:
            if membership in reasons:
                sentence = f"Membership {membership} is no more, but {_REFUSED}"
                raise KernelError(f"{sentence}: {reasons[membership]}; it is tried again")

    # Changing many

    def compare(
        self, wanted: Sequence[Membership], doomed: Callable[[Membership], bool] | None
    ) -> Difference[Membership]:
        """doomed: which go where they are not wanted, None for none at all."""
        present = [each for by_key in self._desired.values() for each in by_key.values()]
        return compare(lambda each: self._find(each.key), wanted, present, doomed)

    def check(
        self,
        wanted: Sequence[Membership],
        difference: Difference[Membership],
        present: Mapping[str, Link],
        problems: Problems,
        *,
        wait: bool,
    ) -> None:
        """Add all that forbids it, each with its path in the document, or in all files together."""
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
        self, difference: Difference[Membership], present: Mapping[str, Link]
    ) -> Iterator[None]:
        """Join what comes, do what this is the context of, and then leave what goes.

        What that raises takes it all back. Raises KernelError, and has changed nothing.
        """
        with ExitStack() as undo:
            for membership in difference.added:
                self._add(membership, present)
                undo.callback(self._drop, membership)
            for old, new in difference.changed:
                self._replace(old, new)
                undo.callback(self._replace, new, old)
            yield
            undo.pop_all()
        for membership in difference.deleted:
            self._drop(membership)

    def restore(self, memberships: Iterable[Membership], present: Mapping[str, Link]) -> None:
        """Begin with memberships that were stored; what cannot be joined now is tried again."""
        for membership in memberships:
            self._put(membership)
            self._settle(membership, present)

    # What happens to the interfaces

    def follow(self, event: Event, present: Mapping[str, Link]) -> None:
        """Join what an interface lets join that came, and leave on one that has gone."""
        if isinstance(event, Missed):
            self.mend(present)
            return
        for membership in self._desired.get(event.link.name, {}).values():
            if isinstance(event, Gone):
                self._leave(membership)
            else:
                self._settle(membership, present)
            self._news = True

    def mend(self, present: Mapping[str, Link]) -> None:
        """Join what the kernel refused, and what it has lost: see `Joins.lost`."""
        try:
            lost = set(self._joins.lost())
        except OSError as error:  # it is tried again
            log.error("What the kernel has joined cannot be read: %s", _sentence(error))
            return
        for key in [key for key, join in self._joined.items() if join in lost]:
            membership = self._desired[key.interface][key]
            log.warning("The kernel has lost membership %s: joining again", membership)
            self._leave(membership)
            self._settle(membership, present)
            self._news = True
        for join, (membership, _) in [*self._stuck.items()]:
            self._let_go(join, membership)
        for key in list(self._failed):
            self._settle(self._desired[key.interface][key], present)
            self._news = self._news or key not in self._failed

    # Storing and telling

    def take_edits(self) -> dict[MembershipKey, Edit]:
        """What was done since the last time, to be stored."""
        edits, self._edits = self._edits, {}
        return edits

    def take_back(self, edits: Mapping[MembershipKey, Edit], present: Mapping[str, Link]) -> None:
        """Undo what could not be stored."""
        for old, new in edits.values():
            if isinstance(old, Membership):
                self._put(old)
                self._settle(old, present)
            elif isinstance(new, Membership):
                self._remove(new)
        self.leave_for_good()

    def leave_for_good(self) -> None:
        """Let the kernel leave what is desired no more, now that this is stored."""
        leaving, self._leaving = self._leaving, {}
        for join, membership in leaving.items():
            self._let_go(join, membership)

    def tell(self) -> None:
        """Tell of what has changed since the last time, if anything has."""
        news, self._news = self._news, False
        if news and self._listener:
            self._listener()

    def _note(self, key: MembershipKey, old: Membership | None, new: Membership | None) -> None:
        before = self._edits[key].old if key in self._edits else old
        self._edits[key] = Edit(before, new)
        self._news = True

    # What is desired, and what is joined

    def _add(self, membership: Membership, present: Mapping[str, Link]) -> None:
        link = present.get(membership.interface)
        if link is not None:
            try:
                self._join(membership, link)
            except OSError as error:
                sentence = f"Membership {membership}: The kernel refused: {_sentence(error)}"
                raise KernelError(sentence) from error
        self._put(membership)
        self._note(membership.key, None, membership)

    def _drop(self, membership: Membership) -> None:
        self._remove(membership)
        self._note(membership.key, membership, None)

    def _replace(self, old: Membership, new: Membership) -> None:
        """Have another comment or origin, or keep it otherwise; it stays joined."""
        self._put(new)
        self._note(new.key, old, new)

    def _find(self, key: MembershipKey) -> Membership | None:
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

    def _settle(self, membership: Membership, present: Mapping[str, Link]) -> None:
        """Join it if its interface is there and it is not joined."""
        link = present.get(membership.interface)
        if link is None or membership.key in self._joined:
            return
        try:
            self._join(membership, link)
        except OSError as error:
            reason = _sentence(error)
            if self._failed.get(membership.key) != reason:
                log.error("Membership %s is not joined: %s", membership, reason)
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
        """Leave; what the kernel refuses to leave is tried again by `mend`."""
        _, before = self._stuck.pop(join, (None, ""))
        try:
            self._joins.leave(join)
        except OSError as error:
            reason = _sentence(error)
            if reason != before:
                log.error("Membership %s is no more, but %s: %s", membership, _REFUSED, reason)
            self._stuck[join] = membership, reason
        self._news = self._news or (join in self._stuck) != bool(before)


def _check_configured(membership: Membership) -> None:
    """Raise MembershipConfigured where only a file may change this membership."""
    if membership.file:
        raise MembershipConfigured(
            f"Membership {membership} comes from {membership.file}, and is changed there"
        )


def _sentence(error: OSError) -> str:
    return os.strerror(error.errno or 0)

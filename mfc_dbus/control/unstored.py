"""Changes that are not stored yet: stored together, or taken back, and then told of."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol

from mfc_dbus.control.history import History, RecordedChange
from mfc_dbus.control.reconciler import Reconciler
from mfc_dbus.control.status_changes import StatusChanges
from mfc_dbus.control.timeouts import Timeouts
from mfc_dbus.loop.slices import Bell, Slices, let_go
from mfc_dbus.loop.worker import aside
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.desired import Desired, Edit, Key
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.history import HistoryUpdate
from mfc_dbus.model.journal import Message, about
from mfc_dbus.model.membership import MembershipKey
from mfc_dbus.model.status import StoreCounters
from mfc_dbus.routing.sequence import Part
from mfc_dbus.routing.transition import Transition

log = logging.getLogger(__name__)

_MANY = 10  # transitions that are looked through in a thread


class Keeper(Protocol):
    """Where routes and memberships are kept."""

    async def write(self, edits: Mapping[Key, Edit], history: HistoryUpdate | None = None) -> None:
        """Return when all of it is kept. Raises StoreError, and has kept nothing."""


class _PartOfCommit(NamedTuple):
    """The transitions of one change: those from `first` on and before `last`."""

    cause: Cause
    first: int
    last: int


class UnstoredChanges:
    """Does changes of routes, and answers for them and for those of memberships.

    One of many routes is done in parts, and others are served in between.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        memberships: Memberships,
        timeouts: Timeouts,
        status_changes: StatusChanges,
        keeper: Keeper,
        history: History,
        go_on: Callable[[], None],
    ) -> None:
        """go_on: is called whenever a part of a change was done or taken back."""
        self._reconciler = reconciler
        self._memberships = memberships
        self._timeouts = timeouts
        self._status_changes = status_changes
        self._keeper = keeper
        self._go_on = go_on
        self._history = history
        self._done: list[Transition] = []
        self._asked: list[_PartOfCommit] = []  # to which change each of these belongs
        self._halfway = 0  # how many changes are done in part, or taken back in part
        self._moved = Bell()
        self.store = StoreCounters()

    @property
    def is_whole(self) -> bool:
        """Whether no change is done in part."""
        return not self._halfway

    async def until_whole(self) -> None:
        """Wait until no change is done in part."""
        while not self.is_whole:
            await self._moved.wait()

    def change(self, transitions: Sequence[Transition], cause: Cause) -> None:
        """Do transitions, in the kernel and in the tables, as one change.

        Raises TableBusy, TooManyInterfaces, KernelError, and has changed nothing.
        """
        before = len(self._done)
        self._do(Part(transitions), cause, wait=False)
        self._asked.append(_PartOfCommit(cause, before, len(self._done)))
        self._status_changes.note((key for each in transitions for key in each.keys), cause)

    async def change_in_parts(
        self, parts: Iterator[Part], cause: Cause, *, wait: bool = False
    ) -> None:
        """Do all these parts, or none: see `change`."""
        before, slices = len(self._done), Slices()
        with self._in_part():
            try:
                for part in parts:
                    self._do(part, cause, wait=wait)
                    self._go_on()
                    await slices.pause()
            except BaseException:
                done = self._done[before:]
                del self._done[before:]
                await self._take_back(done)
                await let_go(done)
                raise
            self._asked.append(_PartOfCommit(cause, before, len(self._done)))
            done = self._done[before:]
            keys = (key for each in done for key in each.keys)
            await self._status_changes.note_all(keys, cause)

    def _do(self, part: Part, cause: Cause, *, wait: bool) -> None:
        transitions, within = part
        self._reconciler.reserve_room()
        waiting = [each for each in transitions if wait and not each.table.owned]
        installed = [each for each in transitions if each not in waiting]
        self._reconciler.install(installed, within, cause)
        for transition in waiting:
            transition.desire()
        for transition in transitions:
            for route in transition.new:
                self._timeouts.remember(route)
        self._done += transitions

    async def commit(self) -> None:
        """Store all changes since the last call. Where it raises an Exception, it has taken these
        back.
        """
        done, self._done = self._done, []
        asked, self._asked = self._asked, []
        joined = self._memberships.take_edits()
        changed: dict[Key, Edit] = {}
        try:
            await self._store(done, asked, joined, changed)
            self._memberships.leave_for_good()
        finally:
            # Nothing needs the VIFs that are left for taking back any more.
            self._reconciler.retry_without_room()
            await let_go(changed)
            await let_go(done)

    async def _store(
        self,
        done: Sequence[Transition],
        asked: Sequence["_PartOfCommit"],
        joined: Mapping[MembershipKey, tuple[Cause, Edit]],
        changed: dict[Key, Edit],
    ) -> None:
        """Store what was done and joined, or take it back.

        changed: empty; what is stored is added.
        """
        try:
            # What is looked through does not change any more, and may be long.
            look = partial(self._look_through, done, asked, joined, changed)
            history = await aside(look) if len(done) > _MANY else look()
            if changed:
                await self._write(changed, history)
            if history:
                self._history.add(history)
        except Exception:
            with self._in_part():
                await self._take_back(done)
                back = {key: edit for key, (_, edit) in joined.items()}
                self._memberships.take_back(back, self._reconciler.present)
            raise

    async def _write(self, changed: Mapping[Key, Edit], history: HistoryUpdate | None) -> None:
        """Store edits with what the history has of them, and count that. Raises StoreError."""
        begin = time.monotonic()
        failed = True
        try:
            await self._keeper.write(changed, history)
            failed = False
        finally:
            before = self.store
            self.store = StoreCounters(
                before.commits + (not failed),
                before.failures + failed,
                before.seconds + time.monotonic() - begin,
            )

    def _look_through(
        self,
        done: Sequence[Transition],
        asked: Sequence["_PartOfCommit"],
        joined: Mapping[MembershipKey, tuple[Cause, Edit]],
        changed: dict[Key, Edit],
    ) -> HistoryUpdate | None:
        """Return what the history has of a commit. changed: all that is to be stored is added."""
        changed |= _edits(done)
        by_change: dict[int, RecordedChange] = {}
        for cause, first, last in asked:
            alone = last - first == len(done) and not joined
            by_change[id(cause)] = RecordedChange(
                cause, changed if alone else _edits(done[first:last])
            )
        for key, (cause, (old, new)) in joined.items():
            changed[key] = edit = Edit(_storable(old), _storable(new))
            its = by_change.setdefault(id(cause), RecordedChange(cause, {}))
            its.edits[key] = edit
        return self._history.compose(by_change.values())

    @contextmanager
    def _in_part(self) -> Iterator[None]:
        self._halfway += 1
        try:
            yield
        finally:
            self._halfway -= 1
            self._moved.ring()

    async def _take_back(self, transitions: Sequence[Transition]) -> None:
        """Undo changes as far as the present interfaces allow."""
        slices = Slices()
        for transition in reversed(transitions):
            self._go_on()
            await slices.pause()
            back = transition.back
            try:
                if back.table.owned:
                    self._reconciler.install([back])
                else:
                    back.desire()
            except RequestError as error:
                log.error(
                    "A change is taken back in parts: %s",
                    error,
                    extra=about(Message.KERNEL_REFUSED),
                )
                self._force(back)
            for route in back.new:
                self._timeouts.remember(route)
        await self._status_changes.note_again()

    def _force(self, back: Transition) -> None:
        """Remove what nobody wants, where it cannot be replaced at once by what was there before.

        That comes back as soon as the kernel takes it.
        """
        going = Transition(back.table, back.old, [])
        try:
            self._reconciler.install([going])
        except RequestError as error:
            extra = about(Message.KERNEL_REFUSED)
            log.error("A change that is taken back stays in the kernel: %s", error, extra=extra)
            going.desire()
        self._reconciler.desire(back.table, back.new)


def _edits(transitions: Iterable[Transition]) -> dict[Key, Edit]:
    """Return what all of these transitions together change of what is stored, by key."""
    found: dict[Key, Edit] = {}
    for transition in transitions:
        if transition.keeps_desired:
            continue
        before = {route.key: route for route in transition.old}
        after = {route.key: route for route in transition.new}
        for key in before | after if before else after:
            old, new = before.get(key), after.get(key)
            first = found[key].old if key in found else old and _storable(old)
            found[key] = Edit(first, new and _storable(new))
    return found


def _storable(desired: Desired | None) -> Desired | None:
    """Return what has to be stored of this: nothing of what comes from a file."""
    return None if desired is not None and desired.file else desired

"""What was changed and is not stored yet: stored together, taken back if that fails, then told."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from mfc_dbus.control.reconciler import Upkeep
from mfc_dbus.control.status_changes import News
from mfc_dbus.control.timeouts import Expiries
from mfc_dbus.loop.slices import Slices
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.route import Edit, Key, MembershipKey
from mfc_dbus.routing.sequence import Part
from mfc_dbus.routing.transition import Transition, edits, kept

log = logging.getLogger(__name__)

_MANY = 10  # transitions that are looked through in a thread


class Keeper(Protocol):
    """Where routes and memberships are kept."""

    async def write(self, edits: Mapping[Key, Edit]) -> None:
        """Return when all of it is kept. Raises StoreError, and has kept nothing."""


class Ledger:
    """Does changes of routes, and answers for them and for those of memberships.

    One of many routes is done in parts, and others are served in between.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        memberships: Memberships,
        expiries: Expiries,
        news: News,
        keeper: Keeper,
        go_on: Callable[[], None],
    ) -> None:
        """go_on: is called whenever a part of a change was done or taken back."""
        self._upkeep = upkeep
        self._memberships = memberships
        self._expiries = expiries
        self._news = news
        self._keeper = keeper
        self._go_on = go_on
        self._done: list[Transition] = []
        self._halfway = 0  # changes that are done in part, or taken back in part
        self._whole = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Whether no change is done in part."""
        return not self._halfway

    async def settle(self) -> None:
        """Wait until no change is done in part."""
        while not self.settled:
            await self._whole.wait()

    def change(self, transitions: Sequence[Transition], *, wait: bool = False) -> None:
        """Make other routes the desired ones, in the kernel and here.

        wait: their tables need not be ours yet. Raises TableBusy, TooManyInterfaces, KernelError,
        and has changed nothing.
        """
        self._do(Part(transitions), wait=wait)
        self._news.note(route.key for _, old, new in transitions for route in (*old, *new))

    async def change_in_parts(self, parts: Iterator[Part], *, wait: bool = False) -> None:
        """Do all of them, or none: see `change`."""
        before, slices = len(self._done), Slices()
        with self._in_part():
            try:
                for part in parts:
                    self._do(part, wait=wait)
                    self._go_on()
                    await slices.pause()
            except BaseException:
                done = self._done[before:]
                del self._done[before:]
                await self._take_back(done)
                raise
            done = self._done[before:]
            await self._news.note_all(
                route.key for _, old, new in done for route in (*old, *(() if old is new else new))
            )

    def _do(self, part: Part, *, wait: bool) -> None:
        transitions, within = part
        self._upkeep.hold_room()
        waiting = [each for each in transitions if wait and not each.table.owned]
        self._upkeep.install([each for each in transitions if each not in waiting], within)
        for transition in waiting:
            transition.desire()
        for transition in transitions:
            for route in transition.new:
                self._expiries.remember(route)
        self._done += transitions

    async def commit(self) -> None:
        """Store what was done since the last time. Whatever it raises, it has taken that back."""
        done, self._done = self._done, []
        joined = self._memberships.take_edits()
        # What is looked through does not change any more, and may be long.
        changed = await asyncio.to_thread(edits, done) if len(done) > _MANY else edits(done)
        changed.update((key, Edit(kept(old), kept(new))) for key, (old, new) in joined.items())
        try:
            if changed:
                await self._store(changed, done, joined)
        finally:
            self._settle()
        self._memberships.leave_for_good()

    async def _store(
        self,
        changed: Mapping[Key, Edit],
        done: Sequence[Transition],
        joined: Mapping[MembershipKey, Edit],
    ) -> None:
        """Store changes, or take back what was done and joined."""
        try:
            await self._keeper.write(changed)
        except Exception:
            with self._in_part():
                await self._take_back(done)
                self._memberships.take_back(joined, self._upkeep.present)
            raise

    @contextmanager
    def _in_part(self) -> Iterator[None]:
        self._halfway += 1
        self._whole.clear()
        try:
            yield
        finally:
            self._halfway -= 1
            if self.settled:
                self._whole.set()

    def _settle(self) -> None:
        """Give away the room that is left, which nobody will need for taking back any more."""
        self._upkeep.feed()
        self._upkeep.watch()

    async def _take_back(self, transitions: Sequence[Transition]) -> None:
        """Undo changes with the interfaces that there are now."""
        slices = Slices()
        for transition in reversed(transitions):
            self._go_on()
            await slices.pause()
            back = transition.back
            try:
                if back.table.owned:
                    self._upkeep.install([back])
                else:
                    back.desire()
            except RequestError as error:
                log.error("A change is taken back in parts: %s", error)
                self._force(back)
            for route in back.new:
                self._expiries.remember(route)
        await self._news.look_again()

    def _force(self, back: Transition) -> None:
        """Take back at least what nobody wants; what was before comes as soon as it can."""
        going = Transition(back.table, back.old, [])
        try:
            self._upkeep.install([going])
        except RequestError as error:
            log.error("A change that is taken back stays in the kernel: %s", error)
            going.desire()
        self._upkeep.want(back.table, back.new)

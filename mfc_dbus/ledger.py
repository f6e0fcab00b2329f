"""What was changed and is not stored yet: stored together, taken back if that fails, then told."""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from mfc_dbus.errors import RequestError
from mfc_dbus.expiries import Expiries
from mfc_dbus.memberships import Memberships
from mfc_dbus.model import Edit, Key
from mfc_dbus.news import News
from mfc_dbus.transition import Transition, edits, kept
from mfc_dbus.upkeep import Upkeep

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Where routes and memberships are kept."""

    async def write(self, edits: Mapping[Key, Edit]) -> None:
        """Return when all of it is kept. Raises StoreError, and has kept nothing."""


class Ledger:
    """Does changes of routes, and answers for them and for those of memberships."""

    def __init__(
        self,
        upkeep: Upkeep,
        memberships: Memberships,
        expiries: Expiries,
        news: News,
        keeper: Keeper,
    ) -> None:
        self._upkeep = upkeep
        self._memberships = memberships
        self._expiries = expiries
        self._news = news
        self._keeper = keeper
        self._done: list[Transition] = []

    def change(self, transitions: Sequence[Transition], *, wait: bool = False) -> None:
        """Make other routes the desired ones, in the kernel and here.

        wait: their tables need not be ours yet. Raises TableBusy, TooManyInterfaces, KernelError,
        and has changed nothing.
        """
        waiting = [each for each in transitions if wait and not each.table.owned]
        self._upkeep.install([each for each in transitions if each not in waiting])
        for transition in waiting:
            transition.desire()
        for transition in transitions:
            for route in transition.new:
                self._expiries.remember(route)
        self._done += transitions
        self._news.note(route.key for _, old, new in transitions for route in (*old, *new))

    async def commit(self) -> None:
        """Store what was done since the last time. Whatever it raises, it has taken that back."""
        done, self._done = self._done, []
        changed = edits(done)
        joined = self._memberships.take_edits()
        changed.update((key, Edit(kept(old), kept(new))) for key, (old, new) in joined.items())
        if changed:
            try:
                await self._keeper.write(changed)
            except Exception:
                self._take_back(done)
                self._memberships.take_back(joined, self._upkeep.present)
                self._settle()
                raise
        self._memberships.leave_for_good()
        if done:
            self._settle()

    def _settle(self) -> None:
        """Give away the room that is left, which nobody will need for taking back any more."""
        self._upkeep.feed()
        self._upkeep.watch()

    def _take_back(self, transitions: Sequence[Transition]) -> None:
        """Undo changes that could not be stored, with the interfaces that there are now."""
        for transition in reversed(transitions):
            back = transition.back
            try:
                if back.table.owned:
                    self._upkeep.install([back])
                else:
                    back.desire()
            except RequestError as error:
                log.error("A change that could not be stored is taken back in parts: %s", error)
                self._force(back)
            for route in back.new:
                self._expiries.remember(route)
        self._news.look_again()

    def _force(self, back: Transition) -> None:
        """Take back at least what nobody wants; what was before comes as soon as it can."""
        going = Transition(back.table, back.old, [])
        try:
            self._upkeep.install([going])
        except RequestError as error:
            log.error("A change that could not be stored stays in the kernel: %s", error)
            going.desire()
        self._upkeep.want(back.table, back.new)

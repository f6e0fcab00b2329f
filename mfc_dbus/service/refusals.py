"""Logs the calls that were refused; of a user who is refused all the time only some."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from mfc_dbus.bus.frames import Header
from mfc_dbus.control.change_log import write
from mfc_dbus.control.rights import Question
from mfc_dbus.model import journal
from mfc_dbus.model.cause import Author, Cause, CauseKind
from mfc_dbus.model.errors import AccessDenied, InvalidArgs, RequestError
from mfc_dbus.model.members import ACTS
from mfc_dbus.service.access import Access

_MOST = 10  # lines of one user in that time
_WINDOW = 60.0  # seconds
_MOST_USERS = 100  # whose lines are counted apart


class Refusals:
    """Counts refused calls by their users, and says how many it has left out."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._refused: Counter[int | None] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    async def note(
        self, call: Header, name: str, error: RequestError, asked: Sequence[Question]
    ) -> None:
        """Log that a call was refused, unless it only makes no sense.

        name: the full name of its method. asked: what it asked for, as polkit is told of it.
        """
        if name not in ACTS or isinstance(error, InvalidArgs):
            return
        uid = await self._access.known_uid(call.sender)
        if uid is None:  # the caller has left, and nobody knows who it was
            return
        counted = uid if uid in self._refused or len(self._refused) < _MOST_USERS else None
        self._refused[counted] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WINDOW, self._sum_up)
        if self._refused[counted] > _MOST:
            return
        author = await self._access.author(call.sender)
        cause = Cause(CauseKind.CALL, ACTS[name], author)
        denied = isinstance(error, AccessDenied)
        record = journal.refused(
            cause,
            call.member,
            error.bus_name.rpartition(".")[2],
            str(error),
            asked[0].details if asked else {},
        )
        write(record, logging.WARNING if denied else logging.INFO)

    def _sum_up(self) -> None:
        """Log how many were left out, and begin anew."""
        self._timer = None
        refused, self._refused = self._refused, Counter()
        for uid, count in refused.items():
            if count > _MOST:
                who = f"calls of uid {uid}" if uid is not None else "calls of other users"
                author = Author(uid) if uid is not None else None
                write(journal.left_out(count - _MOST, f"{who} were refused", author))

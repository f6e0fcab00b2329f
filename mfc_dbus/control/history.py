"""The history: what callers have changed, so that it can be looked at and undone."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from mfc_dbus.model.cause import Cause, CauseKind
from mfc_dbus.model.desired import Edit, Key
from mfc_dbus.model.errors import NoSuchChange
from mfc_dbus.model.history import (
    MAX_CHANGES,
    MAX_EDITS,
    MAX_EDITS_OF_CHANGE,
    HistoryUpdate,
    PastChange,
    count,
)


class RecordedChange(NamedTuple):
    """A change, and what of the present commit it has changed."""

    cause: Cause
    edits: dict[Key, Edit]


class History:
    """The last changes that callers have made, and that are stored."""

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        """now: returns nanoseconds since 1970."""
        self._now = now
        self._changes: deque[PastChange] = deque()
        self._edits = 0

    def __iter__(self) -> Iterator[PastChange]:
        """Yield the changes, the last one first."""
        return reversed(self._changes)

    def __len__(self) -> int:
        return len(self._changes)

    def begin(self, past: Iterable[PastChange]) -> None:
        """Begin with what was stored."""
        for change in past:
            self._changes.append(change)
            self._edits += len(change.edits)
        self._forget_before(self._oldest(()))

    def compose(self, asked: Iterable[RecordedChange]) -> HistoryUpdate | None:
        """Make what is to be added to the history, None where that is nothing."""
        number = self._changes[-1].number + 1 if self._changes else 1
        when = self._now() // 1000
        added: list[PastChange] = []
        for cause, edits in asked:
            past = _past(number + len(added), when, cause, edits)
            if past is not None:
                added.append(past)
        return HistoryUpdate(added, self._oldest(added)) if added else None

    def add(self, update: HistoryUpdate) -> None:
        """Add changes that are stored now."""
        self._changes += update.added
        self._edits += sum(len(change.edits) for change in update.added)
        self._forget_before(update.oldest)

    def find(self, number: int | None, uid: int) -> PastChange:
        """Return the change of a number, or the last one of a user that is neither undone nor an
        undo itself. Raises NoSuchChange.
        """
        if number is not None:
            for change in self:
                if change.number == number:
                    return change
            raise NoSuchChange(f"There is no change {number} in the history")
        undone = self.undone_by()
        for change in self:
            if change.uid == uid and not change.undoes and change.number not in undone:
                return change
        raise NoSuchChange("There is no change of yours in the history that is not undone")

    def undone_by(self) -> Mapping[int, int]:
        """Return the numbers of the changes that are undone, each with that of its undo.

        An undo that is undone itself has undone nothing.
        """
        undone: dict[int, int] = {}
        for change in self:
            if change.undoes and change.number not in undone:
                undone.setdefault(change.undoes, change.number)
        return undone

    def _oldest(self, added: Sequence[PastChange]) -> int:
        """Return the number of the oldest change that is kept when these are added."""
        changes = len(self._changes) + len(added)
        edits = self._edits + sum(len(change.edits) for change in added)
        for change in chain(self._changes, added):
            if not _is_too_much(changes, edits):
                return change.number
            changes -= 1
            edits -= len(change.edits)
        return 0

    def _forget_before(self, oldest: int) -> None:
        while self._changes and self._changes[0].number < oldest:
            self._edits -= len(self._changes.popleft().edits)


def _is_too_much(changes: int, edits: int) -> bool:
    return changes > MAX_CHANGES or edits > MAX_EDITS


def _past(number: int, when: int, cause: Cause, edits: Mapping[Key, Edit]) -> PastChange | None:
    """Make an entry of the history of what a caller has changed, None where that is nothing."""
    if cause.author is None or cause.kind is not CauseKind.CALL:
        return None
    if len(edits) <= MAX_EDITS_OF_CHANGE:
        edits = {key: edit for key, edit in edits.items() if edit.old != edit.new}
    if not edits:
        return None
    kept = [*edits.values()] if len(edits) <= MAX_EDITS_OF_CHANGE else ()
    author = cause.author
    return PastChange(
        number, when, author.uid, author.user, cause.act, *count(edits), cause.undoes, kept
    )

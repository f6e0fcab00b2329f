"""What somebody has changed: values of the history, by which a change can be undone (pure)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.model.cause import Act
from mfc_dbus.model.desired import Edit, Key

# The history has so many of the last changes, of which each has so many edits, and all together.
# One of more edits is listed with its numbers: the document of before is what brings that back.
MAX_CHANGES = 1000
MAX_EDITS_OF_CHANGE = 1000
MAX_EDITS = 10_000


class PastChange(NamedTuple):
    """A change that somebody has asked for.

    number: counts the changes, from 1. when: microseconds since 1970. user: the name of the uid,
    empty where nobody knew it. added, changed, deleted: how many routes and memberships. undoes:
    the number of the change that this one has undone, 0 for any other. edits: what was changed,
    empty where that is not kept any more or was too much.
    """

    number: int
    when: int
    uid: int
    user: str
    act: Act
    added: int
    changed: int
    deleted: int
    undoes: int = 0
    edits: Sequence[Edit] = ()

    @property
    def is_kept(self) -> bool:
        """Whether it is known what it has changed, and so can be undone."""
        return bool(self.edits)


class HistoryUpdate(NamedTuple):
    """Changes that are added to the history, and the number of the oldest one that is kept then."""

    added: Sequence[PastChange]
    oldest: int


def count(edits: Mapping[Key, Edit]) -> tuple[int, int, int]:
    """Count what edits add, change and delete."""
    added = changed = deleted = 0
    for old, new in edits.values():
        if old is None:
            added += new is not None
        elif new is None:
            deleted += 1
        else:
            changed += 1
    return added, changed, deleted

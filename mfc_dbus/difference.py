"""What comes, what becomes another and what goes: the smallest change between two sets (pure)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mfc_dbus.model import Membership, Route

T = TypeVar("T", Route, Membership)


class Replacement(NamedTuple, Generic[T]):
    """One in another's place: both have the same key."""

    old: T
    new: T


class Difference(NamedTuple, Generic[T]):
    """What stays is not in it."""

    added: Sequence[T] = ()
    changed: Sequence[Replacement[T]] = ()
    deleted: Sequence[T] = ()

    @property
    def growth(self) -> int:
        return len(self.added) - len(self.deleted)


def compare(
    find: Callable[[T], T | None],
    wanted: Sequence[T],
    present: Iterable[T],
    doomed: Callable[[T], bool] | None,
) -> Difference[T]:
    """find: what there is in a wanted one's place. doomed: which of those that there are go where
    they are not wanted, None for none at all.
    """
    added: list[T] = []
    changed: list[Replacement[T]] = []
    for each in wanted:
        there = find(each)
        if there is None:
            added.append(each)
        elif there != each:
            changed.append(Replacement(there, each))
    deleted: list[T] = []
    if doomed is not None:
        keys = {each.key for each in wanted}
        deleted = [each for each in present if doomed(each) and each.key not in keys]
    return Difference(added, changed, deleted)

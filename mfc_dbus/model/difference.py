"""What comes, what becomes another and what goes: the smallest change between two sets (pure)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mfc_dbus.model.route import Key, Membership, Route

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

    def __bool__(self) -> bool:
        return any(self[:])

    @property
    def growth(self) -> int:
        return len(self.added) - len(self.deleted)


class Comparison(Generic[T]):
    """A difference in the making: first all that is wanted is given to it, then all there is."""

    def __init__(self, find: Callable[[T], T | None]) -> None:
        """find: what there is in a wanted one's place."""
        self._find: Callable[[T], T | None] = find
        self._added: list[T] = []
        self._changed: list[Replacement[T]] = []
        self._deleted: list[T] = []
        self._wanted: set[Key] = set()

    def want(self, wanted: T) -> bool:
        """Take in what is wanted; whether that is new, or another than is there."""
        self._wanted.add(wanted.key)
        there = self._find(wanted)
        if there is None:
            self._added.append(wanted)
        elif there != wanted:
            self._changed.append(Replacement(there, wanted))
        else:
            return False
        return True

    def doom(self, there: T) -> None:
        """Let one go that is there, unless it is wanted."""
        if there.key not in self._wanted:
            self._deleted.append(there)

    @property
    def difference(self) -> Difference[T]:
        return Difference(self._added, self._changed, self._deleted)


def compare(
    find: Callable[[T], T | None],
    wanted: Sequence[T],
    present: Iterable[T],
    doomed: Callable[[T], bool] | None,
) -> Difference[T]:
    """find: what there is in a wanted one's place. doomed: which of those that there are go where
    they are not wanted, None for none at all.
    """
    comparison = Comparison(find)
    for each in wanted:
        comparison.want(each)
    for each in present if doomed is not None else ():
        if doomed is not None and doomed(each):
            comparison.doom(each)
    return comparison.difference

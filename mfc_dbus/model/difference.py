"""The smallest change from one set to another: what is added, replaced and deleted (pure)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mfc_dbus.model.desired import Key
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import Route

T = TypeVar("T", Route, Membership)


class Replacement(NamedTuple, Generic[T]):
    """A value that takes the place of another; both have the same key."""

    old: T
    new: T


class Difference(NamedTuple, Generic[T]):
    """What is added, replaced and deleted; values that stay as they are not listed."""

    added: Sequence[T] = ()
    changed: Sequence[Replacement[T]] = ()
    deleted: Sequence[T] = ()

    def __bool__(self) -> bool:
        return any(self[:])

    @property
    def growth(self) -> int:
        return len(self.added) - len(self.deleted)


class Comparison(Generic[T]):
    """Builds a difference: first it is given all wanted values, then all present ones."""

    def __init__(self, find: Callable[[T], T | None]) -> None:
        """find: returns the present value in the place of a wanted one, or None."""
        self.find: Callable[[T], T | None] = find
        self._added: list[T] = []
        self._changed: list[Replacement[T]] = []
        self._deleted: list[T] = []
        self._wanted: set[Key] = set()

    def want(self, wanted: T) -> T | None:
        """Note a wanted value. Return the present value that equals it, or None."""
        there = self.find(wanted)
        self._wanted.add((there or wanted).key)
        if there is None:
            self._added.append(wanted)
        elif there != wanted:
            self._changed.append(Replacement(there, wanted))
        else:
            return there
        return None

    def doom(self, there: T) -> None:
        """Note that a present value is to be deleted, unless it is wanted."""
        if there.key not in self._wanted:
            self._deleted.append(there)

    @property
    def difference(self) -> Difference[T]:
        return Difference(self._added, self._changed, self._deleted)


def compare(
    find: Callable[[T], T | None],
    wanted: Sequence[T],
    present: Iterable[T],
    deletable: Callable[[T], bool] | None,
) -> Difference[T]:
    """Return the difference from the present values to the wanted ones.

    find: returns the present value in the place of a wanted one, or None. deletable: returns
    whether a present value is deleted if it is not wanted; without it none is.
    """
    comparison = Comparison(find)
    for each in wanted:
        comparison.want(each)
    for each in present if deletable is not None else ():
        if deletable is not None and deletable(each):
            comparison.doom(each)
    return comparison.difference

"""Route keys in their order; adding, removing and finding one costs the same at any size (pure)."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.route import RouteKey

_MOST = 1024  # keys that lie in one list


class OrderedKeys:
    """The keys of routes from any source, by group.

    They lie in short lists, one after the other: Python moves what comes after the place where a
    list grows, and in a long one that costs more than all else.
    """

    def __init__(self) -> None:
        self._lists: list[list[RouteKey]] = []
        self._firsts: list[RouteKey] = []  # of each list

    def __bool__(self) -> bool:
        return bool(self._lists)

    def __iter__(self) -> Iterator[RouteKey]:
        for each in self._lists:
            yield from each

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrderedKeys) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]

    def add(self, key: RouteKey) -> None:
        """Put in a key that is not there."""
        if not self._lists:
            self._lists.append([key])
            self._firsts.append(key)
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        found = self._lists[at]
        insort(found, key)
        self._firsts[at] = found[0]
        if len(found) > _MOST:
            half = len(found) // 2
            self._lists.insert(at + 1, found[half:])
            self._firsts.insert(at + 1, found[half])
            del found[half:]

    def remove(self, key: RouteKey) -> None:
        """Take out a key that is there."""
        at = bisect_right(self._firsts, key) - 1
        found = self._lists[at]
        del found[bisect_left(found, key)]
        if found:
            self._firsts[at] = found[0]
        else:
            del self._lists[at]
            del self._firsts[at]

    def within(self, groups: Prefix) -> Iterator[RouteKey]:
        """Find those whose group is in a prefix, which covers the groups that begin with it."""
        first = RouteKey(Prefix(bytes(len(groups.address)), 0), groups, "", 0)
        at = max(bisect_right(self._firsts, first) - 1, 0)
        for found in self._lists[at:]:
            for key in found[bisect_left(found, first) :]:
                if not groups.covers(key.group):
                    return
                yield key

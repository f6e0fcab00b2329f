"""The interfaces that there are, and which of them a pattern is for (pure)."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.interfaces import expand, matches

_MOST_PATTERNS = 64  # remembered: each event of an interface is compared with them


class PresentLinks(dict[str, Link]):
    """Interfaces by their names. It remembers what it has found for patterns, since a look at
    thousands of interfaces at each event of one of them would take too long.

    Changed by `put` and `remove` alone.
    """

    def __init__(self, links: Mapping[str, Link] | None = None) -> None:
        super().__init__(links or {})
        self._matching: dict[str, list[str]] = {}  # sorted

    def put(self, link: Link) -> None:
        before = self.get(link.name)
        self[link.name] = link
        there = is_for_patterns(link)
        if there != (before is not None and is_for_patterns(before)):
            self._note(link.name, there=there)

    def remove(self, name: str) -> Link | None:
        """Return what was there."""
        link = self.pop(name, None)
        if link is not None and is_for_patterns(link):
            self._note(name, there=False)
        return link

    def matching(self, pattern: str) -> Sequence[str]:
        """Find the interfaces that a pattern is for, sorted. To be read before the next change."""
        found = self._matching.get(pattern)
        if found is None:
            if len(self._matching) == _MOST_PATTERNS:
                self._matching.clear()
            found = self._matching[pattern] = _find(pattern, self)
        return found

    def _note(self, name: str, *, there: bool) -> None:
        for pattern, names in self._matching.items():
            if matches(pattern, name):
                at = bisect_left(names, name)
                names[at : at + (not there)] = [name] if there else []


def find_matching(pattern: str, present: Mapping[str, Link]) -> Sequence[str]:
    """Find the interfaces that a pattern is for, sorted."""
    return (
        present.matching(pattern) if isinstance(present, PresentLinks) else _find(pattern, present)
    )


def _find(pattern: str, present: Mapping[str, Link]) -> list[str]:
    return sorted([name for name in expand(pattern, present) if is_for_patterns(present[name])])


def is_for_patterns(link: Link) -> bool:
    """Return whether patterns stand for an interface: only where it says that it carries multicast.

    So the flag is the way to keep one out of all patterns. A route that names it has its word.
    """
    return link.multicast and link.name != "lo"

"""The interfaces that there are, and which of them a pattern is for (pure)."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.interfaces import expand, matches
from mfc_dbus.model.route import MAX_VIFS

_MOST_PATTERNS = 64  # or sets of them, remembered: each event of an interface is compared with them


class PresentLinks(dict[str, Link]):
    """Interfaces by their names. It remembers what it has found for patterns, since a look at
    thousands of interfaces at each event of one of them would take too long.

    Changed by `put` and `remove` alone.
    """

    def __init__(self, links: Mapping[str, Link] | None = None) -> None:
        super().__init__(links or {})
        self._matching: dict[tuple[str, ...], list[str]] = {}  # sorted

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

    def matching(self, *patterns: str) -> Sequence[str]:
        """Find the interfaces that any of these patterns is for, sorted. To be read before the next
        change.
        """
        found = self._matching.get(patterns)
        if found is None:
            if len(self._matching) == _MOST_PATTERNS:
                self._matching.clear()
            found = self._matching[patterns] = _find(patterns, self)
        return found

    def choose(self, pattern: str, preferred: Set[str]) -> tuple[str, ...]:
        """Find the interfaces that a pattern is for, sorted; of very many only the preferred ones,
        and one more of the others than could have VIFs.
        """
        matching = self.matching(pattern)
        if len(matching) <= MAX_VIFS:
            return tuple(matching)
        chosen = [name for name in preferred if holds(matching, name)]
        others = islice((name for name in matching if name not in preferred), MAX_VIFS + 1)
        return tuple(sorted([*chosen, *others]))

    def only(self, names: Iterable[str]) -> "PresentLinks":
        """Return those of the interfaces that have these names."""
        return PresentLinks({name: self[name] for name in names if name in self})

    def _note(self, name: str, *, there: bool) -> None:
        for patterns, names in self._matching.items():
            if any(matches(each, name) for each in patterns):
                at = bisect_left(names, name)
                names[at : at + (not there)] = [name] if there else []


def holds(names: Sequence[str], name: str) -> bool:
    """Return whether a name is among sorted names."""
    at = bisect_left(names, name)
    return at < len(names) and names[at] == name


def _find(patterns: Sequence[str], present: Mapping[str, Link]) -> list[str]:
    found = {name for each in patterns for name in expand(each, present)}
    return sorted([name for name in found if is_for_patterns(present[name])])


def is_for_patterns(link: Link) -> bool:
    """Return whether patterns stand for an interface: only where it says that it carries multicast.

    So the flag is the way to keep one out of all patterns. A route that names it has its word.
    """
    return link.multicast and link.name != "lo"
